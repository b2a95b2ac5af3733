package conntest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A socket is the scripted backend of a Rig. It does what the verbs arranged for, and objects to whatever its contract
// rules out.
type socket struct {
	r         *Rig
	connected bool

	in          []arrival // sent by the peer and not read yet
	end         error     // what reading ends with, behind in; nil while it goes on
	endReported bool
	endRead     bool

	room  int    // bytes the system still takes, or everything
	fails error  // what writing fails with
	full  bool   // a write fell short, and the connection was not told yet that it may go on
	rest  []byte // how the next write must begin

	readable, writable, hangup bool // what the connection may count on

	wire          []byte
	reads, writes int
	arms          []conn.Interest
	fin           bool
	closed, reset bool

	mu     sync.Mutex
	posted []func()
	bell   chan struct{} // holds one if something was posted, or somebody rang, since Await last looked
}

var _ conn.Backend = (*socket)(nil)

// An arrival is what the peer sent at once.
type arrival struct {
	data     []byte
	reported bool
}

// unreported returns the readiness that the connection was not told of yet. Each arrival is told once, when it comes to
// the front, like an edge-triggered poller would: a connection that forgets to read on is not reminded.
func (s *socket) unreported() (i conn.Interest) {
	if !s.connected || s.closed {
		return 0
	}
	if len(s.in) > 0 && !s.in[0].reported {
		i |= conn.Readable
	}
	if s.full && (s.room != 0 || s.fails != nil) {
		i |= conn.Writable
	}
	if s.r.armedOnly {
		i &= s.armed()
	}
	if s.end != nil && !s.endReported {
		i |= conn.Readable | conn.Hangup
	}
	return i
}

// report takes what is unreported, for the connection is told now.
func (s *socket) report() conn.Interest {
	i := s.unreported()
	if i&conn.Readable != 0 {
		s.readable = true
		if len(s.in) > 0 {
			s.in[0].reported = true
			if len(s.in[0].data) == 0 {
				s.in = s.in[1:]
			}
		}
	}
	if i&conn.Writable != 0 {
		s.writable, s.full = true, false
	}
	if i&conn.Hangup != 0 {
		s.endReported, s.hangup, s.writable = true, true, true
	}
	return i
}

func (s *socket) armed() conn.Interest {
	if len(s.arms) == 0 {
		return conn.Readable | conn.Writable
	}
	return s.arms[len(s.arms)-1]
}

func (s *socket) waiting() (n int) {
	for _, a := range s.in {
		n += len(a.data)
	}
	return n
}

// use checks what holds for every method but Post and Info.
func (s *socket) use(method string) bool {
	if s.r.phase == phaseInput {
		s.r.violate("%s outside a turn", method)
	}
	if s.closed {
		s.r.violate("%s after Close", method)
	} else if !s.connected && method != "Close" {
		s.r.violate("%s before the socket is connected", method)
	}
	return !s.closed
}

func (s *socket) Read(p []byte) (int, error) {
	s.reads++
	switch {
	case !s.use("Read"):
		return 0, net.ErrClosed
	case len(p) == 0:
		s.r.violate("Read into no memory: the system would answer like at the end")
	case s.endRead:
		s.r.violate("Read after %v", s.end)
	case !s.readable:
		s.r.violate("Read without readiness")
	}
	for len(s.in) > 0 && len(s.in[0].data) == 0 {
		s.in = s.in[1:]
	}
	if len(s.in) == 0 {
		s.readable = false
		if s.end != nil {
			s.endRead = true
			return 0, s.end
		}
		return 0, conn.ErrWouldBlock
	}
	n := copy(p, s.in[0].data)
	s.in[0].data = s.in[0].data[n:]
	if len(s.in[0].data) == 0 {
		s.in = s.in[1:]
	}
	s.readable = n == len(p) || s.hangup
	return n, nil
}

func (s *socket) Unread() (int, error) {
	n := s.waiting()
	switch {
	case !s.use("Unread"):
		return 0, net.ErrClosed
	case s.end != nil && (s.end != io.EOF || n == 0):
		return n, s.end
	}
	return n, nil
}

func (s *socket) Write(bufs [][]byte) (int, error) {
	s.writes++
	all := bytes.Join(bufs, nil)
	switch {
	case !s.use("Write"):
		return 0, net.ErrClosed
	case len(bufs) > 256:
		s.r.violate("Write of %d buffers", len(bufs))
	case len(all) == 0:
		s.r.violate("Write of nothing")
	case s.fin:
		s.r.violate("Write after CloseWrite")
	case !s.writable:
		s.r.violate("Write without readiness")
	}
	if n := min(len(all), len(s.rest)); !bytes.Equal(all[:n], s.rest[:n]) {
		s.r.violate("Write of %s, but what was not taken before begins with %s", text(all), text(s.rest))
	}
	n := len(all)
	switch {
	case s.room != everything:
		n = min(n, s.room)
		s.room -= n
	case s.fails != nil:
		n = 0
	}
	s.wire = append(s.wire, all[:n]...)
	s.rest = slices.Clone(all[n:min(len(all), n+256)])
	if n < len(all) {
		s.full, s.writable = true, false
	}
	return n, s.wrote(all[:n], len(all)-n)
}

// wrote says how a write ended that took these bytes and left the others.
func (s *socket) wrote(taken []byte, left int) error {
	switch {
	case s.fails != nil:
		s.full = false
		s.note("write %s, then it failed: %v", text(taken), s.fails)
		return s.fails
	case left == 0:
		s.note("write %s", text(taken))
	case len(taken) > 0:
		s.note("write %s, %d left", text(taken), left)
	default:
		s.note("write nothing, %d left", left)
		return conn.ErrWouldBlock
	}
	return nil
}

// note tells a script what the socket was told.
func (s *socket) note(format string, args ...any) {
	if s.r.trace != nil {
		s.r.trace(fmt.Sprintf(format, args...))
	}
}

func (s *socket) Arm(i conn.Interest) {
	s.use("Arm")
	s.arms = append(s.arms, i)
}

func (s *socket) CloseWrite() error {
	if s.use("CloseWrite") && s.fin {
		s.r.violate("a second CloseWrite")
	}
	s.fin = true
	s.note("fin")
	if s.end != nil && s.end != io.EOF {
		return syscall.ENOTCONN
	}
	return nil
}

func (s *socket) Close(reset bool) error {
	if !s.use("Close") {
		return net.ErrClosed
	}
	s.closed, s.reset = true, reset
	if reset {
		s.note("reset")
	} else {
		s.note("closed")
	}
	return nil
}

func (s *socket) Info() interceptor.Info { return s.r.info }

func (s *socket) Post(f func()) {
	s.mu.Lock()
	s.posted = append(s.posted, f)
	s.mu.Unlock()
	s.ring()
}

func (s *socket) anyPosted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.posted) > 0
}

func (s *socket) takePosted() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	posted := s.posted
	s.posted = nil
	return posted
}
