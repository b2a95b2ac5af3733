package conn_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

func TestSND1_OneSendOneOutcomeInALaterTurn(t *testing.T) {
	s := liveScene(t)
	returned := false
	sentIn := 0
	s.on("OnSent", func(*conn.Conn) { assert.True(t, returned, "OnSent runs inside Send") })
	s.open(conn.Config{})
	s.skip()
	s.Do(func(c *conn.Conn) {
		token, err := c.Send([]byte("hello"))
		returned, sentIn = true, s.Turns()
		assert.EqualValues(t, 1, token)
		assert.NoError(t, err)
	})
	s.want("exactly one outcome", "OnSent 1")
	assert.Greater(t, s.turnOf["OnSent 1"], sentIn)
	assert.Equal(t, "hello", s.Wire())
	s.wantNothing("exactly one")
}

func TestSND2_SendsOfOneTurn(t *testing.T) {
	s := openLive(t, conn.Config{})
	s.skip()
	before := s.Writes()
	s.Do(func(c *conn.Conn) {
		for i, p := range []string{"one", "two", "three"} {
			assert.EqualValues(t, i+1, s.send(c, p))
		}
	})
	s.want("in order of sending", sents(1, 3)...)
	assert.Equal(t, "onetwothree", s.Wire(), "the peer gets them joined")
	assert.Equal(t, before+1, s.Writes())
}

func TestSND3_SeveralBuffersAreOneSend(t *testing.T) {
	for want, bufs := range map[string][]string{"Hello, world!": {"Hello", ", ", "world!"}, "Helloworld": {"Hello", "", "world"}} {
		s := openLive(t, conn.Config{})
		s.skip()
		s.Do(func(c *conn.Conn) {
			var list [][]byte
			for _, b := range bufs {
				list = append(list, []byte(b))
			}
			token, err := c.Send(list...)
			assert.EqualValues(t, 1, token)
			assert.NoError(t, err)
		})
		s.want("one outcome", "OnSent 1")
		assert.Equal(t, want, s.Wire())
	}
}

func TestSND4_EmptySends(t *testing.T) {
	t.Run("on an idle connection", func(t *testing.T) {
		for name, layers := range map[string]bool{"plain": false, "through a layer": true} {
			t.Run(name, func(t *testing.T) {
				s := liveScene(t)
				var cfg conn.Config
				if layers {
					cfg.Layers = append(cfg.Layers, s.layer("mask", masker(1)))
				}
				s.open(cfg)
				s.skip()
				before := s.Writes()
				s.Do(func(c *conn.Conn) {
					for i, bufs := range [][][]byte{{}, {nil}, {{}}, {nil, {}, nil}} {
						token, err := c.Send(bufs...)
						assert.EqualValues(t, i+1, token)
						assert.NoError(t, err)
					}
				})
				s.want("each has its own outcome", sents(1, 4)...)
				assert.Equal(t, before, s.Writes(), "nothing is written")
			})
		}
	})
	t.Run("behind pending bytes", func(t *testing.T) {
		s := openLive(t, conn.Config{})
		s.skip()
		s.Allow(3)
		s.Do(func(c *conn.Conn) {
			s.send(c, "hello")
			s.send(c, "")
			s.send(c, "")
			s.send(c, "!")
			s.send(c, "")
		})
		require.Equal(t, 3, s.Conn().Stats().Pending)
		s.wantNothing("the empty ones wait for the bytes before them")
		s.Allow(2)
		s.want("then all that end there", sents(1, 3)...)
		s.Allow(1)
		s.want("and there", sents(4, 5)...)
		assert.Equal(t, "hello!", s.Wire())
	})
}

func TestSND5_TheCallerMayChangeItsBytesAfterSend(t *testing.T) {
	for _, size := range []int{5, 20_000, 256_000} {
		for _, room := range []int{-1, 0, 3, 100_000} {
			t.Run(fmt.Sprintf("%d bytes, room %d", size, room), func(t *testing.T) {
				s := openLive(t, conn.Config{})
				s.Allow(room)
				data := big(size)
				s.Do(func(c *conn.Conn) {
					p := []byte(data)
					_, err := c.Send(p)
					assert.NoError(t, err)
					for i := range p {
						p[i] = 'Z'
					}
				})
				if room >= 0 && room < size {
					require.Equal(t, size-room, s.Conn().Stats().Pending, "written in part")
				}
				s.Allow(-1)
				assert.True(t, data == s.Wire(), "the peer gets the bytes there were")
			})
		}
	}
}

