package conn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// The marks of what a testLayer sends: on its own accord, or for a Send.
const ownMark, sendMark = 0xEE, 0x11

var (
	errLayer     = errors.New("the layer fails")
	errObjection = fmt.Errorf("the layer wants more: %w", io.ErrUnexpectedEOF)
)

// A testLayer frames what goes down as mark, length, bytes, and passes what comes up; by dice it does whatever a layer
// may do.
type testLayer struct {
	w       *world
	index   int // 0 is nearest the socket
	ready   bool
	opened  int
	closed  int
	depth   int
	late    int // calls of Up to come before Ready
	dead    bool
	holding bool
	held    bool // as it was told
	cut     bool // it ended its stream itself
	sawEOF  bool
	shut    bool   // CloseWrite was called
	kept    []byte // what came up and is passed on later
	at      time.Time
	lateIn  int // the turn whose reading found the deadline due; 0: none
}

var (
	_ interceptor.Timed         = (*testLayer)(nil)
	_ interceptor.WriteObserver = (*testLayer)(nil)
	_ interceptor.ReadObserver  = (*testLayer)(nil)
)

func (t *testLayer) in(what string) func() {
	check(t.closed == 0, contractLayers, "%s after Close", what)
	check(what == "Open" || t.opened == 1, contractLayers, "%s before Open", what)
	check(!t.dead, contractLayers, "%s after a failure", what)
	check(t.w.inTurn, contractDriver, "%s outside a turn", what)
	t.depth++
	return func() { t.depth-- }
}

func (t *testLayer) top() bool { return t.index == len(t.w.layers)-1 }

func (t *testLayer) Open(l interceptor.Link) error {
	t.opened++
	check(t.opened == 1, contractLayers, "a second Open")
	defer t.in("Open")()
	if t.w.dice.one(40) {
		return t.fail(l)
	}
	if t.late = t.w.dice.roll(3); t.late == 0 {
		t.getReady(l)
	}
	return nil
}

func (t *testLayer) getReady(l interceptor.Link) {
	if t.ready {
		return
	}
	t.ready = true
	if t.top() {
		switch t.w.c.State() {
		case conn.StateStarting:
			t.w.expect(toldConnected, 0)
		case conn.StateUpgrading:
			t.w.expect(toldUpgraded, 0)
		}
	}
	l.Ready()
}

// fail makes the layer fail, with or without last words.
func (t *testLayer) fail(l interceptor.Link) error {
	w := t.w
	before := w.ownTotal
	if w.dice.one(2) {
		_ = t.say(l) // it fails anyway
	}
	w.note("  layer %d fails", t.index)
	return t.failed(w.ownTotal > before)
}

// failed notes that the layer is about to return an error. The connection tells last words by what the layers passed
// down since it called them; so if this layer had none, but others had some in this turn, both ends are right.
func (t *testLayer) failed(words bool) error {
	w := t.w
	t.dead, w.layerFailed = true, true
	w.fatal(conn.CauseLayer, 0, errLayer)
	switch {
	case words:
		w.lastWords = true
	case w.ownTotal == w.ownAtTurn && len(w.fatals) == 1:
		w.failedIn = w.turn
	}
	return errLayer
}

// say sends something of the layer's own.
func (t *testLayer) say(l interceptor.Link) error {
	n := 1 + t.w.dice.roll(20)
	if t.w.dice.one(16) {
		n *= 100
	}
	return t.pass(l, ownMark, bytes.Repeat([]byte{'!'}, n))
}

func (t *testLayer) pass(l interceptor.Link, mark byte, p []byte) error {
	head := binary.BigEndian.AppendUint16([]byte{mark}, uint16(len(p)))
	w := t.w
	err := l.Down([][]byte{head, p})
	if t.index == 0 && !w.socket.fin && !w.socket.closed {
		w.goDown(len(head)+len(p), w.flight == nil || w.flight.landed)
	}
	return err
}

func (t *testLayer) Up(l interceptor.Link, p []byte) error {
	defer t.in("Up")()
	w := t.w
	check(len(p) > 0, contractLayers, "Up of nothing")
	if t.late > 0 {
		t.late--
		if t.late == 0 {
			t.getReady(l)
		}
	}
	if w.dice.one(12) && t.kept == nil {
		t.kept = bytes.Clone(p)
		l.Post(func() error { return t.passKept(l) })
		return nil
	}
	if err := t.passKept(l); err != nil {
		return err
	}
	if err := t.passUp(l, p); err != nil {
		return err
	}
	return t.act(l)
}

func (t *testLayer) passUp(l interceptor.Link, p []byte) error {
	if w := t.w; t.top() && !t.cut && !w.splitEnded && !w.socket.closed {
		w.topFed += len(p)
	}
	return l.Up(p)
}

func (t *testLayer) passKept(l interceptor.Link) error {
	p := t.kept
	if p == nil {
		return nil
	}
	t.kept = nil
	return t.passUp(l, p)
}

// act does one thing that a layer may do in any of its methods.
func (t *testLayer) act(l interceptor.Link) error {
	w := t.w
	check(l.Now().Equal(w.now), contractDriver, "it is %v for a layer, and %v", l.Now(), w.now)
	if w.passive {
		return nil
	}
	if w.habit == chatty && w.dice.one(2) {
		return t.say(l)
	}
	switch w.dice.roll(24) {
	case 1:
		t.raise(l)
	case 2:
		return t.say(l)
	case 3:
		t.hold(l)
	case 4:
		t.post(l)
	case 5:
		t.at = l.Now().Add(time.Duration(1+w.dice.roll(50)) * 100 * time.Millisecond)
		t.lateIn = 0
		l.SetDeadline(t.at)
	case 6:
		if w.dice.one(6) {
			return t.fail(l)
		}
	case 7:
		if w.dice.one(6) {
			return t.end(l)
		}
	case 8:
		if w.dice.one(4) {
			t.endStream(l)
		}
	case 9:
		l.Release()
		t.holding = false
	case 10:
		t.at = time.Time{}
		l.SetDeadline(t.at)
	}
	return nil
}

