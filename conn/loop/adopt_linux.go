package loop

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// adopt takes the descriptor of nc over.
func (s *Socket) adopt(nc net.Conn, l *Loop, owner Owner) error {
	fd, err := duplicate(nc.(syscall.Conn))
	if err != nil {
		return err
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return errors.Join(os.NewSyscallError("getsockopt", err), closeSocket(fd, false))
	}
	if kind != unix.SOCK_STREAM {
		return errors.Join(&AdoptError{nc}, closeSocket(fd, false))
	}
	// The mode belongs to both descriptors, and this is the one that package net wants as well.
	if err := unix.SetNonblock(fd, true); err != nil {
		return errors.Join(os.NewSyscallError("fcntl", err), closeSocket(fd, false))
	}
	a := &Accepted{loop: l, about: &about{local: addrPortOf(nc.LocalAddr())}, remote: addrPortOf(nc.RemoteAddr()),
		number: int32(fd) + 1}
	l.load.Add(1)
	if err := s.Open(a, owner); err != nil {
		return err
	}
	_ = nc.Close() // its own descriptor only
	return nil
}
