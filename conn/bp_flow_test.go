package conn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

func TestBP10_AbortRightAfterASend(t *testing.T) {
	s := newScene(t)
	s.once("OnUnthrottled", func(c *conn.Conn) {
		assert.EqualValues(t, 5, s.send(c, big(256_000)))
		c.Abort(errEnough)
	})
	s.open(conn.Config{})
	s.Allow(100_006)
	s.Do(func(c *conn.Conn) {
		for _, p := range []string{"ab", "cd", "ef", big(256_000)} {
			s.send(c, p)
		}
	})
	require.Equal(t, 156_000, s.Conn().Stats().Pending)
	for range 20 {
		s.Allow(10_000)
	}
	s.want("each has one outcome", "OnConnected", "OnSent 1", "OnSent 2", "OnSent 3", "OnThrottled",
		"OnUnthrottled", "OnSendFailed 4", "OnSendFailed 5", "OnClosed...")
	assertClosed(t, s.ends.closed, conn.CauseAbort)
	assert.Less(t, len(s.Wire()), 6+256_000, "send 4 was not complete")
}

func TestBP11_WhatThePeerHasIsNeverReportedAsFailed(t *testing.T) {
	for _, step := range []int{1000, 7777, 32_768, 34_463} {
		t.Run(fmt.Sprintf("%d bytes at a time", step), func(t *testing.T) {
			s := newScene(t)
			var ends []int // where each send ends
			total := 0
			send := func(c *conn.Conn, n int) {
				s.send(c, big(n))
				total += n
				ends = append(ends, total)
			}
			s.on("OnUnthrottled", func(c *conn.Conn) { send(c, 100_000) })
			s.on("OnThrottled", func(c *conn.Conn) {
				if len(ends) == 26 {
					c.Abort(nil)
				}
			})
			s.open(conn.Config{})
			s.Allow(0)
			s.Do(func(c *conn.Conn) { send(c, 256_000) })
			for n := 0; !s.Done(); n++ {
				require.LessOrEqual(t, n*step, 2_756_000, "it is stuck after %d sends", len(ends))
				s.Allow(step)
			}
			require.Len(t, ends, 26)
			peer := len(s.Wire())
			whole := 0
			for _, end := range ends {
				if end <= peer {
					whole++
				}
			}
			require.Less(t, whole, 26, "the last was cut off")
			assert.Equal(t, whole, s.count("OnSent "), "of what the peer has in whole")
			assert.Equal(t, 26-whole, s.count("OnSendFailed "))
		})
	}
}

func TestBP12_ReadWaitsKeepsAnswersFromBeingRefused(t *testing.T) {
	onPollers(t, func(t *testing.T, opts ...conntest.Option) {
		s := liveScene(t)
		answer := big(50_000)
		s.rec.Return = func(c *conn.Conn, _ []byte) error {
			_, err := c.Send([]byte(answer))
			return err
		}
		s.open(conn.Config{Split: frame.Fixed(4)}, opts...)
		s.Allow(16_384)
		s.Feed(strings.Repeat("next", 40))
		s.Advance(holdWindow)
		require.Equal(t, 1, s.count("OnThrottled"))
		assert.LessOrEqual(t, s.count("OnReceived"), 3, "it stops long before the 40th")
		held := s.count("OnReceived")
		s.Advance(holdWindow)
		assert.Equal(t, held, s.count("OnReceived"))
		for s.count("OnSent") < 40 {
			sent := len(s.all)
			s.Allow(50_000)
			require.NotEqual(t, sent, len(s.all), "it is stuck")
		}
		assert.Equal(t, 40, s.count("OnReceived"))
		assert.True(t, strings.Repeat(answer, 40) == s.Wire(), "the client gets 2,000,000 bytes")
		assert.Zero(t, s.Conn().Stats().Refused)
	})
}

