package conntest

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

func TestARecorderWritesDownEachCall(t *testing.T) {
	rec := &Recorder{TB: t}
	r := New(rec, conn.Config{HighWater: 10, LowWater: 5, Split: frame.Lines(1000)})
	r.Feed("abc\n", strings.Repeat("x", 100)+"\n", strings.Repeat("0123456789", 10)+"\n", "\"\n")
	r.Allow(0)
	r.Do(func(c *conn.Conn) {
		send("0123456789a")(c)
		send("refused")(c)
		c.StartTimer(0)
	})
	r.Advance(1)
	r.Allow(8)
	r.Feed("cut")
	r.FeedEOF()
	r.Allow(-1)
	assert.Equal(t, []string{
		"OnConnected", `OnReceived "abc"`, `OnReceived "x"*100`, `OnReceived "0123456789012345"... (100 bytes)`,
		`OnReceived "\""`, "OnThrottled", "OnTimer 1", "OnUnthrottled",
		"OnEOF the stream broke off inside a frame, after 3 bytes of it: unexpected EOF", "OnSent 1",
		"OnClosed conn: connection ended: truncated: the stream broke off inside a frame, after 3 bytes of it: unexpected EOF",
	}, rec.Calls())
	assert.Empty(t, rec.Calls(), "they were taken")
	assert.Empty(t, rec.Violations())
}

func TestEventsAreNamed(t *testing.T) {
	for want, ev := range map[string]any{
		"conn.Connecting{3}": conn.Connecting{Inflight: 3},
		"conn.Upgraded":      conn.Upgraded{Layer: silent{}},
		`"text"`:             "text",
		"an error":           errors.New("an error"),
		"Closing":            conn.StateClosing,
		"int5":               5,
		"conntest.token{text:a quoted:true at:1}": token{"a", true, 1},
	} {
		assert.Equal(t, want, eventText(ev))
	}
}

func TestARecorderDoesWhatItIsTold(t *testing.T) {
	var order []string
	rec := &Recorder{TB: t, Stay: true}
	rec.Do = func(c *conn.Conn, call string) {
		order = append(order, "do "+call)
		if call == "OnConnected" {
			send("hi")(c)
		}
	}
	rec.Return = func(_ *conn.Conn, data []byte) error {
		order = append(order, "return "+string(data))
		return errors.New("enough")
	}
	r := New(rec, conn.Config{IdleTimeout: 5})
	assert.Equal(t, "hi", r.Wire())
	r.Advance(5)
	assert.Equal(t, conn.StateConnected, r.Conn().State(), "Stay leaves it open in OnIdle")
	r.Feed("x")
	assert.Equal(t, []string{"do OnConnected", "do OnSent 1", "do OnIdle", `do OnReceived "x"`, "return x",
		"do OnClosed conn: connection ended: handler: enough"}, order)
	assert.Equal(t, "x", rec.Received())

	for _, stay := range []bool{false, true} {
		rec := &Recorder{TB: t, Stay: stay}
		r := New(rec, conn.Config{})
		r.FeedEOF()
		assert.Equal(t, !stay, r.Done())
	}
	r = New(&Recorder{TB: t}, conn.Config{IdleTimeout: 5})
	r.Advance(5)
	assert.Equal(t, conn.StateClosing, r.Conn().State(), "OnIdle closes, like Defaults")
}

