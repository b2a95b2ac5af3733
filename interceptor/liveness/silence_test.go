package liveness_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor/liveness"
)

// both runs f with a framed layer whose peer has said hello, and with a passive one. T is as configured, and each has
// heard something at time 0. The framed peer needs no keepalives.
func both(t *testing.T, cfg liveness.Config, f func(t *testing.T, e *side, life string), opts ...any) {
	t.Run("framed", func(t *testing.T) {
		e := open(t, framed(t, cfg), opts...)
		e.Settle()
		e.Feed(hello(liveness.Never, 0))
		e.Settle() // it may be Manual
		e.Wire()
		e.calls()
		f(t, e, "\x00\x00\x00\x00")
	})
	t.Run("passive", func(t *testing.T) {
		e := open(t, passive(t, cfg), opts...)
		e.Settle()
		e.calls()
		f(t, e, "x")
	})
}

func TestLIV9_SilenceIsToldAndSoIsItsEnd(t *testing.T) {
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.Advance(500 * ms)
		e.Feed(life)
		e.Advance(749 * ms)
		e.state(liveness.StateUp)
		e.want("in time")
		e.Advance(ms)
		e.want("most of T is over", "1.25s PeerSuspect")
		e.state(liveness.StateSuspect)
		e.Advance(250*ms - 1)
		e.want("not early")
		e.Advance(1)
		e.want("T is over", "1.5s PeerDown")
		e.state(liveness.StateDown)
		e.Advance(2 * s)
		e.want("once")
		e.Feed(life)
		e.want("it speaks", "3.5s PeerUp after 2s")
		up := e.events[len(e.events)-1].(liveness.PeerUp)
		assert.Equal(t, 3*s, up.Silent)
		assert.Equal(t, e.began.Add(500*ms), up.LastHeard)
		e.state(liveness.StateUp)
		e.Advance(749 * ms)
		e.Feed(life)
		e.Advance(750 * ms)
		e.want("and everything begins anew", "4.999s PeerSuspect")
		e.Feed(life)
		e.state(liveness.StateUp)
		e.want("from Suspect to Up there is nothing to tell")
		st := e.layer().Status()
		assert.Equal(t, e.Now(), st.LastHeard)
		assert.Equal(t, s, st.Timeout)
	})
}

func TestSuspectAtOneIsNeverTold(t *testing.T) {
	both(t, liveness.Config{Timeout: s, Suspect: 1}, func(t *testing.T, e *side, life string) {
		e.Advance(s - 1)
		e.want("nothing")
		e.Advance(1)
		e.want("only this", "1s PeerDown")
	})
}

func TestSuspectAtAShareOfT(t *testing.T) {
	both(t, liveness.Config{Timeout: s, Suspect: 0.1}, func(t *testing.T, e *side, life string) {
		e.Advance(s)
		e.want("both", "100ms PeerSuspect", "1s PeerDown")
	})
}

// Rule 1: any byte is life, whatever it means; and so is what the application knows from elsewhere.
func TestAnyByteIsLife(t *testing.T) {
	e := open(t, framed(t, liveness.Config{Timeout: s}))
	e.Feed(hello(liveness.Never, 0))
	for _, b := range "\x00\x00\x00\x03abc\x00\x00\x00\x00" { // half a head, a byte of data
		e.Advance(700 * ms)
		e.Feed(string(b))
	}
	e.want("nothing")
	e.Advance(700 * ms)
	e.Do(func(*conn.Conn) { e.layer().Heard() })
	e.Advance(749 * ms)
	e.want("nothing")
	e.Advance(2 * s)
	e.told = nil
	e.Do(func(*conn.Conn) { e.layer().Heard() })
	assert.Contains(t, e.told[0], "PeerUp")
}

func TestLIV12_WhatWasReceivedIsDeliveredFirst(t *testing.T) {
	const size = 1 << 20
	for _, yields := range []bool{false, true} {
		both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
			data := strings.Repeat("0123456789abcdef", size/16)
			if life != "x" {
				data = "\x00\x10\x00\x00" + data
			}
			got, at := 0, -1
			e.rec.Return = func(_ *conn.Conn, p []byte) error {
				if got += len(p); yields {
					return conn.Yield
				}
				return nil
			}
			e.decide = func(_ *conn.Conn, ev any) {
				if _, ok := ev.(liveness.PeerDown); ok {
					at = got
				}
			}
			e.run(s - 1)
			e.want("suspect already", "750ms PeerSuspect")
			e.Stall(1) // T is over; but much came meanwhile, and lies unread
			e.Feed(data)
			e.run(s - 1)
			assert.Equal(t, -1, at, "what came is life")
			e.run(ms)
			assert.Equal(t, size, at, "all of it was delivered before PeerDown")
			e.want("and then silence counts", "1.75s PeerSuspect", "2s PeerDown")
		}, with(func(cfg *conn.Config) { cfg.Split = frame.Fixed(4096) }), conntest.Manual())
	}
}

