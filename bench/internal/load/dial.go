// Package load has the load generators: clients that run on one thread each, allocate nothing while they run, and check
// every byte that comes back.
package load

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stallLimit is how long the load waits for any byte before it gives the server up.
const stallLimit = 5 * time.Second

// dial returns a connected wire, with TLS if there is a cfg; its descriptor is -1 if there is an error.
func dial(to netip.AddrPort, cfg *tls.Config) (w wire, err error) { return dialWith(to, cfg, 0) }

// dialWith is dial with a buffer for reading of so many bytes, in the system; if 0, its choice.
func dialWith(to netip.AddrPort, cfg *tls.Config, buffer int) (w wire, err error) {
	w.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return wire{fd: -1}, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(w.fd)
			w = wire{fd: -1}
		}
	}()
	if buffer > 0 { // before connect, which announces it
		if err := unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return w, os.NewSyscallError("setsockopt", err)
		}
	}
	limit := unix.NsecToTimeval(stallLimit.Nanoseconds()) // bounds connect
	if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return w, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.SetsockoptInt(w.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return w, os.NewSyscallError("setsockopt", err)
	}
	at := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	err = unix.Connect(w.fd, at)
	for err == unix.EINTR { // by a signal of Go's scheduler: it goes on, and whoever asks again waits for it
		if err = unix.Connect(w.fd, at); err == unix.EISCONN {
			err = nil
		}
	}
	if err != nil {
		return w, fmt.Errorf("connect to %s: %w", to, os.NewSyscallError("connect", err))
	}
	if err := unix.SetNonblock(w.fd, true); err != nil {
		return w, os.NewSyscallError("fcntl", err)
	}
	w.secure(cfg)
	if err := w.shake(w.awaitInput); err != nil {
		return w, fmt.Errorf("TLS handshake with %s: %w", to, err)
	}
	return w, nil
}

// awaitInput waits until there is something to read.
func (w *wire) awaitInput() error {
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(stallLimit.Milliseconds()))
		switch {
		case n > 0:
			return nil
		case err == nil:
			return fmt.Errorf("the server was silent for %v", stallLimit)
		case err != unix.EINTR:
			return os.NewSyscallError("poll", err)
		}
	}
}
