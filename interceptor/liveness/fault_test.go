package liveness_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor/liveness"
)

// Rule 2: what waits in the system is heard before anybody is judged.
func TestLIV10_AStoppedProcessReadsBeforeItJudges(t *testing.T) {
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.run(200 * ms)
		for range 12 { // the peer goes on while we are stopped
			e.Feed(life)
			e.Stall(250 * ms)
		}
		e.Settle()
		e.want("nobody was down, not even for a moment")
		e.state(liveness.StateUp)
		e.run(s - 1)
		e.want("from then on silence counts", "3.95s PeerSuspect")
		e.run(1)
		e.want("to the end", "4.2s PeerDown")
	}, conntest.Manual())
}

// Where more is ready than a loop learns of at once, bytes may lie unread although a turn takes place. It is known that
// they do, and waited for them; but not for ever.
func TestBytesThatLieUnreadAreWaitedFor(t *testing.T) {
	k := newLink(t, passive(t, liveness.Config{Timeout: 6400 * ms}))
	k.unread = 7
	k.pass(4800 * ms)
	assert.Empty(t, k.events(), "suspicion waits, too")
	k.pass(500 * ms)
	require.NoError(t, k.layer.Up(k, []byte("7 bytes")))
	k.unread = 0
	k.pass(4799 * ms)
	assert.Empty(t, k.events())

	// They never come up: perhaps they are the half of a record, which the layer below keeps.
	k.unread = 7
	k.pass(h)
	assert.Len(t, k.events(), 2, "suspect and down")
	down := k.layer.Status()
	assert.Equal(t, liveness.StateDown, down.State)

	// KeepFor looks, too.
	k = newLink(t, passive(t, liveness.Config{Timeout: s, OnDown: liveness.KeepFor(10 * s)}))
	k.pass(s)
	assert.Len(t, k.events(), 2)
	k.unread = 1
	k.pass(10*s + 100*ms)
	assert.Empty(t, k.events(), "still down? that is not known yet")
	k.unread = 0
	k.pass(100 * ms)
	assert.Len(t, k.events(), 1)
}

// Rule 3: what is served late is no measure of the peer. It gets a quarter of T more, once.
func TestLIV10_OwnStalls(t *testing.T) {
	for _, test := range []struct {
		name  string
		stall time.Duration // from 700 ms on
		want  []string      // what is told within the next two seconds, without a word of the peer
	}{
		{"not late", 50 * ms, []string{"750ms PeerSuspect", "1s PeerDown"}},
		{"a little late", 50*ms + s/8, []string{"875ms PeerSuspect", "1s PeerDown"}},
		{"late for suspicion", 50*ms + s/8 + 1, []string{"875.000001ms PeerSuspect (local stall)", "1.125000001s PeerDown"}},
		{"late for all", 3 * s, []string{"3.7s PeerSuspect (local stall)", "3.95s PeerDown"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
				e.run(700 * ms)
				e.Stall(test.stall)
				e.Settle()
				e.run(2 * s)
				for i, want := range test.want {
					// The nanosecond after a tie is of no interest.
					assert.Contains(t, []string{want, roundTold(want)}, roundTold(e.told[i]), "event %d", i)
				}
				assert.Len(t, e.told, len(test.want))
			}, conntest.Manual())
		})
	}
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.run(900 * ms)
		e.Stall(600 * ms)
		e.Settle()
		e.want("late for T, already suspect", "750ms PeerSuspect")
		e.Stall(300 * ms) // again: the peer does not get it twice
		e.Settle()
		e.want("once in a silence", "1.8s PeerDown")
		e.Feed(life)
		e.Settle()
		e.want("up", "1.8s PeerUp after 0s")
		e.run(900 * ms)
		e.Stall(600 * ms)
		e.Settle()
		e.want("but in each silence", "2.55s PeerSuspect")
		e.Feed(life)
		e.Settle()
		e.state(liveness.StateUp)
	}, conntest.Manual())
	both(t, liveness.Config{Timeout: s, Suspect: 1}, func(t *testing.T, e *side, life string) {
		e.Stall(3 * s)
		e.Settle()
		e.want("who wants to hear of no suspicion does not")
		e.run(250 * ms)
		e.want("then it is down", "3.25s PeerDown")
	}, conntest.Manual())
}

