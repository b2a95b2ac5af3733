package loop

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Adopt takes over an established connection, on l's goroutine, as if l had accepted it, and tells owner that it is
// connected. nc must be a *net.TCPConn, or a *net.UnixConn that is a stream; else the error is an [*AdoptError]. nc is
// closed then, and the connection lives on in s. Nobody may be reading or writing with nc.
//
// If Adopt fails, nc is still the caller's, as it was, and owner was told nothing. It fails with net.ErrClosed if nc is
// closed, or if s was closed or used before.
func (s *Socket) Adopt(nc net.Conn, l *Loop, owner Owner) error {
	if s.closed || s.number != 0 || s.loop != nil {
		return net.ErrClosed
	}
	// Only these types, and not whatever has a descriptor: a type that embeds one of them may do more in Read and Write.
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return &AdoptError{nc}
	}
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
	a := &Accepted{loop: l, about: new(about), number: int32(fd) + 1}
	if local, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		a.about.local = unmapped(local.AddrPort())
	}
	if remote, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		a.remote = unmapped(remote.AddrPort())
	}
	l.load.Add(1)
	if err := s.Open(a, owner); err != nil {
		return err
	}
	_ = nc.Close() // its own descriptor only
	return nil
}
