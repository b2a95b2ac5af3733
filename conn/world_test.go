package conn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A world is one connection, its socket, its layers and its owner, all moved by dice, and an account of everything
// that happened, kept apart from the connection's own. check is called with the words of a promise; a promise that
// does not hold stops the run.

// A broken is the panic value of a promise that did not hold.
type broken struct{ promise, detail string }

func check(ok bool, promise, detail string, args ...any) {
	if !ok {
		panic(broken{promise, fmt.Sprintf(detail, args...)})
	}
}

// The promises, in the words of the package documentation.
const (
	promiseEnds       = "OnConnectFailed comes alone; or OnConnected comes first and OnClosed last. Each comes once. Only OnEvent may come before."
	promiseNotInside  = "No callback runs inside a method of Conn, nor while another runs."
	promiseLaterTurn  = "A notice comes in a later turn than the one that caused it. Notices keep their order."
	promiseData       = "Data does not overtake notices: those of earlier turns come before it, and reading ends as soon as it causes one."
	promiseOutcome    = "Every accepted Send gets one OnSent or one OnSendFailed, in order of sending, before OnClosed; after the first OnSendFailed there is no OnSent."
	promiseRefused    = "A refused Send leaves no trace: no byte, no token, no callback. (If a layer fails in it, it returns ErrNotConnected, and the connection ends.)"
	promiseThrottle   = "OnThrottled and OnUnthrottled alternate. In OnThrottled Send is refused; from OnUnthrottled on it is accepted. Every ErrNotWriteable is followed by OnUnthrottled or OnClosed."
	promiseBound      = "Pending bytes of the application never exceed HighWater + MaxPending."
	promiseClose      = "Close loses no accepted byte, unless CloseTimeout or a failure ends it."
	promisePause      = "After Pause there is no OnReceived until Resume; after Yield, none in that turn. No byte is lost."
	promiseTruncated  = "A stream that ends inside a frame is reported, in OnEOF and in OnClosed."
	promiseDeadlines  = "Connecting, Starting, Upgrading and Closing have deadlines."
	contractBackend   = "the contract of Backend"
	contractLayers    = "a layer is opened once, released once, last, and never while one of its methods runs"
	contractMemory    = "what was borrowed is given back"
	contractRest      = "a connection with nothing to do rests"
	contractIsWrite   = "IsWriteable tells what Send will do"
	contractTimer     = "OnTimer comes once, never early, and never after StopTimer"
	contractPost      = "a posted function runs once, in order, after what was raised before it, and never after the end"
	contractReading   = "a layer hears when reading is held and when it runs again"
	contractLastWords = "last words are flushed before FIN"
)

// dice turn fuzz input into decisions. When they run out, every decision is the first one.
type dice struct{ data []byte }

func (d *dice) roll(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := int(d.data[0])
	d.data = d.data[1:]
	return b % n
}

func (d *dice) one(in int) bool { return d.roll(in) == in-1 }

// A socket is the scripted backend.
type socket struct {
	w       *world
	chunks  [][]byte // what the peer sent, each one Read
	fed     int
	eof     bool
	dead    error // reset by the peer
	room    int   // what the system takes
	writeTo []byte
	fin     bool
	closed  bool
	posted  []func()
	full    bool // a write took less than all, and Ready was not reported since
	dry     bool // a read took all there was, and Ready was not reported since
	hung    bool
}

