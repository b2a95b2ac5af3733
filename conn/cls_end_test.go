package conn_test

import (
	"fmt"
	"math/rand/v2"
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

func TestCLS17_OnClosedComesInALaterTurn(t *testing.T) {
	t.Run("than Abort", func(t *testing.T) {
		s := newScene(t)
		returned, turn := false, 0
		s.once("OnReceived", func(c *conn.Conn) {
			c.Abort(errEnough)
			returned, turn = true, s.Turns()
		})
		s.on("OnClosed", func(*conn.Conn) {
			assert.True(t, returned, "OnClosed came inside Abort")
			assert.Greater(t, s.Turns(), turn)
		})
		s.open(conn.Config{})
		s.Feed("data")
		s.want("aborted", "OnConnected", `OnReceived "data"`, "OnClosed...")
	})
	t.Run("a send that completes with the close comes first", func(t *testing.T) {
		s := openScene(t, conn.Config{}, conntest.Manual())
		s.Settle()
		s.rec.Stay = true
		s.FeedEOF()
		s.Settle()
		s.want("the peer has ended", "OnConnected", "OnEOF")
		s.Do(func(c *conn.Conn) {
			s.send(c, "last")
			c.Close()
		})
		s.Turn()
		closed, _ := s.Closed()
		require.True(t, closed, "the send and the close finish in one turn")
		s.want("neither is told in it")
		s.Turn()
		s.want("in order", "OnSent 1", "OnClosed")
		assert.Equal(t, "last", s.Wire())
	})
}

func TestCLS18_NothingComesAfterOnClosed(t *testing.T) {
	ends := map[string]func(s *scene){
		"Abort": func(s *scene) { s.Do(func(c *conn.Conn) { c.Abort(nil) }) },
		"reset": func(s *scene) { s.Reset() },
		"close": func(s *scene) {
			s.FeedEOF()
			s.Allow(-1)
			s.Do(func(c *conn.Conn) { c.Resume(); c.Close() })
		},
		"close timed out": func(s *scene) {
			s.Do((*conn.Conn).Close)
			s.Settle()
			s.Stall(6 * time.Second)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.open(conn.Config{
				Split:  frame.Fixed(4),
				Layers: []interceptor.Factory{s.layer("a", nil)},
			}, conntest.Manual())
			s.Settle()
			s.Allow(4)
			s.Feed("AAAABB")
			s.Do(func(c *conn.Conn) {
				s.send(c, "part of it")
				c.StartTimer(time.Second)
				c.StartTimer(time.Hour)
				c.SetIdleTimeout(2 * time.Second)
				c.Pause()
			})
			s.Settle()
			s.Feed("unread")
			require.Positive(t, s.Unread(), "data is unread")
			for range 3 {
				s.layers[0].link.Post(func() error { s.layers[0].link.Raise("queued"); return nil })
				s.Do(func(c *conn.Conn) { c.Resume(); c.Close() })
			}
			end(s)
			s.Settle()
			require.True(t, s.Done())
			assert.Equal(t, 1, s.count("OnClosed"))
			assert.Contains(t, s.all[len(s.all)-1], "OnClosed")
			s.nothingMore()
			s.Settle()
		})
	}
}

func TestCLS19_CloseAndAbortBeforeALayerIsReady(t *testing.T) {
	for _, abort := range []bool{false, true} {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("slow", func(l *sceneLayer) {
			l.open = func(l interceptor.Link) error { return say(l, "hello") }
		})}})
		require.Equal(t, conn.StateStarting, s.Conn().State())
		require.Equal(t, "hello", s.Wire(), "the handshake is on its way")
		s.Do(func(c *conn.Conn) {
			if abort {
				c.Abort(errEnough)
			} else {
				c.Close()
			}
		})
		s.want("at once", "OnConnectFailed...")
		var failed *conn.ConnectError
		require.ErrorAs(t, s.ends.failed, &failed)
		assert.Equal(t, conn.StageClosed, failed.Stage)
		assert.Contains(t, s.all[0], "closed by us")
		assert.False(t, failed.Timeout())
		if abort {
			assert.ErrorIs(t, s.ends.failed, errEnough)
		}
		assert.Equal(t, 1, s.layers[0].closes)
		assert.Equal(t, "", s.Wire())
	}
	t.Run("ready, but not told yet", func(t *testing.T) {
		for _, abort := range []bool{false, true} {
			s := newScene(t)
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("hello", hello)}}, conntest.Manual())
			s.Settle()
			s.Feed("OK")
			s.Do(func(c *conn.Conn) {
				require.True(t, s.Driver().Pending(), "OnConnected is due")
				if abort {
					c.Abort(errEnough)
				} else {
					c.Close()
				}
			})
			s.Settle()
			s.want("never both", "OnConnectFailed...")
		}
	})
}

