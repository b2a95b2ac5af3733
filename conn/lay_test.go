package conn_test

import (
	"bytes"
	"errors"
	"fmt"
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

var errPart = errors.New("the layer gives up")

// Layers of different types, for Find.
type (
	layerA struct{ *sceneLayer }
	layerB struct{ *sceneLayer }
	layerC struct{ *sceneLayer }
	layerD struct{ *sceneLayer }
)

func TestLAY1_LayersInOrder(t *testing.T) {
	a := func(s *scene) interceptor.Interceptor {
		return layerA{s.layer("A", wrapper("<", ">"))().(*sceneLayer)}
	}
	b := func(s *scene) interceptor.Interceptor {
		return layerB{s.layer("B", wrapper("[", "]"))().(*sceneLayer)}
	}
	c := func(s *scene) interceptor.Interceptor {
		return layerC{s.layer("C", wrapper("{", "}"))().(*sceneLayer)}
	}
	type maker = func(*scene) interceptor.Interceptor
	stack := func(makers ...maker) maker {
		return func(s *scene) interceptor.Interceptor {
			chain := new(interceptor.Chain)
			for _, m := range makers {
				require.NoError(s.t, chain.Push(m(s)))
			}
			return chain
		}
	}
	for name, k := range map[string]struct {
		layers     []maker
		open, shut string
	}{
		"two":                {[]maker{a, b}, "<[", "]>"},
		"three, flat":        {[]maker{a, b, c}, "<[{", "}]>"},
		"two in a Chain":     {[]maker{a, stack(b, c)}, "<[{", "}]>"},
		"the others":         {[]maker{stack(a, b), c}, "<[{", "}]>"},
		"all in a Chain":     {[]maker{stack(a, b, c)}, "<[{", "}]>"},
		"a Chain in another": {[]maker{stack(a, stack(b, c))}, "<[{", "}]>"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			var cfg conn.Config
			for _, m := range k.layers {
				cfg.Layers = append(cfg.Layers, func() interceptor.Interceptor { return m(s) })
			}
			s.open(cfg)
			s.doSend("x")
			assert.Equal(t, k.open+"x"+k.shut, s.Wire())
			s.Feed(k.open + "y" + k.shut)
			s.want("both ways", "OnConnected", "OnSent 1", `OnReceived "y"`)

			chain := s.Conn().Layers()
			foundA, ok := interceptor.Find[layerA](chain)
			require.True(t, ok)
			assert.Same(t, s.layers[0], foundA.sceneLayer)
			foundB, ok := interceptor.Find[layerB](chain)
			require.True(t, ok)
			assert.Same(t, s.layers[1], foundB.sceneLayer)
			_, ok = interceptor.Find[layerC](chain)
			assert.Equal(t, name != "two", ok)
			_, ok = interceptor.Find[layerD](chain)
			assert.False(t, ok)
			s.Do(func(c *conn.Conn) { c.Abort(nil) })
		})
	}
}

func TestLAY2_LayersOpenOneAfterTheOther(t *testing.T) {
	s := newScene(t)
	opened, ready := map[string]int{}, map[string]int{} // name to turn
	slow := func(name, below string, calls int) interceptor.Factory {
		return s.layer(name, func(l *sceneLayer) {
			l.open = func(l interceptor.Link) error {
				opened[name] = s.Turns()
				if below != "" {
					assert.Contains(t, ready, below, "%s opens after %s is ready", name, below)
				}
				l.Post(func() error {
					ready[name] = s.Turns()
					for range calls {
						l.Ready()
					}
					return nil
				})
				return nil
			}
		})
	}
	s.open(conn.Config{Layers: []interceptor.Factory{slow("A", "", 1), slow("B", "A", 1), slow("C", "B", 3)}},
		conntest.Manual())
	s.Feed("early")
	for len(ready) < 3 {
		require.Less(t, s.Turns(), 20)
		s.Do(func(c *conn.Conn) {
			s.refused(c, conn.ErrNotReady)
			assert.Equal(t, conn.StateStarting, c.State())
		})
		s.Turn()
		s.want("nothing until C is ready")
	}
	assert.Greater(t, ready["A"], opened["A"])
	assert.Greater(t, ready["B"], opened["B"])
	assert.Greater(t, ready["C"], opened["C"])
	s.Settle()
	s.want("once, then data", "OnConnected", `OnReceived "early"`)
	assert.Greater(t, s.turnOf["OnConnected"], ready["C"])
	s.doSend("now")
	s.Settle()
	assert.Equal(t, "now", s.Wire())
}

