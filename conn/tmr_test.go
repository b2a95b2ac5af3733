package conn_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
)

// clock writes down when, after the start of the scene, calls with this prefix come.
func (s *scene) clock(prefix string) *[]time.Duration {
	at := new([]time.Duration)
	var start time.Time
	s.on("OnConnected", func(*conn.Conn) { start = s.Now() })
	s.on(prefix, func(*conn.Conn) { *at = append(*at, s.Now().Sub(start)) })
	return at
}

// seconds makes a list of times.
func seconds(list ...float64) (at []time.Duration) {
	for _, s := range list {
		at = append(at, time.Duration(s*float64(time.Second)))
	}
	return at
}

func TestTMR1_ATimerIsOneShot(t *testing.T) {
	s := openScene(t, conn.Config{})
	s.skip()
	var token conn.TimerToken
	s.Do(func(c *conn.Conn) { token = c.StartTimer(2 * time.Second) })
	require.EqualValues(t, 1, token)
	s.Advance(1999 * time.Millisecond)
	s.want("not early")
	s.Advance(time.Millisecond)
	s.want("on time", "OnTimer 1")
	s.Advance(10 * time.Second)
	s.want("once")

	t.Run("one after the other", func(t *testing.T) {
		s := newScene(t)
		at := s.clock("OnTimer")
		var tokens []conn.TimerToken
		start := func(c *conn.Conn) { tokens = append(tokens, c.StartTimer(time.Second)) }
		s.on("OnConnected", start)
		s.on("OnTimer", start)
		s.open(conn.Config{})
		s.Advance(5500 * time.Millisecond)
		assert.Equal(t, seconds(1, 2, 3, 4, 5), *at)
		assert.Equal(t, []conn.TimerToken{1, 2, 3, 4, 5, 6}, tokens)
		s.want("each with a new token", "OnConnected", "OnTimer 1", "OnTimer 2", "OnTimer 3", "OnTimer 4", "OnTimer 5")
	})
}

func TestTMR2_AThousandTimers(t *testing.T) {
	s := openScene(t, conn.Config{})
	s.skip()
	order := rand.New(rand.NewPCG(1, 2)).Perm(1000)
	due := map[conn.TimerToken]int{}
	var want []string
	s.Do(func(c *conn.Conn) {
		byDue := make([]conn.TimerToken, 1000)
		for _, i := range order {
			token := c.StartTimer(time.Duration(i+1) * time.Millisecond)
			require.NotContains(t, due, token)
			due[token], byDue[i] = i, token
		}
		for i, token := range byDue {
			if i%2 == 0 {
				require.True(t, c.StopTimer(token))
			} else {
				want = append(want, fmt.Sprint("OnTimer ", token))
			}
		}
	})
	require.Len(t, want, 500)
	s.Stall(5 * time.Second)
	s.want("in order of due time", want...)
}

func TestTMR3_StopTimer(t *testing.T) {
	t.Run("before it is due", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		s.skip()
		var token, other conn.TimerToken
		s.Do(func(c *conn.Conn) {
			token = c.StartTimer(5 * time.Second)
			other = c.StartTimer(6 * time.Second)
		})
		s.Advance(4900 * time.Millisecond)
		s.Do(func(c *conn.Conn) {
			assert.True(t, c.StopTimer(token))
			assert.False(t, c.StopTimer(token), "stopped already")
			assert.False(t, c.StopTimer(99), "never issued")
			assert.False(t, c.StopTimer(0))
		})
		s.Advance(10 * time.Second)
		s.want("the other is not disturbed", fmt.Sprint("OnTimer ", other))
		s.Do(func(c *conn.Conn) { assert.False(t, c.StopTimer(other), "fired already") })
	})
	t.Run("while its notice waits", func(t *testing.T) {
		s := newScene(t)
		var second conn.TimerToken
		s.open(conn.Config{})
		s.once("OnTimer", func(c *conn.Conn) { assert.True(t, c.StopTimer(second), "it is due, and not told yet") })
		s.Do(func(c *conn.Conn) {
			c.StartTimer(time.Second)
			second = c.StartTimer(time.Second)
			c.StartTimer(2 * time.Second)
		})
		s.Stall(3 * time.Second)
		s.want("the stopped one is not told", "OnConnected", "OnTimer 1", "OnTimer 3")
	})
}

