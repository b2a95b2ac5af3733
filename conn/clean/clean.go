package clean

import (
	"errors"
	"fmt"
	"time"

	"github.com/galago-go/galago/conn"
)

// A Policy says when a connection is no longer wanted. A limit that is zero is off; the zero Policy never closes.
type Policy struct {
	IdleAfter   time.Duration // without a message that counts
	MaxAge      time.Duration // from Start
	MaxMessages uint64        // this many are processed; the next one closes
}

// Validate returns an error that names each value that cannot work. New takes what is below zero for off.
func (p Policy) Validate() error {
	var errs []error
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"IdleAfter", p.IdleAfter}, {"MaxAge", p.MaxAge}} {
		if f.d < 0 {
			errs = append(errs, fmt.Errorf("clean: Policy.%s is %v: it must be 0 (off) or a positive duration", f.name, f.d))
		}
	}
	return errors.Join(errs...)
}

// New makes the Cleaner of one connection.
func (p Policy) New() *Cleaner { return &Cleaner{policy: p} }

// A Cleaner applies a [Policy] to one connection. Its methods belong into the connection's callbacks, but for Err.
type Cleaner struct {
	policy   Policy
	began    time.Time
	used     time.Time // the last message that counts, or began
	messages uint64
	timer    conn.TimerToken // 0: none
	err      *CleanedError
}

// Start begins to count, from OnConnected. A second call does nothing.
func (k *Cleaner) Start(c *conn.Conn) {
	if k.began.IsZero() {
		k.began = c.Now()
		k.used = k.began
		k.arm(c)
	}
}

// Message is to be called from OnReceived, for every message that counts as use. If it returns false, the message is one
// too many, or came after the connection was closed: it must not be processed.
func (k *Cleaner) Message(c *conn.Conn) bool {
	switch {
	case k.err != nil:
		return false
	case k.policy.MaxMessages > 0 && k.messages == k.policy.MaxMessages:
		k.close(c, ErrMaxMessages)
		return false
	}
	k.messages++
	k.used = c.Now()
	return true
}

// Timer is to be called from OnTimer. It returns true if the timer was the Cleaner's.
func (k *Cleaner) Timer(c *conn.Conn, t conn.TimerToken) bool {
	if t == 0 || t != k.timer {
		return false
	}
	k.timer = 0
	now, p := c.Now(), &k.policy
	switch {
	case k.err != nil:
	case p.MaxAge > 0 && now.Sub(k.began) >= p.MaxAge:
		k.close(c, ErrMaxAge)
	case p.IdleAfter > 0 && now.Sub(k.used) >= p.IdleAfter:
		k.close(c, ErrIdle)
	default:
		k.arm(c)
	}
	return true
}

// Err returns why the Cleaner closed the connection, a [*CleanedError]; nil if it did not.
func (k *Cleaner) Err() error {
	if k.err == nil {
		return nil
	}
	return k.err
}

// Messages returns how many messages were let through.
func (k *Cleaner) Messages() uint64 { return k.messages }

// arm starts the timer for what may come first. Messages move the idle limit without touching it.
func (k *Cleaner) arm(c *conn.Conn) {
	now, first := c.Now(), time.Duration(-1)
	for _, left := range []struct{ limit, since time.Duration }{
		{k.policy.MaxAge, now.Sub(k.began)}, {k.policy.IdleAfter, now.Sub(k.used)},
	} {
		if d := left.limit - left.since; left.limit > 0 && (first < 0 || d < first) {
			first = max(d, 0)
		}
	}
	if first >= 0 {
		k.timer = c.StartTimer(first)
	}
}

func (k *Cleaner) close(c *conn.Conn, why error) {
	k.err = &CleanedError{Err: why, Idle: c.Now().Sub(k.used), Age: c.Now().Sub(k.began), Messages: k.messages}
	c.Close()
}

// Why a connection was closed.
var (
	ErrIdle        = errors.New("clean: idle for too long")
	ErrMaxMessages = errors.New("clean: too many messages")
	ErrMaxAge      = errors.New("clean: too old")
)

// A CleanedError says why a [Cleaner] closed a connection, and what the connection had done by then.
type CleanedError struct {
	Err       error // ErrIdle, ErrMaxMessages or ErrMaxAge
	Idle, Age time.Duration
	Messages  uint64
}

// Error names the reason.
func (e *CleanedError) Error() string {
	return fmt.Sprintf("%v (idle for %v, %v old, %d messages)", e.Err, e.Idle, e.Age, e.Messages)
}

// Unwrap returns e.Err.
func (e *CleanedError) Unwrap() error { return e.Err }
