package conn_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/galago-go/galago/conn"
)

// A part is a part of a turn, in their order.
type part uint8

const (
	partBefore part = iota // between two turns, and Begin
	partNotices
	partReading
	partExpire
	partMessages
	partWatch // End, as far as it asks for the peer's end
	partEnd
)

// A stamp says when something was caused.
type stamp struct {
	turn int
	part part
}

func (s stamp) after(o stamp) bool { return s.turn > o.turn || s.turn == o.turn && s.part > o.part }

type kind uint8

const (
	toldConnected kind = iota
	toldUpgraded
	toldThrottled
	toldUnthrottled
	toldSent
	toldTimer
	toldIdle
	toldEvent
	toldConnecting
	toldPosted
	toldEnd // the sends that are left fail, then comes the last callback
)

func (k kind) String() string {
	return [...]string{"OnConnected", "Upgraded", "OnThrottled", "OnUnthrottled", "OnSent", "OnTimer", "OnIdle", "OnEvent",
		"Connecting", "posted function", "the end"}[k]
}

// A cause is a notice that must come.
type cause struct {
	kind kind
	n    int
	at   stamp
}

func (c cause) String() string { return fmt.Sprintf("%v %d", c.kind, c.n) }

// expect notes that a notice is caused now. Nothing is, once the last one is.
func (w *world) expect(k kind, n int) {
	if !w.socket.closed {
		w.due = append(w.due, cause{k, n, stamp{w.turn, w.part}})
	}
}

// told takes the oldest cause off: it must be this one, of an earlier turn.
func (w *world) told(k kind, n int) {
	w.dropStale(k, n)
	check(len(w.due) > 0, promiseLaterTurn, "%v %d without a cause", k, n)
	c := w.due[0]
	check(c.kind == k && c.n == n, promiseLaterTurn, "%v %d before %v", k, n, c)
	check(c.at.turn < w.turn || c.at.part == partBefore, promiseLaterTurn, "%v in the turn of its cause", c)
	w.lastTold = c.at
	if k != toldEnd {
		w.due = w.due[1:]
	}
}

// dropStale takes off what may be left out before k n, or before anything of this turn.
func (w *world) dropStale(k kind, n int) {
	for len(w.due) > 0 && (w.due[0].kind != k || w.due[0].n != n) && w.mayDrop(w.due[0]) {
		if w.due[0].kind == toldUnthrottled {
			w.easing = false
		}
		w.due = w.due[1:]
	}
}

// look notes the state on which it depends what is told.
func (w *world) look() { w.state, w.stateEnded = w.c.State(), w.writeEnded }

// mayDrop reports whether c no longer holds, so that it is not told.
func (w *world) mayDrop(c cause) bool {
	switch c.kind {
	case toldConnected:
		return w.state != conn.StateStarting
	case toldUpgraded:
		return w.state != conn.StateUpgrading
	case toldThrottled:
		return w.reset
	case toldUnthrottled:
		return w.state != conn.StateConnected || w.stateEnded
	case toldTimer:
		_, armed := w.firing[conn.TimerToken(c.n)]
		return !armed || w.reset
	case toldIdle:
		return w.state != conn.StateConnected && w.state != conn.StateUpgrading
	case toldPosted:
		return w.state == conn.StateClosed || w.layerFailed
	}
	return false
}

// allTold checks, when Next has no more, that what earlier turns caused was told.
func (w *world) allTold() {
	w.look()
	w.dropStale(toldEnd, -1)
	for _, c := range w.due {
		check(c.at.turn == w.turn && c.at.part != partBefore, promiseLaterTurn, "%v of turn %d is not told", c, c.at.turn)
	}
}

// A fatal is a reason for the end.
type fatal struct {
	cause conn.Cause
	stage conn.Stage // before OnConnected; if zero, it follows from cause
	err   error
}

func (w *world) fatal(cause conn.Cause, stage conn.Stage, err error) {
	if !w.socket.closed {
		w.fatals = append(w.fatals, fatal{cause, stage, err})
	}
}

// why is the reason that the last callback must give; nil for none. What was cut short gives way to any other.
func (w *world) why() *fatal {
	switch {
	case len(w.fatals) > 0:
		return &w.fatals[0]
	case w.truncated && !w.timedOut:
		return &fatal{cause: conn.CauseTruncated, err: errObjection}
	case w.leftEarly():
		return &fatal{cause: conn.CauseTruncated, err: io.ErrUnexpectedEOF}
	case w.timedOut:
		return &fatal{cause: conn.CauseTimeout}
	case w.eofBad:
		return &fatal{cause: conn.CauseTruncated, err: io.ErrUnexpectedEOF}
	}
	return nil
}