func TestTMR4_TrafficNeitherDelaysNorStopsATimer(t *testing.T) {
	holdups := map[string]func(s *scene){
		"traffic alone": func(*scene) {},
		"Pause":         func(s *scene) { s.Do((*conn.Conn).Pause) },
		"back-pressure": func(s *scene) {
			s.Allow(0)
			s.doSend(big(100_000))
			require.False(s.t, s.count("OnThrottled") == 0)
		},
	}
	for name, hold := range holdups {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			at := s.clock("OnTimer")
			s.on("OnConnected", func(c *conn.Conn) { c.StartTimer(3 * time.Second) })
			s.on("OnReceived", func(c *conn.Conn) { _, _ = c.Write([]byte("answer")) })
			s.open(conn.Config{})
			hold(s)
			for range 6 {
				s.Advance(400 * time.Millisecond)
				s.Feed("x")
			}
			require.Empty(t, *at)
			s.Advance(time.Hour)
			assert.Equal(t, seconds(3), *at)
			if name == "traffic alone" {
				assert.Equal(t, 6, s.count("OnReceived"))
				assert.Equal(t, strings.Repeat("answer", 6), s.Wire())
			}
		})
	}
}

func TestTMR5_TimersWhileClosing(t *testing.T) {
	arm := func(t *testing.T) *scene {
		s := openScene(t, conn.Config{CloseTimeout: 5 * time.Second})
		s.Do(func(c *conn.Conn) {
			c.StartTimer(2 * time.Second)
			c.StartTimer(6 * time.Second)
		})
		s.skip()
		return s
	}
	t.Run("Close", func(t *testing.T) {
		s := arm(t)
		s.Do(func(c *conn.Conn) {
			c.Close()
			assert.Zero(t, c.StartTimer(time.Second), "no new timers")
		})
		s.Advance(1999 * time.Millisecond)
		s.want("not yet")
		s.Advance(time.Millisecond)
		s.want("while closing", "OnTimer 1")
		s.Advance(2999 * time.Millisecond)
		s.want("not yet")
		s.Advance(time.Millisecond)
		s.want("at 5 s", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseTimeout)
		s.Advance(time.Minute)
		s.want("the last")
	})
	t.Run("Abort", func(t *testing.T) {
		s := arm(t)
		s.Advance(time.Second)
		s.Do(func(c *conn.Conn) { c.Abort(nil) })
		s.Advance(time.Minute)
		s.want("neither fires", "OnClosed...")
	})
	t.Run("Abort when one is due", func(t *testing.T) {
		s := openScene(t, conn.Config{}, conntest.Manual())
		s.Settle()
		s.Do(func(c *conn.Conn) { c.StartTimer(time.Second) })
		s.Settle()
		s.Stall(time.Second)
		s.Do(func(c *conn.Conn) {
			assert.True(t, s.Driver().Pending(), "the notice of the timer waits")
			c.Abort(nil)
		})
		s.Settle()
		s.want("its notice is dropped", "OnConnected", "OnClosed...")
	})
}

func TestTMR6_ActivityOnlyStoresATime(t *testing.T) {
	t.Run("without an idle timeout", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		require.True(t, s.Deadline().IsZero(), "no deadline to wait for")
		turns := s.Turns()
		s.Advance(24 * time.Hour)
		s.want("nothing", "OnConnected")
		assert.Equal(t, turns, s.Turns())
	})
	t.Run("100,000 deliveries", func(t *testing.T) {
		s := openScene(t, conn.Config{IdleTimeout: time.Minute})
		changes, last := 0, s.Deadline()
		require.False(t, last.IsZero())
		for range 100_000 {
			s.Advance(590 * time.Microsecond)
			s.Feed("x")
			if at := s.Deadline(); at != last {
				changes, last = changes+1, at
			}
		}
		require.Equal(t, 100_000, s.count("OnReceived"))
		assert.LessOrEqual(t, changes, 3)
		assert.Zero(t, s.count("OnIdle"))
		s.rec.Calls()
	})
}

