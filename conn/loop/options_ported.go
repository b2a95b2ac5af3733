package loop

import (
	"errors"
	"net"
	"os"
	"syscall"
)

type controlFunc = func(network, address string, c syscall.RawConn) error

// control is what package net calls with a socket before it is bound or connected. The system's buffers get their sizes
// there: what the two ends agree on when they connect follows from them, and one that shrinks afterwards makes the
// system wait for timers where it should send. Then app, which may be nil, has its turn.
func (o *Options) control(app controlFunc) controlFunc {
	if o.ReadBuffer == 0 && o.WriteBuffer == 0 {
		return app
	}
	return func(network, address string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = o.sizeBuffers(fd) }); e != nil {
			return e
		}
		if err == nil && app != nil {
			err = app(network, address, c)
		}
		return err
	}
}

func (o *Options) sizeBuffers(fd uintptr) error {
	size := func(name, n int) error {
		if n == 0 {
			return nil
		}
		return os.NewSyscallError("setsockopt", setSocketOption(fd, name, n))
	}
	return errors.Join(size(syscall.SO_RCVBUF, o.ReadBuffer), size(syscall.SO_SNDBUF, o.WriteBuffer))
}

// apply sets what package net sets otherwise. Where the system refuses, the connection does without.
func (o *Options) apply(nc net.Conn) {
	if c, ok := nc.(*net.TCPConn); ok && o.Nagle {
		_ = c.SetNoDelay(false)
	}
}
