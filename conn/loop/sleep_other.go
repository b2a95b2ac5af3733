//go:build !linux

package loop

import "time"

// bootTime does not know on this system whether the machine slept.
func bootTime() (time.Duration, bool) { return 0, false }
