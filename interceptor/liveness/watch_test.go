package liveness_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor/liveness"
)

// tw is the longest that the timer of RFC 3539 may take: Tw is 10 s, and drawn from 8 to 12.
const (
	twMean = 10 * s
	twMost = 12 * s
)

// A watched side has a Watchdog. Its peer sends messages: an answer to a probe begins with "A".
func watched(t *testing.T, cfg liveness.Config, opts ...any) *side {
	t.Helper()
	cfg.Timeout, cfg.Probe = twMean, func(dst []byte) []byte { return append(dst, "P"...) }
	e := open(t, made(t, liveness.Watchdog, cfg), opts...)
	e.rec.Return = func(_ *conn.Conn, data []byte) error {
		if data[0] == 'A' {
			e.layer().Answered()
		}
		return nil
	}
	return e
}

// expire lets the timer expire: whatever was drawn, once.
func (e *side) expire() {
	e.t.Helper()
	at := e.Deadline()
	require.False(e.t, at.IsZero(), "a timer")
	e.Advance(at.Sub(e.Now()))
}

// tells returns the events without their times.
func (e *side) tells() string {
	var names []string
	for _, told := range e.told {
		_, name, _ := strings.Cut(told, " ")
		name, _, _ = strings.Cut(name, " after")
		names = append(names, name)
	}
	e.told = nil
	return strings.Join(names, ", ")
}

// TestLIV31_TheTable is Appendix A of RFC 3539 for a connection that is there: from each state, with a probe out or not and
// with as many answers counted, each event; what is done, and the state that follows.
//
// SendWatchdog() is a probe on the wire, Failover() PeerSuspect, Failback() PeerUp, CloseConnection() PeerDown with the
// default verdict; SetWatchdog() shows in when the timer expires next.
func TestLIV31_TheTable(t *testing.T) {
	reopen := liveness.Config{Reopen: true}
	okay := func(*side) {}
	pendingOkay := func(e *side) { e.expire() }
	suspect := func(e *side) { e.expire(); e.expire() }
	answered := func(n int) func(*side) { // while reopening: n answers, and no probe out
		return func(e *side) {
			for i := range n {
				if i > 0 {
					e.expire() // sends the next probe
				}
				e.Feed("A")
			}
		}
	}
	minus := func(e *side) { e.expire() } // reopening: NumDWA is -1
	for _, row := range []struct {
		name  string
		cfg   liveness.Config
		begin func(*side)
		event func(*side)
		wire  string // what is sent
		told  string
		next  liveness.State
		sets  bool // SetWatchdog
	}{
		{"OKAY, receive DWA", liveness.Config{}, okay, feedA, "", "", liveness.StateUp, true},
		{"OKAY, receive DWA, Pending", liveness.Config{}, pendingOkay, feedA, "", "", liveness.StateUp, true},
		{"OKAY, receive non-DWA", liveness.Config{}, okay, feedB, "", "", liveness.StateUp, true},
		{"OKAY, receive non-DWA, Pending", liveness.Config{}, pendingOkay, feedB, "", "", liveness.StateUp, true},
		{"OKAY, timer, !Pending", liveness.Config{}, okay, timer, "P", "", liveness.StateUp, true},
		{"OKAY, timer, Pending", liveness.Config{}, pendingOkay, timer, "", "PeerSuspect", liveness.StateSuspect, true},
		{"SUSPECT, receive DWA", liveness.Config{}, suspect, feedA, "", "PeerUp", liveness.StateUp, true},
		{"SUSPECT, receive non-DWA", liveness.Config{}, suspect, feedB, "", "PeerUp", liveness.StateUp, true},
		{"SUSPECT, timer", liveness.Config{}, suspect, timer, "", "PeerDown", liveness.StateClosing, false},
		{"REOPEN, receive DWA, NumDWA 0", reopen, okay, feedA, "", "", liveness.StateReopening, false},
		{"REOPEN, receive DWA, NumDWA 1", reopen, answered(1), feedA, "", "", liveness.StateReopening, false},
		{"REOPEN, receive DWA, NumDWA 2", reopen, answered(2), feedA, "", "PeerUp", liveness.StateUp, false},
		{"REOPEN, receive DWA, NumDWA -1", reopen, minus, feedA, "", "", liveness.StateReopening, false},
		{"REOPEN, receive non-DWA", reopen, okay, feedB, "", "", liveness.StateReopening, false},
		{"REOPEN, timer, !Pending", reopen, answered(1), timer, "P", "", liveness.StateReopening, true},
		{"REOPEN, timer, Pending, NumDWA >= 0", reopen, okay, timer, "", "", liveness.StateReopening, true},
		{"REOPEN, timer, Pending, NumDWA < 0", reopen, minus, timer, "", "PeerDown", liveness.StateClosing, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range 30 { // Tw is drawn
				e := watched(t, row.cfg)
				if row.cfg.Reopen {
					require.Equal(t, "P", e.Wire(), "DOWN, connection up: SendWatchdog()")
				}
				row.begin(e)
				e.Wire()
				e.told = nil
				began := e.Now()
				e.Advance(s) // so that a timer that is set anew shows
				armed := e.Deadline()
				row.event(e)
				at := e.Now()
				wire, _, _ := strings.Cut(e.Wire(), "\x00")
				assert.Equal(t, row.wire, wire, "what is sent")
				assert.Equal(t, row.told, e.tells(), "what is told")
				e.state(row.next)
				if row.next == liveness.StateClosing {
					assert.True(t, e.FIN(), "CloseConnection()")
					return
				}
				// A message does not move the deadline; when it comes, what was set shows.
				next := e.expiry()
				if row.sets {
					assert.GreaterOrEqual(t, next.Sub(at), twMean-2*s, "SetWatchdog()")
					assert.LessOrEqual(t, next.Sub(at), twMost, "SetWatchdog()")
				} else {
					assert.Equal(t, armed, next, "no SetWatchdog() since %v", began)
				}
			}
		})
	}
}

