package clean_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/clean"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A session counts what begins with a letter as use, and answers it.
type session struct {
	conn.Defaults
	k         *clean.Cleaner
	processed int
	mine      conn.TimerToken
	timers    int // of the session's own
	events    []any
	err       error
	over      bool
}

func (s *session) OnConnected(c *conn.Conn) {
	s.mine = c.StartTimer(3 * time.Second)
	s.k.Start(c)
	s.k.Start(c) // once
}

func (s *session) OnReceived(c *conn.Conn, data []byte) error {
	if data[0] < 'a' || !s.k.Message(c) {
		return nil
	}
	s.processed++
	_, err := c.Send(data)
	return err
}

func (s *session) OnTimer(c *conn.Conn, t conn.TimerToken) {
	if !s.k.Timer(c, t) {
		s.timers++
	}
}

func (s *session) OnEvent(_ *conn.Conn, ev any) { s.events = append(s.events, ev) }

func (s *session) OnClosed(_ *conn.Conn, err error) { s.err, s.over = err, true }

func open(t *testing.T, p clean.Policy, cfg conn.Config) (*conntest.Rig, *session) {
	t.Helper()
	require.NoError(t, p.Validate())
	s := &session{k: p.New()}
	return conntest.New(s, cfg, conntest.Checked(t)), s
}

// closed asserts that the connection was closed in order, with this reason and no other.
func closed(t *testing.T, r *conntest.Rig, s *session, why error) {
	t.Helper()
	assert.True(t, r.FIN())
	assert.Equal(t, conn.StateClosing, r.Conn().State())
	assert.ErrorIs(t, s.k.Err(), why)
	var e *clean.CleanedError
	require.ErrorAs(t, s.k.Err(), &e)
	r.FeedEOF()
	assert.True(t, s.over)
	assert.NoError(t, s.err)
	assert.ErrorIs(t, s.k.Err(), why, "it can still be asked")
}

func TestLIV32_IdleIsWhatTheApplicationSays(t *testing.T) {
	layer, err := liveness.Framed(liveness.Config{Timeout: 4 * time.Second})
	require.NoError(t, err)
	r, s := open(t, clean.Policy{IdleAfter: 10 * time.Second}, conn.Config{Layers: []interceptor.Factory{layer}})
	hello := "\x01\x00\x00\x24FLM1\x01\x01\x00\x00\x00\x00\x00\x00\x00\x3d\x09\x00" + strings.Repeat("\x00", 8) + "12345678\x00\x00\x00\x00"
	r.Feed(hello)
	for range 10 {
		r.Advance(999 * time.Millisecond)
		r.Feed("\x00\x00\x00\x00")  // a peer that only keeps alive
		r.Feed("\x00\x00\x00\x01?") // and says what does not count
	}
	assert.NoError(t, s.k.Err())
	r.Advance(9 * time.Millisecond)
	assert.NoError(t, s.k.Err())
	r.Advance(time.Millisecond)
	assert.ErrorIs(t, s.k.Err(), clean.ErrIdle, "closed at 10 s")
	assert.Len(t, s.events, 1, "and nothing was told of the peer but its timings: %v", s.events)
	r.Feed("\x03\x00\x00\x02\x00\x00") // it says goodbye
	closed(t, r, s, clean.ErrIdle)
	assert.Equal(t, 1, s.timers, "the session's own timer is its own")
}

func TestLIV32_AMessagePutsItOff(t *testing.T) {
	r, s := open(t, clean.Policy{IdleAfter: 10 * time.Second}, conn.Config{})
	for range 100 {
		r.Advance(9999 * time.Millisecond)
		r.Feed("a")
	}
	assert.NoError(t, s.k.Err())
	assert.Equal(t, uint64(100), s.k.Messages())
	turns := r.Turns()
	r.Feed("b")
	assert.LessOrEqual(t, r.Turns()-turns, 2, "a message touches no timer")
	r.Advance(10*time.Second - 1)
	assert.NoError(t, s.k.Err())
	r.Advance(1)
	closed(t, r, s, clean.ErrIdle)
}