func TestLIV13_KeepFor(t *testing.T) {
	keepFor := func(_ *conn.Conn, ev any) {
		if down, ok := ev.(liveness.PeerDown); ok {
			down.KeepFor(10 * m)
		}
	}
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.decide = keepFor
		e.Advance(10*m + s)
		e.want("down, and still", "750ms PeerSuspect", "1s PeerDown", "10m1s PeerDown 1")
		e.Advance(9 * m)
		e.Feed(life)
		e.want("it came back", "19m1s PeerUp after 19m0s")
		e.Advance(500 * ms)
		for range 200 {
			e.Feed(life)
			e.Advance(500 * ms)
		}
		e.want("no third one")
		assert.Equal(t, conn.StateConnected, e.Conn().State())
	})
	both(t, liveness.Config{Timeout: s, OnDown: liveness.KeepFor(10 * m)}, func(t *testing.T, e *side, life string) {
		e.Advance(30*m + s)
		e.want("the configuration says it, again and again", "750ms PeerSuspect", "1s PeerDown", "10m1s PeerDown 1",
			"20m1s PeerDown 2", "30m1s PeerDown 3")
	})
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.decide = func(_ *conn.Conn, ev any) {
			if down, ok := ev.(liveness.PeerDown); ok && down.Repeat == 0 {
				down.KeepFor(-1)
			}
		}
		e.Advance(2 * s)
		e.want("no time is a little time", "750ms PeerSuspect", "1s PeerDown", "1.01s PeerDown 1")
	})
}

// A decision is about the event that it was taken on. It may be taken later, and changed; but not once the event is
// history.
func TestADecisionMayComeLater(t *testing.T) {
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		var first liveness.PeerDown
		e.decide = func(_ *conn.Conn, ev any) {
			if down, ok := ev.(liveness.PeerDown); ok && first.Layer == nil {
				first = down
			}
		}
		e.Advance(2 * s)
		e.Do(func(*conn.Conn) { first.KeepFor(h) })
		e.Do(func(*conn.Conn) { first.KeepFor(3 * s) })
		e.Advance(3 * s)
		e.want("the last word counts", "750ms PeerSuspect", "1s PeerDown", "5s PeerDown 1")
		e.Do(func(*conn.Conn) { first.KeepFor(s) })
		e.Advance(h)
		e.want("the first one is history")
		e.Feed(life)
		e.Do(func(*conn.Conn) { first.KeepFor(ms) })
		e.Advance(10 * ms)
		e.want("up", "1h0m5s PeerUp after 1h0m4s")
	})
}

func TestLIV14_KeepIsKeep(t *testing.T) {
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Close()}, func(t *testing.T, e *side, life string) {
		e.decide = func(_ *conn.Conn, ev any) {
			if down, ok := ev.(liveness.PeerDown); ok {
				down.Keep()
			}
		}
		e.Advance(30 * day)
		e.want("one PeerDown", "750ms PeerSuspect", "1s PeerDown")
		assert.Equal(t, conn.StateConnected, e.Conn().State())
		assert.Less(t, e.Turns(), 20, "and no turns for nothing")
	})
}

func TestLIV15_AHandlerThatDecidesNothing(t *testing.T) {
	t.Run("Keep", func(t *testing.T) {
		both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
			e.Advance(10 * s)
			closed, _ := e.Closed()
			assert.False(t, closed)
			assert.Equal(t, conn.StateConnected, e.Conn().State())
		})
	})
	t.Run("Close", func(t *testing.T) {
		both(t, liveness.Config{Timeout: s, OnDown: liveness.Close()}, func(t *testing.T, e *side, life string) {
			e.send("last words")
			e.Wire()
			e.Advance(s)
			assert.True(t, e.FIN())
			assert.Equal(t, conn.StateClosing, e.Conn().State())
			if life != "x" {
				assert.Equal(t, "\x03\x00\x00\x02\x00\x00", e.Wire(), "with a goodbye")
			}
			e.Advance(5*s - 1)
			assert.False(t, e.Done())
			e.Advance(1)
			assert.True(t, e.Done(), "CloseTimeout")
			assertDown(t, e.closed, s)
			e.want("nothing after the end", "750ms PeerSuspect", "1s PeerDown")
		})
	})
	t.Run("Abort", func(t *testing.T) {
		both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
			e.Advance(s)
			_, reset := e.Closed()
			assert.True(t, reset)
			assertDown(t, e.closed, s)
		})
	})
}

