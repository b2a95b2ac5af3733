package load

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/sys"
)

// A wire is a connection that never blocks, with TLS or without.
type wire struct {
	fd     int
	tls    *tls.Conn // nil without
	socket *socket   // below it
}

var errClosed = errors.New("the server closed a connection")

// secure puts TLS on the wire, if there is a cfg. The handshake is still to be made: by shake.
func (w *wire) secure(cfg *tls.Config) {
	w.tls, w.socket = nil, nil
	if cfg != nil {
		w.socket = &socket{fd: w.fd}
		w.tls = tls.Client(w.socket, cfg)
	}
}

// shake makes the handshake, if there is TLS. It calls wait whenever nothing is there to be read.
func (w *wire) shake(wait func() error) error {
	if w.tls == nil {
		return nil
	}
	w.socket.wait = wait
	err := w.tls.Handshake()
	w.socket.wait = nil
	return err
}

// send sends as much of p as the system takes now. That may be nothing.
func (w *wire) send(p []byte) (n int, err error) {
	if w.tls == nil {
		return sendNow(w.fd, p)
	}
	if err := w.drain(); err != nil || len(w.socket.rest) > 0 {
		return 0, err
	}
	return w.tls.Write(p)
}

// drain sends what the system did not take of records that TLS has already made.
func (w *wire) drain() error {
	if w.socket == nil || len(w.socket.rest) == 0 {
		return nil
	}
	return w.socket.drain()
}

// recv reads what is there. That may be nothing.
func (w *wire) recv(p []byte) (n int, err error) {
	if w.tls == nil {
		n, err = recvNow(w.fd, p)
	} else {
		n, err = w.tls.Read(p)
	}
	switch {
	case err == error(errNotNow):
		err = nil
	case errors.Is(err, io.EOF):
		err = errClosed
	}
	return n, err
}

func sendNow(fd int, p []byte) (n int, err error) {
	for {
		n, errno := sys.Send(fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch errno {
		case 0:
			return n, nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("send", errno)
		}
	}
}

// recvNow returns errNotNow if there is nothing, and io.EOF at the end.
func recvNow(fd int, p []byte) (n int, err error) {
	for {
		n, errno := sys.Recv(fd, p, unix.MSG_DONTWAIT)
		switch {
		case errno == unix.EAGAIN:
			return 0, errNotNow
		case errno == unix.EINTR:
		case errno != 0:
			return 0, os.NewSyscallError("recv", errno)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// A socket is what TLS reads and writes. Its Read says that there is nothing now by an error that passes, after which
// crypto/tls goes on. Its Write takes everything, for TLS would not go on after any error of it.
type socket struct {
	fd   int
	rest []byte       // not taken by the system yet
	wait func() error // in a handshake, until there is something to read
}

// notNow is a net.Error that passes.
type notNow struct{}

var errNotNow net.Error = notNow{}

func (notNow) Error() string   { return "there is nothing to read now" }
func (notNow) Timeout() bool   { return true }
func (notNow) Temporary() bool { return true }

func (s *socket) Read(p []byte) (n int, err error) {
	for {
		if n, err = recvNow(s.fd, p); err != error(errNotNow) || s.wait == nil {
			return n, err
		}
		if err := s.wait(); err != nil {
			return 0, err
		}
	}
}

func (s *socket) Write(p []byte) (n int, err error) {
	sent := 0
	if len(s.rest) == 0 {
		if sent, err = sendNow(s.fd, p); err != nil {
			return 0, err
		}
	}
	s.rest = append(s.rest, p[sent:]...)
	return len(p), nil
}

func (s *socket) drain() error {
	n, err := sendNow(s.fd, s.rest)
	s.rest = append(s.rest[:0], s.rest[n:]...)
	return err
}

// The rest of a net.Conn, of which crypto/tls needs nothing here.

func (s *socket) Close() error                     { return nil }
func (s *socket) LocalAddr() net.Addr              { return nil }
func (s *socket) RemoteAddr() net.Addr             { return nil }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
