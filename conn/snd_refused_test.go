package conn_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
)

func TestSND12_TokensHaveNoGap(t *testing.T) {
	dice := rand.New(rand.NewPCG(12, 1))
	s := liveScene(t)
	s.open(conn.Config{HighWater: 1000, MaxPending: 400})
	s.Allow(0)
	next, data := conn.SendToken(1), big(500)
	refused := map[conn.SendError]int{}
	want := ""
	for range 2000 {
		s.Do(func(c *conn.Conn) {
			for range dice.IntN(8) {
				p := data[:dice.IntN(len(data)+1)]
				token, err := c.Send([]byte(p))
				var why conn.SendError
				if errors.As(err, &why) {
					refused[why]++
					assert.Zero(t, token)
					continue
				}
				assert.Equal(t, next, token)
				next++
				want += p
			}
		})
		if dice.IntN(3) == 0 {
			s.Allow(dice.IntN(1500))
		}
	}
	require.Greater(t, refused[conn.ErrTooLarge], 100)
	require.Greater(t, refused[conn.ErrNotWriteable], 100)
	require.Greater(t, int(next), 1000)
	s.Allow(-1)
	assert.True(t, want == s.Wire(), "refused ones left no byte")
	assert.Equal(t, int(next)-1, s.count("OnSent"), "nor an outcome")
}

func TestSND13_SendBeforeAndAfterTheConnection(t *testing.T) {
	notConnected := func(t *testing.T, c *conn.Conn) {
		token, err := c.Send([]byte("refused"))
		assert.Zero(t, token)
		assert.True(t, err == conn.ErrNotConnected, "%v", err)
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = c.Send()
		assert.True(t, err == conn.ErrNotConnected, "%v", err)
	}
	t.Run("in OnClosed", func(t *testing.T) {
		s := newScene(t)
		s.on("OnClosed", func(c *conn.Conn) { notConnected(t, c) })
		s.open(conn.Config{})
		s.FeedEOF()
		s.want("no callback follows", "OnConnected", "OnEOF", "OnClosed")
	})
	t.Run("in OnConnectFailed", func(t *testing.T) {
		s := newScene(t)
		s.on("OnConnectFailed", func(c *conn.Conn) { notConnected(t, c) })
		s.open(conn.Config{}, conntest.Dialed())
		s.Fail(conn.StageDial, syscall.ECONNREFUSED)
		s.want("no callback follows", "OnConnectFailed...")
	})
	t.Run("while dialing", func(t *testing.T) {
		s := liveScene(t)
		s.on("OnEvent", func(c *conn.Conn) { notConnected(t, c) })
		s.open(conn.Config{}, conntest.Dialed())
		s.Connecting(1)
		s.want("no callback follows", "OnEvent conn.Connecting{1}")
		s.Connected()
		s.Do(func(c *conn.Conn) { assert.EqualValues(t, 1, s.send(c, "first")) })
	})
	ends := map[string]func(*conn.Conn){
		"after Close":      (*conn.Conn).Close,
		"after CloseWrite": (*conn.Conn).CloseWrite,
		"after Abort":      func(c *conn.Conn) { c.Abort(nil) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.open(conn.Config{})
			s.Do(func(c *conn.Conn) {
				s.send(c, "kept")
				c.Flush()
				end(c)
				notConnected(t, c)
			})
			s.FeedEOF()
			require.True(t, s.Done())
			assert.Equal(t, "OnSent 1", s.all[1], "what was sent before keeps its outcome")
			assert.Equal(t, 1, s.count("OnSent"))
			assert.Zero(t, s.count("OnSendFailed"))
			assert.Equal(t, "kept", s.Wire())
		})
	}
	for _, other := range []conn.SendError{conn.ErrNotReady, conn.ErrTooLarge, conn.ErrNotWriteable} {
		assert.False(t, errors.Is(other, net.ErrClosed), "%v", other)
	}
}

// slowStart is a layer that is ready when it hears "go".
func slowStart(l *sceneLayer) {
	started := false
	l.open = func(interceptor.Link) error { return nil }
	l.up = func(link interceptor.Link, p []byte) error {
		if !started && string(p) == "go" {
			started = true
			link.Ready()
			return nil
		}
		return link.Up(p)
	}
}

