//go:build darwin || freebsd

package liveness

import (
	"runtime"
	"syscall"
	"time"
)

// options are those to set. The names are missing in package syscall, in part; the numbers are those of the systems'
// headers.
func (o OS) options() (set []osOption, missing []string) {
	idle, interval, count := 0x100, 0x200, 0x400
	if runtime.GOOS == "darwin" {
		idle, interval, count = 0x10, 0x101, 0x102
	}
	set = append(set, osOption{name: "SO_KEEPALIVE", level: syscall.SOL_SOCKET, option: syscall.SO_KEEPALIVE, value: 1})
	add := func(name string, option, value int) {
		if value > 0 {
			set = append(set, osOption{name: name, level: syscall.IPPROTO_TCP, option: option, value: value})
		}
	}
	add("TCP_KEEPIDLE", idle, roundUp(o.Idle, time.Second))
	add("TCP_KEEPINTVL", interval, roundUp(o.Interval, time.Second))
	add("TCP_KEEPCNT", count, o.Count)
	if o.UserTimeout > 0 {
		missing = append(missing, "TCP_USER_TIMEOUT")
	}
	return set, missing
}

func setOption(fd uintptr, o osOption) error {
	return syscall.SetsockoptInt(int(fd), o.level, o.option, o.value)
}
