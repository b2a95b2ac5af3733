package conntest

import (
	"errors"
	"fmt"

	"github.com/galago-go/galago/conn"
)

// rules follow the callbacks of one connection, and say which of them package conn rules out. Each method answers "",
// or what is wrong.
type rules struct {
	running   string // the callback on the stack
	over      string // the last callback, once it came
	connected bool
	ended     bool // OnEOF came
	throttled bool
	settled   conn.SendToken // the last send that had its outcome
	outcomes  uint64
	failing   bool // an OnSendFailed came
	timers    map[conn.TimerToken]bool
}

// started is for callbacks that come between OnConnected and OnClosed only.
func (s *rules) started() string {
	if !s.connected {
		return "it comes before OnConnected"
	}
	return ""
}

func (s *rules) connect() string {
	if s.connected {
		return "it comes a second time"
	}
	s.connected = true
	return ""
}

func (s *rules) connectFailed(c *conn.Conn, err error) string {
	s.over = "OnConnectFailed"
	var failed *conn.ConnectError
	switch {
	case s.connected:
		return "it comes after OnConnected"
	case !errors.As(err, &failed):
		return fmt.Sprintf("the error is a %T", err)
	case c.State() != conn.StateClosed:
		return "the state is " + c.State().String()
	case c.Stats().Accepted != 0:
		return fmt.Sprintf("%d sends were accepted", c.Stats().Accepted)
	}
	return ""
}

func (s *rules) receive() string {
	if s.ended {
		return "it comes after OnEOF"
	}
	return s.started()
}

func (s *rules) eof() string {
	if s.ended {
		return "it comes a second time"
	}
	s.ended = true
	return s.started()
}

func (s *rules) throttle(c *conn.Conn, on bool) string {
	if s.throttled == on {
		return "OnThrottled and OnUnthrottled do not alternate"
	}
	if on && c.IsWriteable() {
		return "a Send would be accepted"
	}
	s.throttled = on
	return s.started()
}

func (s *rules) settle(t conn.SendToken, sent, others bool) string {
	last := s.settled
	s.settled = max(t, last)
	s.outcomes++
	switch {
	case t <= last:
		return fmt.Sprintf("it comes after the outcome of send %d", last)
	case t != last+1 && !others:
		return fmt.Sprintf("send %d has no outcome", last+1)
	case sent && s.failing:
		return "an earlier send failed"
	}
	s.failing = !sent
	return s.started()
}

func (s *rules) timer(t conn.TimerToken) string {
	if s.timers[t] || t == 0 {
		return "it came already, or never could"
	}
	if s.timers == nil {
		s.timers = make(map[conn.TimerToken]bool)
	}
	s.timers[t] = true
	return s.started()
}

func (s *rules) idle() string { return s.started() }

func (s *rules) close(c *conn.Conn, err error, others bool) string {
	s.over = "OnClosed"
	var closed *conn.CloseError
	n := c.Stats()
	switch {
	case err != nil && !errors.As(err, &closed):
		return fmt.Sprintf("the error is a %T", err)
	case c.State() != conn.StateClosed:
		return "the state is " + c.State().String()
	case n.Sent+n.Failed != n.Accepted:
		return fmt.Sprintf("of %d sends, %d were sent and %d failed", n.Accepted, n.Sent, n.Failed)
	case s.outcomes != n.Accepted && !others:
		return fmt.Sprintf("of %d sends, %d had an outcome", n.Accepted, s.outcomes)
	}
	return s.started()
}
