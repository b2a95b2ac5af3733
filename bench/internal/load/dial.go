// Package load has the load generators: clients that run on one thread each, allocate nothing while they run, and check
// every byte that comes back.
package load

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stallLimit is how long the load waits for any byte before it gives the server up.
const stallLimit = 5 * time.Second

// dial returns a connected socket that does not block; -1 if there is an error.
func dial(to netip.AddrPort) (_ int, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	limit := unix.NsecToTimeval(stallLimit.Nanoseconds()) // bounds connect
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return -1, os.NewSyscallError("setsockopt", err)
	}
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return -1, os.NewSyscallError("setsockopt", err)
	}
	at := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	err = unix.Connect(fd, at)
	for err == unix.EINTR { // by a signal of Go's scheduler: it goes on, and whoever asks again waits for it
		if err = unix.Connect(fd, at); err == unix.EISCONN {
			err = nil
		}
	}
	if err != nil {
		return -1, fmt.Errorf("connect to %s: %w", to, os.NewSyscallError("connect", err))
	}
	if err = unix.SetNonblock(fd, true); err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}
