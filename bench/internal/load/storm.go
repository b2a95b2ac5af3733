package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/sys"
)

// A Storm is clients that connect, begin a handshake of TLS, and reset the connection when the server's first flight has
// come; then the next one comes. By then the server has done all its public-key work, and they have done none: what they
// send is always the same. So the load has time for what is measured beside the storm.
type Storm struct {
	poller
	clients []client
	hello   []byte
	buf     []byte
	to      netip.AddrPort
	served  int // that were answered
	heard   time.Duration
}

// NewStorm lets the first n clients come. They go on when Step is called.
func NewStorm(to netip.AddrPort, cfg *tls.Config, n int) (s *Storm, err error) {
	s = &Storm{to: to, buf: make([]byte, 16<<10), clients: make([]client, n)}
	if s.hello, err = clientHello(cfg); err != nil {
		return nil, err
	}
	if s.poller, err = newPoller(); err != nil {
		return nil, err
	}
	for i := range s.clients {
		s.clients[i].fd = -1
	}
	for i := range s.clients {
		if err := s.come(&s.clients[i]); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Close sends all away.
func (s *Storm) Close() {
	for i := range s.clients {
		s.drop(&s.clients[i])
	}
	s.close()
}

// Served returns how many were answered so far.
func (s *Storm) Served() int { return s.served }

// stepClients is how many clients one Step goes on with at most: what is measured beside the storm must not wait long.
const stepClients = 4

// Step goes on with those of which there is news. It does not wait.
func (s *Storm) Step() error {
	n, errno := sys.EpollWait(s.ep, s.events[:stepClients], 0)
	if errno != 0 && errno != unix.EINTR {
		return os.NewSyscallError("epoll_wait", errno)
	}
	now := s.now()
	if n <= 0 {
		if now-s.heard > stallLimit {
			return fmt.Errorf("the server answered no handshake for %v", stallLimit)
		}
		return nil
	}
	s.heard = now
	return s.each(n, s.attend)
}

func (s *Storm) come(c *client) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	c.renew(wire{fd: fd})
	if err := s.watch(c, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		return err
	}
	// A reset leaves no port behind that waits.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(s.to.Port()), Addr: s.to.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	return nil
}

// attend goes on with one client.
func (s *Storm) attend(c *client) error {
	if c.sent == 0 {
		n, err := sendNow(c.fd, s.hello)
		if err != nil {
			return err
		}
		if n > 0 && n < len(s.hello) {
			return fmt.Errorf("the system took %d bytes of %d of a new connection", n, len(s.hello))
		}
		c.sent = uint64(n)
		return nil
	}
	switch n, err := recvNow(c.fd, s.buf); {
	case err == error(errNotNow):
		return nil
	case err != nil:
		return fmt.Errorf("a handshake was not answered: %w", err)
	case s.buf[0] != recordHandshake:
		return fmt.Errorf("a handshake was answered with %x", s.buf[:min(n, 8)])
	}
	s.served++
	if err := s.drop(c); err != nil {
		return err
	}
	return s.come(c)
}

const recordHandshake = 22 // RFC 8446, section 5.1

// clientHello returns what a client sends first.
func clientHello(cfg *tls.Config) ([]byte, error) {
	var r recorder
	if err := tls.Client(&r, cfg).Handshake(); !errors.Is(err, errRecorded) {
		return nil, fmt.Errorf("the first message of a handshake: %w", err)
	}
	return r.wrote, nil
}

// A recorder keeps what TLS writes, until it reads.
type recorder struct {
	net.Conn
	wrote []byte
}

var errRecorded = errors.New("recorded")

func (r *recorder) Read([]byte) (int, error) { return 0, errRecorded }

func (r *recorder) Write(p []byte) (int, error) {
	r.wrote = append(r.wrote, p...)
	return len(p), nil
}

func (r *recorder) Close() error { return nil }
