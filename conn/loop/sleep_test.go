package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTheClocksTellSleepFromASettingOfTheTime(t *testing.T) {
	const (
		ms = time.Millisecond
		s  = time.Second
		h  = time.Hour
	)
	type step struct{ passes, slept, set time.Duration } // what happens before a look
	for _, test := range []struct {
		name  string
		steps []step
		want  []time.Duration
		looks int
	}{
		{"nothing", []step{{passes: ms}, {passes: 998 * ms}, {passes: ms}, {passes: ms}, {passes: 900 * ms}}, []time.Duration{0, 0, 0, 0, 0}, 1},
		{"a sleep is noticed at once", []step{{passes: ms}, {slept: h}, {passes: ms}}, []time.Duration{0, h, 0}, 1},
		{"the clock is set on", []step{{set: h}, {passes: ms}}, []time.Duration{0, 0}, 1},
		{"the clock is set back", []step{{set: -h}, {passes: ms}}, []time.Duration{0, 0}, 1},
		{"a sleep whose time the wall clock was not told", []step{{passes: ms, slept: h, set: -h}, {passes: s}}, []time.Duration{0, h}, 1},
		{"a sleep while the clock was set back far", []step{{slept: 2 * s, set: -h}}, []time.Duration{2 * s}, 1},
		{"twice", []step{{slept: 5 * s}, {slept: 6 * s}, {passes: 3 * s}}, []time.Duration{5 * s, 6 * s, 0}, 3},
		{"less than counts", []step{{slept: 900 * ms}, {passes: s}}, []time.Duration{0, 0}, 2},
		{"a long turn is no sleep", []step{{passes: h}}, []time.Duration{0}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var now, wall, boot time.Duration
			boot, wall = 77*h, 400_000*h
			looks := -1 // init does not count
			var w sleepWatch
			w.init(func() (time.Duration, bool) { looks++; return boot, true }, wall)
			for i, step := range test.steps {
				now += step.passes
				boot += step.passes + step.slept
				wall += step.passes + step.slept + step.set
				assert.Equal(t, test.want[i], w.look(now, wall), "look %d", i+1)
			}
			assert.Equal(t, test.looks, looks, "system calls")
		})
	}
}

func TestWhereTheSystemDoesNotTellNobodySlept(t *testing.T) {
	var w sleepWatch
	w.init(func() (time.Duration, bool) { return 0, false }, 0)
	assert.Zero(t, w.look(time.Second, 2*time.Hour))
	assert.Zero(t, w.look(3*time.Second, 4*time.Hour))
}