func TestTMR7_IdleAgainAndAgain(t *testing.T) {
	s := newScene(t)
	s.rec.Stay = true
	at := s.clock("OnIdle")
	s.on("OnConnected", func(c *conn.Conn) { c.SetIdleTimeout(5 * time.Second) })
	s.open(conn.Config{})
	s.Allow(0) // so that a send in OnIdle moves no byte
	s.on("OnIdle", func(c *conn.Conn) { s.send(c, "still here") })
	s.Advance(16 * time.Second)
	assert.Equal(t, seconds(5, 10, 15), *at)
	assert.Equal(t, conn.StateConnected, s.Conn().State())
	s.Do(func(c *conn.Conn) { c.SetIdleTimeout(0) })
	s.Advance(time.Hour)
	assert.Len(t, *at, 3, "turned off")
	assert.True(t, s.Deadline().IsZero())
	s.Allow(-1)
	assert.Equal(t, strings.Repeat("still here", 3), s.Wire())
}

func TestTMR8_AByteEitherWayIsActivity(t *testing.T) {
	for name, move := range map[string]func(s *scene){
		"in":  func(s *scene) { s.Feed("x") },
		"out": func(s *scene) { s.doSend("x") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.rec.Stay = true
			at := s.clock("OnIdle")
			s.open(conn.Config{IdleTimeout: 5 * time.Second})
			for range 3 {
				move(s)
				s.Advance(2 * time.Second)
			}
			move(s)
			require.Empty(t, *at)
			s.Advance(6 * time.Second)
			assert.Equal(t, seconds(11), *at)
			assert.Equal(t, 4, s.count("OnReceived")+s.count("OnSent"))
		})
	}
}

func TestTMR9_OnlyBytesOnTheWireAreActivity(t *testing.T) {
	for _, paused := range []bool{false, true} {
		s := newScene(t)
		s.rec.Stay = true
		at := s.clock("OnIdle")
		s.open(conn.Config{IdleTimeout: time.Second})
		s.Allow(0)
		ran := 0
		for range 150 {
			s.Do(func(c *conn.Conn) {
				ran++
				if paused {
					c.Pause()
				}
				s.send(c, "x") // accepted, not written
			})
			s.Advance(10 * time.Millisecond)
		}
		assert.Equal(t, 150, ran)
		assert.Equal(t, seconds(1), *at, "paused: %v", paused)
	}
}

func TestTMR10_ADrainingQueueIsNotIdle(t *testing.T) {
	s := newScene(t)
	at := s.clock("OnIdle")
	s.open(conn.Config{IdleTimeout: time.Second})
	s.Allow(0)
	s.doSend(big(400_000))
	require.Equal(t, 400_000, s.Conn().Stats().Pending)
	for range 22 { // 19.8 s, and a bit
		s.Advance(900 * time.Millisecond)
		s.Allow(4_000)
	}
	s.Advance(200 * time.Millisecond)
	assert.Empty(t, *at)
	assert.Equal(t, 400_000-22*4_000, s.Conn().Stats().Pending)
	s.Advance(time.Second)
	assert.Len(t, *at, 1, "it would come if nothing moved")
}

func TestTMR11_IdleBeginsWithOnConnected(t *testing.T) {
	t.Run("a handshake of 3 s", func(t *testing.T) {
		s := newScene(t)
		s.rec.Stay = true
		at := s.clock("OnIdle")
		s.open(conn.Config{IdleTimeout: time.Second, Layers: []interceptor.Factory{s.layer("slow", func(l *sceneLayer) {
			l.open = func(l interceptor.Link) error { l.SetDeadline(l.Now().Add(3 * time.Second)); return nil }
			l.expire = func(l interceptor.Link, _ time.Time) error { l.Ready(); return nil }
		})}})
		s.Advance(2999 * time.Millisecond)
		s.want("no OnIdle before OnConnected")
		s.Advance(time.Millisecond)
		s.want("ready", "OnConnected")
		s.Advance(1500 * time.Millisecond)
		s.want("idle", "OnIdle")
		assert.Equal(t, seconds(1), *at)
	})
	t.Run("set before OnConnected", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("hello", hello)}})
		s.Do(func(c *conn.Conn) { c.SetIdleTimeout(time.Second) })
		s.Advance(5 * time.Second)
		s.want("not ready")
		s.Feed("OK")
		s.Advance(time.Second - 1)
		s.want("not early", "OnConnected")
		s.Advance(1)
		require.Equal(t, 1, s.count("OnIdle"))
	})
	t.Run("not after a Close in the callback before it", func(t *testing.T) {
		s := openScene(t, conn.Config{IdleTimeout: time.Second})
		s.on("OnTimer", (*conn.Conn).Close)
		s.Do(func(c *conn.Conn) { c.StartTimer(time.Second) })
		s.Advance(time.Second)
		s.want("both were due", "OnConnected", "OnTimer 1")
	})
	t.Run("not while closing", func(t *testing.T) {
		s := openScene(t, conn.Config{IdleTimeout: time.Second, CloseTimeout: 5 * time.Second})
		s.Do((*conn.Conn).Close)
		assert.Equal(t, s.Now().Add(5*time.Second), s.Deadline(), "nothing else is waited for")
		s.Advance(time.Minute)
		s.want("no OnIdle", "OnConnected", "OnClosed...")
	})
}