func roundTold(told string) string {
	var d time.Duration
	for i, c := range told {
		if c == ' ' {
			d, _ = time.ParseDuration(told[:i])
			return d.Round(us).String() + told[i:]
		}
	}
	return told
}

// The least that a stall is, and the least that is given for one.
func TestStallsOfShortTimeouts(t *testing.T) {
	both(t, liveness.Config{Timeout: 10 * ms}, func(t *testing.T, e *side, life string) {
		e.Stall(7500*us + 5*ms)
		e.Settle()
		e.want("5 ms late is not late", "12.5ms PeerSuspect", "12.5ms PeerDown")
		e.Feed(life)
		e.Settle()
		e.told = nil
		e.Stall(7500*us + 5*ms + 1)
		e.Settle()
		e.run(20*ms - 1)
		e.want("more is", "25.000001ms PeerSuspect (local stall)")
		e.run(1)
		e.want("20 ms are given", "45.000001ms PeerDown")
	}, conntest.Manual())
}

// After a stall we speak at once: the peer has not heard us, either.
func TestAfterAStallWeSpeakAtOnce(t *testing.T) {
	e := open(t, framed(t, liveness.Config{Timeout: s}), conntest.Manual())
	e.Settle()
	e.Feed(hello(h, 0)) // it does not need it soon
	e.Settle()
	e.Wire()
	e.Stall(3 * s)
	e.Settle()
	assert.Equal(t, "\x00\x00\x00\x00", e.Wire())

	e = open(t, framed(t, liveness.Config{Timeout: s, MinSpeak: 10 * s}), conntest.Manual())
	e.Settle()
	e.Feed(hello(h, 0))
	e.Settle()
	e.Wire()
	e.Stall(3 * s)
	e.Settle()
	assert.Empty(t, e.Wire(), "but not more often than MinSpeak")

	e = open(t, passive(t, liveness.Config{Timeout: s, Probe: ping}), conntest.Manual())
	e.Settle()
	e.Stall(3 * s)
	e.Settle()
	assert.Equal(t, "PING\r\n", e.Wire(), "one probe, not one for each that was missed")
}

// Rule 7: a sleep of the machine counts like a stall, though the clock did not move.
func TestLIV23_TheMachineSleeps(t *testing.T) {
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.Advance(700 * ms)
		e.Slept(h)
		e.Advance(240 * ms)
		e.want("not even suspect")
		e.Feed(life) // within a quarter of T
		e.Advance(700 * ms)
		e.want("nothing")
		e.Advance(50 * ms)
		e.want("then silence counts as before", "1.69s PeerSuspect")
		e.Advance(200 * ms)
		e.Slept(h) // it is suspect already
		e.Advance(250*ms - 1)
		e.want("it gets its time")
		e.Advance(1)
		e.want("and no more", "2.14s PeerDown")
	})
	e := open(t, framed(t, liveness.Config{Timeout: h}))
	e.Feed(hello(h, 0))
	e.Wire()
	e.Slept(h)
	assert.Equal(t, "\x00\x00\x00\x00", e.Wire(), "and the peer hears us at once")
	e = open(t, framed(t, liveness.Config{Timeout: h}))
	e.Wire()
	e.Slept(h)
	assert.Empty(t, e.Wire(), "but not while it has not said hello")
	e = open(t, passive(t, liveness.Config{Timeout: liveness.Never}))
	e.Slept(h)
	e.Do(func(*conn.Conn) { assert.NoError(t, e.layer().SetTimeout(s)) })
	e.Advance(s)
	e.want("what was given without a limit does not outlive that", "750ms PeerSuspect", "1s PeerDown")
}

// Rule 7: the wall clock does not matter. (Times of a Rig have no monotonic reading; so these are real ones.)
func TestLIV23_TheWallClockIsSet(t *testing.T) {
	k := &fakeLink{t: t, layer: passive(t, liveness.Config{Timeout: s})().(*liveness.Layer), now: time.Now()}
	require.NoError(t, k.layer.Open(k))
	assert.True(t, k.deadline.Equal(k.now.Add(750*ms)))
	assert.NotEqual(t, k.deadline, k.deadline.Round(0), "deadlines keep the monotonic reading")
	k.pass(600 * ms)
	require.NoError(t, k.layer.Up(k, []byte("x")))
	assert.Equal(t, k.now, k.layer.Status().LastHeard)
	assert.NotEqual(t, k.layer.Status().LastHeard, k.layer.Status().LastHeard.Round(0), "and so does what is measured")
}

