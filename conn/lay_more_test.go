package conn_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
)

// spoiler passes copies on, masked by key, and overwrites them as soon as they were taken: whoever keeps memory beyond
// the call keeps rubbish.
func spoiler(key byte) func(l *sceneLayer) {
	spoil := func(p []byte) {
		for i := range p {
			p[i] = 0xff
		}
	}
	return func(s *sceneLayer) {
		s.up = func(l interceptor.Link, p []byte) error {
			out := masked(p, key)
			defer spoil(out)
			return l.Up(out)
		}
		s.down = func(l interceptor.Link, bufs [][]byte) error {
			var list [][]byte
			for _, b := range bufs {
				out := masked(b, key)
				defer spoil(out)
				list = append(list, out)
			}
			defer clear(list)
			return l.Down(list)
		}
	}
}

func TestLAY9_MemoryIsValidDuringTheCallOnly(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	const key = 0x11 ^ 0x22 ^ 0x44
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{
		s.layer("1", spoiler(0x11)), s.layer("2", spoiler(0x22)), s.layer("3", spoiler(0x44)),
	}})
	s.Allow(0)
	var wire, got strings.Builder
	sends := 0
	for in, out := 0, 0; in < len(data) || out < len(data) || wire.Len() < len(data); {
		if n := min(1+random.IntN(9000), len(data)-in); n > 0 {
			s.Feed(string(masked(data[in:in+n], key)))
			got.WriteString(s.rec.Received())
			in += n
		}
		s.Do(func(c *conn.Conn) {
			for range 3 {
				n := min(random.IntN(9000), len(data)-out)
				if n == 0 || !c.IsWriteable() {
					return
				}
				caller := bytes.Clone(data[out : out+n])
				cut := random.IntN(n + 1)
				_, err := c.Send(caller[:cut], caller[cut:])
				require.NoError(t, err)
				require.Equal(t, data[out:out+n], caller, "Send changed the caller's memory")
				clear(caller)
				out += n
				sends++
			}
		})
		s.Allow(random.IntN(15000))
		wire.WriteString(s.Wire())
	}
	assert.True(t, string(data) == got.String(), "up")
	assert.True(t, string(masked(data, key)) == wire.String(), "down")
	assert.Positive(t, s.count("OnThrottled"), "writes were partial")
	assert.Equal(t, sends, s.count("OnSent"))
}

func TestLAY10_PostFromFourGoroutines(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}})
	const each = 1000
	link := s.layers[0].link
	var running, ran atomic.Int32
	next := make([]int, 4) // bare: the race detector sees two that run at a time
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range each {
				link.Post(func() error {
					assert.Equal(t, int32(1), running.Add(1), "two at a time")
					assert.Equal(t, i, next[g], "the order of goroutine %d", g)
					next[g]++
					ran.Add(1)
					running.Add(-1)
					return nil
				})
			}
		})
	}
	s.on("OnReceived", func(*conn.Conn) {
		assert.Equal(t, int32(1), running.Add(1), "beside a callback")
		running.Add(-1)
	})
	posted := make(chan struct{})
	go func() { wg.Wait(); close(posted) }()
	for done := false; !done; {
		select {
		case <-posted:
			done = true
		default:
			s.Feed("x")
			runtime.Gosched()
		}
	}
	s.Settle()
	assert.EqualValues(t, 4*each, ran.Load())

	t.Run("not within Post", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.up = func(l interceptor.Link, p []byte) error {
				returned, turn := false, s.Turns()
				l.Post(func() error {
					assert.True(t, returned, "it ran within Post")
					assert.Greater(t, s.Turns(), turn)
					l.Raise("ran")
					return nil
				})
				returned = true
				return nil
			}
		})}})
		s.Feed("x")
		s.want("once", "OnConnected", `OnEvent "ran"`)
	})
	t.Run("an error ends the connection", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}})
		s.layers[0].link.Post(func() error { return errPart })
		s.layers[0].link.Post(func() error { t.Error("it runs after the failure"); return nil })
		s.Settle()
		s.want("over", "OnConnected", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseLayer)
		assert.ErrorIs(t, s.ends.closed, errPart)
		s.layers[0].link.Post(func() error { t.Error("it runs after the end"); return nil })
		s.Settle()
	})
}

