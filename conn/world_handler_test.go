package conn_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/galago-go/galago/conn"
)

// The world is also the handler.
var _ conn.Handler = (*world)(nil)

// enter begins a callback. in is the part of the turn it belongs to.
func (w *world) enter(in part, call string, args ...any) func() {
	if w.loud {
		w.note("  turn %d: %s", w.turn, fmt.Sprintf(call, args...))
	}
	switch { // check would allocate its arguments each time
	case w.inMethod || w.inCallback:
		breaks(promiseNotInside, call, args...)
	case w.ended:
		breaks(promiseEnds, call+" after the end", args...)
	case !w.inTurn || w.part != in:
		breaks(contractDriver, call+" in another part of the turn", args...)
	}
	w.busy(call)
	w.inCallback = true
	w.callbacks++
	return func() { w.inCallback = false }
}

// open begins a callback that comes between OnConnected and OnClosed only.
func (w *world) open(in part, call string, args ...any) func() {
	if !w.connected {
		breaks(promiseEnds, call+" before OnConnected", args...)
	}
	return w.enter(in, call, args...)
}

// maybe does something from inside a callback, and perhaps panics.
func (w *world) maybe() {
	if w.dice.one(3) {
		w.act()
	}
	w.mayPanic()
}

func (w *world) mayPanic() {
	if w.dice.rare() {
		panic(handlerPanic{})
	}
}

func (w *world) OnConnected(*conn.Conn) {
	defer w.enter(partNotices, "OnConnected")()
	check(!w.connected, promiseEnds, "a second OnConnected")
	w.connected = true
	w.told(toldConnected, 0)
	w.moved, w.limit = w.now, time.Time{}
	check(w.c.State() == conn.StateConnected, promiseEnds, "OnConnected in %v", w.c.State())
	w.maybe()
}

func (w *world) OnConnectFailed(_ *conn.Conn, err error) {
	defer w.enter(partNotices, "OnConnectFailed %v", err)()
	check(!w.connected, promiseEnds, "OnConnectFailed after OnConnected")
	w.ended = true
	w.told(toldEnd, 0)
	w.due = w.due[1:]
	var e *conn.ConnectError
	check(errors.As(err, &e), promiseEnds, "err is %T", err)
	why := w.why()
	check(why != nil && e.Stage == why.stageOf(), contractCause, "%v, not %+v", err, why)
	check(why.err == nil || errors.Is(err, why.err), contractCause, "%v does not name %v", err, why.err)
	w.mayPanic()
}

func (w *world) OnReceived(_ *conn.Conn, data []byte) error {
	defer w.open(partReading, "OnReceived %d", len(data))()
	check(!w.paused, promisePause, "OnReceived while paused")
	check(w.yielded != w.turn, promisePause, "OnReceived after Yield in the same turn")
	check(!w.panicked || w.dataTurn != w.turn, promisePause, "OnReceived after it panicked in the same turn")
	check(!w.eofTold, promiseLaterTurn, "OnReceived after OnEOF")
	check(!w.layerHolds() && !w.readWaits(), contractReading, "OnReceived while a layer or ReadWaits holds")
	for _, d := range w.due {
		check(d.at.turn == w.turn && d.at.part != partReading && d.at.part != partBefore, promiseData,
			"%v is due since part %d of turn %d", d, d.at.part, d.at.turn)
	}
	if w.token != len(data) && (w.split != splitNone || w.token != -1 || len(data) == 0) {
		breaks(promisePause, "OnReceived of %d bytes, %d were cut", len(data), w.token)
	}
	w.token = -1
	for i, b := range data {
		if b != pattern(w.got+i) {
			breaks(promisePause, "byte %d is not the one sent", w.got+i)
		}
	}
	w.got += len(data)
	if w.got > w.topFed {
		breaks(promisePause, "%d bytes delivered of %d", w.got, w.topFed)
	}
	w.received++
	w.dataTurn = w.turn
	if w.habit == echoes && w.accepted < 300 {
		w.send(len(data))
	} else {
		w.act()
	}
	w.mayPanic()
	switch w.dice.roll(24) {
	case 21:
		w.yielded = w.turn
		return conn.Yield
	case 22:
		w.yielded = w.turn
		return fmt.Errorf("others first: %w", conn.Yield)
	case 23:
		if w.dice.one(8) {
			return w.refuse()
		}
	}
	return nil
}

