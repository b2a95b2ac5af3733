package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since boot, with that in which the machine slept.
func bootTime() (time.Duration, bool) {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}