// Rule 4 (a): a paused reader hears nothing, and knows it.
func TestLIV18_APausedReaderDoesNotJudge(t *testing.T) {
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.Advance(900 * ms)
		e.want("suspect before the pause", "750ms PeerSuspect")
		e.Do((*conn.Conn).Pause)
		assert.True(t, e.layer().Status().Held)
		for range 40 {
			e.Advance(250 * ms)
			e.Feed(life) // it goes on, but is not heard
		}
		e.want("nothing")
		e.Do((*conn.Conn).Resume)
		assert.False(t, e.layer().Status().Held)
		e.state(liveness.StateUp)
		e.Advance(749 * ms)
		e.want("a full T begins")
		e.Advance(251 * ms)
		e.want("then it is over", "11.65s PeerSuspect", "11.9s PeerDown")
	})
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.Do((*conn.Conn).Pause) // nothing came, and nothing will
		e.Advance(10 * s)
		e.want("nothing")
		e.Do((*conn.Conn).Resume)
		e.Advance(s)
		e.want("a full T after Resume", "10.75s PeerSuspect", "11s PeerDown")
		e.Do((*conn.Conn).Pause)
		e.Advance(10 * s)
		e.want("down is down")
		e.Feed(life)
		e.want("it is not heard")
		e.Do((*conn.Conn).Resume)
		e.want("now it is", "21s PeerUp after 10s")
	})
}

// A connection that was kept for a time and is paused when that is over is judged a full T after Resume.
func TestAPauseWhileKeptForATime(t *testing.T) {
	both(t, liveness.Config{Timeout: s, OnDown: liveness.KeepFor(2 * s)}, func(t *testing.T, e *side, life string) {
		e.Advance(s)
		e.Do((*conn.Conn).Pause)
		e.Advance(5 * s)
		e.want("down", "750ms PeerSuspect", "1s PeerDown")
		e.Do((*conn.Conn).Resume)
		e.Advance(s)
		e.want("still", "7s PeerDown 1")
	})
}

// stuck makes a side whose peer reads nothing: the system takes nothing more, and n bytes wait.
func (e *side) stuck(n int) {
	e.t.Helper()
	e.Allow(0)
	e.Do(func(c *conn.Conn) {
		_, err := c.Send(make([]byte, n))
		assert.NoError(e.t, err)
	})
}

const waits = 256 << 10

// Rule 4 (b): while reading waits for writing, the peer cannot be heard. Then the system's progress counts.
func TestLIV19_ReadingWaitsForWritingAndTheHostIsDead(t *testing.T) {
	on := with(func(cfg *conn.Config) { cfg.ReadWaits = conn.On })
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.Advance(100 * ms)
		e.stuck(waits)
		require.True(t, e.layer().Status().Held)
		e.Advance(s)
		e.want("T after the system took something last", "850ms PeerSuspect (writing stalled)", "1.1s PeerDown (writing stalled)")
		e.Allow(1) // it lives
		e.want("the system's progress shows it", "1.1s PeerUp after 0s (writing stalled)")
		e.Advance(500 * ms)
		e.Allow(1)
		e.Advance(740 * ms)
		e.want("each step counts")
		e.Advance(10 * ms)
		e.Allow(1)
		e.state(liveness.StateUp)
		e.want("also for one who is suspect", "2.35s PeerSuspect (writing stalled)")
	}, on)
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.stuck(waits)
		for range 40 {
			e.Advance(250 * ms)
			e.Feed(life) // it waits unread, but it comes
		}
		assert.Positive(t, e.Unread())
		e.want("more bytes that wait are a sign, too")
		e.Advance(2 * s)
		assert.Len(t, e.told, 2, "until they come no more: %q", e.told)
		e.Allow(-1)
		e.told = nil
		e.state(liveness.StateUp)
		e.Advance(999 * ms)
		e.Feed(life)
		e.told = nil
		e.Advance(s)
		assert.Len(t, e.told, 2, "from then on the peer is heard again: %q", e.told)
		assert.NotContains(t, e.told[1], "stalled")
	}, on)
	// A pause with bytes that wait is the same.
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.Do((*conn.Conn).Pause)
		e.Advance(10 * s)
		e.want("nothing waits: nothing is known")
		e.stuck(10)
		e.Advance(s)
		e.want("now it is", "10.75s PeerSuspect (writing stalled)", "11s PeerDown (writing stalled)")
	})
	// Nobody suspects, and no look was taken before T: then T is counted from the first look.
	both(t, liveness.Config{Timeout: s, Suspect: 1}, func(t *testing.T, e *side, life string) {
		e.stuck(waits)
		e.Advance(s)
		e.want("in time", "1s PeerDown (writing stalled)")
	}, on)
}