func TestLIV32_MaxMessages(t *testing.T) {
	r, s := open(t, clean.Policy{MaxMessages: 100}, conn.Config{})
	r.Wire()
	for i := range 100 {
		r.Feed("abc")
		assert.NoError(t, s.k.Err(), "message %d", i+1)
	}
	r.Feed("one too many")
	assert.Equal(t, 100, s.processed, "message 101 is not processed")
	r.Feed("nor what comes then")
	assert.Equal(t, 100, s.processed)
	assert.Equal(t, strings.Repeat("abc", 100), r.Wire(), "and all answers were sent")
	closed(t, r, s, clean.ErrMaxMessages)
}

func TestLIV32_MaxAgeUnderLoad(t *testing.T) {
	r, s := open(t, clean.Policy{MaxAge: time.Hour, IdleAfter: 10 * time.Second}, conn.Config{})
	for range 3599 {
		r.Advance(time.Second)
		r.Feed("work")
	}
	r.Advance(time.Second - 1)
	assert.NoError(t, s.k.Err())
	r.Allow(0)
	r.Feed("the last answer waits")
	r.Advance(1)
	assert.ErrorIs(t, s.k.Err(), clean.ErrMaxAge)
	assert.False(t, r.FIN(), "in order: first what was sent")
	r.Wire()
	r.Allow(-1)
	assert.Equal(t, "the last answer waits", r.Wire())
	closed(t, r, s, clean.ErrMaxAge)
}

func TestThePolicyThatIsOff(t *testing.T) {
	r, s := open(t, clean.Policy{}, conn.Config{})
	r.Advance(time.Minute)
	for range 1000 {
		r.Feed("a")
	}
	assert.True(t, r.Deadline().IsZero(), "no timer, either")
	assert.NoError(t, s.k.Err())
	assert.Nil(t, s.k.Err())
}

// Whoever comes first is the reason, and the only one.
func TestOneReason(t *testing.T) {
	r, s := open(t, clean.Policy{IdleAfter: time.Second, MaxAge: time.Second, MaxMessages: 1}, conn.Config{CloseTimeout: time.Minute})
	r.Feed("a")
	r.Feed("b")
	r.Advance(30 * time.Second)
	closed(t, r, s, clean.ErrMaxMessages)

	// Closed by somebody else, it is not the Cleaner's doing.
	r, s = open(t, clean.Policy{IdleAfter: time.Second}, conn.Config{})
	r.Do(func(c *conn.Conn) { c.Abort(errors.New("mine")) })
	r.Advance(time.Minute)
	assert.NoError(t, s.k.Err())
}

// A timer is never taken for the Cleaner's that is not; nor is one that no connection was given for.
func TestTimersOfOthers(t *testing.T) {
	k := clean.Policy{IdleAfter: time.Second}.New()
	r, _ := open(t, clean.Policy{}, conn.Config{})
	r.Do(func(c *conn.Conn) {
		assert.False(t, k.Timer(c, 0), "before Start it has none")
		assert.False(t, k.Timer(c, 7))
		c.Close()
		k.Start(c)
		assert.False(t, k.Timer(c, 0), "nor on a connection that is closing")
	})
}

func TestPoliciesThatCannotWork(t *testing.T) {
	err := clean.Policy{IdleAfter: -1, MaxAge: -time.Second}.Validate()
	assert.ErrorContains(t, err, "Policy.IdleAfter is -1ns")
	assert.ErrorContains(t, err, "Policy.MaxAge is -1s")
	r, s := open(t, clean.Policy{IdleAfter: math.MaxInt64, MaxAge: math.MaxInt64}, conn.Config{})
	r.Advance(100 * 365 * 24 * time.Hour)
	assert.NoError(t, s.k.Err(), "for ever is for ever")
}

func TestTextOfErrors(t *testing.T) {
	e := &clean.CleanedError{Err: clean.ErrIdle, Idle: time.Second, Age: time.Minute, Messages: 3}
	assert.Equal(t, "clean: idle for too long (idle for 1s, 1m0s old, 3 messages)", fmt.Sprint(e))
}
