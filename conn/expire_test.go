package conn_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// timedScene has one layer, which notes in the scene's calls what it hears and when its deadline is served.
func timedScene(t *testing.T, cfg conn.Config) (*scene, *sceneLayer) {
	s := newScene(t)
	cfg.Layers = []interceptor.Factory{s.layer("timed", func(a *sceneLayer) {
		a.up = func(l interceptor.Link, p []byte) error {
			s.all = append(s.all, fmt.Sprint("Up ", len(p)))
			return l.Up(p)
		}
		a.expire = func(interceptor.Link, time.Time) error {
			s.all = append(s.all, "Expire")
			return nil
		}
	})}
	s.open(cfg, conntest.Manual())
	s.Settle()
	s.want("connected", "OnConnected")
	return s, s.layers[0]
}

// due sets the layer's deadline to d from now.
func (s *scene) due(l *sceneLayer, d time.Duration) {
	l.link.Post(func() error { l.link.SetDeadline(l.link.Now().Add(d)); return nil })
	s.Settle()
}

func TestExpireComesAfterReading(t *testing.T) {
	t.Run("what there is to hear is heard first", func(t *testing.T) {
		s, l := timedScene(t, conn.Config{})
		s.due(l, time.Second)
		s.Stall(time.Second)
		s.Feed("heard")
		s.Turn()
		s.want("in one turn", "Up 5", `OnReceived "heard"`, "Expire")
	})
	t.Run("a turn later if the budget ran out", func(t *testing.T) {
		s, l := timedScene(t, conn.Config{})
		s.due(l, time.Second)
		s.Stall(time.Second)
		s.Feed(big(65_536 + 5))
		s.Turn()
		s.want("the budget ran out", "Up 65536", "OnReceived...")
		require.Equal(t, 5, s.Unread())
		s.Turn()
		s.want("the rest is heard first", "Up 5", "OnReceived...", "Expire")
	})
	t.Run("no more than a turn later", func(t *testing.T) {
		s, l := timedScene(t, conn.Config{})
		s.due(l, time.Second)
		s.Stall(time.Second)
		s.Feed(big(5 * 65_536))
		s.Turn()
		s.want("the budget ran out", "Up 65536", "OnReceived...")
		s.Turn()
		s.want("again, but it was put off once", "Up 65536", "OnReceived...", "Expire")
		require.Positive(t, s.Unread())
		s.Settle()
		assert.Len(t, l.expired, 1)
	})
	t.Run("a turn later if OnReceived yields", func(t *testing.T) {
		s, l := timedScene(t, conn.Config{Split: frame.Fixed(1)})
		s.rec.Return = func(*conn.Conn, []byte) error { return conn.Yield }
		s.due(l, time.Second)
		s.Stall(time.Second)
		s.Feed("ab")
		s.Turn()
		s.want("yielded", "Up 2", `OnReceived "a"`)
		s.Turn()
		s.want("then", `OnReceived "b"`, "Expire")
	})
	t.Run("at once while reading is held", func(t *testing.T) {
		s, l := timedScene(t, conn.Config{})
		s.Do((*conn.Conn).Pause)
		s.Settle()
		s.due(l, time.Second)
		s.Stall(time.Second)
		s.Feed(big(200_000))
		s.Turn()
		s.want("a pause does not stop it", "Expire")
	})
	t.Run("put off, and then reading is held", func(t *testing.T) {
		s, l := timedScene(t, conn.Config{})
		s.due(l, time.Second)
		s.Stall(time.Second)
		s.Feed(big(65_536 + 5))
		s.Do((*conn.Conn).Pause)
		s.Turn()
		s.want("put off", "Up 65536", "OnReceived...")
		s.Settle()
		s.want("not forgotten", "Expire")
	})
}

const year = 365*24*time.Hour + 6*time.Hour

func TestDeadlinesFromMillisecondsToYears(t *testing.T) {
	for _, d := range []time.Duration{
		1, time.Microsecond, time.Millisecond, 10 * time.Millisecond, time.Second, time.Minute, 48 * time.Hour,
		year, 10 * year, 100 * year, 290 * year,
	} {
		t.Run(d.String(), func(t *testing.T) {
			s := newScene(t)
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("timed", nil)}})
			s.Advance(time.Hour)
			l, at := s.layers[0], s.Now().Add(d)
			s.due(l, d)
			assert.Equal(t, at, s.Deadline())
			turns := s.Turns()
			s.Advance(d - 1)
			require.Empty(t, l.expired, "never early")
			assert.Equal(t, turns, s.Turns(), "and no turn is taken in vain")
			s.Advance(1)
			assert.Equal(t, []time.Time{at}, l.expired)
			s.Advance(year)
			assert.Len(t, l.expired, 1)
		})
	}
	for name, at := range map[string]func(now time.Time) time.Time{
		"the longest Duration": func(now time.Time) time.Time { return now.Add(math.MaxInt64) },
		"the year 9999":        func(time.Time) time.Time { return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("timed", nil)}})
			s.Advance(time.Hour)
			l := s.layers[0]
			s.inLayer(0, func(link interceptor.Link) error { link.SetDeadline(at(s.Now())); return nil })
			for range 10 {
				s.Advance(25 * year)
				s.Do(func(*conn.Conn) {})
			}
			assert.Empty(t, l.expired, "250 years later")
		})
	}
}