func feedA(e *side) { e.Feed("A") }
func feedB(e *side) { e.Feed("B") }
func timer(e *side) { e.expire() }

// expiry finds out when the timer really expires: when something is sent or told.
func (e *side) expiry() time.Time {
	e.t.Helper()
	e.Wire()
	e.told = nil
	state := e.layer().Status().State
	for range 10 {
		at := e.Deadline()
		e.expire()
		if e.Wire() != "" || len(e.told) > 0 || e.layer().Status().State != state || state == liveness.StateReopening {
			return at
		}
	}
	require.Fail(e.t, "it does not expire")
	return time.Time{}
}

// Tw is drawn anew each time, from all of its range.
func TestTwIsDrawnAnew(t *testing.T) {
	var times []time.Duration
	for range 300 {
		e := watched(t, liveness.Config{})
		before := e.Now()
		for range 3 {
			e.expire()
			require.Equal(t, "P", e.Wire())
			times = append(times, e.Now().Sub(before).Round(100*ms))
			e.Feed("A")
			before = e.Now()
		}
	}
	seen := map[time.Duration]bool{}
	for _, d := range times {
		assert.GreaterOrEqual(t, d, twMean-2*s)
		assert.LessOrEqual(t, d, twMost)
		seen[d] = true
	}
	assert.Greater(t, len(seen), 35)
}

// There are never two probes out, whatever happens.
func TestNeverTwoProbes(t *testing.T) {
	e := watched(t, liveness.Config{OnDown: liveness.Keep()})
	e.Do(func(*conn.Conn) { assert.NoError(t, e.layer().Speak()) })
	assert.Equal(t, "P", e.Wire())
	for range 50 {
		e.Advance(700 * ms)
		e.Do(func(*conn.Conn) { assert.NoError(t, e.layer().Speak()) })
		e.Feed("B") // messages, but no answer
	}
	assert.Empty(t, e.Wire())
	e.Feed("A")
	e.Do(func(*conn.Conn) { assert.NoError(t, e.layer().Speak()) })
	assert.Equal(t, "P", e.Wire(), "an answer makes room for the next")
	e.Advance(h)
	assert.Empty(t, e.Wire())
	assert.Equal(t, "PeerSuspect, PeerDown", e.tells())
}

