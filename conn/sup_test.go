package conn_test

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
	"github.com/galago-go/galago/interceptor"
)

// Of supervision, package conn sees a callback that panics and a turn that ends all the same; then turns without
// notices and reading while the owner is suspended; then an Abort with CauseHandler, or nothing: a restart exchanges the actor behind the same handler.

// panicking makes a scene in which the first of three frames panics, after a send.
func panicking(t *testing.T, layers ...string) *scene {
	s := newScene(t)
	s.once("OnReceived", func(c *conn.Conn) {
		s.send(c, "answer")
		panic("frame 1")
	})
	cfg := conn.Config{Split: frame.Fixed(4)}
	for _, name := range layers {
		cfg.Layers = append(cfg.Layers, s.layer(name, nil))
	}
	s.open(cfg, conntest.Manual())
	s.Settle()
	s.Feed("AAAABBBBCCCC")
	reads := s.Reads()
	require.PanicsWithValue(t, "frame 1", s.Turn)
	require.Equal(t, reads+1, s.Reads(), "the three came together")
	s.want("frame 1", "OnConnected", `OnReceived "AAAA"`)
	assert.Equal(t, "answer", s.Wire(), "the turn ended all the same")
	return s
}

func TestSUP4_ResumeAfterAPanic(t *testing.T) {
	for _, layers := range [][]string{nil, {"a", "b"}} {
		s := panicking(t, layers...)
		s.Settle()
		s.want("the same value goes on", "OnSent 1", `OnReceived "BBBB"`, `OnReceived "CCCC"`)
	}
}

func TestSUP1_AbortAfterAPanic(t *testing.T) {
	s := newScene(t)
	boom := errors.New("*PanicError")
	s.on("OnReceived", func(c *conn.Conn) {
		s.send(c, "one")
		s.send(c, "two")
		panic(boom)
	})
	s.open(conn.Config{}, conntest.Manual())
	s.Settle()
	s.Allow(0)
	s.Feed("x")
	assert.Panics(t, s.Turn)
	s.want("two sends are unsettled", "OnConnected", `OnReceived "x"`)
	require.Equal(t, 6, s.Conn().Stats().Pending)
	s.Do(func(*conn.Conn) { s.Driver().Abort(conn.CauseHandler, boom) })
	s.Settle()
	s.want("settled, then closed", "OnSendFailed 1", "OnSendFailed 2", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseHandler)
	assert.ErrorIs(t, s.ends.closed, boom)
	_, reset := s.Closed()
	assert.True(t, reset)
}

// panics is every callback and every method of a layer, and how to bring it about.
var panics = map[string]func(s *scene){
	"OnConnected":   func(s *scene) {},
	"OnReceived":    func(s *scene) { s.Feed("x") },
	"OnEOF":         func(s *scene) { s.FeedEOF() },
	"OnSent":        func(s *scene) { s.doSend("x") },
	"OnThrottled":   func(s *scene) { s.Allow(0); s.doSend(big(70_000)) },
	"OnUnthrottled": func(s *scene) { s.Allow(0); s.doSend(big(70_000)); s.Settle(); s.Allow(-1) },
	"OnSendFailed":  func(s *scene) { s.Allow(0); s.doSend("x"); s.Settle(); s.Reset() },
	"OnTimer": func(s *scene) {
		s.Do(func(c *conn.Conn) { c.StartTimer(time.Second) })
		s.Settle()
		s.Stall(time.Second)
	},
	"OnIdle": func(s *scene) {
		s.Do(func(c *conn.Conn) { c.SetIdleTimeout(time.Second) })
		s.Settle()
		s.Stall(time.Second)
	},
	"OnEvent":    func(s *scene) { s.layers[0].link.Post(func() error { s.layers[0].link.Raise("x"); return nil }) },
	"OnClosed":   func(s *scene) { s.Reset() },
	"Open":       func(s *scene) {},
	"Up":         func(s *scene) { s.Feed("x") },
	"EOF":        func(s *scene) { s.FeedEOF() },
	"Down":       func(s *scene) { s.doSend("x") },
	"CloseWrite": func(s *scene) { s.Do((*conn.Conn).Close) },
	"Wrote":      func(s *scene) { s.doSend("x") },
	"posted":     func(s *scene) { s.layers[0].link.Post(func() error { panic("posted") }) },
	"Expire": func(s *scene) {
		l := s.layers[0]
		l.link.Post(func() error { l.link.SetDeadline(l.link.Now().Add(time.Second)); return nil })
		s.Settle()
		s.Stall(time.Second)
	},
}

func TestSUP2_APanicAnywhere(t *testing.T) {
	for name, provoke := range panics {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			armed := true
			boom := func() {
				if armed {
					armed = false
					panic(name)
				}
			}
			s.once(name, func(*conn.Conn) { boom() })
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(l *sceneLayer) {
				switch name {
				case "Open":
					l.open = func(interceptor.Link) error { boom(); return nil }
				case "Up":
					l.up = func(interceptor.Link, []byte) error { boom(); return nil }
				case "EOF":
					l.eof = func(interceptor.Link) error { boom(); return nil }
				case "Down":
					l.down = func(interceptor.Link, [][]byte) error { boom(); return nil }
				case "CloseWrite":
					l.closeWrite = func(interceptor.Link) error { boom(); return nil }
				case "Wrote":
					l.onWrote = func(interceptor.Link, int, int) { boom() }
				case "Expire":
					l.expire = func(interceptor.Link, time.Time) error { boom(); return nil }
				}
			})}}, conntest.Manual())
			require.PanicsWithValue(t, name, func() {
				if name != "OnConnected" && name != "Open" {
					s.Settle()
				}
				provoke(s)
				s.Settle()
			})
			// The glue aborts in a turn of its own, then takes turns until the last callback.
			s.Do(func(*conn.Conn) { s.Driver().Abort(conn.CauseHandler, errEnough) })
			s.Settle()
			require.True(t, s.Done())
			last := s.all[len(s.all)-1]
			assert.True(t, strings.HasPrefix(last, "OnClosed") || strings.HasPrefix(last, "OnConnectFailed"), last)
			assert.Equal(t, 1, s.count("OnClosed")+s.count("OnConnectFailed"), "%q", s.all)
			s.nothingMore()
			s.Settle()
		})
	}
}

