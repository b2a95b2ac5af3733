package liveness

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// OS is the system's own watch over a TCP connection. It sees whether the other system answers, not the process: it never
// replaces a layer. But it goes on where a layer can hear nothing, such as while reading is paused for days, and then ends
// the connection of a host that is gone, with syscall.ETIMEDOUT.
//
// Give both to the socket. On a listening one they hold for all that it accepts:
//
//	watch := liveness.OSFor(30 * time.Second)
//	loop.Options{KeepAlive: watch.KeepAlive(), Control: watch.Control}
//
// A field that is zero is left to the system.
type OS struct {
	Idle     time.Duration // without a byte of the peer, until the first probe (TCP_KEEPIDLE); whole seconds, rounded up
	Interval time.Duration // from one probe to the next (TCP_KEEPINTVL); whole seconds, rounded up
	Count    int           // probes without an answer that end the connection (TCP_KEEPCNT); UserTimeout overrides it
	// UserTimeout is for how long sent bytes, or probes, may stay without an answer (TCP_USER_TIMEOUT, RFC 5482);
	// milliseconds. It is Linux's; other systems do without.
	UserTimeout time.Duration
}

const (
	maxOSTime     = 32767 * time.Second // what Linux takes
	maxOSCount    = 127
	maxUserWait   = math.MaxInt32 * time.Millisecond
	longestOSIdle = 2 * time.Hour
)

// OSFor returns what fits a T: three probes, the first after T/4 but between 1 s and 2 h, and UserTimeout T.
func OSFor(t time.Duration) OS {
	idle := min(max(t/4, time.Second), longestOSIdle)
	o := OS{Idle: idle, Interval: idle, Count: 3, UserTimeout: min(t, maxUserWait)}
	if t == Never {
		o.UserTimeout = 0
	}
	return o
}

// KeepAlive returns what Idle, Interval and Count are to package net.
func (o OS) KeepAlive() net.KeepAliveConfig {
	left := func(d time.Duration) time.Duration {
		if d == 0 {
			return -1
		}
		return d
	}
	k := net.KeepAliveConfig{Enable: true, Idle: left(o.Idle), Interval: left(o.Interval), Count: o.Count}
	if k.Count == 0 {
		k.Count = -1
	}
	return k
}

// An osOption is an option of a socket.
type osOption struct {
	name         string
	level, value int
	option       int
}

// Control sets the options. It fits net.Dialer, net.ListenConfig, and loop.Options. What is no TCP socket is left alone. An
// option that this system does not have is passed over, and slog.Default hears of it once.
func (o OS) Control(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	if err := o.validate(); err != nil {
		return err
	}
	options, missing := o.options()
	if len(missing) > 0 {
		sayMissing.Do(func() {
			slog.Default().Warn("liveness: this system lacks options of sockets, which are not set", "options", missing)
		})
	}
	var errs []error
	err := c.Control(func(fd uintptr) {
		for _, x := range options {
			if err := setOption(fd, x); err != nil {
				errs = append(errs, fmt.Errorf("liveness: %s: %w", x.name, os.NewSyscallError("setsockopt", err)))
			}
		}
	})
	return errors.Join(append(errs, err)...)
}

var sayMissing sync.Once

func (o OS) validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("liveness: OS.%s is %v: it must be %s", field, value, want))
	}
	for field, d := range map[string]time.Duration{"Idle": o.Idle, "Interval": o.Interval} {
		if d < 0 || d > maxOSTime {
			bad(field, d, fmt.Sprintf("0 (the system's choice) or up to %v", maxOSTime))
		}
	}
	if o.Count < 0 || o.Count > maxOSCount {
		bad("Count", o.Count, fmt.Sprintf("0 (the system's choice) or up to %d", maxOSCount))
	}
	if d := o.UserTimeout; d < 0 || d > maxUserWait {
		bad("UserTimeout", d, fmt.Sprintf("0 (the system's choice) or up to %v", maxUserWait))
	}
	return errors.Join(errs...)
}

// roundUp is d in units, for 0 of them would mean something else.
func roundUp(d, unit time.Duration) int { return int((d + unit - 1) / unit) }
