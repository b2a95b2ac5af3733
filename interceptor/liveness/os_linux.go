package liveness

import (
	"syscall"
	"time"
)

const tcpUserTimeout = 18 // package syscall does not name it

// options are those to set.
func (o OS) options() (set []osOption, missing []string) {
	set = append(set, osOption{name: "SO_KEEPALIVE", level: syscall.SOL_SOCKET, option: syscall.SO_KEEPALIVE, value: 1})
	add := func(name string, option, value int) {
		if value > 0 {
			set = append(set, osOption{name: name, level: syscall.IPPROTO_TCP, option: option, value: value})
		}
	}
	add("TCP_KEEPIDLE", syscall.TCP_KEEPIDLE, roundUp(o.Idle, time.Second))
	add("TCP_KEEPINTVL", syscall.TCP_KEEPINTVL, roundUp(o.Interval, time.Second))
	add("TCP_KEEPCNT", syscall.TCP_KEEPCNT, o.Count)
	add("TCP_USER_TIMEOUT", tcpUserTimeout, roundUp(o.UserTimeout, time.Millisecond))
	return set, nil
}

func setOption(fd uintptr, o osOption) error {
	return syscall.SetsockoptInt(int(fd), o.level, o.option, o.value)
}