var errHandler = errors.New("the handler fails")

// refuse is an error of OnReceived: it ends the connection, or only delivery.
func (w *world) refuse() error {
	w.note("  refuses")
	if w.c.State() == conn.StateClosing {
		w.deaf = true
	} else {
		w.fatal(conn.CauseHandler, 0, errHandler)
	}
	return errHandler
}

func (w *world) OnEOF(_ *conn.Conn, err error) {
	defer w.open(partNotices, "OnEOF %v", err)()
	check(!w.eofTold, promiseEnds, "a second OnEOF")
	check(w.endKnown > 0, promiseTruncated, "OnEOF, and the stream goes on")
	check(w.turn > w.dataTurn && w.turn > w.endKnown, promiseLaterTurn, "OnEOF in the turn of its cause")
	w.eofInOrder()
	w.eofTold, w.eofBad = true, err != nil
	rest := w.topFed - w.got
	check(err != nil == (w.truncated || rest > 0), promiseTruncated, "OnEOF(%v) after %d of %d bytes; a layer objected: %v",
		err, w.got, w.topFed, w.truncated)
	check(rest > 0 || !w.truncated || errors.Is(err, errObjection), promiseTruncated, "OnEOF(%v), not what a layer said", err)
	check(w.asked || rest == 0 || w.split == splitNone || w.newSplit >= w.endKnown, promiseTruncated,
		"the framing was not asked what it makes of the end")
	if w.dice.one(3) {
		w.closeNow()
	} else {
		w.maybe()
	}
}

// eofInOrder checks that what was caused before the OnEOF that comes now was told, and nothing that was caused later.
// It was caused by the last reading; or by the end of a turn, while reading was held.
func (w *world) eofInOrder() {
	fits := func(at stamp) bool {
		if w.lastTold.after(at) {
			return false
		}
		for _, c := range w.due {
			if at.after(c.at) && !w.mayDrop(c) {
				return false
			}
		}
		return true
	}
	ok := fits(stamp{w.readTurn, partReading})
	for turn := max(w.endKnown, w.dataTurn); turn < w.turn; turn++ {
		ok = ok || fits(stamp{turn, partWatch})
	}
	check(ok, promiseLaterTurn, "OnEOF does not keep the order: told up to %v, due %v", w.lastTold, w.due)
}

func (w *world) OnThrottled(*conn.Conn) {
	defer w.open(partNotices, "OnThrottled")()
	check(!w.throttled, promiseThrottle, "a second OnThrottled")
	w.told(toldThrottled, 0)
	w.throttled = true
	w.send(1)
	w.maybe()
}

func (w *world) OnUnthrottled(*conn.Conn) {
	defer w.open(partNotices, "OnUnthrottled")()
	check(w.throttled, promiseThrottle, "OnUnthrottled without OnThrottled")
	w.told(toldUnthrottled, 0)
	w.throttled, w.unwriteable, w.easing = false, false, false
	before := w.accepted
	w.send(1)
	check(w.accepted == before+1 || w.layerFailed, promiseThrottle, "Send is refused in OnUnthrottled")
	w.maybe()
}

func (w *world) OnSent(_ *conn.Conn, t conn.SendToken) {
	defer w.open(partNotices, "OnSent %d", t)()
	w.outcome(t, true)
	w.sent++
	check(w.failed == 0, promiseOutcome, "OnSent %d after an OnSendFailed", t)
	w.told(toldSent, int(t))
	switch w.habit {
	case flushes:
		w.flush()
	case upgrades:
		w.upgrade()
	case sendsOn:
		if w.accepted < 100 {
			w.send(30)
		}
	}
	w.maybe()
}