func TestBP12_ReadWaitsIsOffForDialedConnections(t *testing.T) {
	for _, k := range []struct {
		dialed  bool
		setting conn.Setting
		waits   bool
	}{
		{false, conn.Auto, true}, {true, conn.Auto, false},
		{false, conn.On, true}, {true, conn.On, true},
		{false, conn.Off, false}, {true, conn.Off, false},
	} {
		t.Run(fmt.Sprintf("dialed %v, %v", k.dialed, k.setting), func(t *testing.T) {
			s := liveScene(t)
			if k.dialed {
				s.open(conn.Config{ReadWaits: k.setting}, conntest.Dialed())
				s.Connected()
			} else {
				s.open(conn.Config{ReadWaits: k.setting})
			}
			s.Allow(0)
			s.doSend(big(highWater + 1))
			s.want("throttled", "OnConnected", "OnThrottled")
			s.Feed("data")
			if k.waits {
				s.wantNothing("reading waits")
				s.Allow(-1)
				s.want("until Send is accepted", "OnSent 1", "OnUnthrottled", `OnReceived "data"`)
			} else {
				s.want("reading goes on", `OnReceived "data"`)
			}
		})
	}
}

func TestBP13_AnEchoUnderAFloodDoesNotDeadlock(t *testing.T) {
	const flood = 10 << 20
	client, server := liveScene(t), liveScene(t)
	data := big(flood)
	client.pump(data, 30_000, nil)
	server.echo()
	d := openDuo(t, client, server, conn.Config{}, conn.Config{}, 1<<20, 16_384)
	d.run()
	require.Positive(t, client.count("OnThrottled"), "the client was held up")
	require.Positive(t, server.count("OnThrottled"), "so was the server")
	assert.EqualValues(t, flood, client.Conn().Stats().BytesWritten)
	assert.True(t, data == client.rec.Received(), "all of it comes back")
	assert.Zero(t, server.Conn().Stats().Refused)
}

func TestBP14_WritingDoesNotLeaveReadingDeaf(t *testing.T) {
	for name, pauses := range map[string]bool{"never paused": false, "paused while throttled": true} {
		t.Run(name, func(t *testing.T) {
			onPollers(t, func(t *testing.T, opts ...conntest.Option) {
				s := liveScene(t)
				if pauses {
					s.on("OnThrottled", (*conn.Conn).Pause)
					s.on("OnUnthrottled", (*conn.Conn).Resume)
				}
				data := big(256_000)
				s.stuck(data, conn.Config{}, opts...)
				for s.Conn().Stats().Pending > 0 {
					s.Allow(20_000)
				}
				s.want("drained", "OnUnthrottled", "OnSent 1")
				s.Feed("ping")
				s.want("it still hears", frames("ping")...)
				s.Feed("pong")
				s.want("and again", frames("pong")...)
			})
		})
	}
}

func TestBP15_ReadingDoesNotLoseTheInterestInWriting(t *testing.T) {
	onPollers(t, func(t *testing.T, opts ...conntest.Option) {
		s := liveScene(t)
		s.once("OnReceived", (*conn.Conn).Pause)
		data, back := big(256_000), big(524_288)
		s.stuck(data, conn.Config{ReadWaits: conn.Off}, opts...)
		s.Feed(back)
		require.Equal(t, 1, s.count("OnReceived"), "it took the first chunk, though unwriteable, and paused")
		s.skip()
		s.Allow(-1)
		s.want("the reader drains", "OnSent 1", "OnUnthrottled")
		assert.True(t, data == s.Wire())
		require.Positive(t, s.Unread())
		s.Do((*conn.Conn).Resume)
		assert.True(t, back == s.rec.Received(), "all the peer sent")
	})
}

