package loop

import (
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// What Validate takes, the system takes as well; what it refuses, the system would refuse.
func TestLSN3_TheLimitsOfOptionsAreTheSystems(t *testing.T) {
	probe := func(idle, interval time.Duration, count int) Options {
		return Options{KeepAlive: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: interval, Count: count}}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	assert.NoError(t, err)
	defer unix.Close(fd)
	for _, o := range []Options{
		{ReadBuffer: math.MaxInt32, WriteBuffer: math.MaxInt32}, probe(maxProbeTime, maxProbeTime, maxProbeCount), {},
	} {
		assert.NoError(t, o.Validate())
		assert.NoError(t, o.set(fd, "tcp"), "%+v", o)
	}
	for _, o := range []Options{probe(maxProbeTime+1, 0, 0), probe(0, maxProbeTime+1, 0), probe(0, 0, maxProbeCount+1)} {
		assert.Error(t, o.Validate())
		assert.ErrorIs(t, o.set(fd, "tcp"), syscall.EINVAL, "%+v", o)
	}
}