// hello is a layer that sends HI and is ready when OK has come back.
func hello(s *sceneLayer) {
	got := ""
	s.open = func(l interceptor.Link) error { return say(l, "HI") }
	s.up = func(l interceptor.Link, p []byte) error {
		if len(got) >= 2 {
			return l.Up(p)
		}
		got += string(p)
		switch {
		case len(got) < 2:
			return nil
		case got[:2] != "OK":
			return fmt.Errorf("%w: %q is no greeting", errPart, got)
		}
		l.Ready()
		return l.Up([]byte(got[2:]))
	}
}

func TestLAY3_AHandshake(t *testing.T) {
	s := newScene(t)
	s.on("OnConnected", func(c *conn.Conn) { s.send(c, "data") })
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("hello", hello)}})
	require.Equal(t, "HI", s.Wire(), "before any answer")
	s.want("not ready")
	s.Feed("O")
	s.want("not ready")
	s.Feed("K")
	assert.Equal(t, "data", s.Wire())
	s.want("OK is not delivered", "OnConnected", "OnSent 1")
}

// scatter passes each Up on byte by byte, in the one call.
func scatter(s *sceneLayer) {
	s.up = func(l interceptor.Link, p []byte) error {
		for i := range p {
			if err := l.Up(p[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestLAY4_DeliveryObeysBetweenTwoFramesOfOneUp(t *testing.T) {
	prepare := func(t *testing.T) *scene {
		s := newScene(t)
		s.open(conn.Config{Split: frame.Fixed(1), Layers: []interceptor.Factory{s.layer("scatter", scatter)}},
			conntest.Manual())
		s.Settle()
		s.skip()
		return s
	}
	t.Run("Yield", func(t *testing.T) {
		s := prepare(t)
		s.rec.Return = func(_ *conn.Conn, data []byte) error {
			if string(data) == "a" {
				return conn.Yield
			}
			return nil
		}
		s.Feed("abc")
		s.Do(func(*conn.Conn) { s.all = append(s.all, "message") })
		reads := s.Reads()
		s.Settle()
		s.want("a message in between", `OnReceived "a"`, "message", `OnReceived "b"`, `OnReceived "c"`)
		assert.Equal(t, reads+1, s.Reads(), "without new bytes from the wire")
	})
	t.Run("Pause", func(t *testing.T) {
		s := prepare(t)
		s.once(`OnReceived "a"`, (*conn.Conn).Pause)
		s.Feed("abc")
		s.Settle()
		s.Feed("de")
		s.Settle()
		s.Advance(time.Minute)
		s.want("paused", `OnReceived "a"`)
		s.Do((*conn.Conn).Resume)
		s.Settle()
		s.want("in order", `OnReceived "b"`, `OnReceived "c"`, `OnReceived "d"`, `OnReceived "e"`)
	})
	t.Run("Close", func(t *testing.T) {
		s := prepare(t)
		s.once(`OnReceived "a"`, (*conn.Conn).Close)
		s.Feed("abc")
		s.Settle()
		s.want("the rest still comes", `OnReceived "a"`, `OnReceived "b"`, `OnReceived "c"`)
		s.FeedEOF()
		s.Settle()
		s.want("before the end", "OnEOF", "OnClosed")
	})
	t.Run("Abort", func(t *testing.T) {
		s := prepare(t)
		s.once(`OnReceived "a"`, func(c *conn.Conn) { c.Abort(nil) })
		s.Feed("abc")
		s.Settle()
		s.want("the rest never comes", `OnReceived "a"`, "OnClosed...")
	})
}

func TestLAY5_AFailingLayerWithoutLastWords(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{
		s.layer("below", nil),
		s.layer("failing", func(l *sceneLayer) {
			l.up = func(interceptor.Link, []byte) error { return errPart }
		}),
		s.layer("above", nil),
	}})
	s.Allow(2)
	s.Do(func(c *conn.Conn) { s.send(c, "one"); s.send(c, "two") })
	require.Equal(t, 4, s.Conn().Stats().Pending)
	s.Feed("x")
	s.want("over", "OnConnected", "OnSendFailed 1", "OnSendFailed 2", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseLayer)
	assert.ErrorIs(t, s.ends.closed, errPart)
	_, reset := s.Closed()
	assert.True(t, reset)
	for _, l := range s.layers {
		assert.Equal(t, 1, l.closes, l.name)
	}

	t.Run("Abort in OnReceived closes no layer that runs", func(t *testing.T) {
		s := newScene(t)
		s.on("OnReceived", func(c *conn.Conn) { c.Abort(nil) })
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil), s.layer("b", nil)}})
		s.Feed("x")
		s.want("over", "OnConnected", `OnReceived "x"`, "OnClosed...")
	})
	t.Run("Abort in a write that the layer hears of", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.onWrote = func(l interceptor.Link, _, _ int) {
				s.Conn().Abort(errEnough)
				l.Raise("too late")
				l.End(errPart)
			}
		})}})
		s.doSend("x")
		s.want("over", "OnConnected", "OnSent 1", "OnClosed...")
	})
}