func TestSUP3_AFailureBeforeTheFirstTurn(t *testing.T) {
	s := openScene(t, conn.Config{}, conntest.Dialed(), conntest.Manual())
	s.Do(func(*conn.Conn) { s.Driver().Abort(conn.CauseHandler, errEnough) })
	s.Settle()
	s.want("once", "OnConnectFailed...")
	assert.ErrorIs(t, s.ends.failed, errEnough)
}

func TestSUP6_WhileTheOwnerIsSuspended(t *testing.T) {
	t.Run("nothing is delivered, and nothing is lost", func(t *testing.T) {
		s := openScene(t, conn.Config{Split: frame.Fixed(4)})
		s.skip()
		s.doSend("x")
		s.skip()
		s.Suspend(true)
		s.Feed("AAAA")
		s.Do(func(*conn.Conn) { s.all = append(s.all, "message 1") })
		s.Feed("BBBB")
		s.Do(func(*conn.Conn) { s.all = append(s.all, "message 2") })
		s.Advance(time.Second)
		s.want("a pause of 1 s")
		s.Suspend(false)
		s.want("then all, in order", `OnReceived "AAAA"`, "message 1", "message 2", `OnReceived "BBBB"`)
	})
	t.Run("a timer that fell due is told afterwards", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		s.Do(func(c *conn.Conn) { c.StartTimer(500 * time.Millisecond) })
		s.Suspend(true)
		s.Advance(time.Second)
		s.want("suspended", "OnConnected")
		s.Suspend(false)
		s.Turn() // whoever ends the pause takes a turn
		s.want("told", "OnTimer 1")
	})
	t.Run("a peer that resets", func(t *testing.T) {
		for _, paused := range []bool{false, true} {
			s := openScene(t, conn.Config{})
			s.Allow(0)
			s.Do(func(c *conn.Conn) {
				s.send(c, "unsettled")
				if paused {
					c.Pause()
				}
			})
			s.Suspend(true)
			s.Feed("unread")
			closed, _ := s.Closed()
			require.False(t, closed)
			s.Reset()
			closed, _ = s.Closed()
			assert.True(t, closed, "the descriptor is closed on time")
			s.want("the callbacks wait", "OnConnected")
			s.Suspend(false)
			s.want("then they come", "OnSendFailed 1", "OnClosed...")
			assertClosed(t, s.ends.closed, conn.CauseRead)
		}
	})
	t.Run("CloseTimeout", func(t *testing.T) {
		s := openScene(t, conn.Config{CloseTimeout: 300 * time.Millisecond})
		s.Do((*conn.Conn).Close)
		s.Suspend(true)
		s.Advance(299 * time.Millisecond)
		closed, _ := s.Closed()
		require.False(t, closed, "not early")
		s.Advance(time.Millisecond)
		closed, _ = s.Closed()
		assert.True(t, closed, "on time")
		s.Advance(700 * time.Millisecond)
		s.want("the callback waits", "OnConnected")
		s.Suspend(false)
		s.want("then it comes", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseTimeout)
	})
	t.Run("StartTimeout", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{StartTimeout: time.Second, Layers: []interceptor.Factory{s.layer("hello", hello)}})
		s.Suspend(true)
		s.Advance(time.Second)
		closed, _ := s.Closed()
		assert.True(t, closed, "on time")
		s.Suspend(false)
		s.want("then the callback", "OnConnectFailed...")
		connectError(t, s.ends.failed, conn.StageTimeout)
	})
	t.Run("what was sent before is written", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		s.Allow(2)
		s.doSend("hello")
		require.Equal(t, "he", s.Wire())
		s.Suspend(true)
		s.Allow(-1)
		assert.Equal(t, "llo", s.Wire())
		s.want("OnSent waits", "OnConnected")
		s.Suspend(false)
		s.want("then it comes", "OnSent 1")
	})
}

func TestSUP7_StoppingDeliversTheLastNoticesInItsOwnTurn(t *testing.T) {
	s := openScene(t, conn.Config{}, conntest.Manual())
	s.Settle()
	s.Allow(0)
	s.Do(func(c *conn.Conn) { s.send(c, "one"); s.send(c, "two") })
	s.Settle()
	s.Feed("unread")
	s.skip()
	d := s.Driver()
	d.Begin(s.Now(), s.Memory())
	d.Abort(conn.CauseAbort, errEnough)
	_, reset := s.Closed()
	require.True(t, reset)
	_, ok := d.Next()
	require.False(t, ok, "what Abort caused belongs to a later turn, or to another Begin")
	for !d.Done() {
		d.Begin(s.Now(), s.Memory())
		for n, ok := d.Next(); ok; n, ok = d.Next() {
			d.Deliver(n)
		}
	}
	d.End()
	s.want("as Abort does", "OnSendFailed 1", "OnSendFailed 2", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseAbort)
}
