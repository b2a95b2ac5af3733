package conn_test

import (
	"errors"
	"fmt"

	"github.com/galago-go/galago/conn"
)

// The world is also the handler.
var _ conn.Handler = (*world)(nil)

// enter begins a callback.
func (w *world) enter(call string) func() {
	check(!w.inMethod && !w.inCallback, promiseNotInside, "%s", call)
	check(!w.ended, promiseEnds, "%s after the end", call)
	check(w.inTurn, contractBackend, "%s outside a turn", call)
	w.inCallback = true
	w.note("  turn %d: %s", w.turn, call)
	return func() { w.inCallback = false }
}

// open begins a callback that comes between OnConnected and OnClosed only.
func (w *world) open(call string) func() {
	check(w.connected, promiseEnds, "%s before OnConnected", call)
	return w.enter(call)
}

// maybe does something from inside a callback.
func (w *world) maybe() {
	if w.dice.one(3) {
		w.act()
	}
}

func (w *world) OnConnected(*conn.Conn) {
	defer w.enter("OnConnected")()
	check(!w.connected, promiseEnds, "a second OnConnected")
	w.connected = true
	w.maybe()
}

func (w *world) OnConnectFailed(_ *conn.Conn, err error) {
	defer w.enter("OnConnectFailed")()
	check(!w.connected, promiseEnds, "OnConnectFailed after OnConnected")
	var e *conn.ConnectError
	check(errors.As(err, &e), promiseEnds, "err is %T", err)
	w.ended = true
}

func (w *world) OnReceived(_ *conn.Conn, data []byte) error {
	defer w.open(fmt.Sprintf("OnReceived %d", len(data)))()
	check(!w.paused, promisePause, "OnReceived while paused")
	check(w.yielded != w.turn, promisePause, "OnReceived after Yield in the same turn")
	check(!w.eofTold, promiseLaterTurn, "OnReceived after OnEOF")
	check(len(data) > 0, promisePause, "an empty OnReceived")
	for _, l := range w.layers {
		check(!l.holding, contractReading, "OnReceived while a layer holds")
	}
	for _, d := range w.due {
		check(d.turn == w.turn && !d.reading, promiseData, "%s is due since turn %d", d.call, d.turn)
	}
	for i, b := range data {
		check(b == pattern(w.got+i), promisePause, "byte %d is not the one sent", w.got+i)
	}
	w.got += len(data)
	w.act()
	switch w.dice.roll(24) {
	case 21, 22:
		w.yielded = w.turn
		return conn.Yield
	case 23:
		if w.dice.one(8) {
			w.aborted = w.aborted || w.c.State() != conn.StateClosing // else it only ends delivery
			return errors.New("the handler fails")
		}
	}
	return nil
}

func (w *world) OnEOF(_ *conn.Conn, err error) {
	defer w.open("OnEOF")()
	check(!w.eofTold, promiseEnds, "a second OnEOF")
	w.eofTold, w.eofBad = true, err != nil
	if err == nil && !w.streamCut {
		check(w.got == w.socket.fed, promiseTruncated, "OnEOF(nil) after %d of %d bytes", w.got, w.socket.fed)
		check(!w.truncated, promiseTruncated, "a layer said that it was cut short")
	}
	if w.dice.one(3) {
		w.closeNow()
	} else {
		w.maybe()
	}
}

func (w *world) OnThrottled(*conn.Conn) {
	defer w.open("OnThrottled")()
	check(!w.throttled, promiseThrottle, "a second OnThrottled")
	w.throttled = true
	var err error
	w.call(func() { _, err = w.c.Send([]byte("x")) })
	check(err != nil, promiseThrottle, "Send is accepted in OnThrottled")
	w.maybe()
}

func (w *world) OnUnthrottled(*conn.Conn) {
	defer w.open("OnUnthrottled")()
	check(w.throttled, promiseThrottle, "OnUnthrottled without OnThrottled")
	w.throttled, w.refused = false, false
	before := w.accepted
	w.send(1)
	check(w.accepted == before+1 || w.layerFailed, promiseThrottle, "Send is refused in OnUnthrottled")
	w.maybe()
}

func (w *world) OnSent(_ *conn.Conn, t conn.SendToken) {
	defer w.open(fmt.Sprintf("OnSent %d", t))()
	w.outcome(t, true)
	check(!w.failedSeen, promiseOutcome, "OnSent %d after an OnSendFailed", t)
	w.told(fmt.Sprintf("OnSent %d", t))
	w.maybe()
}

func (w *world) OnSendFailed(_ *conn.Conn, t conn.SendToken) {
	defer w.open(fmt.Sprintf("OnSendFailed %d", t))()
	w.outcome(t, false)
	w.failedSeen = true
}

func (w *world) outcome(t conn.SendToken, sent bool) {
	w.outcomes++
	check(int(t) == w.outcomes, promiseOutcome, "outcome %d is of send %d", w.outcomes, t)
	check(int(t) <= w.accepted, promiseOutcome, "send %d was never accepted", t)
	check(sent == (int(t) <= w.taken), promiseOutcome, "send %d: sent is %v, the system took %d bytes, it ends at %d",
		t, sent, len(w.socket.writeTo), w.ends[t-1])
}

func (w *world) OnTimer(_ *conn.Conn, t conn.TimerToken) {
	defer w.open(fmt.Sprintf("OnTimer %d", t))()
	at, armed := w.timers[t]
	check(armed && !w.now.Before(at), contractTimer, "timer %d: armed %v, due %v, now %v", t, armed, at, w.now)
	delete(w.timers, t)
	w.maybe()
}

func (w *world) OnIdle(*conn.Conn) {
	defer w.open("OnIdle")()
	check(!w.closeCalled, promiseEnds, "OnIdle after Close")
	w.maybe()
}

func (w *world) OnEvent(_ *conn.Conn, ev any) {
	defer w.enter(fmt.Sprintf("OnEvent %v", ev))()
	switch ev := ev.(type) {
	case int:
		w.told(fmt.Sprintf("OnEvent %d", ev))
		w.eventsTold = ev
	case conn.Connecting:
		w.told("OnEvent connecting")
		w.eventsTold = ev.Inflight
	case conn.Upgraded:
		check(ev.Layer == w.layers[len(w.layers)-1], promiseEnds, "Upgraded names another layer")
	}
	w.maybe()
}

func (w *world) OnClosed(_ *conn.Conn, err error) {
	defer w.open("OnClosed")()
	w.ended = true
	check(w.outcomes == w.accepted, promiseOutcome, "OnClosed before the outcome of send %d", w.outcomes+1)
	var e *conn.CloseError
	check(err == nil || errors.As(err, &e), promiseEnds, "err is %T", err)
	check(err != nil || !w.aborted, promiseEnds, "aborted, and OnClosed says nothing of it")
	check(err != nil || !w.eofBad && !w.layerFailed, promiseTruncated, "OnClosed(nil)")
	if err == nil {
		check(w.socket.fin && len(w.socket.writeTo) == w.down && w.taken == w.accepted, promiseClose,
			"%d of %d bytes written, FIN %v", len(w.socket.writeTo), w.down, w.socket.fin)
	}
	if err != nil && e.Cause == conn.CauseLayer && !w.lastWords {
		check(w.layerFailed, promiseEnds, "no layer failed")
	}
	var sent error
	w.call(func() { _, sent = w.c.Send([]byte("late")) })
	check(sent == conn.ErrNotConnected, promiseRefused, "Send in OnClosed: %v", sent)
}
