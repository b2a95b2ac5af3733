package conn_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A heldBy is one of those who hold reading back, and how it lets go.
type heldBy struct {
	name          string
	hold, release func(s *scene)
}

// inLayer runs f as a method of layer i, and takes the turns that follow.
func (s *scene) inLayer(i int, f func(l interceptor.Link) error) {
	link := s.layers[i].link
	link.Post(func() error { return f(link) })
	s.Settle()
}

var (
	byPause = heldBy{"Pause",
		func(s *scene) { s.Do((*conn.Conn).Pause) },
		func(s *scene) { s.Do((*conn.Conn).Resume) }}
	byLayer = heldBy{"a layer",
		func(s *scene) { s.inLayer(0, func(l interceptor.Link) error { l.Hold(); return nil }) },
		func(s *scene) { s.inLayer(0, func(l interceptor.Link) error { l.Release(); return nil }) }}
	byWaits = heldBy{"ReadWaits",
		func(s *scene) { s.doSend(big(70_000)) },
		func(s *scene) { s.Allow(70_000 - 32_768) }}
	byOutput = heldBy{"the layers' output",
		func(s *scene) { s.inLayer(0, func(l interceptor.Link) error { return say(l, big(70_000)) }) },
		func(s *scene) { s.Allow(-1) }} // behind what byWaits sent
)

// orders returns all orders of list in which byOutput does not let go before byWaits: its bytes are behind.
func orders(list []heldBy) (all [][]heldBy) {
	if len(list) == 0 {
		return [][]heldBy{nil}
	}
	for i, first := range list {
		rest := append(append([]heldBy{}, list[:i]...), list[i+1:]...)
		for _, tail := range orders(rest) {
			order := append([]heldBy{first}, tail...)
			names := ""
			for _, h := range order {
				names += h.name
			}
			out, waits := strings.Index(names, byOutput.name), strings.Index(names, byWaits.name)
			if out < 0 || waits < 0 || waits < out {
				all = append(all, order)
			}
		}
	}
	return all
}

func TestReadingIsHeldByNamedHolders(t *testing.T) {
	everybody := []heldBy{byPause, byLayer, byWaits, byOutput}
	for set := range 1 << len(everybody) {
		var holders []heldBy
		for i, h := range everybody {
			if set&(1<<i) != 0 {
				holders = append(holders, h)
			}
		}
		for _, order := range orders(holders) {
			name := "nobody"
			if len(order) > 0 {
				name = ""
				for _, h := range order {
					name += h.name + ", "
				}
			}
			t.Run(name, func(t *testing.T) {
				s := newScene(t)
				s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil), s.layer("b", nil)}})
				s.Allow(0)
				for _, h := range holders {
					h.hold(s)
				}
				if len(holders) == 0 {
					s.Feed("data")
					assert.Equal(t, "data", s.rec.Received(), "it runs when nobody holds")
					assert.Empty(t, s.layers[0].reading)
					return
				}
				reads := s.Reads()
				s.Feed("data")
				for i, h := range order {
					assert.Zero(t, s.count("OnReceived"), "%v still hold", order[i:])
					assert.Equal(t, reads, s.Reads())
					assert.Equal(t, 4, s.Unread())
					for _, l := range s.layers {
						assert.Equal(t, []bool{true}, l.reading, "layer %s hears that reading is held, once", l.name)
					}
					h.release(s)
				}
				assert.Equal(t, "data", s.rec.Received(), "it runs when the last lets go")
				for _, l := range s.layers {
					assert.Equal(t, []bool{true, false}, l.reading, "layer %s hears that it runs again", l.name)
				}
			})
		}
	}
}