func TestLAY11_CausesKeepTheirOrder(t *testing.T) {
	s := newScene(t)
	in, turn := "", 0
	s.on("OnTimer", func(c *conn.Conn) {
		turn = s.Turns()
		s.send(c, "!")
		in = "Flush"
		c.Flush()
		in = ""
		assert.Equal(t, "!", s.Wire())
	})
	for _, call := range []string{"OnSent", "OnEvent"} {
		s.on(call, func(*conn.Conn) { assert.Empty(t, in, "%s came inside it", call) })
	}
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.up = func(l interceptor.Link, p []byte) error {
			in = "Up"
			l.Raise("X")
			in = ""
			return nil
		}
	})}}, conntest.Manual())
	s.Settle()
	s.Do(func(c *conn.Conn) { c.StartTimer(time.Second) })
	s.Settle()
	s.Stall(time.Second)
	s.Turn() // OnTimer becomes a notice here, for timers are looked at after reading
	s.want("not in the turn that noticed it", "OnConnected")
	s.Feed("x")
	s.Turn()
	s.want("the one turn of both causes", "OnTimer 1")
	require.Equal(t, turn, s.Turns())
	s.Settle()
	s.want("in the order of their causes", "OnSent 1", `OnEvent "X"`)
	assert.Greater(t, s.turnOf["OnSent 1"], turn)
	assert.GreaterOrEqual(t, s.turnOf[`OnEvent "X"`], s.turnOf["OnSent 1"])
}

func TestLAY12_DeadlinesOfLayers(t *testing.T) {
	second := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	timed := func(s *scene, name string, d time.Duration) interceptor.Factory {
		return s.layer(name, func(a *sceneLayer) {
			a.open = func(l interceptor.Link) error {
				l.SetDeadline(l.Now().Add(d))
				l.Ready()
				return nil
			}
			a.expire = func(l interceptor.Link, now time.Time) error {
				assert.Equal(s.t, l.Now(), now)
				return say(l, name+"!")
			}
		})
	}
	prepare := func(t *testing.T) (s *scene, a, b *sceneLayer, start time.Time) {
		s = newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{timed(s, "A", second(3)), timed(s, "B", second(2))}})
		return s, s.layers[0], s.layers[1], s.Now()
	}
	// set has a layer call SetDeadline, which it may only while a method of it runs.
	set := func(s *scene, l *sceneLayer, at time.Time) {
		l.link.Post(func() error { l.link.SetDeadline(at); return nil })
		s.Settle()
	}
	t.Run("each at its time", func(t *testing.T) {
		s, a, b, start := prepare(t)
		s.Advance(second(1.999))
		require.Empty(t, b.expired)
		s.Advance(second(0.001))
		assert.Equal(t, []time.Time{start.Add(second(2))}, b.expired)
		assert.Empty(t, a.expired)
		assert.Equal(t, "B!", s.Wire(), "on the wire at the end of the turn")
		s.Advance(time.Hour)
		assert.Equal(t, []time.Time{start.Add(second(3))}, a.expired)
		assert.Len(t, b.expired, 1, "once")
		assert.Equal(t, "A!", s.Wire())
		assert.True(t, s.Deadline().IsZero())
	})
	t.Run("a second one replaces the first", func(t *testing.T) {
		for _, at := range []float64{1, 5} {
			s, a, b, start := prepare(t)
			set(s, b, start.Add(second(at)))
			s.Advance(time.Hour)
			assert.Equal(t, []time.Time{start.Add(second(at))}, b.expired)
			assert.Equal(t, []time.Time{start.Add(second(3))}, a.expired)
		}
	})
	t.Run("the zero time clears it", func(t *testing.T) {
		s, a, b, start := prepare(t)
		set(s, b, time.Time{})
		assert.Equal(t, start.Add(second(3)), s.Deadline())
		s.Advance(time.Hour)
		assert.Empty(t, b.expired)
		assert.Len(t, a.expired, 1)
	})
}