func TestSND6_APartialWriteOfManyBuffers(t *testing.T) {
	cases := []struct {
		bufs, size int
		taken      []int
	}{
		{2048, 3, []int{1, 2, 3, 4, 3071, 3072, 3073, 6143}},
		{256, 100, []int{0, 1, 99, 100, 101, 12_345, 25_599}}, // written straight from the caller's memory
		{257, 100, []int{1, 12_345, 25_699}},                  // too many buffers for that
		{3, 40_000, []int{1, 39_999, 40_000, 40_001, 119_999}},
	}
	for _, k := range cases {
		for _, taken := range k.taken {
			t.Run(fmt.Sprintf("%d of %d bytes, %d taken", k.bufs, k.size, taken), func(t *testing.T) {
				s := openLive(t, conn.Config{})
				s.skip()
				s.Allow(taken)
				data := big(k.bufs * k.size)
				list := slices.Collect(slices.Chunk([]byte(data), k.size))
				given := slices.Clone(list)
				s.Do(func(c *conn.Conn) {
					token, err := c.Send(list...)
					assert.EqualValues(t, 1, token)
					assert.NoError(t, err)
				})
				first := s.Wire()
				require.True(t, first == data[:taken], "the first write was partial")
				assert.Zero(t, s.count("OnSent"))
				s.Allow(-1)
				assert.True(t, data == first+s.Wire(), "the wire carries the exact bytes")
				assert.Equal(t, 1, s.count("OnSent 1"))
				assert.Equal(t, 1, s.count("OnSent"))
				for i := range list {
					require.True(t, &list[i][0] == &given[i][0] && len(list[i]) == k.size, "the list was changed at %d", i)
				}
				assert.True(t, data == string(bytes.Join(list, nil)), "what it holds was changed")
			})
		}
	}
}

func TestSND7_TenThousandSendsOneWrite(t *testing.T) {
	s := openLive(t, conn.Config{})
	s.skip()
	before := s.Writes()
	s.Do(func(c *conn.Conn) {
		for i := range 10_000 {
			assert.EqualValues(t, i+1, s.send(c, "sixsix"))
		}
		assert.Equal(t, before, s.Writes(), "nothing is written before the end of the turn")
	})
	assert.Equal(t, before+1, s.Writes())
	assert.True(t, strings.Repeat("sixsix", 10_000) == s.Wire())
	s.want("all in order", sents(1, 10_000)...)
}

func TestSND7_AllPartsOfATurnShareOneWrite(t *testing.T) {
	s := liveScene(t)
	s.on("OnSent 1", func(c *conn.Conn) { s.send(c, "notice,") })
	s.on("OnReceived", func(c *conn.Conn) { s.send(c, "data,") })
	s.open(conn.Config{Split: frame.Fixed(1)}, conntest.Manual())
	s.Settle()
	s.doSend("x")
	s.Turn()
	require.Equal(t, "x", s.Wire())
	s.skip()
	before := s.Writes()
	s.Feed("ab")
	s.doSend("message")
	s.Turn()
	s.want("one turn", "OnSent 1", `OnReceived "a"`, `OnReceived "b"`)
	assert.Equal(t, before+1, s.Writes(), "one write")
	assert.Equal(t, "notice,data,data,message", s.Wire())
	s.Settle()
	s.want("settled", sents(2, 5)...)
}

func TestSND8_FlushWritesAtOnce(t *testing.T) {
	s := liveScene(t)
	flushed := false
	flushedIn := 0
	s.on("OnReceived", func(c *conn.Conn) {
		s.send(c, "hello")
		assert.Empty(t, s.Wire(), "nothing is written before")
		c.Flush()
		assert.Equal(t, "hello", s.Wire(), "written when Flush returns")
		flushed, flushedIn = true, s.Turns()
	})
	s.on("OnSent", func(*conn.Conn) { assert.True(t, flushed, "OnSent runs inside Flush") })
	s.open(conn.Config{})
	s.skip()
	before := s.Writes()
	s.Feed("go")
	s.want("one outcome", `OnReceived "go"`, "OnSent 1")
	assert.Greater(t, s.turnOf["OnSent 1"], flushedIn, "in a later turn all the same")
	s.Do((*conn.Conn).Flush)
	assert.Equal(t, before+1, s.Writes(), "with nothing queued Flush does nothing")
}