func TestCLS20_PartingBytesBeforeFIN(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("polite", func(l *sceneLayer) {
		l.closeWrite = func(l interceptor.Link) error { return say(l, "parting") }
	})}})
	s.Allow(0)
	s.Do(func(c *conn.Conn) {
		s.send(c, "one")
		s.send(c, "two")
		s.send(c, "three")
		c.Close()
	})
	require.Equal(t, 18, s.Conn().Stats().Pending)
	s.want("nothing was taken", "OnConnected")
	wire := ""
	for _, step := range []struct {
		written string
		settled int // sends end at 3, 6 and 11 bytes
	}{{"onetw", 1}, {"othre", 2}, {"epart", 3}, {"ing", 3}} {
		require.False(t, s.FIN(), "FIN after %q", wire)
		s.Allow(5)
		got := s.Wire()
		assert.Equal(t, step.written, got)
		wire += got
		assert.Equal(t, step.settled, s.count("OnSent"), "after %q", wire)
	}
	assert.Equal(t, "onetwothreeparting", wire)
	assert.True(t, s.FIN())
	s.FeedEOF()
	s.want("the parting bytes are part of no token", append(sents(1, 3), "OnEOF", "OnClosed")...)
	stats := s.Conn().Stats()
	assert.EqualValues(t, 18, stats.BytesWritten)
	assert.EqualValues(t, 3, stats.Accepted)
}

// A stranger of CLS21 is one of the connections that share a Memory. Its stream carries its own number.
type stranger struct {
	*scene
	number string // 8 bytes, the frame that it gets and sends; no other number is a rotation of it
	frames int    // got until it ends itself
}

func TestCLS21_NoConnectionSeesAnothersBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 21))
	memory := new(conn.Memory)
	var live []*stranger
	dial := func(n int) *stranger {
		g := &stranger{scene: newScene(t), number: fmt.Sprintf("#%07d", n)}
		limit := 1 + random.IntN(12)
		g.on("OnReceived", func(c *conn.Conn) {
			if g.frames++; g.frames < limit {
				if c.IsWriteable() {
					_, _ = c.Write([]byte(strings.Repeat(g.number, 1+random.IntN(2000))))
				}
				return
			}
			if n%2 == 0 {
				c.Close()
			} else {
				c.Abort(nil)
			}
		})
		g.open(conn.Config{Split: frame.Fixed(8)}, conntest.Shared(memory))
		g.Allow(0)
		return g
	}
	opened, most := 0, 0
	for opened < 1000 || len(live) > 0 {
		if opened < 1000 && len(live) < 20 {
			live = append(live, dial(opened))
			opened++
			continue
		}
		i := random.IntN(len(live))
		g := live[i]
		before := g.frames
		stream := strings.Repeat(g.number, 3)
		cut := random.IntN(8)
		g.Feed(stream[:16+cut])
		g.Feed(stream[16+cut:])
		g.Allow(random.IntN(9000))
		most = max(most, memory.InUse())
		require.Equal(t, strings.Repeat(g.number, g.frames-before), g.rec.Received())
		for wire := g.Wire(); len(wire) >= 8; wire = wire[8:] {
			require.Contains(t, g.number+g.number, wire[:8], "what is written may begin anywhere in the number")
		}
		if g.Conn().State() == conn.StateClosing {
			g.Allow(-1)
			g.FeedEOF()
			g.Wire()
		}
		if g.Done() {
			require.Contains(t, g.all[len(g.all)-1], "OnClosed")
			live = append(live[:i], live[i+1:]...)
		}
	}
	assert.Greater(t, most, 100_000, "the connections did share memory")
	assert.Zero(t, memory.InUse())
}

func TestCLS23_CloseTimeoutIsTheTimeWithoutProgress(t *testing.T) {
	s := openScene(t, conn.Config{CloseTimeout: 300 * time.Millisecond})
	s.Allow(10_000)
	s.Do(func(c *conn.Conn) {
		s.send(c, big(256_000))
		c.Close()
	})
	require.Greater(t, s.Conn().Stats().Pending, 65_536)
	wire := s.Wire()
	for len(wire) < 256_000 {
		s.Advance(150 * time.Millisecond)
		s.Feed("bytes coming in")
		s.Advance(149 * time.Millisecond)
		require.Zero(t, s.count("OnClosed"), "progress puts the timeout off")
		require.False(t, s.FIN())
		s.Allow(10_000)
		wire += s.Wire()
	}
	assert.Equal(t, big(256_000), wire)
	require.True(t, s.FIN())
	s.Advance(200 * time.Millisecond)
	s.FeedEOF()
	assert.Equal(t, 1, s.count("OnSent"))
	assert.NoError(t, s.ends.closed)
	require.True(t, s.Done())

	t.Run("bytes coming in prolong neither", func(t *testing.T) {
		s := openScene(t, conn.Config{CloseTimeout: 300 * time.Millisecond})
		s.Allow(10_000)
		s.Do(func(c *conn.Conn) {
			s.send(c, big(20_000))
			c.Close()
		})
		for range 29 {
			s.Advance(10 * time.Millisecond)
			s.Feed("x")
		}
		require.Zero(t, s.count("OnClosed"))
		s.Advance(10 * time.Millisecond)
		require.Equal(t, 1, s.count("OnClosed"))
		assertClosed(t, s.ends.closed, conn.CauseTimeout)
	})
}