// A connection that is kept although it is down is okay with the next message.
func TestAWatchdogThatKeepsItsConnection(t *testing.T) {
	e := watched(t, liveness.Config{OnDown: liveness.KeepFor(m)})
	e.Advance(3 * twMost)
	assert.Equal(t, "PeerSuspect, PeerDown", e.tells())
	e.Advance(m)
	assert.Equal(t, "PeerDown 1", e.tells())
	e.Feed("A")
	assert.Equal(t, "PeerUp", e.tells())
	e.state(liveness.StateUp)
	e.Wire()
	e.Advance(twMost)
	assert.Equal(t, "P", e.Wire(), "and is watched as before")
}

// By default the connection is closed, as the RFC has it, with the reason.
func TestAWatchdogCloses(t *testing.T) {
	e := watched(t, liveness.Config{})
	e.Advance(3 * twMost)
	e.FeedEOF()
	require.True(t, e.Done())
	assert.ErrorIs(t, e.closed, liveness.ErrPeerDown)
}

// The rules about our own faults hold here, too.
func TestAWatchdogAndOurOwnFaults(t *testing.T) {
	t.Run("a stall", func(t *testing.T) {
		e := watched(t, liveness.Config{}, conntest.Manual())
		e.Settle()
		e.run(twMost)
		require.Equal(t, "P", e.Wire())
		e.Stall(5 * twMost)
		e.Settle()
		assert.Empty(t, e.tells(), "late: no failover yet")
		e.run(twMean/4 - 1)
		assert.Empty(t, e.tells(), "a quarter of Tw is given")
		e.run(1)
		assert.Equal(t, "PeerSuspect", e.tells())
		e.Stall(3 * s)
		e.Feed("A")
		e.Settle()
		assert.Equal(t, "PeerUp", e.tells())
	})
	t.Run("a stall, and the answer waits", func(t *testing.T) {
		e := watched(t, liveness.Config{}, conntest.Manual())
		e.Settle()
		e.run(twMost)
		e.Feed("A")
		e.Stall(5 * twMost)
		e.Settle()
		assert.Empty(t, e.tells())
	})
	t.Run("a sleep", func(t *testing.T) {
		e := watched(t, liveness.Config{})
		e.expire()
		e.Advance(twMean - 3*s)
		e.Slept(h)
		e.Advance(twMean/4 - 1)
		assert.Empty(t, e.tells())
		e.Advance(3 * s) // the longest Tw is over, and the next one is not
		assert.Equal(t, "PeerSuspect", e.tells())
	})
	t.Run("a pause", func(t *testing.T) {
		e := watched(t, liveness.Config{})
		e.expire()
		e.expire()
		assert.Equal(t, "PeerSuspect", e.tells())
		e.Do((*conn.Conn).Pause)
		e.Advance(h)
		assert.Empty(t, e.tells(), "nothing can be heard")
		e.Do((*conn.Conn).Resume)
		assert.Equal(t, "PeerUp", e.tells(), "it gets another chance")
		e.Advance(twMean - 2*s - 1)
		assert.Empty(t, e.tells(), "and a full Tw")
		e.Advance(2 * twMost)
		assert.Equal(t, "PeerSuspect, PeerDown", e.tells())
	})
	t.Run("a pause, and no probe out", func(t *testing.T) {
		e := watched(t, liveness.Config{})
		e.Do((*conn.Conn).Pause)
		e.Advance(h)
		assert.Empty(t, e.Wire(), "answers could not be heard")
		assert.Empty(t, e.tells())
		e.Do((*conn.Conn).Resume)
		e.Advance(twMost)
		assert.Equal(t, "P", e.Wire())
		assert.Empty(t, e.tells())
	})
	t.Run("a queue that does not move", func(t *testing.T) {
		e := watched(t, liveness.Config{}, with(func(cfg *conn.Config) { cfg.ReadWaits = conn.Off }))
		e.stuck(1000)
		e.Advance(2*twMost + s)
		assert.Equal(t, "PeerSuspect", e.tells(), "no probe could be sent, but what waits is as good")
		assert.Equal(t, 1000, e.Conn().Stats().Pending)
		e.Feed("B")
		assert.Equal(t, "PeerUp", e.tells())
		e.Allow(-1)
		e.Wire()
		e.Advance(twMost)
		assert.Equal(t, "P", e.Wire(), "nobody waits for the answer to a probe that was never sent")
	})
	t.Run("reading waits for writing", func(t *testing.T) {
		e := watched(t, liveness.Config{OnDown: liveness.Keep()}, with(func(cfg *conn.Config) { cfg.ReadWaits = conn.On }))
		e.stuck(waits)
		for range 20 {
			e.Advance(5 * s)
			e.Allow(1)
		}
		assert.Empty(t, e.tells(), "the system's progress counts")
		e.Advance(4 * twMost)
		assert.Equal(t, "PeerSuspect (writing stalled), PeerDown (writing stalled)", strings.Join(without(e.told), ", "))
		e.told = nil
		e.Allow(1)
		assert.Contains(t, e.tells(), "PeerUp")
	})
}