func TestTMR12_StartTimeout(t *testing.T) {
	cfg := func(s *scene, ready time.Duration) conn.Config {
		return conn.Config{StartTimeout: 2 * time.Second, Layers: []interceptor.Factory{s.layer("slow", func(l *sceneLayer) {
			l.open = func(l interceptor.Link) error {
				if ready > 0 {
					l.SetDeadline(l.Now().Add(ready))
				}
				return say(l, "hello")
			}
			l.expire = func(l interceptor.Link, _ time.Time) error { l.Ready(); return nil }
			l.up = func(l interceptor.Link, p []byte) error { return say(l, "and more") }
		})}}
	}
	t.Run("never ready", func(t *testing.T) {
		s := newScene(t)
		s.open(cfg(s, 0))
		for range 19 {
			s.Advance(100 * time.Millisecond)
			s.Feed("bytes moving")
		}
		s.Advance(99 * time.Millisecond)
		s.want("not early")
		assert.Equal(t, "hello"+strings.Repeat("and more", 19), s.Wire())
		s.Advance(time.Millisecond)
		s.want("at 2 s", "OnConnectFailed...")
		var failed *conn.ConnectError
		require.ErrorAs(t, s.ends.failed, &failed)
		assert.Equal(t, conn.StageTimeout, failed.Stage)
		assert.True(t, failed.Timeout())
		closed, _ := s.Closed()
		assert.True(t, closed)
	})
	t.Run("ready 1 ms earlier", func(t *testing.T) {
		s := newScene(t)
		s.open(cfg(s, 1999*time.Millisecond))
		s.Advance(time.Hour)
		s.want("no timeout later", "OnConnected")
		assert.Equal(t, conn.StateConnected, s.Conn().State())
	})
	t.Run("it counts from Dial", func(t *testing.T) {
		s := newScene(t)
		s.open(cfg(s, 0), conntest.Dialed())
		s.Connecting(1)
		s.Advance(1500 * time.Millisecond)
		s.Connected()
		require.Equal(t, conn.StateStarting, s.Conn().State())
		s.Advance(499 * time.Millisecond)
		s.want("not early", "OnEvent conn.Connecting{1}")
		s.Advance(time.Millisecond)
		s.want("at 2 s", "OnConnectFailed...")
	})
}

func TestTMR13_NoOverflow(t *testing.T) {
	s := openScene(t, conn.Config{})
	s.Advance(time.Hour) // so that now plus the longest duration does overflow
	s.Do(func(c *conn.Conn) {
		require.Positive(t, c.StartTimer(math.MaxInt64))
		c.SetIdleTimeout(math.MaxInt64)
	})
	assert.True(t, s.Deadline().IsZero(), "never")
	for range 10 {
		s.Advance(365 * 24 * time.Hour)
		s.Stall(time.Hour)
	}
	s.want("10 years", "OnConnected")
	all := slices.Clone(s.all)
	s.Feed("x")
	assert.Equal(t, append(all, `OnReceived "x"`), s.all)
}

// Now is an argument of the turn, not a clock: the same in all callbacks of one.
func TestNowIsTheTimeOfTheTurn(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{})
	began := s.Now()
	s.Advance(time.Hour)
	seen := 0
	s.on("OnReceived", func(c *conn.Conn) {
		seen++
		assert.Equal(t, began.Add(time.Hour), c.Now())
	})
	s.Feed("a", "b")
	assert.Equal(t, 2, seen)
	s.Advance(time.Minute)
	assert.Equal(t, began.Add(time.Hour), s.Conn().Now(), "between two turns it is the last one's")
	s.Do(func(c *conn.Conn) { assert.Equal(t, s.Now(), c.Now()) })
}