func TestSND9_CrossingHighWaterWritesAtOnce(t *testing.T) {
	for _, k := range []struct{ sends, size int }{{10, 30_000}, {100, 3_000}, {1, 70_000}} {
		t.Run(fmt.Sprintf("%d sends of %d bytes", k.sends, k.size), func(t *testing.T) {
			s := openLive(t, conn.Config{})
			s.skip()
			data := big(k.size)
			writes := s.Writes()
			s.Do(func(c *conn.Conn) {
				for range k.sends {
					s.send(c, data)
					assert.LessOrEqual(t, c.Stats().Pending, 65_536)
				}
				writes = s.Writes() - writes
				assert.True(t, c.IsWriteable())
			})
			assert.GreaterOrEqual(t, writes, k.sends*k.size/70_000, "writes inside the turn")
			s.want("none is refused, and no OnThrottled", sents(1, k.sends)...)
			assert.Zero(t, s.Conn().Stats().Refused)
			assert.True(t, strings.Repeat(data, k.sends) == s.Wire())
		})
	}
	t.Run("not before it is crossed", func(t *testing.T) {
		s := openLive(t, conn.Config{})
		before := s.Writes()
		s.Do(func(c *conn.Conn) {
			for range 8 {
				s.send(c, big(8192))
			}
			assert.Equal(t, 65_536, c.Stats().Pending)
			assert.Equal(t, before, s.Writes(), "65,536 do not cross it")
			s.send(c, "1")
			assert.Equal(t, before+1, s.Writes(), "one more does")
			assert.Zero(t, c.Stats().Pending)
		})
	})
}

func TestSND10_EachOnSentSendsAgain(t *testing.T) {
	const links = 100_000
	h := &chainSender{links: links}
	r := conntest.New(h, conn.Config{}, conntest.Manual(), conntest.Checked(t))
	for range links + 2 {
		r.Turn()
	}
	require.EqualValues(t, links, h.last, "ids are 1 to 100,000")
	assert.False(t, h.disorder, "in order")
	assert.Positive(t, h.depthEarly)
	assert.Equal(t, h.depthEarly, h.depthLate, "the stack does not grow")
	assert.Len(t, r.Wire(), links)
	assert.False(t, r.Driver().Pending(), "and then it rests")
}

// A chainSender sends a byte in OnConnected and in each OnSent.
type chainSender struct {
	conn.Defaults
	links                 int
	last                  conn.SendToken
	disorder              bool
	depthEarly, depthLate int
}

func (h *chainSender) OnConnected(c *conn.Conn) { _, _ = c.Send([]byte("x")) }

func (h *chainSender) OnSent(c *conn.Conn, token conn.SendToken) {
	h.disorder = h.disorder || token != h.last+1
	h.last = token
	var pcs [64]uintptr
	switch int(token) {
	case 10:
		h.depthEarly = runtime.Callers(0, pcs[:])
	case h.links:
		h.depthLate = runtime.Callers(0, pcs[:])
		return
	}
	_, _ = c.Send([]byte("x"))
}

func TestSND11_AnOutcomeBelongsToTheNextTurn(t *testing.T) {
	s := liveScene(t)
	s.on(`OnReceived "AAAA"`, func(c *conn.Conn) { s.send(c, "ok") })
	s.open(conn.Config{Split: frame.Fixed(4)})
	s.skip()
	before := s.Reads()
	s.Feed("AAAABBBB")
	require.Equal(t, before+1, s.Reads(), "both frames came in one read")
	s.want("the turn ends first", `OnReceived "AAAA"`, `OnReceived "BBBB"`, "OnSent 1")
	assert.Equal(t, s.turnOf[`OnReceived "BBBB"`]+1, s.turnOf["OnSent 1"])
}

func TestSND20_WhatOnConnectedSendsNeedsNothingElse(t *testing.T) {
	for name, dialed := range map[string]bool{"accepted": false, "dialed": true} {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			s.on("OnConnected", func(c *conn.Conn) { s.send(c, "hi") })
			if dialed {
				s.open(conn.Config{}, conntest.Dialed())
				require.Empty(t, s.Wire())
				s.Connected()
			} else {
				s.open(conn.Config{})
			}
			assert.Equal(t, "hi", s.Wire())
			s.want("settled", "OnConnected", "OnSent 1")
		})
	}
}

func TestSND21_ConnIsAWriter(t *testing.T) {
	s := openLive(t, conn.Config{})
	s.skip()
	s.Do(func(c *conn.Conn) {
		s.send(c, "<")
		n, err := fmt.Fprintf(c, "%d bytes", 42)
		assert.Equal(t, 8, n)
		assert.NoError(t, err)
		s.send(c, ">")
	})
	assert.Equal(t, "<42 bytes>", s.Wire())
	s.want("a Write has an outcome too", sents(1, 3)...)

	s.Allow(0)
	s.doSend(big(65_537))
	s.want("unwriteable", "OnThrottled")
	s.Do(func(c *conn.Conn) {
		n, err := c.Write([]byte("refused"))
		assert.Zero(t, n)
		assert.True(t, err == conn.ErrNotWriteable, "%v", err)
	})
	s.Allow(-1)
	s.want("nothing of it is sent", "OnSent 4", "OnUnthrottled")
	assert.True(t, big(65_537) == s.Wire())
}