func (t *testLayer) raise(l interceptor.Link) {
	w := t.w
	w.events++
	w.expect(toldEvent, w.events)
	l.Raise(w.events)
}

func (t *testLayer) hold(l interceptor.Link) {
	t.holding = true
	t.w.mayDeafen()
	l.Hold()
	t.w.unhold = append(t.w.unhold, func() {
		l.Post(func() error { t.holding = false; l.Release(); return nil })
	})
}

// post posts a function. It takes its place in the account when the socket is given it.
func (t *testLayer) post(l interceptor.Link) {
	w := t.w
	w.posts++
	id, turn, fails := w.posts, w.turn, w.dice.one(16)
	w.nextPost = id
	l.Post(func() error {
		check(t.closed == 0 && !w.ended, contractPost, "run after the end")
		check(w.part == partNotices, contractPost, "run in part %d of a turn", w.part)
		check(w.turn > turn, contractPost, "run in the turn that posted it")
		w.look()
		w.told(toldPosted, id)
		if fails {
			return t.failed(false)
		}
		return t.act(l)
	})
}

// end ends the connection in order, with a word behind it.
func (t *testLayer) end(l interceptor.Link) error {
	w := t.w
	w.note("  layer %d ends", t.index)
	if s := w.c.State(); s != conn.StateClosed && s != conn.StateConnecting && !w.layerFailed {
		w.layerFailed = true
		w.fatal(conn.CauseLayer, 0, errLayer)
		w.lastWords = true
	}
	l.End(errLayer)
	return t.say(l)
}

// endStream ends the stream for those above.
func (t *testLayer) endStream(l interceptor.Link) {
	w := t.w
	if t.cut || t.sawEOF || !w.connected || w.streamCut {
		return
	}
	w.passive = true
	check(t.passKept(l) == nil, contractLayers, "Link.Up fails")
	w.passive = false
	w.note("  layer %d ends the stream", t.index)
	t.cut, w.cutting = true, true
	w.endStream()
	check(l.EOF() == nil, contractLayers, "Link.EOF fails")
	w.cutting = false
}

// EOF objects by dice, but to no end that comes after the one of the application's stream.
func (t *testLayer) EOF(l interceptor.Link) error {
	defer t.in("EOF")()
	check(!t.sawEOF, contractLayers, "a second EOF")
	t.sawEOF = true
	w := t.w
	w.passive = true // an error of EOF does not end the connection, so those above must not fail in it
	check(t.passKept(l) == nil, contractLayers, "Link.Up fails in EOF")
	w.passive = false
	if (!w.streamCut || w.cutting) && w.dice.one(6) {
		w.truncated = true
		return errObjection
	}
	if w.dice.one(4) {
		t.raise(l)
	}
	return nil
}

func (t *testLayer) Down(l interceptor.Link, bufs [][]byte) error {
	defer t.in("Down")()
	w := t.w
	if w.dice.rare() {
		if w.flight != nil { // no byte of it may reach the wire
			_ = t.pass(l, sendMark, []byte("part"))
			return t.failed(false)
		}
		before := w.ownTotal
		_ = t.pass(l, ownMark, []byte("!"))
		return t.failed(w.ownTotal > before)
	}
	return t.pass(l, sendMark, bytes.Join(bufs, nil))
}

func (t *testLayer) CloseWrite(l interceptor.Link) error {
	defer t.in("CloseWrite")()
	check(!t.shut, contractLayers, "a second CloseWrite")
	t.shut = true
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
	t.w.expire() // timers and idleness come first
	defer t.in("Expire")()
	check(!t.at.IsZero() && !now.Before(t.at), contractTimer, "Expire %v early", t.at.Sub(now))
	s := t.w.socket
	unread := (len(s.chunks) > 0 && !s.dry || s.hung && !s.endRead) && !t.w.held()
	check(len(t.w.layers) > 1 || !unread || t.lateIn < t.w.turn, contractTimer, "Expire, and bytes are unread")
	t.at, t.lateIn = time.Time{}, 0
	return t.act(l)
}

func (t *testLayer) Wrote(l interceptor.Link, n, pending int) {
	defer t.in("Wrote")()
	check(n > 0, contractLayers, "Wrote(0)")
	if t.index == 0 && !t.w.socket.closed {
		check(pending == t.w.pending(), contractLayers, "Wrote says that %d are pending, not %d", pending, t.w.pending())
	}
	switch t.w.dice.roll(16) {
	case 12:
		if t.index == 0 && t.w.dice.one(6) {
			_ = t.end(l)
		}
	case 13:
		if t.index == 0 {
			_ = t.say(l) // only the connection is below, and it takes all
		}
	case 14:
		t.raise(l)
	case 15:
		if t.top() {
			_ = t.passKept(l) // as above
		}
	}
}

func (t *testLayer) Reading(_ interceptor.Link, held bool) {
	defer t.in("Reading")()
	check(held != t.held, contractReading, "layer %d is told %v twice", t.index, held)
	t.held = held
}