// leftEarly reports whether the peer ended while the top layer was not ready: nothing can become of it then.
func (w *world) leftEarly() bool {
	return (w.upgrading || !w.connected) && w.socket.endRead && len(w.layers) > 0 && !w.layers[len(w.layers)-1].ready
}

func (f *fatal) stageOf() conn.Stage {
	switch {
	case f.stage != 0:
		return f.stage
	case f.cause == conn.CauseAbort, f.cause == conn.CauseHandler:
		return conn.StageClosed
	case f.cause == conn.CauseTimeout:
		return conn.StageTimeout
	}
	return conn.StageHandshake
}

// limited says that the state that began now has d to end.
func (w *world) limited(d time.Duration, zero time.Duration) {
	if d == 0 {
		d = zero
	}
	w.limit, w.limitIn = w.now.Add(d), w.turn
}

func (w *world) startLimit() { w.limited(w.cfg.StartTimeout, 10*time.Second) }
func (w *world) closeLimit() { w.limited(w.cfg.CloseTimeout, 5*time.Second) }

// A run is a piece of what went down.
type run struct {
	end int
	own bool // a layer made it, outside a Send
}

// goDown notes that n bytes reach the write queue.
func (w *world) goDown(n int, own bool) {
	w.down += n
	if own {
		w.ownTotal += n
	}
	w.runs = append(w.runs, run{w.down, own})
}

func (w *world) pending() int {
	if w.socket.closed && (w.reset || !w.connected) {
		return 0
	}
	return w.down - len(w.socket.wire)
}

// ownPending is how many pending bytes layers made on their own.
func (w *world) ownPending() (n int) {
	from := len(w.socket.wire)
	for ; w.firstRun < len(w.runs) && w.runs[w.firstRun].end <= from; w.firstRun++ {
	}
	for _, r := range w.runs[w.firstRun:] {
		if r.own {
			n += r.end - from
		}
		from = r.end
	}
	return n
}

func (w *world) appPending() int { return w.pending() - w.ownPending() }

func (w *world) lowWater() int {
	if w.cfg.LowWater > 0 {
		return w.cfg.LowWater
	}
	return w.cfg.HighWater / 2
}

// A flight is the Send that is on the stack.
type flight struct {
	n               int
	layered, landed bool
}

// land notes that the Send on the stack is accepted: at the latest when it is written, or returned.
func (w *world) land() {
	f := w.flight
	if f == nil || f.landed {
		return
	}
	f.landed = true
	if !f.layered {
		w.goDown(f.n, false)
	}
	w.accepted++
	w.sentBytes += f.n
	w.ends = append(w.ends, w.down)
}

// settle notes which sends the system has taken whole.
func (w *world) settle() {
	for w.taken < len(w.ends) && w.ends[w.taken] <= len(w.socket.wire) {
		w.taken++
		if w.unheard && w.outcomes == w.taken-1 { // none is overtaken
			w.outcomes++
			w.sent++
			continue
		}
		w.expect(toldSent, w.taken)
	}
}

// crossed follows an accepted Send: with more than HighWater pending, no other is accepted.
func (w *world) crossed() {
	app := w.appPending()
	if !w.unwriteable && w.c.State() == conn.StateConnected && app > w.cfg.HighWater {
		w.unwriteable = true
		w.throttles++
		w.expect(toldThrottled, 0)
	}
}

// eased follows whatever may let Send be accepted again.
func (w *world) eased() {
	if w.unwriteable && !w.easing && w.c.State() == conn.StateConnected && w.appPending() <= w.lowWater() {
		w.easing = true
		w.expect(toldUnthrottled, 0)
	}
}

// refusal is what Send must answer for n bytes, nil if it accepts them.
func (w *world) refusal(n int) error {
	switch s := w.c.State(); {
	case s == conn.StateStarting, s == conn.StateUpgrading && !w.writeEnded:
		return conn.ErrNotReady
	case s != conn.StateConnected || w.writeEnded || w.layerFailed:
		return conn.ErrNotConnected
	case n > w.cfg.MaxPending:
		return conn.ErrTooLarge
	case w.unwriteable:
		return conn.ErrNotWriteable
	}
	return nil
}

// held reports whether somebody holds reading back.
func (w *world) held() bool {
	s := w.c.State()
	starting := s == conn.StateStarting || s == conn.StateUpgrading
	return w.paused && !starting || w.layerHolds() || w.readWaits() || w.ownPending() > w.cfg.HighWater ||
		starting && w.topFed-w.got >= 64<<10
}

