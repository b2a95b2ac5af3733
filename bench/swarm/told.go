package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/conn"
)

// A told checks, callback by callback, what one end of a connection is told against what it did. It belongs to the
// turns of the connection; only busy does not, for it is there to find that they are not one at a time.
type told struct {
	fail func(format string, args ...any) // reports a violation

	expands  bool // a layer makes more bytes of what is sent
	breaks   bool // a layer may fail at any time
	secret   bool // there is TLS
	others   bool // Writes of other actors are sends too
	maxSend  int  // bytes; Config.MaxPending
	maxQueue int  // bytes that may be pending

	busy      atomic.Bool
	secured   bool // tls.Established was told
	connected bool
	ended     bool
	endErr    error // of the last callback
	failed    bool  // it was OnConnectFailed
	throttled bool  // OnThrottled was told, and no OnUnthrottled since
	eof       bool
	paused    bool // by the owner; nobody else can end that
	closed    bool // Close was called
	halfDone  bool // CloseWrite was called
	stopped   int  // times that proto.Stopped came

	open      []openSend // sends without an outcome
	last      conn.SendToken
	accepted  uint64 // sends
	sent      uint64
	lost      uint64 // sends that failed
	refused   uint64 // as not writeable
	bytes     int64  // accepted
	sentBytes int64  // of sends with OnSent
	received  uint64 // calls of OnReceived
	throttles uint64 // calls of OnThrottled
	eased     uint64 // calls of OnUnthrottled
	firstLost int    // bytes of the first send that failed

	timers map[conn.TimerToken]bool // to come
	events uint64                   // raised by our layer, as far as they were told
}

type openSend struct {
	token conn.SendToken
	bytes int
}

// enter begins a callback, leave ends it.
func (t *told) enter(name string) {
	if !t.busy.CompareAndSwap(false, true) {
		t.fail("%s while another callback runs", name)
	}
	switch {
	case t.ended:
		t.fail("%s after the last callback", name)
	case name == "OnConnected":
		if t.connected {
			t.fail("a second OnConnected")
		}
		if t.secret && !t.secured {
			t.fail("OnConnected before tls.Established")
		}
		t.connected = true
	case !t.connected && name != "OnEvent" && name != "OnConnectFailed":
		t.fail("%s before OnConnected", name)
	case t.connected && name == "OnConnectFailed":
		t.fail("OnConnectFailed after OnConnected")
	}
}

func (t *told) leave() {
	if !t.busy.CompareAndSwap(true, false) {
		t.fail("a callback ended that had not begun")
	}
}

// onReceived counts a delivery.
func (t *told) onReceived(n int) {
	t.received++
	switch {
	case t.paused:
		t.fail("OnReceived while paused")
	case t.eof:
		t.fail("OnReceived after OnEOF")
	case n == 0:
		t.fail("OnReceived without data")
	}
}

func (t *told) onEOF() {
	if t.eof {
		t.fail("a second OnEOF")
	}
	t.eof = true
}

// acceptedSend notes that Send took n bytes. pending is what Stats says.
func (t *told) acceptedSend(token conn.SendToken, n, pending int) {
	switch {
	case token <= t.last:
		t.fail("Send returned token %d after %d", token, t.last)
	case token != t.last+1 && !t.others:
		t.fail("Send returned token %d after %d, and nobody else sends", token, t.last)
	case t.throttled:
		t.fail("Send was accepted after OnThrottled, before OnUnthrottled")
	case t.closed || t.halfDone:
		t.fail("Send was accepted after Close or CloseWrite")
	case n > t.maxSend:
		t.fail("Send took %d bytes: MaxPending is %d", n, t.maxSend)
	case pending > t.maxQueue && !t.expands:
		t.fail("%d bytes are pending, which is more than HighWater + MaxPending, %d", pending, t.maxQueue)
	}
	t.last = token
	t.accepted++
	t.bytes += int64(n)
	t.open = append(t.open, openSend{token, n})
}

// refusedSend checks the reason that Send gave for n bytes, against what was known just before it.
func (t *told) refusedSend(err error, n int, writeable bool, state conn.State) {
	var reason conn.SendError
	if !errors.As(err, &reason) {
		t.fail("Send returned %v, which is no SendError", err)
		return
	}
	if reason == conn.ErrNotWriteable {
		t.refused++
	}
	if t.breaks && reason == conn.ErrNotConnected { // a layer failed in it, or before
		return
	}
	over := state != conn.StateConnected || t.closed || t.halfDone
	switch {
	case writeable && n <= t.maxSend:
		t.fail("IsWriteable, and Send refused %d bytes: %v", n, err)
	case over != (reason == conn.ErrNotConnected):
		t.fail("Send said %q in state %v, Close called: %v, CloseWrite called: %v", err, state, t.closed, t.halfDone)
	case over:
	case (n > t.maxSend) != (reason == conn.ErrTooLarge):
		t.fail("Send of %d bytes said %q: MaxPending is %d", n, err, t.maxSend)
	case n <= t.maxSend && reason != conn.ErrNotWriteable:
		t.fail("Send said %q while connected", err)
	}
}

// onSent checks an outcome. written is what Stats says.
func (t *told) onSent(token conn.SendToken, written uint64) {
	n, ok := t.settle("OnSent", token)
	if !ok {
		return
	}
	if t.lost > 0 {
		t.fail("OnSent %d after an OnSendFailed", token)
	}
	t.sent++
	t.sentBytes += int64(n)
	if t.sentBytes > int64(written) {
		t.fail("OnSent %d: that makes %d bytes sent, but %d are written", token, t.sentBytes, written)
	}
}

