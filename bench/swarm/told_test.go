package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
)

// A tell is a told with its violations.
type tell struct {
	told
	found []string
}

func newTell() *tell {
	t := new(tell)
	t.told = told{maxSend: 1000, maxQueue: 2000, fail: func(format string, args ...any) {
		t.found = append(t.found, fmt.Sprintf(format, args...))
	}}
	return t
}

// call is a whole callback.
func (t *tell) call(name string, f func()) {
	t.enter(name)
	if f != nil {
		f()
	}
	t.leave()
}

func (t *tell) connect() { t.call("OnConnected", nil) }
func (t *tell) send(token conn.SendToken) {
	t.acceptedSend(token, 10, 10)
}

// end is OnClosed, with statistics that agree.
func (t *tell) end(err error, change func(s *conn.Stats)) {
	s := conn.Stats{
		BytesWritten: uint64(t.sentBytes), Received: t.received, Accepted: t.accepted, Sent: t.sent, Failed: t.lost,
		Refused: t.refused, Throttles: t.throttles,
	}
	if change != nil {
		change(&s)
	}
	t.call("OnClosed", func() { t.onEnd(false, err, s) })
}

func TestToldAcceptsWhatIsPromised(t *testing.T) {
	l := newTell()
	l.connect()
	l.send(1)
	l.send(2)
	l.call("OnReceived", func() { l.onReceived(5) })
	l.call("OnThrottled", func() { l.onThrottled(false) })
	l.refusedSend(conn.ErrNotWriteable, 10, false, conn.StateConnected)
	l.refusedSend(conn.ErrTooLarge, 1001, true, conn.StateConnected)
	l.call("OnSent", func() { l.onSent(1, 15) })
	l.call("OnUnthrottled", func() { l.onUnthrottled(true) })
	l.startedTimer(1)
	l.startedTimer(2)
	l.call("OnTimer", func() { l.onTimer(2) })
	l.stoppedTimer(1, true)
	l.stoppedTimer(1, false)
	l.call("OnIdle", func() { l.onIdle(time.Second) })
	l.call("OnEvent", func() { l.onEvent(1) })
	l.call("OnEOF", l.onEOF)
	l.closed = true
	l.refusedSend(conn.ErrNotConnected, 10, false, conn.StateClosing)
	l.call("OnSendFailed", func() { l.onSendFailed(2) })
	l.end(&conn.CloseError{Cause: conn.CauseRead}, func(s *conn.Stats) { s.BytesWritten += 9 })
	assert.Empty(t, l.found)
}

