package loop

import (
	"math"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLSN3_OptionsNameEachBadValue(t *testing.T) {
	probe := func(idle, interval time.Duration, count int) Options {
		return Options{KeepAlive: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: interval, Count: count}}
	}
	const size = "0 (the system's choice) or a number of bytes below 2^31"
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{ReadBuffer: -1}, "loop: Options.ReadBuffer is -1: it must be " + size},
		{Options{WriteBuffer: -2}, "loop: Options.WriteBuffer is -2: it must be " + size},
		{Options{ReadBuffer: 1 << 31}, "loop: Options.ReadBuffer is 2147483648: it must be " + size},
		{probe(32768*time.Second, 0, 0), "loop: Options.KeepAlive.Idle is 9h6m8s: it must be at most 9h6m7s"},
		{probe(0, 32767*time.Second+1, 0), "loop: Options.KeepAlive.Interval is 9h6m7.000000001s: it must be at most 9h6m7s"},
		{probe(0, 0, 128), "loop: Options.KeepAlive.Count is 128: it must be at most 127"},
		{Options{ReadBuffer: -1, KeepAlive: net.KeepAliveConfig{Enable: true, Count: 200}},
			"loop: Options.ReadBuffer is -1: it must be " + size + "\n" +
				"loop: Options.KeepAlive.Count is 200: it must be at most 127"},
	} {
		assert.EqualError(t, test.o.Validate(), test.want)
	}
	for _, good := range []Options{
		{}, {ReadBuffer: 1, WriteBuffer: math.MaxInt32}, probe(-1, -1, -1), probe(32767*time.Second, 32767*time.Second, 127),
		{KeepAlive: net.KeepAliveConfig{Idle: time.Hour * 1000, Count: 1000}}, // it is off
	} {
		assert.NoError(t, good.Validate(), "%+v", good)
	}
}
