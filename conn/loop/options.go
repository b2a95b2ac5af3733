package loop

import (
	"errors"
	"fmt"
	"math"
	"net"
	"syscall"
	"time"
)

// Options are set before a socket connects or listens; accepted sockets inherit them from the one that listens. The
// zero value is what package net would choose.
type Options struct {
	Nagle bool // leave TCP_NODELAY off

	// KeepAlive says how a silent peer is probed. The zero value means what it means to package net: after 15 s, every
	// 15 s, 9 times. With Enable, a zero field has that value, and a negative one is left to the system. Without
	// Enable, any other value, such as Idle: -1, turns it off.
	KeepAlive net.KeepAliveConfig

	ReadBuffer, WriteBuffer int // bytes; the system's; if zero, its choice

	// Control is called with the socket before it is bound or connected, after all else was set: in Listen, or on the
	// loop that dials. A portable loop lets another goroutine dial and call it, and sets Nagle and KeepAlive later.
	Control func(network, address string, c syscall.RawConn) error
}

// Validate returns an error that names each value that cannot work, and what would.
func (o *Options) Validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("loop: Options.%s is %v: it must be %s", field, value, want))
	}
	size := func(field string, n int) {
		if n < 0 || n > math.MaxInt32 {
			bad(field, n, "0 (the system's choice) or a number of bytes below 2^31")
		}
	}
	size("ReadBuffer", o.ReadBuffer)
	size("WriteBuffer", o.WriteBuffer)
	if k := o.keepAlive(); k.Enable {
		if k.Idle > maxProbeTime {
			bad("KeepAlive.Idle", k.Idle, fmt.Sprintf("at most %v", maxProbeTime))
		}
		if k.Interval > maxProbeTime {
			bad("KeepAlive.Interval", k.Interval, fmt.Sprintf("at most %v", maxProbeTime))
		}
		if k.Count > maxProbeCount {
			bad("KeepAlive.Count", k.Count, fmt.Sprintf("at most %d", maxProbeCount))
		}
	}
	return errors.Join(errs...)
}

const (
	defaultProbeTime  = 15 * time.Second
	defaultProbeCount = 9

	// What Linux takes, and so a program that works there works elsewhere.
	maxProbeTime  = 32767 * time.Second
	maxProbeCount = 127
)

// keepAlive returns what KeepAlive means, with negative values for what is left to the system.
func (o *Options) keepAlive() (k net.KeepAliveConfig) {
	k = o.KeepAlive
	if k == (net.KeepAliveConfig{}) {
		k.Enable = true
	}
	if k.Idle == 0 {
		k.Idle = defaultProbeTime
	}
	if k.Interval == 0 {
		k.Interval = defaultProbeTime
	}
	if k.Count == 0 {
		k.Count = defaultProbeCount
	}
	return k
}

// noKeepAlive is what package net wants to be told where nothing is to be probed.
func (o *Options) noKeepAlive() time.Duration {
	if o.keepAlive().Enable {
		return 0
	}
	return -1
}