func TestSND14_SendWaitsForTheLayers(t *testing.T) {
	s := liveScene(t)
	s.on("OnConnected", func(c *conn.Conn) {
		assert.True(t, c.IsWriteable())
		assert.EqualValues(t, 1, s.send(c, "first"))
	})
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("slow", slowStart)}})
	require.Equal(t, conn.StateStarting, s.Conn().State())
	s.Do(func(c *conn.Conn) { s.refused(c, conn.ErrNotReady) })
	s.wantNothing("nobody is ready")
	assert.Empty(t, s.Wire())
	s.Feed("go")
	s.want("ready, once", "OnConnected", "OnSent 1")
	assert.Equal(t, "first", s.Wire())
	s.wantNothing("once")
}

func TestSND14_SendWaitsForAnUpgrade(t *testing.T) {
	s := liveScene(t)
	s.open(conn.Config{})
	s.skip()
	s.Do(func(c *conn.Conn) {
		assert.NoError(t, c.Upgrade(s.layer("slow", slowStart)))
		s.refused(c, conn.ErrNotReady)
	})
	s.wantNothing("the layer is not ready")
	s.Feed("go")
	s.want("ready", "OnEvent conn.Upgraded")
	s.Do(func(c *conn.Conn) { assert.EqualValues(t, 1, s.send(c, "first")) })
}

func TestSND15_WhichReasonIsGiven(t *testing.T) {
	const maxPending = 1 << 20
	var (
		fits     = []int{0, 1, maxPending}
		tooLarge = []int{maxPending + 1}
	)
	throttle := func(s *scene) {
		s.Allow(0)
		s.doSend(big(65_537))
		require.Equal(t, 1, s.count("OnThrottled"))
	}
	cases := map[string]struct {
		open            func(s *scene)
		fitting, larger conn.SendError
	}{
		"dialing": {func(s *scene) {
			s.open(conn.Config{}, conntest.Dialed())
		}, conn.ErrNotConnected, conn.ErrNotConnected},
		"a layer is not ready": {func(s *scene) {
			s.open(conn.Config{Layers: []interceptor.Factory{s.layer("slow", slowStart)}})
		}, conn.ErrNotReady, conn.ErrNotReady},
		"a pushed layer is not ready": {func(s *scene) {
			s.open(conn.Config{})
			s.Do(func(c *conn.Conn) { assert.NoError(t, c.Upgrade(s.layer("slow", slowStart))) })
		}, conn.ErrNotReady, conn.ErrNotReady},
		"open": {func(s *scene) {
			s.open(conn.Config{})
		}, 0, conn.ErrTooLarge},
		"unwriteable": {func(s *scene) {
			s.open(conn.Config{})
			throttle(s)
		}, conn.ErrNotWriteable, conn.ErrTooLarge},
		"unwriteable and closing": {func(s *scene) {
			s.open(conn.Config{})
			throttle(s)
			s.Do((*conn.Conn).Close)
		}, conn.ErrNotConnected, conn.ErrNotConnected},
		"half closed": {func(s *scene) {
			s.open(conn.Config{})
			s.Do((*conn.Conn).CloseWrite)
		}, conn.ErrNotConnected, conn.ErrNotConnected},
		"closed": {func(s *scene) {
			s.open(conn.Config{})
			s.Do(func(c *conn.Conn) { c.Abort(nil) })
		}, conn.ErrNotConnected, conn.ErrNotConnected},
	}
	data := make([]byte, maxPending+1)
	for name, k := range cases {
		for sizes, want := range map[*[]int]conn.SendError{&fits: k.fitting, &tooLarge: k.larger} {
			for _, size := range *sizes {
				t.Run(name, func(t *testing.T) {
					s := liveScene(t)
					k.open(s)
					before := s.Conn().Stats()
					s.Do(func(c *conn.Conn) {
						assert.Equal(t, k.fitting == 0, c.IsWriteable())
						_, err := c.Send(data[:size])
						if want == 0 {
							assert.NoError(t, err, "%d bytes", size)
							return
						}
						assert.True(t, err == want, "%d bytes: %v, not %v", size, err, want)
						after := c.Stats()
						after.Refused = before.Refused
						assert.Equal(t, before, after, "a refused Send leaves no trace")
					})
				})
			}
		}
	}
}