func (s *socket) Read(p []byte) (int, error) {
	w := s.w
	check(!s.closed && w.inTurn, contractBackend, "Read outside a turn or after Close")
	check(len(p) > 0, contractBackend, "Read of an empty buffer")
	check(!s.dry || s.hung, contractBackend, "Read though the last one took all there was")
	switch {
	case s.dead != nil:
		return 0, s.dead
	case len(s.chunks) == 0 && s.eof:
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
	return n, nil
}

func (s *socket) Unread() (int, error) {
	check(!s.closed && s.w.inTurn, contractBackend, "Unread outside a turn or after Close")
	n := 0
	for _, c := range s.chunks {
		n += len(c)
	}
	switch {
	case s.dead != nil:
		return n, s.dead
	case n == 0 && s.eof:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Write(bufs [][]byte) (int, error) {
	w := s.w
	check(!s.closed && w.inTurn && !s.fin, contractBackend, "Write outside a turn, after FIN or after Close")
	check(len(bufs) > 0 && len(bufs) <= 256, contractBackend, "Write of %d buffers", len(bufs))
	check(!s.full, contractBackend, "Write though the socket was full")
	if s.dead != nil {
		return 0, s.dead
	}
	all := bytes.Join(bufs, nil)
	check(len(all) > 0, contractBackend, "Write of no bytes")
	n := min(len(all), s.room)
	s.room -= n
	s.writeTo = append(s.writeTo, all[:n]...)
	s.full = n < len(all)
	w.settleUpTo(len(s.writeTo))
	if n == 0 {
		return 0, conn.ErrWouldBlock
	}
	return n, nil
}

func (s *socket) Arm(conn.Interest) {
	check(!s.closed && s.w.inTurn, contractBackend, "Arm outside a turn or after Close")
}

func (s *socket) CloseWrite() error {
	w := s.w
	check(!s.closed && !s.fin && w.inTurn, contractBackend, "a second FIN, or one after Close")
	check(len(s.writeTo) == w.down, promiseClose, "FIN after %d of %d bytes", len(s.writeTo), w.down)
	s.fin = true
	if s.dead != nil {
		return s.dead
	}
	return nil
}

func (s *socket) Close(reset bool) error {
	check(!s.closed, contractBackend, "a second Close")
	s.closed = true
	return nil
}

func (s *socket) Post(f func()) {
	if !s.closed {
		s.posted = append(s.posted, f)
	}
}

func (s *socket) Info() interceptor.Info {
	return interceptor.Info{
		Local:  netip.MustParseAddrPort("192.0.2.1:7669"),
		Remote: netip.MustParseAddrPort("192.0.2.2:40000"),
		Dialed: s.w.dialed,
	}
}

// settleUpTo notes which sends the system has taken whole.
func (w *world) settleUpTo(n int) {
	for w.taken < len(w.ends) && w.ends[w.taken] <= n {
		w.taken++
		w.expect(fmt.Sprintf("OnSent %d", w.taken))
	}
}

// expect notes that a callback was caused in this turn.
func (w *world) expect(call string) {
	w.due = append(w.due, cause{call, w.turn, w.reading})
}

type cause struct {
	call    string
	turn    int
	reading bool
}

// told takes the oldest cause with this name off the list: it must be the oldest of all, and of an earlier turn.
func (w *world) told(call string) {
	check(len(w.due) > 0, promiseLaterTurn, "%s without a cause", call)
	c := w.due[0]
	check(c.call == call, promiseLaterTurn, "%s before %s", call, c.call)
	check(c.turn < w.turn, promiseLaterTurn, "%s in the turn of its cause", call)
	w.due = w.due[1:]
}

const maxFrame = 9

// pattern is the byte the peer sends at offset i of its stream.
func pattern(i int) byte { return byte(i*7 + i/251) }

// frames4 cuts frames of four bytes.
func frames4(data []byte, atEOF bool) (int, []byte, error) {
	if len(data) < 4 {
		return 0, nil, nil
	}
	return 4, data[:4], nil
}

// own marks what the test's layer sends on its own accord.
const ownMark, sendMark = 0xEE, 0x11

// testLayer frames what goes down as mark, length, bytes, and passes what comes up; by dice it does whatever a layer
// may do.
type testLayer struct {
	w       *world
	bottom  bool
	ready   bool
	opened  int
	closed  int
	depth   int
	late    int // calls of Up to come before Ready
	dead    bool
	holding bool
	sawEOF  bool
	at      time.Time
}

func (t *testLayer) in(what string) func() {
	check(t.closed == 0, contractLayers, "%s after Close", what)
	check(what == "Open" || t.opened == 1, contractLayers, "%s before Open", what)
	check(!t.dead, contractLayers, "%s after a failure", what)
	t.depth++
	return func() { t.depth-- }
}

func (t *testLayer) Open(l interceptor.Link) error {
	t.opened++
	check(t.opened == 1, contractLayers, "a second Open")
	defer t.in("Open")()
	if t.w.dice.one(12) {
		return t.fail(l)
	}
	if t.late = t.w.dice.roll(3); t.late == 0 {
		t.getReady(l)
	}
	return nil
}

func (t *testLayer) getReady(l interceptor.Link) {
	if !t.ready {
		t.ready = true
		l.Ready()
	}
}

var errLayer = errors.New("the layer fails")

// fail makes the layer fail, with or without last words.
func (t *testLayer) fail(l interceptor.Link) error {
	if t.w.dice.one(2) {
		_ = t.say(l) // it fails anyway
		t.w.lastWords = true
	}
	t.dead = true
	t.w.layerFailed = true
	return errLayer
}

// say sends something of the layer's own.
func (t *testLayer) say(l interceptor.Link) error {
	n := 1 + t.w.dice.roll(20)
	return t.pass(l, ownMark, bytes.Repeat([]byte{'!'}, n))
}

func (t *testLayer) pass(l interceptor.Link, mark byte, p []byte) error {
	head := binary.BigEndian.AppendUint16([]byte{mark}, uint16(len(p)))
	err := l.Down([][]byte{head, p})
	if err == nil && t.bottom && !t.w.socket.fin && !t.w.socket.closed {
		t.w.down += len(head) + len(p)
	}
	return err
}

func (t *testLayer) Up(l interceptor.Link, p []byte) error {
	defer t.in("Up")()
	if t.late > 0 {
		t.late--
		if t.late == 0 {
			t.getReady(l)
		}
	}
	if err := l.Up(p); err != nil {
		return err
	}
	return t.act(l)
}

// act does one thing that a layer may do in any of its methods.
func (t *testLayer) act(l interceptor.Link) error {
	w := t.w
	switch w.dice.roll(24) {
	case 1:
		w.events++
		w.expect(fmt.Sprintf("OnEvent %d", w.events))
		l.Raise(w.events)
	case 2:
		return t.say(l)
	case 3:
		t.holding = true
		l.Hold()
		w.unhold = append(w.unhold, func() { l.Post(func() error { t.holding = false; l.Release(); return nil }) })
	case 4:
		w.posts++
		id, turn := w.posts, w.turn
		before := w.events
		l.Post(func() error {
			check(t.closed == 0, contractPost, "run after the end")
			check(w.ran == id-1, contractPost, "function %d after %d", id, w.ran)
			check(w.turn > turn, contractPost, "run in the turn that posted it")
			check(w.eventsTold >= before, contractPost, "event %d is told after it", before)
			w.ran = id
			return nil
		})
	case 5:
		t.at = l.Now().Add(time.Duration(1+w.dice.roll(50)) * 100 * time.Millisecond)
		l.SetDeadline(t.at)
	case 6:
		if w.dice.one(4) {
			return t.fail(l)
		}
	case 7:
		if w.dice.one(4) {
			w.layerFailed = true
			w.lastWords = true
			l.End(errLayer)
			return t.say(l)
		}
	case 8:
		if w.dice.one(4) && w.topReady() && !w.streamCut {
			w.streamCut = true
			_ = l.EOF()
		}
	case 9:
		l.Release()
		t.holding = false
	}
	return nil
}

func (t *testLayer) EOF(l interceptor.Link) error {
	defer t.in("EOF")()
	check(!t.sawEOF, contractLayers, "a second EOF")
	t.sawEOF = true
	if t.w.dice.one(6) && !t.w.streamCut {
		t.w.truncated = true
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (t *testLayer) Down(l interceptor.Link, bufs [][]byte) error {
	defer t.in("Down")()
	if t.w.dice.one(30) {
		if t.w.inSend { // no byte of it may reach the wire
			_ = t.pass(l, sendMark, []byte("part"))
		} else {
			_ = t.pass(l, ownMark, []byte("!"))
		}
		t.dead = true
		t.w.layerFailed = true
		return errLayer
	}
	return t.pass(l, sendMark, bytes.Join(bufs, nil))
}

func (t *testLayer) CloseWrite(l interceptor.Link) error {
	defer t.in("CloseWrite")()
	if t.w.dice.one(2) {
		return t.say(l)
	}
	return nil
}

func (t *testLayer) Close() {
	check(t.depth == 0, contractLayers, "released while a method runs")
	check(t.opened == 1, contractLayers, "released without Open")
	t.closed++
	check(t.closed == 1, contractLayers, "released twice")
}

func (t *testLayer) Expire(l interceptor.Link, now time.Time) error {
	defer t.in("Expire")()
	check(!t.at.IsZero() && !now.Before(t.at), contractTimer, "Expire %v early", t.at.Sub(now))
	t.at = time.Time{}
	return t.act(l)
}

func (t *testLayer) Wrote(l interceptor.Link, n, pending int) {
	defer t.in("Wrote")()
	check(n > 0, contractLayers, "Wrote(0)")
}

func (t *testLayer) Reading(l interceptor.Link, held bool) {
	defer t.in("Reading")()
	check(held != t.w.layerHeld || !t.bottom, contractReading, "told %v twice", held)
	if t.bottom {
		t.w.layerHeld = held
	}
}
