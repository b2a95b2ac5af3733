package loop

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listening sets the options of a socket that will listen. What it accepts inherits them, so that accepting costs no
// further system call.
func (o *Options) listening(network, address string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = o.set(int(fd), network) }); e != nil {
		return e
	}
	if err == nil && o.Control != nil {
		err = o.Control(network, address, c)
	}
	return err
}

func (o *Options) set(fd int, network string) error {
	var errs []error
	set := func(level, name, value int) {
		if err := unix.SetsockoptInt(fd, level, name, value); err != nil {
			errs = append(errs, os.NewSyscallError("setsockopt", err))
		}
	}
	if o.ReadBuffer > 0 {
		set(unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReadBuffer)
	}
	if o.WriteBuffer > 0 {
		set(unix.SOL_SOCKET, unix.SO_SNDBUF, o.WriteBuffer)
	}
	if network == "unix" {
		return errors.Join(errs...)
	}
	if !o.Nagle {
		set(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if k := o.keepAlive(); k.Enable {
		set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		if k.Idle > 0 {
			set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(k.Idle))
		}
		if k.Interval > 0 {
			set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(k.Interval))
		}
		if k.Count > 0 {
			set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.Count)
		}
	}
	return errors.Join(errs...)
}

// seconds rounds up, for 0 is no time that the system takes.
func seconds(d time.Duration) int { return int((d-1)/time.Second) + 1 }