func (w *world) OnSendFailed(_ *conn.Conn, t conn.SendToken) {
	defer w.open(partNotices, "OnSendFailed %d", t)()
	w.outcome(t, false)
	w.failed++
	w.told(toldEnd, 0)
	w.maybe()
}

func (w *world) outcome(t conn.SendToken, sent bool) {
	w.outcomes++
	check(int(t) == w.outcomes, promiseOutcome, "outcome %d is of send %d", w.outcomes, t)
	check(int(t) <= w.accepted, promiseOutcome, "send %d was never accepted", t)
	check(sent == (int(t) <= w.taken), promiseOutcome, "send %d: sent is %v, the system took %d bytes, it ends at %d",
		t, sent, len(w.socket.wire), w.ends[t-1])
}

func (w *world) OnTimer(_ *conn.Conn, t conn.TimerToken) {
	defer w.open(partNotices, "OnTimer %d", t)()
	at, armed := w.firing[t]
	check(armed && !w.now.Before(at), contractTimer, "timer %d: due %v, now %v", t, at, w.now)
	w.told(toldTimer, int(t))
	delete(w.firing, t)
	if w.habit == closes && w.dice.one(8) {
		w.closeNow()
	}
	w.maybe()
}

func (w *world) OnIdle(*conn.Conn) {
	defer w.open(partNotices, "OnIdle")()
	check(!w.closeCalled, contractIdle, "OnIdle after Close")
	w.told(toldIdle, 0)
	w.maybe()
}

func (w *world) OnEvent(_ *conn.Conn, ev any) {
	defer w.enter(partNotices, "OnEvent %v", ev)()
	switch ev := ev.(type) {
	case int:
		w.told(toldEvent, ev)
	case conn.Connecting:
		w.told(toldConnecting, ev.Inflight)
	case conn.Upgraded:
		w.told(toldUpgraded, 0)
		w.upgrading, w.limit = false, time.Time{}
		check(ev.Layer == w.layers[len(w.layers)-1], contractDriver, "Upgraded names another layer")
		w.eased()
	}
	if w.connected {
		w.maybe()
	} else {
		w.mayPanic()
	}
}

func (w *world) OnClosed(_ *conn.Conn, err error) {
	defer w.open(partNotices, "OnClosed %v", err)()
	w.ended = true
	check(w.outcomes == w.accepted, promiseOutcome, "OnClosed before the outcome of send %d", w.outcomes+1)
	w.told(toldEnd, 0)
	w.due = w.due[1:]
	w.checkReason(err)
	if w.orderly {
		check(w.taken == w.accepted, promiseClose, "%d of %d sends are on the wire", w.taken, w.accepted)
		if !w.deaf && !w.layerFailed && !w.truncated && !w.streamCut {
			check(w.eofTold, promiseTruncated, "OnClosed without OnEOF")
			check(w.eofBad || w.got == w.socket.fed, promisePause, "%d of %d bytes delivered", w.got, w.socket.fed)
		}
	}
	var sent error
	w.call(func() { _, sent = w.c.Send([]byte("late")) })
	check(sent == conn.ErrNotConnected, promiseRefused, "Send in OnClosed: %v", sent)
	w.mayPanic()
}

// checkReason compares the error of OnClosed with what happened.
func (w *world) checkReason(err error) {
	why := w.why()
	if why == nil {
		check(err == nil, contractCause, "OnClosed(%v), and nothing went wrong", err)
		return
	}
	promise := contractCause
	if why.cause == conn.CauseTruncated {
		promise = promiseTruncated
	}
	var e *conn.CloseError
	check(errors.As(err, &e), promise, "OnClosed(%v), but %+v", err, *why)
	check(e.Cause == why.cause, promise, "OnClosed(%v), but %+v", err, *why)
	check(why.err == nil || errors.Is(err, why.err), promise, "%v does not name %v", err, why.err)
}