// TestTheRecorderFindsBrokenPromises makes the calls that a connection must not make.
func TestTheRecorderFindsBrokenPromises(t *testing.T) {
	open := func(rec *Recorder) *conn.Conn { return New(rec, conn.Config{}).Conn() }
	over := func(rec *Recorder) *conn.Conn {
		r := New(&Recorder{}, conn.Config{})
		r.Do(func(c *conn.Conn) { c.Abort(nil) })
		return r.Conn()
	}
	failed := &conn.ConnectError{Stage: conn.StageDial}
	for _, tc := range []struct {
		name, want string
		conn       func(*Recorder) *conn.Conn // open: after OnConnected; over: a closed one, of which rec heard nothing
		calls      func(r *Recorder, c *conn.Conn)
	}{
		{"connected twice", "a second time", open, func(r *Recorder, c *conn.Conn) { r.OnConnected(c) }},
		{"failed after connected", "after OnConnected", open, func(r *Recorder, c *conn.Conn) { r.OnConnectFailed(c, failed) }},
		{"failed with another error", "the error is a *errors.errorString", over, func(r *Recorder, c *conn.Conn) { r.OnConnectFailed(c, errors.New("x")) }},
		{"failed while open", "the state is Connected", open, func(r *Recorder, c *conn.Conn) { *r = Recorder{}; r.OnConnectFailed(c, failed) }},
		{"closed without connected", "before OnConnected", over, func(r *Recorder, c *conn.Conn) { r.OnClosed(c, nil) }},
		{"closed while open", "the state is Connected", open, func(r *Recorder, c *conn.Conn) { r.OnClosed(c, nil) }},
		{"closed with another error", "the error is a *errors.errorString", over, func(r *Recorder, c *conn.Conn) {
			r.OnConnected(c)
			r.OnClosed(c, errors.New("x"))
		}},
		{"after closed", "comes after OnClosed", over, func(r *Recorder, c *conn.Conn) {
			r.OnConnected(c)
			r.OnClosed(c, nil)
			r.OnTimer(c, 1)
		}},
		{"after failed", "comes after OnConnectFailed", over, func(r *Recorder, c *conn.Conn) {
			r.OnConnectFailed(c, failed)
			r.OnEvent(c, "late")
		}},
		{"received before connected", "before OnConnected", over, func(r *Recorder, c *conn.Conn) { _ = r.OnReceived(c, nil) }},
		{"sent before connected", "before OnConnected", over, func(r *Recorder, c *conn.Conn) { r.OnSent(c, 1) }},
		{"idle before connected", "before OnConnected", over, func(r *Recorder, c *conn.Conn) { r.OnIdle(c) }},
		{"received after the end", "after OnEOF", open, func(r *Recorder, c *conn.Conn) {
			r.Stay = true
			r.OnEOF(c, nil)
			_ = r.OnReceived(c, []byte("x"))
		}},
		{"two ends", "a second time", open, func(r *Recorder, c *conn.Conn) {
			r.Stay = true
			r.OnEOF(c, nil)
			r.OnEOF(c, nil)
		}},
		{"unthrottled first", "do not alternate", open, func(r *Recorder, c *conn.Conn) { r.OnUnthrottled(c) }},
		{"throttled twice", "do not alternate", over, func(r *Recorder, c *conn.Conn) {
			r.OnConnected(c)
			r.OnThrottled(c)
			r.OnThrottled(c)
		}},
		{"sent twice", "after the outcome of send 1", open, func(r *Recorder, c *conn.Conn) { r.OnSent(c, 1); r.OnSent(c, 1) }},
		{"one left out", "send 1 has no outcome", open, func(r *Recorder, c *conn.Conn) { r.OnSent(c, 2) }},
		{"sent after failed", "an earlier send failed", open, func(r *Recorder, c *conn.Conn) { r.OnSendFailed(c, 1); r.OnSent(c, 2) }},
		{"one timer twice", "came already", open, func(r *Recorder, c *conn.Conn) { r.OnTimer(c, 4); r.OnTimer(c, 4) }},
		{"one in another", "runs inside OnIdle", open, func(r *Recorder, c *conn.Conn) {
			r.Stay = true
			r.Do = func(c *conn.Conn, call string) {
				if call == "OnIdle" {
					r.OnSent(c, 1)
				}
			}
			r.OnIdle(c)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := new(Recorder)
			tc.calls(rec, tc.conn(rec))
			require.NotEmpty(t, rec.Violations())
			assert.Contains(t, strings.Join(rec.Violations(), "\n"), tc.want)
		})
	}
}

func TestThrottledWhileASendWouldBeAcceptedIsAViolation(t *testing.T) {
	rec := new(Recorder)
	r := New(rec, conn.Config{})
	r.Do(rec.OnThrottled) // in a turn, where a Send is accepted
	require.Len(t, rec.Violations(), 1)
	assert.Equal(t, "OnThrottled: a Send would be accepted", rec.Violations()[0])
}

func TestSendsWithoutAnOutcomeAreAViolationUnlessOthersSend(t *testing.T) {
	for _, others := range []bool{false, true} {
		rec := &Recorder{Others: others}
		r := New(&Recorder{}, conn.Config{})
		r.Do(send("x")) // its outcome goes to another
		r.Do(func(c *conn.Conn) { c.Abort(nil) })
		rec.OnConnected(r.Conn())
		rec.OnClosed(r.Conn(), nil)
		if others {
			assert.Empty(t, rec.Violations())
		} else {
			assert.Equal(t, []string{"OnClosed: of 1 sends, 0 had an outcome"}, rec.Violations())
		}
	}
}