func without(told []string) (names []string) {
	for _, s := range told {
		_, name, _ := strings.Cut(s, " ")
		names = append(names, name)
	}
	return names
}

// A probe of one's own, for protocols whose answers come in order.
func TestProbesOfOnesOwn(t *testing.T) {
	n := 0
	own := func(dst []byte) []byte { n++; return fmt.Appendf(dst, "own %d", n) }
	e := watched(t, liveness.Config{Reopen: true}, onEvent(nil), sideOption(func(e *side, _ *conn.Config) {
		e.onConnected = func(*conn.Conn) { e.layer().SetProbe(own) }
	}))
	assert.Equal(t, "own 1", e.Wire(), "set in OnConnected, it is in time for the first")
	e.Do(func(*conn.Conn) { e.layer().SetProbe(nil) })
	e.Feed("A")
	e.expire()
	assert.Equal(t, "own 2", e.Wire(), "a Watchdog keeps what it has")

	p := open(t, passive(t, liveness.Config{Timeout: 4 * s}))
	p.Advance(2 * s)
	assert.Empty(t, p.Wire(), "no probe")
	p.Feed("x")
	p.Do(func(*conn.Conn) { p.layer().SetProbe(own) })
	p.Advance(s)
	assert.Equal(t, "own 3", p.Wire())
	p.Do(func(*conn.Conn) { p.layer().SetProbe(func(dst []byte) []byte { return dst }) })
	p.Advance(s)
	assert.Empty(t, p.Wire(), "one that has nothing to say now")
	p.Do(func(*conn.Conn) { p.layer().SetProbe(nil) })
	p.Advance(h)
	assert.Empty(t, p.Wire())
}

// Passive: nothing heard for T/Fraction brings a probe, at most Fraction-1 before PeerDown, then one for each T.
func TestPassiveProbes(t *testing.T) {
	for _, n := range []int{2, 4, 16} {
		e := open(t, passive(t, liveness.Config{Timeout: 16 * s, Fraction: n, Probe: ping}))
		step := 16 * s / time.Duration(n)
		e.Advance(3 * s / 2)
		e.Feed("x")
		e.Wire()
		for i := range n - 1 {
			e.Advance(step - 10*ms - 1)
			assert.Empty(t, e.Wire(), "probe %d is not early", i+1)
			e.Advance(10*ms + 1)
			assert.Equal(t, "PING\r\n", e.Wire(), "probe %d", i+1)
		}
		e.Advance(step - 1)
		assert.Empty(t, e.Wire(), "no more before PeerDown")
		e.Advance(1)
		assert.Equal(t, "PeerSuspect, PeerDown", e.tells())
		for range 3 {
			e.Advance(16*s - 1)
			assert.Empty(t, e.Wire())
			e.Advance(1)
			assert.Equal(t, "PING\r\n", e.Wire(), "afterwards one for each T, for the peer may have lost the others")
		}
		e.Feed("x")
		e.Advance(step)
		assert.Equal(t, "PING\r\n", e.Wire(), "and with life it begins anew")
	}
	e := open(t, passive(t, liveness.Config{Timeout: 16 * s, Probe: ping}))
	for range 100 {
		e.Advance(4*s - 11*ms)
		e.Feed("x")
	}
	assert.Empty(t, e.Wire(), "a peer that speaks is not asked")
	e = open(t, passive(t, liveness.Config{Timeout: 16 * s, Probe: ping, MinSpeak: 7 * s}))
	e.Advance(7*s - 11*ms)
	assert.Empty(t, e.Wire())
	e.Advance(9 * s)
	assert.Equal(t, "PING\r\nPING\r\n", e.Wire(), "MinSpeak is a floor here, too")
}