func TestALateDeadlineSaysHowLate(t *testing.T) {
	s := newScene(t)
	var late time.Duration
	var at time.Time
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("timed", func(a *sceneLayer) {
		a.expire = func(l interceptor.Link, now time.Time) error {
			late = now.Sub(at)
			assert.Equal(t, l.Now(), now)
			return nil
		}
	})}})
	at = s.Now().Add(time.Second)
	s.due(s.layers[0], time.Second)
	s.Stall(5 * time.Second)
	assert.Len(t, s.layers[0].expired, 1)
	assert.Equal(t, 4*time.Second, late)

	at = s.Now().Add(time.Second)
	s.due(s.layers[0], time.Second)
	s.Advance(5 * time.Second)
	assert.Zero(t, late, "in time")
}

// What is due already when it is set is served without waiting for anything else to happen.
func TestWhatIsDueAtOnceIsServed(t *testing.T) {
	t.Run("a timer of no time", func(t *testing.T) {
		start := func(c *conn.Conn) { require.NotZero(t, c.StartTimer(0)) }
		for where, happen := range map[string]func(s *scene){
			"OnReceived": func(s *scene) { s.Feed("x") },
			"OnSent":     func(s *scene) { s.doSend("x") },
			"a message":  func(s *scene) { s.Do(start) },
			"one ago":    func(s *scene) { s.Do(func(c *conn.Conn) { c.StartTimer(-time.Second) }) },
		} {
			s := newScene(t)
			s.once(where, start)
			s.open(conn.Config{})
			s.Advance(time.Hour)
			happen(s)
			assert.Equal(t, 1, s.count("OnTimer"), where)
		}
	})
	past := func(l interceptor.Link) { l.SetDeadline(l.Now().Add(-time.Minute)) }
	for name, k := range map[string]struct {
		setup func(a *sceneLayer)
		then  func(s *scene)
	}{
		"a deadline set in Open": {
			func(a *sceneLayer) { a.open = func(l interceptor.Link) error { past(l); l.Ready(); return nil } },
			func(*scene) {}},
		"a deadline set in Up": {
			func(a *sceneLayer) { a.up = func(l interceptor.Link, _ []byte) error { past(l); return nil } },
			func(s *scene) { s.Feed("x") }},
		"a deadline set in Down": {
			func(a *sceneLayer) {
				a.down = func(l interceptor.Link, bufs [][]byte) error { past(l); return l.Down(bufs) }
			},
			func(s *scene) { s.Allow(0); s.doSend("x") }},
		"a deadline set in Wrote": {
			func(a *sceneLayer) { a.onWrote = func(l interceptor.Link, _, _ int) { past(l) } },
			func(s *scene) { s.inLayer(0, func(l interceptor.Link) error { return say(l, "x") }) }},
		"a deadline set in CloseWrite": {
			func(a *sceneLayer) { a.closeWrite = func(l interceptor.Link) error { past(l); return nil } },
			func(s *scene) { s.Do((*conn.Conn).CloseWrite) }},
		"a deadline that was posted": {
			func(*sceneLayer) {},
			func(s *scene) { s.inLayer(0, func(l interceptor.Link) error { past(l); return nil }) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("timed", k.setup)}})
			s.Advance(time.Hour)
			k.then(s)
			assert.Len(t, s.layers[0].expired, 1)
		})
	}
	t.Run("a deadline set in Expire", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("timed", func(a *sceneLayer) {
			a.expire = func(l interceptor.Link, now time.Time) error {
				if len(a.expired) < 3 {
					l.SetDeadline(now)
				}
				return nil
			}
		})}})
		s.due(s.layers[0], time.Second)
		s.Advance(time.Second)
		assert.Len(t, s.layers[0].expired, 3)
	})
}

// A layer that had its last words hears nothing more; its deadline is no reason for turns.
func TestADeadlineOfALayerThatFailedMeansNothing(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{CloseTimeout: 5 * time.Second, Layers: []interceptor.Factory{s.layer("timed", func(a *sceneLayer) {
		a.up = func(l interceptor.Link, _ []byte) error {
			l.SetDeadline(l.Now().Add(time.Second))
			return errors.Join(say(l, "alert"), errPart)
		}
	})}})
	s.Feed("x")
	require.Equal(t, "alert", s.Wire())
	require.Equal(t, conn.StateClosing, s.Conn().State())
	turns := s.Turns()
	s.Advance(4 * time.Second)
	assert.Empty(t, s.layers[0].expired)
	assert.LessOrEqual(t, s.Turns(), turns+1)
	s.Advance(time.Second)
	assertClosed(t, s.ends.closed, conn.CauseLayer)
}

func TestADeadlineIsServedOnceAndNotAfterTheEnd(t *testing.T) {
	s, l := timedScene(t, conn.Config{})
	s.due(l, time.Second)
	s.Do(func(c *conn.Conn) { c.Abort(errors.New("over")) })
	s.Settle()
	s.Stall(time.Minute)
	s.Settle()
	s.want("over", "OnClosed...")
	assert.Empty(t, l.expired)
}