// Rule 5: a peer that speaks but does not read is alive. Nothing is added to what waits.
func TestLIV20_APeerThatSpeaksButDoesNotRead(t *testing.T) {
	for _, f := range []formCase{forms[0], {"Passive", liveness.Passive, ping}} {
		t.Run(f.name, func(t *testing.T) {
			maker, err := f.make(liveness.Config{Timeout: 4 * s, Probe: f.probe})
			require.NoError(t, err)
			e := open(t, maker, with(func(cfg *conn.Config) { cfg.ReadWaits = conn.Off }))
			life := "x"
			if f.probe == nil {
				e.Feed(hello(4*s, 0))
				life = "\x00\x00\x00\x00"
			}
			e.Advance(500 * ms)
			e.Wire()
			e.stuck(waits)
			pending := e.Conn().Stats().Pending
			for range 16 {
				e.Advance(s)
				e.Feed(life)
				assert.Equal(t, pending, e.Conn().Stats().Pending, "no keepalive is added to the queue")
			}
			e.want("once", "4.5s PeerSuspect (writing stalled)")
			e.state(liveness.StateUp)
			assert.True(t, e.layer().Status().Stalled)
			assert.False(t, e.layer().Status().Held)

			e.Allow(1000)
			assert.False(t, e.layer().Status().Stalled, "until the system takes something")
			for range 3 {
				e.Advance(s)
				e.Feed(life)
			}
			e.want("it moved")
			e.Advance(s)
			e.want("stuck again", "20.5s PeerSuspect (writing stalled)")

			e.Allow(-1)
			e.Wire()
			assert.Zero(t, e.Conn().Stats().Pending)
			e.Feed(life)
			e.Advance(3 * s)
			want := "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
			if f.probe != nil {
				want = "PING\r\nPING\r\nPING\r\n"
			}
			assert.Equal(t, want, e.Wire(), "then it speaks as before")
		})
	}
}

// A turn that is late judges nobody for what may be written in this very turn.
func TestAStallAndBytesThatWait(t *testing.T) {
	e := open(t, passive(t, liveness.Config{Timeout: s}), with(func(cfg *conn.Config) { cfg.ReadWaits = conn.Off }), conntest.Manual())
	e.Settle()
	e.stuck(1000)
	e.Settle()
	e.Feed("x")
	e.Settle()
	e.Stall(5 * s) // the peer went on, and read everything
	e.Feed("x")
	e.Allow(-1)
	e.Settle()
	e.run(700 * ms)
	e.want("nothing was stuck")
}

// While bytes wait, the peer is silent, too: that is silence.
func TestSilenceAndAQueueThatDoesNotMove(t *testing.T) {
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.stuck(1000)
		e.Advance(2 * s)
		e.want("silence", "750ms PeerSuspect", "1s PeerDown")
		e.Allow(1)
		e.want("the system takes bytes for a process that hangs, too")
		e.Feed(life)
		e.want("a word is a word", "2s PeerUp after 1s")
	}, with(func(cfg *conn.Config) { cfg.ReadWaits = conn.Off }))
}

func TestLIV11_ABlockedLoopDoesNotJudge(t *testing.T) {
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.run(500 * ms)
		e.Stall(2 * s) // another's callback blocked the loop
		for range 8 {
			e.Feed(life)
		}
		e.Settle()
		e.run(700 * ms)
		e.want("nothing")
	}, conntest.Manual())
}