func TestLAY13_GoodbyesFromTheTopDown(t *testing.T) {
	s := newScene(t)
	a := func(l *sceneLayer) {
		wrapper("<", ">")(l)
		l.closeWrite = func(l interceptor.Link) error { return say(l, "a!") }
	}
	b := func(l *sceneLayer) { l.closeWrite = func(l interceptor.Link) error { return say(l, "b!") } }
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("A", a), s.layer("B", b)}})
	s.Allow(0)
	s.Do(func(c *conn.Conn) {
		s.send(c, "x")
		c.Close()
	})
	for range len("<x><b!>a!") - 1 {
		s.Allow(1)
		require.False(t, s.FIN())
	}
	s.Allow(1)
	assert.True(t, s.FIN())
	assert.Equal(t, "<x><b!>a!", s.Wire())
	s.FeedEOF()
	s.want("in order", "OnConnected", "OnSent 1", "OnEOF", "OnClosed")
}

func TestLAY14_TheLayersOwnOutputIsBounded(t *testing.T) {
	t.Run("a layer that answers with eight times as much", func(t *testing.T) {
		s := newScene(t)
		answer := strings.Repeat("answer..", 1024)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.up = func(l interceptor.Link, p []byte) error {
				for range len(p) / 1024 {
					if err := say(l, answer); err != nil {
						return err
					}
				}
				return nil
			}
		})}}, conntest.Manual())
		s.Allow(0)
		s.Settle()
		arrivals := make([]string, 10<<10)
		for i := range arrivals {
			arrivals[i] = strings.Repeat("?", 1024)
		}
		s.Feed(arrivals...)
		s.Settle()
		assert.Equal(t, 73_728, s.Conn().Stats().Pending, "65,536 and one more answer")
		require.Equal(t, 10<<20-9*1024, s.Unread(), "reading has stopped")
		most, wire := 0, 0
		for wire < 80<<20 {
			s.Allow(100_000)
			s.Settle()
			most = max(most, s.Conn().Stats().Pending)
			p := s.Wire()
			require.NotEmpty(t, p, "after %d bytes", wire)
			wire += len(p)
		}
		assert.Equal(t, 80<<20, wire)
		assert.LessOrEqual(t, most, 73_728)
		assert.Zero(t, s.Unread())
	})
	t.Run("output caused by a read leaves in that turn", func(t *testing.T) {
		s := newScene(t)
		s.on("OnReceived", (*conn.Conn).Pause)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
			a.up = func(l interceptor.Link, p []byte) error {
				if err := say(l, "pong"); err != nil {
					return err
				}
				return l.Up(p)
			}
		})}}, conntest.Manual())
		s.Settle()
		s.Feed("ping")
		s.Turn()
		s.want("paused", "OnConnected", `OnReceived "ping"`)
		assert.Equal(t, "pong", s.Wire())
	})
}

func TestLAY15_TwoSidesDoNotWaitForEachOther(t *testing.T) {
	client, server := newScene(t), newScene(t)
	data := big(10 << 20)
	client.pump(data, 30_000, nil)
	server.echo()
	d := openDuo(t, client, server,
		conn.Config{ReadWaits: conn.Off, Layers: []interceptor.Factory{client.layer("mask", masker(0x5a))}},
		conn.Config{Layers: []interceptor.Factory{server.layer("mask", masker(0x5a))}}, 64<<10, 16<<10)
	d.run()
	assert.True(t, client.rec.Received() == data, "all 10 MiB come back")
	assert.Positive(t, client.count("OnThrottled"), "there was back-pressure")
	assert.Positive(t, server.count("OnThrottled"), "both ways")

	t.Run("pending sends alone never hold back reading where ReadWaits is off", func(t *testing.T) {
		for _, waits := range []conn.Setting{conn.Off, conn.On} {
			s := newScene(t)
			s.open(conn.Config{ReadWaits: waits, Layers: []interceptor.Factory{s.layer("mask", masker(0))}})
			s.Allow(0)
			s.doSend(big(200_000))
			require.Equal(t, 200_000, s.Conn().Stats().Pending)
			s.Feed("data")
			assert.Equal(t, waits == conn.Off, s.count("OnReceived") == 1)
		}
	})
}