// Each of these breaks one promise, and exactly that must be found.
func TestToldFindsEveryBrokenPromise(t *testing.T) {
	aborted := &conn.CloseError{Cause: conn.CauseAbort}
	connected := func(f func(l *tell)) func(l *tell) {
		return func(l *tell) { l.connect(); f(l) }
	}
	for name, test := range map[string]struct {
		do   func(l *tell)
		says string
	}{
		"data first": {
			func(l *tell) { l.call("OnReceived", func() { l.onReceived(1) }) },
			"before OnConnected",
		},
		"closed first":     {func(l *tell) { l.end(nil, nil) }, "before OnConnected"},
		"connected twice":  {connected(func(l *tell) { l.connect() }), "second OnConnected"},
		"failed after all": {connected(func(l *tell) { l.call("OnConnectFailed", nil) }), "after OnConnected"},
		"after the end":    {connected(func(l *tell) { l.end(nil, nil); l.call("OnTimer", nil) }), "after the last"},
		"closed twice":     {connected(func(l *tell) { l.end(nil, nil); l.end(nil, nil) }), "after the last"},
		"at once":          {connected(func(l *tell) { l.enter("OnEOF"); l.enter("OnSent") }), "while another"},
		"ended alone":      {func(l *tell) { l.leave() }, "had not begun"},
		"paused":           {connected(func(l *tell) { l.paused = true; l.onReceived(1) }), "while paused"},
		"data after EOF":   {connected(func(l *tell) { l.onEOF(); l.onReceived(1) }), "after OnEOF"},
		"no data":          {connected(func(l *tell) { l.onReceived(0) }), "without data"},
		"EOF twice":        {connected(func(l *tell) { l.onEOF(); l.onEOF() }), "second OnEOF"},

		"a token again":    {connected(func(l *tell) { l.send(1); l.send(1) }), "token 1 after 1"},
		"a token left out": {connected(func(l *tell) { l.send(2) }), "nobody else"},
		"sent twice": {
			connected(func(l *tell) { l.send(1); l.onSent(1, 10); l.onSent(1, 10) }),
			"no send waits",
		},
		"sent out of order": {
			connected(func(l *tell) { l.send(1); l.send(2); l.onSent(2, 20) }),
			"outcome of 1 is due",
		},
		"never sent": {connected(func(l *tell) { l.onSendFailed(1) }), "no send waits"},
		"sent after failed": {
			connected(func(l *tell) { l.send(1); l.send(2); l.onSendFailed(1); l.onSent(2, 20) }),
			"after an OnSendFailed",
		},
		"sent too soon":   {connected(func(l *tell) { l.send(1); l.onSent(1, 9) }), "but 9 are written"},
		"no outcome":      {connected(func(l *tell) { l.send(1); l.end(aborted, nil) }), "outcome of 1 sends"},
		"failed in order": {connected(func(l *tell) { l.send(1); l.onSendFailed(1); l.end(nil, nil) }), "in order"},
		"failed, truncated": {
			connected(func(l *tell) {
				l.send(1)
				l.onSendFailed(1)
				l.end(&conn.CloseError{Cause: conn.CauseTruncated}, nil)
			}),
			"in order but",
		},
		"failed, though out": {connected(func(l *tell) {
			l.send(1)
			l.onSendFailed(1)
			l.end(aborted, func(s *conn.Stats) { s.BytesWritten = 10 })
		}), "a send failed that ends at 10"},

		"accepted throttled": {connected(func(l *tell) { l.onThrottled(false); l.send(1) }), "after OnThrottled"},
		"accepted closed":    {connected(func(l *tell) { l.closed = true; l.send(1) }), "after Close"},
		"accepted half":      {connected(func(l *tell) { l.halfDone = true; l.send(1) }), "after Close"},
		"accepted too large": {connected(func(l *tell) { l.acceptedSend(1, 1001, 0) }), "MaxPending is 1000"},
		"pending too much":   {connected(func(l *tell) { l.acceptedSend(1, 10, 2001) }), "2001 bytes are pending"},

		"refused writeable": {
			connected(func(l *tell) { l.refusedSend(conn.ErrNotWriteable, 1, true, conn.StateConnected) }),
			"IsWriteable, and",
		},
		"refused wrongly": {
			connected(func(l *tell) { l.refusedSend(conn.ErrNotConnected, 1, false, conn.StateConnected) }),
			"in state",
		},
		"refused, no word": {
			connected(func(l *tell) {
				l.closed = true
				l.refusedSend(conn.ErrNotWriteable, 1, false, conn.StateClosing)
			}),
			"in state",
		},
		"refused as large": {
			connected(func(l *tell) { l.refusedSend(conn.ErrTooLarge, 1, false, conn.StateConnected) }),
			"MaxPending is 1000",
		},
		"refused, not said": {
			connected(func(l *tell) { l.refusedSend(conn.ErrNotWriteable, 1001, false, conn.StateConnected) }),
			"MaxPending is 1000",
		},
		"refused not ready": {
			connected(func(l *tell) { l.refusedSend(conn.ErrNotReady, 1, false, conn.StateConnected) }),
			"while connected",
		},
		"refused oddly": {
			connected(func(l *tell) { l.refusedSend(errors.New("no"), 1, false, conn.StateConnected) }),
			"no SendError",
		},

		"throttled twice": {
			connected(func(l *tell) { l.onThrottled(false); l.onThrottled(false) }),
			"twice in a row",
		},
		"throttled, writeable": {connected(func(l *tell) { l.onThrottled(true) }), "IsWriteable in OnThrottled"},
		"unthrottled first":    {connected(func(l *tell) { l.onUnthrottled(true) }), "without OnThrottled"},
		"unthrottled, not so": {
			connected(func(l *tell) { l.onThrottled(false); l.onUnthrottled(false) }),
			"not IsWriteable",
		},
		"unthrottled closed": {
			connected(func(l *tell) { l.onThrottled(false); l.closed = true; l.onUnthrottled(true) }),
			"after Close",
		},

		"a timer unknown": {connected(func(l *tell) { l.onTimer(1) }), "OnTimer 1"},
		"a timer twice":   {connected(func(l *tell) { l.startedTimer(1); l.onTimer(1); l.onTimer(1) }), "OnTimer 1"},
		"a timer stopped": {
			connected(func(l *tell) { l.startedTimer(1); l.stoppedTimer(1, true); l.onTimer(1) }),
			"OnTimer 1",
		},
		"a timer's token":  {connected(func(l *tell) { l.startedTimer(1); l.startedTimer(1) }), "twice"},
		"a stop that lies": {connected(func(l *tell) { l.startedTimer(1); l.stoppedTimer(1, false) }), "said false"},
		"idle, never set":  {connected(func(l *tell) { l.onIdle(0) }), "without an idle timeout"},
		"idle, closed":     {connected(func(l *tell) { l.closed = true; l.onIdle(1) }), "after Close"},
		"an event lost":    {connected(func(l *tell) { l.onEvent(2) }), "OnEvent 2"},
		"an event again":   {connected(func(l *tell) { l.onEvent(1); l.onEvent(1) }), "OnEvent 1"},

		"an odd failure": {
			func(l *tell) {
				l.call("OnConnectFailed", func() { l.onEnd(true, errors.New("no"), conn.Stats{}) })
			},
			"no ConnectError",
		},
		"an odd end": {connected(func(l *tell) { l.end(errors.New("no"), nil) }), "no CloseError"},
		"unsettled": {
			connected(func(l *tell) { l.end(nil, func(s *conn.Stats) { s.Accepted++ }) }),
			"are not 0 sent",
		},
		"not accepted": {
			connected(func(l *tell) { l.end(nil, func(s *conn.Stats) { s.Accepted++; s.Sent++ }) }),
			"accepted: 1",
		},
		"not failed": {
			connected(func(l *tell) { l.end(nil, func(s *conn.Stats) { s.Accepted++; s.Failed++ }) }),
			"failed: 1",
		},
		"not refused": {
			connected(func(l *tell) { l.end(nil, func(s *conn.Stats) { s.Refused++ }) }),
			"refused: 1",
		},
		"not received": {
			connected(func(l *tell) { l.end(nil, func(s *conn.Stats) { s.Received++ }) }),
			"received: 1",
		},
		"not throttled": {
			connected(func(l *tell) { l.end(nil, func(s *conn.Stats) { s.Throttles++ }) }),
			"throttles: 1",
		},
		"throttled more": {
			connected(func(l *tell) { l.end(aborted, func(s *conn.Stats) { s.Throttles += 2 }) }),
			"throttles: 2",
		},
		"still pending": {
			connected(func(l *tell) { l.end(nil, func(s *conn.Stats) { s.Pending++ }) }),
			"1 bytes are pending",
		},
		"less written": {
			connected(func(l *tell) {
				l.send(1)
				l.onSent(1, 10)
				l.end(nil, func(s *conn.Stats) { s.BytesWritten = 9 })
			}),
			"9 bytes written",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTell()
			test.do(l)
			assert.Contains(t, strings.Join(l.found, "\n"), test.says)
		})
	}
}

func TestAckerFindsWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(a *acker, k *ack)
		says string
	}{
		"two answers": {
			func(a *acker, k *ack) { a.written(k); a.failed(k, conn.ErrNotConnected) },
			"second answer",
		},
		"written twice": {func(a *acker, k *ack) { a.written(k); a.written(k) }, "second answer"},
		"dead as well":  {func(a *acker, k *ack) { a.failed(k, conn.ErrNotConnected); a.dead(k) }, "second answer"},
		"odd error":     {func(a *acker, k *ack) { a.failed(k, errors.New("no")) }, "WriteFailed for"},
		"not ready":     {func(a *acker, k *ack) { a.failed(k, conn.ErrNotReady) }, "WriteFailed for"},
		"too large":     {func(a *acker, k *ack) { a.failed(k, conn.ErrTooLarge) }, "WriteFailed for"},
		"nothing":       {func(a *acker, k *ack) { k.bytes = 2000; a.failed(k, conn.ErrTooLarge) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			a := &acker{side: &side{cfg: &conn.Config{MaxPending: 1000}}}
			a.fail = func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
			test.do(a, &ack{acker: a, serial: a.issue(fromAcked), bytes: 10})
			assert.Contains(t, strings.Join(found, "\n"), test.says)
			assert.Equal(t, test.says == "", len(found) == 0)
			c := a.total()
			assert.Equal(t, c.asked, c.written+c.refused+c.dead, "each Write is counted once")
		})
	}
}
