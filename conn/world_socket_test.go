package conn_test

import (
	"bytes"
	"io"
	"net/netip"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A socket is the scripted backend of a world. It objects to what its contract rules out.
type socket struct {
	w         *world
	chunks    [][]byte // what the peer sent, each one Read
	fed       int
	eof       bool
	endRead   bool  // the connection was told of the end
	dead      error // reset by the peer
	room      int   // what the system takes
	writeErr  error // what the next write fails with
	uncounted bool  // Unread cannot know how much waits
	wire      []byte
	fin       bool
	closed    bool
	posted    []posted
	full      bool // a write took less than all, and Ready was not reported since
	dry       bool // a read took all there was, and Ready was not reported since
	hung      bool
	armed     conn.Interest
}

type posted struct {
	id int // of the layers' function in it
	f  func()
}

var _ conn.Backend = (*socket)(nil)

// use checks what holds for all methods but Post, Close and Info.
func (s *socket) use(method string) {
	check(!s.closed && s.w.inTurn && s.w.started, contractBackend, "%s outside a turn, without a socket or after Close", method)
}

// busy checks that there was reason for a turn.
func (w *world) busy(what string) {
	if w.quiet {
		breaks(contractRest, "%s in a turn that nobody wanted", what)
	}
}

func (s *socket) Read(p []byte) (int, error) {
	w := s.w
	s.use("Read")
	w.busy("Read")
	check(w.part == partReading, contractDriver, "Read in part %d of a turn", w.part)
	check(len(p) > 0, contractBackend, "Read of an empty buffer")
	check(!s.dry || s.hung, contractBackend, "Read though the last one took all there was")
	check(!s.endRead, contractBackend, "Read after the end")
	check(w.c.State() == conn.StateClosing && w.ownPending() <= w.cfg.HighWater || !w.held(), contractReading,
		"Read while reading is held")
	switch {
	case s.dead != nil:
		s.endRead = true
		w.fatal(conn.CauseRead, 0, s.dead)
		return 0, s.dead
	case len(s.chunks) == 0 && s.eof:
		s.atEnd()
		return 0, io.EOF
	case len(s.chunks) == 0:
		s.dry = true
		return 0, conn.ErrWouldBlock
	}
	n := copy(p, s.chunks[0])
	if s.chunks[0] = s.chunks[0][n:]; len(s.chunks[0]) == 0 {
		s.chunks = s.chunks[1:]
	}
	s.dry = n < len(p)
	w.moved = w.now
	if w.c.Layers() == nil && !w.splitEnded {
		w.topFed += n
	}
	return n, nil
}

// atEnd notes that the connection is told of the peer's end.
func (s *socket) atEnd() {
	s.endRead = true
	if s.w.endKnown == 0 {
		s.w.endKnown = s.w.turn
	}
}

func (s *socket) waiting() (n int) {
	for _, c := range s.chunks {
		n += len(c)
	}
	return n
}

func (s *socket) Unread() (int, error) {
	w := s.w
	s.use("Unread")
	w.busy("Unread")
	check(w.part == partWatch, contractDriver, "Unread in part %d of a turn", w.part)
	n := s.waiting()
	atEnd := n == 0 && s.eof
	if s.uncounted {
		n = -1
	}
	switch {
	case s.dead != nil:
		w.fatal(conn.CauseRead, 0, s.dead)
		return n, s.dead
	case atEnd:
		if w.held() && !w.endWaits() {
			s.atEnd()
		}
		return n, io.EOF
	}
	return n, nil
}

func (s *socket) Write(bufs [][]byte) (int, error) {
	w := s.w
	s.use("Write")
	w.busy("Write")
	if w.part == partWatch {
		w.part = partEnd
	}
	check(!s.fin, contractBackend, "Write after FIN")
	check(len(bufs) > 0 && len(bufs) <= 256, contractBackend, "Write of %d buffers", len(bufs))
	check(!s.full, contractBackend, "Write though the socket was full")
	w.land()
	if s.dead != nil {
		w.fatal(conn.CauseWrite, 0, s.dead)
		return 0, s.dead
	}
	all := bytes.Join(bufs, nil)
	check(len(all) > 0, contractBackend, "Write of no bytes")
	n := min(len(all), s.room)
	s.room -= n
	s.wire = append(s.wire, all[:n]...)
	s.full = n < len(all)
	check(len(s.wire) <= w.down, promiseRefused, "%d bytes on the wire, %d were passed down", len(s.wire), w.down)
	if n > 0 {
		w.moved = w.now
		w.settle()
		w.eased()
		if w.c.State() == conn.StateClosing {
			w.closeLimit()
		}
	}
	switch {
	case s.writeErr != nil:
		w.fatal(conn.CauseWrite, 0, s.writeErr)
		return n, s.writeErr
	case n == 0:
		return 0, conn.ErrWouldBlock
	}
	return n, nil
}

func (s *socket) Arm(i conn.Interest) {
	s.use("Arm")
	check(i != s.armed, contractBackend, "Arm says the same twice")
	s.armed = i
}

func (s *socket) CloseWrite() error {
	w := s.w
	s.use("CloseWrite")
	check(!s.fin, contractBackend, "a second FIN")
	check(len(s.wire) == w.down, promiseClose, "FIN after %d of %d bytes", len(s.wire), w.down)
	check(w.writeEnded || w.layerFailed, promiseClose, "FIN, and nobody asked for it")
	for i, t := range w.layers {
		check(t.shut || t.opened == 0 || w.layerFailed, promiseClose, "FIN, and layer %d was not asked for its goodbye", i)
	}
	s.fin = true
	if s.dead != nil {
		w.fatal(conn.CauseWrite, 0, s.dead)
		return s.dead
	}
	if w.c.State() == conn.StateClosing {
		w.closeLimit()
	}
	return nil
}

func (s *socket) Close(reset bool) error {
	w := s.w
	check(!s.closed, contractBackend, "a second Close")
	check(w.inTurn, contractBackend, "Close outside a turn")
	w.timedOut = !w.limit.IsZero() && !w.now.Before(w.limit) && w.limitIn != w.turn && w.part >= partWatch
	w.orderly = w.connected && !reset
	w.reset = reset || !w.connected
	w.expect(toldEnd, 0)
	if w.orderly {
		check(s.fin && s.endRead, promiseClose, "closed before both directions ended")
		check(len(s.wire) == w.down, promiseClose, "closed after %d of %d bytes", len(s.wire), w.down)
		for _, f := range w.fatals {
			check(f.cause == conn.CauseLayer, contractCause, "an orderly end after %v", f.cause)
		}
	} else {
		check(w.why() != nil, promiseClose, "reset without a reason")
	}
	if len(w.fatals) == 1 && w.fatals[0].cause == conn.CauseLayer && w.lastWords && w.connected {
		check(w.orderly || w.timedOut || w.truncated, contractLastWords, "reset after last words")
	}
	s.closed = true
	return nil
}

// Post keeps f also once the socket is closed: it must do no harm.
func (s *socket) Post(f func()) {
	s.posted = append(s.posted, posted{s.w.nextPost, f})
	s.w.nextPost = 0
}

func (s *socket) Info() interceptor.Info {
	return interceptor.Info{
		Local:  netip.MustParseAddrPort("192.0.2.1:7669"),
		Remote: netip.MustParseAddrPort("192.0.2.2:40000"),
		Dialed: s.w.dialed,
	}
}

// feed lets the peer send n bytes.
func (w *world) feed(n int) {
	s := w.socket
	if !w.started || s.eof || s.dead != nil || n == 0 {
		return
	}
	s.chunks = append(s.chunks, patterned(s.fed, n))
	s.fed += n
	s.dry = false
	w.driver.Ready(conn.Readable)
	check(w.driver.Pending() || w.c.State() != conn.StateConnected || w.held(), contractRest, "bytes came, and no turn is wanted")
	w.note("feed %d", n)
}

// arrives reports whether bytes wait of which the connection was not told: a Read brings no more than one arrival, and
// the next one is told by itself.
func (w *world) arrives() bool { return w.socket.dry && len(w.socket.chunks) > 0 && !w.socket.closed }

func (w *world) arrive() {
	if w.arrives() {
		w.socket.dry = false
		w.driver.Ready(conn.Readable)
	}
}

// drained reports that the system takes bytes again.
func (w *world) drained() {
	if s := w.socket; s.full && (s.room > 0 || s.dead != nil || s.writeErr != nil) {
		s.full = false
		w.driver.Ready(conn.Writable)
		check(w.driver.Pending() || w.pending() == 0 || s.closed, contractRest, "bytes are pending, and no turn is wanted")
	}
}

func (w *world) peerEnds() {
	if s := w.socket; !s.eof && s.dead == nil && w.started {
		w.note("peer ends")
		s.eof, s.hung, s.dry = true, true, false
		w.driver.Ready(conn.Readable | conn.Hangup)
	}
}

func (w *world) peerResets(err error) {
	if s := w.socket; s.dead == nil && w.started {
		w.note("peer resets")
		s.dead, s.hung, s.dry, s.full = err, true, false, false
		w.driver.Ready(conn.Readable | conn.Writable | conn.Hangup)
	}
}
