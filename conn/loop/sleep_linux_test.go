package loop

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBootTimeGoesOn(t *testing.T) {
	a, ok := bootTime()
	require.True(t, ok)
	require.Positive(t, a)
	b, _ := bootTime()
	assert.GreaterOrEqual(t, b, a)
	assert.Less(t, b-a, time.Minute)
}

// Whoever has a socket on the loop is told of a sleep, and gets a turn; also if its turns are not on the loop.
func TestEverySocketIsToldOfASleep(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		var sleep atomic.Int64
		cfg.boot = func() (time.Duration, bool) {
			is, ok := bootTime()
			return is + time.Duration(sleep.Load()), ok
		}
		l := newLoop(t, cfg)
		first, _ := pair(t, l, ListenConfig{})
		second, _ := pair(t, l, ListenConfig{})
		apart, _ := lonerOf(t, l, ListenConfig{})
		first.on(t, func() { first.slept = make(chan time.Duration, 10) })
		second.on(t, func() { second.slept = make(chan time.Duration, 10) })
		turns := first.turns.Load()

		sleep.Add(int64(time.Hour))
		for end := time.Now().Add(patience); len(apart.slept) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			do(t, l, func() {}) // a loop that has something to do looks at its clocks, now and then
		}
		for _, told := range []chan time.Duration{first.slept, second.slept, apart.slept} {
			d := await(t, told, "the sleep")
			assert.Greater(t, d, time.Hour-time.Second)
			assert.Less(t, d, time.Hour+time.Minute)
			assert.Empty(t, told, "it is told once")
		}
		require.Eventually(t, func() bool { return first.turns.Load() > turns }, patience, time.Millisecond)
	})
}