func (w *world) layerHolds() bool {
	return slices.ContainsFunc(w.layers, func(t *testLayer) bool { return t.holding })
}

// endWaits reports whether a layer is at work on what may make the connection ready: the peer's end waits for it.
func (w *world) endWaits() bool {
	return (w.upgrading || !w.connected) && w.layerHolds() && len(w.layers) > 0 && !w.layers[len(w.layers)-1].ready
}

func (w *world) readWaits() bool {
	on := w.cfg.ReadWaits == conn.On || w.cfg.ReadWaits == conn.Auto && !w.dialed
	return on && w.unwriteable && w.c.State() == conn.StateConnected && !w.writeEnded
}

// expire notes what is due after the reading of this turn, once.
func (w *world) expire() {
	if w.expired {
		return
	}
	w.expired = true
	w.part = partExpire
	if w.socket.closed {
		return
	}
	var tokens []conn.TimerToken
	for t, at := range w.timers {
		if !at.After(w.now) {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, func(a, b conn.TimerToken) int {
		if d := w.timers[a].Compare(w.timers[b]); d != 0 {
			return d
		}
		return int(a) - int(b)
	})
	for _, t := range tokens {
		w.firing[t] = w.timers[t]
		delete(w.timers, t)
		w.expect(toldTimer, int(t))
	}
	for _, t := range w.layers {
		if !t.at.IsZero() && !t.at.After(w.now) && t.lateIn == 0 {
			t.lateIn = w.turn
		}
	}
	if s := w.c.State(); s != conn.StateConnected && s != conn.StateUpgrading || w.idle == 0 {
		return
	}
	if w.connected && !w.now.Before(w.moved.Add(w.idle)) {
		w.moved = w.now
		w.expect(toldIdle, 0)
	}
}

// endStream notes that the application's stream ends here, though the wire may go on.
func (w *world) endStream() {
	w.streamCut = true
	if w.endKnown == 0 {
		w.endKnown = w.turn
	}
}

// A splitKind is a way to cut frames.
type splitKind int

const (
	splitNone   splitKind = iota
	splitFour             // four bytes each
	splitHeader           // four bytes behind one that is not delivered
	splitRest             // four bytes, or what is left at the end
	splitEmpty            // three bytes, of which nothing is delivered
	splitHuge             // more than a read brings
	splitFinal            // four bytes, and at some time the last
	splitKinds
)

const hugeFrame = 50_000

var errSplit = errors.New("the bytes make no sense")

// splitFunc cuts frames, and takes part in the account: what is cut and not delivered, and what is an error.
func (w *world) splitFunc(k splitKind) bufio.SplitFunc {
	size, skip := 4, 0
	switch k {
	case splitNone:
		return nil
	case splitHeader:
		size, skip = 5, 1
	case splitEmpty:
		size, skip = 3, 3
	case splitHuge:
		size = hugeFrame
	}
	return func(data []byte, atEOF bool) (int, []byte, error) {
		if w.part != partReading || w.inMethod {
			breaks(contractDriver, "Split is called in part %d", w.part)
		}
		check(!atEOF || w.endKnown > 0, promiseTruncated, "Split is told of an end that was not reached")
		w.asked = w.asked || atEOF
		n := size
		if k == splitRest && atEOF {
			n = min(n, len(data))
		}
		switch {
		case n == 0:
			return 0, nil, nil
		case len(data) < n:
			if len(data) > w.cfg.MaxFrame+64 {
				w.fatal(conn.CauseFrame, 0, bufio.ErrTooLong)
			}
			return 0, nil, nil
		case n-skip > w.cfg.MaxFrame:
			w.fatal(conn.CauseFrame, 0, bufio.ErrTooLong)
			return n, data[skip:n], nil
		case w.dice.rare():
			w.fatal(conn.CauseFrame, 0, errSplit)
			return 0, nil, errSplit
		}
		w.got += skip
		w.token = n - skip
		if k == splitFinal && w.dice.one(16) {
			w.note("  the last frame")
			w.topFed, w.splitEnded = w.got+n, true
			w.endStream()
			return n, data[:n], bufio.ErrFinalToken
		}
		return n, data[skip:n], nil
	}
}

// frame is from how many bytes on the current framing cuts one.
func (w *world) frame() int {
	switch w.split {
	case splitFour, splitRest, splitFinal:
		return 4
	case splitHeader:
		return 5
	case splitEmpty:
		return 3
	case splitHuge:
		return hugeFrame
	}
	return 1
}
