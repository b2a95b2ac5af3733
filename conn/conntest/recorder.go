package conntest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/galago-go/galago/conn"
)

// A Recorder is a Handler that writes down each call, such as "OnSent 1", and then does Do. It works on a Rig as well
// as on real sockets. Like [conn.Defaults] it closes the connection in OnEOF and OnIdle, unless Stay is set.
//
// A Recorder serves one connection. Set the fields before its first call. Calls, Received and Violations may be asked
// by any goroutine.
//
// On the way it checks what package conn promises about the order of callbacks; what it finds is in Violations, and
// fails TB.
type Recorder struct {
	// Do is called after each call was written down. OnReceived is written down as OnReceived "data", OnClosed with its
	// error, if there is one.
	Do func(c *conn.Conn, call string)
	// Return, if not nil, says what OnReceived returns. It runs after Do.
	Return func(c *conn.Conn, data []byte) error
	// Stay leaves the connection open in OnEOF and OnIdle.
	Stay bool
	// Others says that not all outcomes come here, for others send too, such as the senders of an actor.Write.
	Others bool
	// TB, if not nil, fails with each violation.
	TB testing.TB

	mu         sync.Mutex
	calls      []string
	received   []byte
	violations []string
	rules      rules
}

var _ conn.Handler = (*Recorder)(nil)

// Calls returns the calls since the last Calls.
func (r *Recorder) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// Received returns what OnReceived was given since the last Received, joined. The Recorder keeps it until then.
func (r *Recorder) Received() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := string(r.received)
	r.received = r.received[:0]
	return s
}

// Violations returns what package conn promises and did not keep.
func (r *Recorder) Violations() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.violations...)
}

// record writes a call down and does Do. check tells the rules; it returns what is wrong, if anything.
func (r *Recorder) record(c *conn.Conn, call string, check func(*rules) string, then func()) {
	r.mu.Lock()
	r.calls = append(r.calls, call)
	outer := r.rules.running
	if outer != "" {
		r.violate(call + " runs inside " + outer)
	}
	if r.rules.over != "" {
		r.violate(call + " comes after " + r.rules.over)
	}
	if v := check(&r.rules); v != "" {
		r.violate(call + ": " + v)
	}
	r.rules.running = call
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.rules.running = outer
		r.mu.Unlock()
	}()
	if r.Do != nil {
		r.Do(c, call)
	}
	if then != nil {
		then()
	}
}

// violate runs with mu held.
func (r *Recorder) violate(v string) {
	r.violations = append(r.violations, v)
	if r.TB != nil {
		r.TB.Errorf("conntest: %s. The last calls: %q", v, r.calls[max(0, len(r.calls)-20):])
	}
}

// OnConnected writes the call down and does Do.
func (r *Recorder) OnConnected(c *conn.Conn) {
	r.record(c, "OnConnected", (*rules).connect, nil)
}

// OnConnectFailed writes the call down and does Do.
func (r *Recorder) OnConnectFailed(c *conn.Conn, err error) {
	call := withError("OnConnectFailed", err)
	r.record(c, call, func(s *rules) string { return s.connectFailed(c, err) }, nil)
}

// OnReceived writes the call down and does Do, and returns what Return says.
func (r *Recorder) OnReceived(c *conn.Conn, data []byte) (err error) {
	r.mu.Lock()
	r.received = append(r.received, data...)
	r.mu.Unlock()
	r.record(c, "OnReceived "+text(data).String(), (*rules).receive, func() {
		if r.Return != nil {
			err = r.Return(c, data)
		}
	})
	return err
}

// OnEOF writes the call down and does Do, and closes the connection, unless Stay is set.
func (r *Recorder) OnEOF(c *conn.Conn, err error) {
	r.record(c, withError("OnEOF", err), (*rules).eof, func() {
		if !r.Stay {
			c.Close()
		}
	})
}

// OnThrottled writes the call down and does Do.
func (r *Recorder) OnThrottled(c *conn.Conn) {
	r.record(c, "OnThrottled", func(s *rules) string { return s.throttle(c, true) }, nil)
}

// OnUnthrottled writes the call down and does Do.
func (r *Recorder) OnUnthrottled(c *conn.Conn) {
	r.record(c, "OnUnthrottled", func(s *rules) string { return s.throttle(c, false) }, nil)
}

// OnSent writes the call down and does Do.
func (r *Recorder) OnSent(c *conn.Conn, t conn.SendToken) {
	r.record(c, fmt.Sprint("OnSent ", t), func(s *rules) string { return s.settle(t, true, r.Others) }, nil)
}

// OnSendFailed writes the call down and does Do.
func (r *Recorder) OnSendFailed(c *conn.Conn, t conn.SendToken) {
	r.record(c, fmt.Sprint("OnSendFailed ", t), func(s *rules) string { return s.settle(t, false, r.Others) }, nil)
}

// OnTimer writes the call down and does Do.
func (r *Recorder) OnTimer(c *conn.Conn, t conn.TimerToken) {
	r.record(c, fmt.Sprint("OnTimer ", t), func(s *rules) string { return s.timer(t) }, nil)
}

// OnIdle writes the call down and does Do, and closes the connection, unless Stay is set.
func (r *Recorder) OnIdle(c *conn.Conn) {
	r.record(c, "OnIdle", (*rules).idle, func() {
		if !r.Stay {
			c.Close()
		}
	})
}

// OnEvent writes the call down and does Do.
func (r *Recorder) OnEvent(c *conn.Conn, ev any) {
	r.record(c, "OnEvent "+eventText(ev), func(*rules) string { return "" }, nil)
}

// OnClosed writes the call down and does Do.
func (r *Recorder) OnClosed(c *conn.Conn, err error) {
	call := withError("OnClosed", err)
	r.record(c, call, func(s *rules) string { return s.close(c, err, r.Others) }, nil)
}

func withError(call string, err error) string {
	if err == nil {
		return call
	}
	return call + " " + err.Error()
}