func TestLAY6_AFailureBeforeReady(t *testing.T) {
	for name, setup := range map[string]func(l *sceneLayer){
		"Open": func(l *sceneLayer) { l.open = func(interceptor.Link) error { return errPart } },
		"Up": func(l *sceneLayer) {
			l.open = func(interceptor.Link) error { return nil }
			l.up = func(interceptor.Link, []byte) error { return errPart }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.open(conn.Config{Layers: []interceptor.Factory{
				s.layer("below", nil), s.layer("failing", setup), s.layer("above", nil),
			}}, conntest.Manual())
			s.Feed("some bytes")
			s.Do(func(c *conn.Conn) {
				_, err := c.Send([]byte("x"))
				assert.Error(t, err)
			})
			s.Settle()
			s.want("never connected", "OnConnectFailed...")
			var failed *conn.ConnectError
			require.ErrorAs(t, s.ends.failed, &failed)
			assert.Equal(t, conn.StageHandshake, failed.Stage)
			assert.ErrorIs(t, s.ends.failed, errPart)
			assert.Equal(t, "", s.Wire())
			assert.Empty(t, s.rec.Received())
			assert.False(t, s.layers[2].opened, "the layer above was never opened")
		})
	}
}

func TestLAY7_ADownThatFailsHalfWay(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("failing", func(l *sceneLayer) {
		l.down = func(l interceptor.Link, bufs [][]byte) error {
			p := bytes.Join(bufs, nil)
			if len(p) < 10 {
				return l.Down(bufs)
			}
			if err := l.Down([][]byte{p[:3]}); err != nil {
				return err
			}
			return errPart
		}
	})}})
	s.doSend("fine")
	s.want("a send before", "OnConnected", "OnSent 1")
	require.Equal(t, "fine", s.Wire())
	turn := 0
	s.Do(func(c *conn.Conn) {
		turn = s.Turns()
		token, err := c.Send([]byte("0123456789"))
		assert.Equal(t, conn.ErrNotConnected, err)
		assert.Zero(t, token)
		s.refused(c, conn.ErrNotConnected)
		assert.EqualValues(t, 1, c.Stats().Accepted, "no token is used")
	})
	s.want("no outcome for it", "OnClosed...")
	for call, at := range s.turnOf {
		if strings.HasPrefix(call, "OnClosed") {
			assert.Greater(t, at, turn)
		}
	}
	assertClosed(t, s.ends.closed, conn.CauseLayer)
	assert.ErrorIs(t, s.ends.closed, errPart)
}

func TestLAY8_OnSentCountsWireBytes(t *testing.T) {
	for _, chatty := range []bool{false, true} {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("double", func(l *sceneLayer) {
			l.down = func(l interceptor.Link, bufs [][]byte) error {
				var out []byte
				for _, b := range bytes.Join(bufs, nil) {
					out = append(out, b, b)
				}
				return l.Down([][]byte{out})
			}
			l.up = func(l interceptor.Link, p []byte) error { return say(l, strings.Repeat("p", 500)) }
		})}})
		s.Allow(0)
		s.doSend(big(100))
		require.Equal(t, 200, s.Conn().Stats().Pending)
		if chatty {
			s.Feed("x")
			require.Equal(t, 700, s.Conn().Stats().Pending)
		}
		s.Allow(199)
		s.want("one byte is missing", "OnConnected")
		turns := s.Turns()
		s.Allow(1)
		s.want("the 200th", "OnSent 1")
		assert.Greater(t, s.turnOf["OnSent 1"], turns+1, "in a later turn")
		if chatty {
			require.Equal(t, 500, s.Conn().Stats().Pending, "protocol bytes behind it are pending")
			s.Allow(300)
			s.Allow(-1)
		}
		l, sum := s.layers[0], 0
		for i, n := range l.wrote {
			sum += n
			total := 200
			if chatty {
				total = 700
			}
			assert.Equal(t, total-sum, l.pending[i])
		}
		assert.Equal(t, len(s.Wire()), sum, "the n add up")
	}
}