func assertDown(t *testing.T, err error, timeout time.Duration) {
	t.Helper()
	assert.ErrorIs(t, err, liveness.ErrPeerDown)
	var end *conn.CloseError
	require.ErrorAs(t, err, &end)
	assert.Equal(t, conn.CauseLayer, end.Cause)
	var down *liveness.DownError
	require.ErrorAs(t, err, &down)
	assert.Equal(t, timeout, down.Limit)
}

// The handler's own Close and Abort decide, too.
func TestCloseAndAbortAreDecisions(t *testing.T) {
	for name, end := range map[string]func(c *conn.Conn, ev liveness.PeerDown){
		"Close": func(c *conn.Conn, _ liveness.PeerDown) { c.Close() },
		"Abort": func(c *conn.Conn, ev liveness.PeerDown) { c.Abort(ev.Err()) },
	} {
		both(t, liveness.Config{Timeout: s, OnDown: liveness.KeepFor(ms)}, func(t *testing.T, e *side, life string) {
			e.decide = func(c *conn.Conn, ev any) {
				if down, ok := ev.(liveness.PeerDown); ok {
					end(c, down)
				}
			}
			e.Advance(s)
			e.Advance(h)
			e.want(name+": nothing more is told", "750ms PeerSuspect", "1s PeerDown")
			require.True(t, e.Done())
			if name == "Abort" {
				assert.ErrorIs(t, e.closed, liveness.ErrPeerDown)
				var end *conn.CloseError
				require.ErrorAs(t, e.closed, &end)
				assert.Equal(t, conn.CauseAbort, end.Cause)
			} else {
				assert.NotErrorIs(t, e.closed, liveness.ErrPeerDown)
			}
		})
	}
}

// Closing, whoever asked for it, ends the watch.
func TestAConnectionThatClosesIsNotWatched(t *testing.T) {
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.Do((*conn.Conn).Close)
		e.state(liveness.StateClosing)
		e.Advance(4 * s)
		e.want("nothing")
		e.Advance(s)
		assert.True(t, e.Done())
	}, with(func(cfg *conn.Config) { cfg.CloseTimeout = 5 * s }))
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.Do((*conn.Conn).CloseWrite) // a half-close is no end: the peer is still heard, and judged
		e.state(liveness.StateUp)
		e.Advance(800 * ms)
		e.Do((*conn.Conn).Close)
		e.Advance(4 * s)
		e.want("from Close on nothing is judged", "750ms PeerSuspect")
	})
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.Do((*conn.Conn).CloseWrite)
		e.Wire()
		e.Advance(s)
		assert.Empty(t, e.Wire(), "and nothing is said")
		assertDown(t, e.closed, s)
	})
}

func TestLIV17_AByteBetweenPeerDownAndItsNotice(t *testing.T) {
	both(t, liveness.Config{Timeout: s, OnDown: liveness.Abort()}, func(t *testing.T, e *side, life string) {
		e.run(s - 1)
		e.want("suspect", "750ms PeerSuspect")
		e.Stall(1)
		e.Turn() // raises PeerDown
		e.state(liveness.StateDown)
		e.Feed(life)
		e.Settle()
		e.want("both are told, and nobody is cut off", "1s PeerDown", "1s PeerUp after 0s")
		assert.Equal(t, conn.StateConnected, e.Conn().State())
		e.run(s)
		assert.Equal(t, conn.StateClosed, e.Conn().State(), "the next time it is")
	}, conntest.Manual())
}

func TestAnErrorOfTheHandlerIsNotMistakenForLiveness(t *testing.T) {
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.Do(func(c *conn.Conn) { c.Abort(errors.New("mine")) })
		assert.NotErrorIs(t, e.closed, liveness.ErrPeerDown)
	})
}
