package loop

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// An AdoptError says that a connection cannot be adopted, because it is no stream. It matches [errors.ErrUnsupported].
type AdoptError struct {
	Conn net.Conn // still the caller's; may be nil
}

// Error names the type of the connection, and what would do.
func (e *AdoptError) Error() string {
	return fmt.Sprintf("loop: a %s%T cannot be adopted: it must be a stream, such as a *net.TCPConn", e.none(), e.Conn)
}

// none says that the connection is a nil pointer, if it is one that Adoptable can tell.
func (e *AdoptError) none() string {
	if c, ok := e.Conn.(*net.TCPConn); ok && c == nil {
		return "nil "
	}
	if c, ok := e.Conn.(*net.UnixConn); ok && c == nil {
		return "nil "
	}
	return ""
}

// Is reports whether target is errors.ErrUnsupported.
func (e *AdoptError) Is(target error) bool { return target == errors.ErrUnsupported }

// Adoptable returns the error that Adopt would return because of nc: an [*AdoptError] if it is no stream; one that
// matches [net.ErrClosed] if it is closed, where that can be told. Any goroutine may call it.
func Adoptable(nc net.Conn) error {
	switch c := nc.(type) {
	case nil, *net.UDPConn, *net.IPConn:
		return &AdoptError{nc}
	case *net.UnixConn:
		if c == nil {
			return &AdoptError{nc}
		}
		if a, ok := c.LocalAddr().(*net.UnixAddr); ok && a.Net != "unix" { // datagrams, or packets
			return &AdoptError{nc}
		}
	case *net.TCPConn:
		if c == nil {
			return &AdoptError{nc}
		}
	}
	if c, ok := nc.(syscall.Conn); ok {
		raw, err := c.SyscallConn()
		if err == nil {
			err = raw.Control(func(uintptr) {}) // fails if nc is closed
		}
		return err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return errors.Join(net.ErrClosed, err)
	}
	return nil
}

// Adopt takes over an established connection, on l's goroutine, as if l had accepted it, and tells owner that it is
// connected. Of a *net.TCPConn or *net.UnixConn, s takes the descriptor, and nc is closed; of any other, and on a
// portable loop, nc itself, which is closed with s. Nobody else may be reading or writing with nc, nor set deadlines.
//
// If Adopt fails, nc is still the caller's, as it was, and owner was told nothing. It fails as [Adoptable] says, and with
// net.ErrClosed if s was closed or used before.
func (s *Socket) Adopt(nc net.Conn, l *Loop, owner Owner) error {
	if s.closed || s.number != 0 || s.loop != nil {
		return net.ErrClosed
	}
	if err := Adoptable(nc); err != nil {
		return err
	}
	if !l.portable() {
		// Only these types, and not whatever has a descriptor: a type that embeds one of them may do more in Read and
		// Write.
		switch nc.(type) {
		case *net.TCPConn, *net.UnixConn:
			return s.adopt(nc, l, owner)
		}
	}
	return s.adoptPorted(nc, l, owner)
}

func (s *Socket) adoptPorted(nc net.Conn, l *Loop, owner Owner) error {
	l.load.Add(1)
	return s.Open(&Accepted{loop: l, about: new(about), remote: addrPortOf(nc.RemoteAddr()), number: ported, nc: nc}, owner)
}