func TestSND16_TheLargestSend(t *testing.T) {
	s := openLive(t, conn.Config{})
	s.skip()
	large := []byte(big(1<<20 + 1))
	for _, bufs := range [][][]byte{{large}, {large[:600_000], large[:600_000]}} {
		before := s.Writes()
		s.Do(func(c *conn.Conn) {
			token, err := c.Send(bufs...)
			assert.Zero(t, token)
			assert.True(t, err == conn.ErrTooLarge, "%v", err)
			assert.True(t, c.IsWriteable())
		})
		s.wantNothing("no trace")
		assert.Equal(t, before, s.Writes())
	}
	s.Do(func(c *conn.Conn) {
		token, err := c.Send(large[:1<<20])
		assert.EqualValues(t, 1, token, "no token was used")
		assert.NoError(t, err)
	})
	s.want("it goes on working", "OnSent 1")
	assert.True(t, string(large[:1<<20]) == s.Wire())
}

func TestSND17_EachSendEndsAtItsOwnByte(t *testing.T) {
	s := openLive(t, conn.Config{})
	s.skip()
	s.Allow(0)
	s.Do(func(c *conn.Conn) {
		for _, p := range []string{"abc", "def", "ghi"} {
			s.send(c, p)
		}
	})
	for n := 1; n <= 9; n++ {
		s.Allow(1)
		require.Equal(t, 9-n, s.Conn().Stats().Pending)
		if n%3 == 0 {
			s.want("the last byte of a send", sents(n/3, n/3)...)
		} else {
			s.want("a byte in the middle")
		}
	}
	assert.Equal(t, "abcdefghi", s.Wire())
}

func TestSND18_WhatWasTakenBeforeAResetIsSent(t *testing.T) {
	check := func(t *testing.T, s *scene) {
		s.want("in this order", "OnConnected", "OnSent 1", "OnSent 2", "OnSendFailed 3", "OnClosed...")
		assert.ErrorIs(t, s.ends.closed, syscall.ECONNRESET)
		assert.Equal(t, "abcdefg", s.Wire())
	}
	send := func(s *scene) {
		s.Do(func(c *conn.Conn) {
			for _, p := range []string{"abc", "def", "ghi"} {
				s.send(c, p)
			}
		})
	}
	t.Run("later", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{})
		s.Allow(7)
		send(s)
		require.Equal(t, 2, s.Conn().Stats().Pending)
		s.Reset()
		check(t, s)
		assertClosed(t, s.ends.closed, conn.CauseRead)
	})
	t.Run("in the same write", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{})
		s.Allow(7)
		s.FailWrite(syscall.ECONNRESET)
		send(s)
		check(t, s)
		assertClosed(t, s.ends.closed, conn.CauseWrite)
	})
}

func TestSND19_AWriteThatFails(t *testing.T) {
	sevenOf10000 := []int{10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000}
	cases := map[string]struct {
		sizes  []int
		inside bool // the write fails inside the last Send
		layers bool
	}{
		"at the end of the turn":                  {[]int{5}, false, false},
		"at the end of the turn, through a layer": {[]int{5}, false, true},
		"inside a large Send":                     {[]int{100_000}, true, false},
		"inside a large Send through a layer":     {[]int{100_000}, true, true},
		"inside the Send that crosses HighWater":  {sevenOf10000, true, false},
		"inside such a Send, through a layer":     {sevenOf10000, true, true},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			var cfg conn.Config
			if k.layers {
				cfg.Layers = append(cfg.Layers, s.layer("mask", masker(1)))
			}
			s.open(cfg)
			s.FailWrite(syscall.EPIPE)
			want := []string{"OnConnected"}
			s.Do(func(c *conn.Conn) {
				for i, size := range k.sizes {
					assert.EqualValues(t, i+1, s.send(c, big(size)), "accepted all the same")
				}
				assert.Equal(t, 1, len(s.all), "no callback runs inside Send")
				if k.inside {
					s.refused(c, conn.ErrNotConnected)
				} else {
					assert.True(t, c.IsWriteable())
				}
			})
			for _, call := range sents(1, len(k.sizes)) {
				want = append(want, "OnSendFailed"+call[len("OnSent"):])
			}
			s.want("failed, then over", append(want, "OnClosed...")...)
			assertClosed(t, s.ends.closed, conn.CauseWrite)
			assert.ErrorIs(t, s.ends.closed, syscall.EPIPE)
			assert.Empty(t, s.Wire())
		})
	}
}