func TestBP16_ClientsThatNeverRead(t *testing.T) {
	const clients, requests, answer = 100, 1000, 50_000
	for _, setting := range []conn.Setting{conn.On, conn.Off} {
		t.Run("ReadWaits "+setting.String(), func(t *testing.T) {
			var m conn.Memory
			serve := func(n int) *scene {
				s := liveScene(t)
				data := []byte(big(n))
				s.rec.Return = func(c *conn.Conn, _ []byte) error {
					if _, err := c.Send(data); err != conn.ErrNotWriteable {
						return err
					}
					return nil // without ReadWaits the request is dropped
				}
				s.open(conn.Config{Split: frame.Fixed(4), ReadWaits: setting}, conntest.Shared(&m))
				return s
			}
			good := serve(4)
			defer func() { good.Do(func(c *conn.Conn) { c.Abort(nil) }) }()
			for range clients {
				s := serve(answer)
				s.Allow(16_384)
				s.Feed(strings.Repeat("next", requests))
				require.Equal(t, 1, s.count("OnThrottled"))
				assert.LessOrEqual(t, s.Conn().Stats().Pending, highWater+maxPending)
				good.Feed("ping")
				assert.Equal(t, big(4), good.Wire(), "the one that behaves is answered in the same turn")
				defer s.Do(func(c *conn.Conn) { c.Abort(nil) })
			}
			perClient := highWater + answer + 32<<10 // what may be pending, and requests that were read
			assert.LessOrEqual(t, m.InUse(), clients*perClient)
			assert.GreaterOrEqual(t, m.InUse(), clients*highWater)
		})
	}
}

func TestBP16_TheOutputOfLayersIsBoundedToo(t *testing.T) {
	s := liveScene(t)
	reply := big(10_000)
	cfg := conn.Config{Layers: []interceptor.Factory{s.layer("replies", func(l *sceneLayer) {
		l.up = func(link interceptor.Link, _ []byte) error { return say(link, reply) } // a chatty protocol
	})}}
	s.open(cfg)
	s.Allow(0)
	for range 1000 {
		s.Feed("question")
	}
	assert.Greater(t, s.Conn().Stats().Pending, highWater)
	assert.LessOrEqual(t, s.Conn().Stats().Pending, highWater+len(reply), "reading rests, for it is what makes them")
	require.Positive(t, s.Unread())
	s.Allow(-1)
	assert.Zero(t, s.Unread(), "and goes on")
	assert.Len(t, s.Wire(), 1000*len(reply))
}

func TestBP17_TheEndOfAThrottledConnection(t *testing.T) {
	data := big(256_000)
	t.Run("Close", func(t *testing.T) {
		s := newScene(t)
		s.on("OnThrottled", (*conn.Conn).Close)
		s.stuck(data, conn.Config{})
		require.False(t, s.FIN())
		for !s.FIN() {
			require.Less(t, len(s.all), 10)
			s.Allow(10_000)
		}
		assert.True(t, data == s.Wire(), "the end follows the last byte")
		s.FeedEOF()
		s.want("in order", "OnSent 1", "OnEOF", "OnClosed")
		assert.NoError(t, s.ends.closed)
	})
	t.Run("Abort", func(t *testing.T) {
		s := newScene(t)
		s.on("OnThrottled", func(c *conn.Conn) { c.Abort(errEnough) })
		s.open(conn.Config{})
		s.Allow(100_000)
		s.doSend(data)
		s.Allow(-1)
		s.want("neither OnSent nor OnUnthrottled", "OnConnected", "OnThrottled", "OnSendFailed 1", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseAbort)
		assert.Len(t, s.Wire(), 100_000)
	})
}

func TestBP18_ADrainedConnectionHoldsNoWriteMemory(t *testing.T) {
	for name, layers := range map[string]bool{"plain": false, "through a layer": true} {
		t.Run(name, func(t *testing.T) {
			s := liveScene(t)
			var cfg conn.Config
			if layers {
				cfg.Layers = append(cfg.Layers, s.layer("mask", masker(7)))
			}
			s.open(cfg)
			require.Zero(t, s.Memory().InUse())
			for range 3 {
				s.Allow(0)
				s.doSend(big(256_000))
				require.GreaterOrEqual(t, s.Memory().InUse(), 256_000, "the backlog is held")
				for range 64 {
					held := s.Memory().InUse()
					s.Allow(4000)
					assert.LessOrEqual(t, s.Memory().InUse(), held, "it only becomes less")
				}
				require.Zero(t, s.Conn().Stats().Pending)
				assert.Zero(t, s.Memory().InUse(), "what it borrowed is back")
			}
		})
	}
}