func (t *told) onSendFailed(token conn.SendToken) {
	n, ok := t.settle("OnSendFailed", token)
	if !ok {
		return
	}
	if t.lost == 0 {
		t.firstLost = n
	}
	t.lost++
}

// settle takes the oldest send off, which must be token.
func (t *told) settle(name string, token conn.SendToken) (n int, ok bool) {
	if len(t.open) == 0 {
		t.fail("%s %d: no send waits for an outcome", name, token)
		return 0, false
	}
	first := t.open[0]
	if token != first.token {
		t.fail("%s %d: the outcome of %d is due", name, token, first.token)
		return 0, false
	}
	if t.open = t.open[1:]; len(t.open) == 0 {
		t.open = nil
	}
	return first.bytes, true
}

func (t *told) onThrottled(writeable bool) {
	t.throttles++
	switch {
	case t.throttled:
		t.fail("OnThrottled twice in a row")
	case writeable:
		t.fail("IsWriteable in OnThrottled")
	}
	t.throttled = true
}

func (t *told) onUnthrottled(writeable bool) {
	t.eased++
	switch {
	case !t.throttled:
		t.fail("OnUnthrottled without OnThrottled")
	case t.closed || t.halfDone:
		t.fail("OnUnthrottled after Close or CloseWrite")
	case !writeable && !t.breaks:
		t.fail("not IsWriteable in OnUnthrottled")
	}
	t.throttled = false
}

func (t *told) startedTimer(token conn.TimerToken) {
	if t.timers == nil {
		t.timers = make(map[conn.TimerToken]bool)
	}
	if t.timers[token] {
		t.fail("StartTimer returned %d twice", token)
	}
	t.timers[token] = true
}

func (t *told) stoppedTimer(token conn.TimerToken, ok bool) {
	if ok != t.timers[token] {
		t.fail("StopTimer %d said %v, its OnTimer was still to come: %v", token, ok, t.timers[token])
	}
	delete(t.timers, token)
}

func (t *told) onTimer(token conn.TimerToken) {
	if !t.timers[token] {
		t.fail("OnTimer %d: it was stopped, told before, or never started", token)
	}
	delete(t.timers, token)
}

func (t *told) onIdle(limit time.Duration) {
	switch {
	case limit == 0:
		t.fail("OnIdle without an idle timeout")
	case t.closed:
		t.fail("OnIdle after Close")
	}
}

// onEvent checks an event of our layer, which numbers them from 1.
func (t *told) onEvent(number uint64) {
	if number != t.events+1 {
		t.fail("OnEvent %d of our layer after %d", number, t.events)
	}
	t.events = number
}

// onEstablished checks the event of TLS.
func (t *told) onEstablished() {
	if !t.secret || t.secured || t.connected {
		t.fail("tls.Established, with TLS %v, the second one %v, after OnConnected %v", t.secret, t.secured, t.connected)
	}
	t.secured = true
}

// onEnd checks the last callback, and that the statistics agree with what was told.
func (t *told) onEnd(failed bool, err error, s conn.Stats) {
	t.ended, t.failed, t.endErr = true, failed, err
	if n := len(t.open); n > 0 {
		t.fail("the last callback came before the outcome of %d sends, from %d on", n, t.open[0].token)
	}
	if failed {
		var ce *conn.ConnectError
		if !errors.As(err, &ce) {
			t.fail("OnConnectFailed with %v, which is no ConnectError", err)
		}
	} else if err != nil {
		if ce, ok := err.(*conn.CloseError); !ok {
			t.fail("OnClosed with %v, which is no CloseError", err)
		} else if t.lost > 0 && ce.Cause == conn.CauseTruncated {
			t.fail("%d sends failed, though the end was in order but for the peer's stream", t.lost)
		}
	} else if t.lost > 0 {
		t.fail("%d sends failed, though the end was in order", t.lost)
	}
	for _, problem := range t.disagreements(s) {
		t.fail("Stats: %s", problem)
	}
}

// disagreements compares the statistics with what was told.
func (t *told) disagreements(s conn.Stats) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if s.Accepted != s.Sent+s.Failed {
		bad("%d accepted are not %d sent and %d failed", s.Accepted, s.Sent, s.Failed)
	}
	compare := func(what string, stats, here uint64, exact bool) {
		if stats < here || exact && stats != here {
			bad("%s: %d, but here %d", what, stats, here)
		}
	}
	compare("accepted", s.Accepted, t.accepted, !t.others)
	compare("sent", s.Sent, t.sent, !t.others)
	compare("failed", s.Failed, t.lost, !t.others)
	compare("refused", s.Refused, t.refused, !t.others)
	compare("received", s.Received, t.received, true)
	// An end out of order drops an OnThrottled that was not told yet.
	compare("throttles", s.Throttles, t.throttles, t.endErr == nil)
	if s.Throttles > t.throttles+1 {
		bad("throttles: %d, but %d were told", s.Throttles, t.throttles)
	}
	if s.Pending != 0 {
		bad("%d bytes are pending after the end", s.Pending)
	}
	if s.BytesWritten < uint64(t.sentBytes) {
		bad("%d bytes written, %d of them said to be sent", s.BytesWritten, t.sentBytes)
	}
	exact := !t.others && !t.expands && t.lost > 0 && t.firstLost > 0
	if exact && s.BytesWritten >= uint64(t.sentBytes)+uint64(t.firstLost) {
		bad("%d bytes written, but a send failed that ends at %d", s.BytesWritten, t.sentBytes+int64(t.firstLost))
	}
	return problems
}