func TestHoldsOfLayers(t *testing.T) {
	prepare := func(t *testing.T) *scene {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil), s.layer("b", nil)}})
		return s
	}
	hold := func(l interceptor.Link) error { l.Hold(); return nil }
	release := func(l interceptor.Link) error { l.Release(); return nil }
	t.Run("each has its own", func(t *testing.T) {
		s := prepare(t)
		s.inLayer(0, hold)
		s.inLayer(1, hold)
		s.Feed("data")
		s.inLayer(0, release)
		s.inLayer(0, release)
		require.Zero(t, s.count("OnReceived"), "the other still holds")
		s.inLayer(1, release)
		assert.Equal(t, "data", s.rec.Received())
	})
	t.Run("they do not count", func(t *testing.T) {
		s := prepare(t)
		s.inLayer(0, hold)
		s.inLayer(0, hold)
		s.Feed("data")
		require.Zero(t, s.count("OnReceived"))
		s.inLayer(0, release)
		assert.Equal(t, "data", s.rec.Received())
	})
	t.Run("a hold acts between two frames of one Up", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.up = func(l interceptor.Link, p []byte) error {
				err := l.Up(p)
				l.Hold() // a worker must judge the message first
				return err
			}
		})}})
		s.Feed("message")
		s.want("held", "OnConnected")
		s.Feed("more")
		assert.Equal(t, 4, s.Unread())
		s.inLayer(0, release)
		s.want("one by one", `OnReceived "message"`)
		s.inLayer(0, release)
		s.want("one by one", `OnReceived "more"`)
	})
	t.Run("the peer's end is seen while a layer holds", func(t *testing.T) {
		s := prepare(t)
		s.inLayer(0, hold)
		s.FeedEOF()
		s.want("nothing is unread", "OnConnected", "OnEOF", "OnClosed")
	})
	t.Run("the peer's end waits for a layer that holds and is not ready", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.open = func(l interceptor.Link) error { return nil }
			a.up = func(l interceptor.Link, p []byte) error { l.Hold(); return l.Up(p) } // a worker looks at it
		})}})
		s.Feed("hello")
		s.FeedEOF()
		s.want("a worker may still find that all is well")
		s.inLayer(0, func(l interceptor.Link) error { l.Ready(); return nil })
		s.want("ready, and held", "OnConnected")
		s.inLayer(0, release)
		s.want("and now the end", `OnReceived "hello"`, "OnEOF", "OnClosed")
	})
	t.Run("a layer that lets go and is not ready gets the peer's end", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.open = func(l interceptor.Link) error { l.Hold(); return nil }
		})}})
		s.FeedEOF()
		s.want("held")
		s.inLayer(0, release)
		s.want("released", "OnConnectFailed conn: connect 198.51.100.7:49152: handshake: ...")
	})
	t.Run("nor does it wait for ever", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.open = func(l interceptor.Link) error { l.Hold(); return nil }
		})}, StartTimeout: time.Second})
		s.FeedEOF()
		s.Advance(time.Second)
		s.want("StartTimeout", "OnConnectFailed conn: connect 198.51.100.7:49152: timeout: ...")
	})
	t.Run("a reset does not wait for a layer that holds and is not ready", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.open = func(l interceptor.Link) error { l.Hold(); return nil }
		})}})
		s.Reset()
		s.want("reset", "OnConnectFailed conn: connect 198.51.100.7:49152: handshake: ...")
	})
	t.Run("held in Open", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.open = func(l interceptor.Link) error { l.Hold(); l.Ready(); return nil }
		})}})
		s.Feed("data")
		s.want("connected, and held", "OnConnected")
		assert.Equal(t, []bool{true}, s.layers[0].reading)
		s.inLayer(0, release)
		s.want("released", `OnReceived "data"`)
	})
	t.Run("a layer that is pushed while reading is held", func(t *testing.T) {
		s := prepare(t)
		s.Do(func(c *conn.Conn) {
			c.Pause()
			require.NoError(t, c.Upgrade(s.layer("new", nil)))
		})
		s.want("upgraded", "OnConnected", "OnEvent conn.Upgraded")
		fresh := s.layers[2]
		require.NotEmpty(t, fresh.reading)
		assert.True(t, fresh.reading[len(fresh.reading)-1], "it knows that reading is held")
		s.Do((*conn.Conn).Resume)
		assert.False(t, fresh.reading[len(fresh.reading)-1])
	})
}

// The layers' own output holds reading back only beyond HighWater, and lets go at HighWater: there is no LowWater.
func TestOwnOutputHoldsBeyondHighWater(t *testing.T) {
	for _, n := range []int{65_536, 65_537} {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}})
		s.Allow(0)
		s.inLayer(0, func(l interceptor.Link) error { return say(l, big(n)) })
		s.Feed("data")
		assert.Equal(t, n <= 65_536, s.count("OnReceived") == 1, "%d bytes", n)
		assert.True(t, s.Conn().IsWriteable() || s.count("OnThrottled") == 0, "a layer's output never throttles sends")
		s.Allow(n - 65_536)
		assert.Equal(t, 1, s.count("OnReceived"), fmt.Sprint(n))
	}
}

// IsWriteable is the one question: if it says yes, a Send of MaxPending bytes is accepted.
func TestHowMuchMayBeSentIsOneCheapQuestion(t *testing.T) {
	s := openScene(t, conn.Config{MaxPending: 100_000})
	s.Allow(0)
	s.doSend(big(65_536)) // exactly HighWater
	s.Do(func(c *conn.Conn) {
		assert.True(t, c.IsWriteable())
		assert.Zero(t, testing.AllocsPerRun(100, func() { c.IsWriteable() }))
		s.send(c, big(100_000))
		assert.False(t, c.IsWriteable())
		s.refused(c, conn.ErrNotWriteable)
	})
	assert.Equal(t, 165_536, s.Conn().Stats().Pending)
}
