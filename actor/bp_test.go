//go:build linux

package actor_test

import (
	"io"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// Back-pressure, on real sockets; see flow_test.go, too. The client reads nothing until the test says so.

const (
	large      = 256_000           // bytes; more than both systems take
	highWater  = 64 << 10          // the default
	maxPending = highWater + 1<<20 // the most that can be pending
)

// stuck opens a connection with small buffers. When the server has heard "go" it sends what first does.
func (f *fixture) stuck(cfg actor.ListenConfig, set func(p *probe), first func(p *probe)) (*peer, *probe) {
	f.t.Helper()
	s := f.serve(cfg, func(p *probe) {
		p.onReceived = func(p *probe, data []byte) error {
			if p.received == len("go") {
				first(p)
			}
			return nil
		}
		set(p)
	})
	c := s.dialWith(smallReader)
	p := s.next()
	p.await(f.t, "OnConnected")
	c.send("go")
	return c, p
}

// sendNext sends the n bytes of the pattern that follow what was sent before.
func sendNext(t testing.TB, p *probe, n int) {
	st := p.Conn().Stats()
	_, err := p.Conn().Send(patternFrom(int(st.BytesWritten)+st.Pending, n))
	assert.NoError(t, err)
	assert.LessOrEqual(t, p.Conn().Stats().Pending, maxPending)
}

func sendsLarge(t testing.TB) func(p *probe) {
	return func(p *probe) {
		sendNext(t, p, large)
		assert.Greater(t, p.Conn().Stats().Pending, highWater, "it is stuck")
	}
}

func TestBP5_RandomThrottleCycles(t *testing.T) {
	const cycles = 50
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		random := rand.New(rand.NewPCG(5, 1))
		pump := func(p *probe) {
			for p.Conn().IsWriteable() {
				sendNext(t, p, random.IntN(100_000))
			}
		}
		var total atomic.Int64
		c, p := f.stuck(stuckConfig(), func(p *probe) {
			p.quiet = true
			p.onUnthrottled = func(p *probe) {
				if p.count("OnUnthrottled") == cycles {
					st := p.Conn().Stats()
					total.Store(int64(st.BytesWritten) + int64(st.Pending))
					p.Conn().Close()
					return
				}
				pump(p)
			}
		}, pump)
		reads := rand.New(rand.NewPCG(5, 2))
		got, at := make([]byte, 200_000), 0
		require.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
		for cycle := 1; ; cycle++ {
			if cycle <= cycles { // read no more until it is stuck again
				p.awaitN(t, cycle, "OnThrottled", slow)
			}
			n := reads.IntN(len(got)) + 1
			for end := at + n; at < end || p.count("OnUnthrottled") < min(cycle, cycles); {
				n, err := c.Read(got)
				require.Equal(t, patternFrom(at, n), got[:n])
				if at += n; err == io.EOF {
					require.NoError(t, c.Close())
					p.closedInOrder(t)
					assert.EqualValues(t, total.Load(), at)
					assert.Equal(t, cycles, p.count("OnThrottled"))
					return
				}
				require.NoError(t, err)
			}
		}
	})
}

func TestBP6_NoSendIsRefusedInOnUnthrottled(t *testing.T) {
	const cycles = 50
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		more := func(p *probe) {
			for p.Conn().IsWriteable() { // once, unless the reader is very fast
				sendNext(t, p, 100_000)
			}
			_, err := p.Conn().Send([]byte("x"))
			assert.Equal(t, conn.ErrNotWriteable, err, "OnUnthrottled or OnClosed follows")
		}
		c, p := f.stuck(stuckConfig(), func(p *probe) {
			p.quiet = true
			p.onUnthrottled = func(p *probe) {
				assert.True(t, p.Conn().IsWriteable())
				if p.count("OnUnthrottled") == cycles {
					p.Conn().Close()
					return
				}
				more(p)
			}
		}, more)
		got, err := c.rest(slow)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
		assert.Equal(t, pattern(len(got)), got)
		assert.GreaterOrEqual(t, len(got), cycles*100_000)
		assert.Equal(t, cycles, p.count("OnThrottled"))
	})
}

func TestBP8_ConnectingDoesNotReleaseBackPressure(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(stuckConfig(), func(p *probe) { p.onConnected = sendsLarge(t) })
		c := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnThrottled")
		stays(t, func() bool { return p.count("OnUnthrottled")+p.count("OnSent") == 0 }, "it is stuck")
		assert.Equal(t, pattern(large), c.take(large))
		p.await(t, "OnUnthrottled")
		p.await(t, "OnSent 1")
	})
}

// fiveSends makes three sends of 2 bytes and a large one, and another large one in OnUnthrottled; then does end.
func (f *fixture) fiveSends(end func(p *probe)) (*peer, *probe) {
	return f.stuck(stuckConfig(), func(p *probe) {
		p.onUnthrottled = func(p *probe) {
			if p.count("OnUnthrottled") == 1 {
				sendNext(f.t, p, large)
				end(p)
			}
		}
	}, func(p *probe) {
		for range 3 {
			sendNext(f.t, p, 2)
		}
		sendsLarge(f.t)(p)
	})
}

func TestBP9_OutcomesAcrossAThrottle(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		c, p := f.fiveSends(func(*probe) {})
		p.await(t, "OnThrottled")
		assert.Equal(t, pattern(2*large+6), c.take(2*large+6))
		p.awaitN(t, 1, "OnSent 5", slow)
		stays(t, func() bool { return p.count("OnSent") == 5 && p.count("OnSendFailed") == 0 }, "once each")
	})
}

func TestBP10_AbortBehindFiveSends(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		c, p := f.fiveSends(func(p *probe) { p.Conn().Abort(nil) })
		p.await(t, "OnThrottled")
		_, err := c.rest(slow)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
		assert.Equal(t, 5, p.count("OnSent ")+p.count("OnSendFailed "))
		assert.Equal(t, 1, p.count("OnSendFailed 5"))
	})
}

func TestBP11_WhatThePeerHasIsNotReportedAsFailed(t *testing.T) {
	const sends, size = 25, 100_000
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		done := 0
		c, p := f.stuck(stuckConfig(), func(p *probe) {
			p.onUnthrottled = func(p *probe) {
				for p.Conn().IsWriteable() { // once, unless the reader is very fast
					sendNext(t, p, size)
					done++
				}
			}
			p.onThrottled = func(p *probe) {
				if done >= sends {
					p.Conn().Abort(nil)
				}
			}
		}, sendsLarge(t))
		got, err := c.rest(slow)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		p.closeError(t)
		assert.Equal(t, pattern(len(got)), got)
		require.Greater(t, len(got), large)
		whole := 1 + (len(got)-large)/size // sends of which the peer has the last byte
		assert.GreaterOrEqual(t, p.count("OnSent "), whole)
		assert.Equal(t, 1+done, p.count("OnSent ")+p.count("OnSendFailed "))
		assert.Positive(t, p.count("OnSendFailed "))
	})
}

func TestBP15_ReadingDoesNotLoseTheInterestInWriting(t *testing.T) {
	const back = 524_288
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := stuckConfig()
		cfg.Conn.ReadWaits = conn.Off
		c, p := f.stuck(cfg, func(p *probe) {
			first := p.onReceived
			p.quiet = true
			p.onReceived = func(p *probe, data []byte) error {
				if p.count("OnThrottled") > 0 && p.count("paused") == 0 {
					assert.False(t, p.Conn().IsWriteable())
					p.Conn().Pause()
					p.note("paused")
				}
				return first(p, data)
			}
		}, sendsLarge(t))
		p.await(t, "OnThrottled")
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(pattern(back))
			wrote <- err
		}()
		p.await(t, "paused")
		assert.Equal(t, pattern(large), c.take(large))
		p.awaitN(t, 1, "OnUnthrottled", slow)
		p.tell(&actor.Resume{})
		require.NoError(t, <-wrote)
		require.NoError(t, c.CloseWrite())
		p.closedInOrder(t)
		assert.Equal(t, len("go")+back, p.received)
		assert.Equal(t, 1, p.sent)
	})
}

func TestBP17_CloseAndAbortInOnThrottled(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		c, p := f.stuck(stuckConfig(), func(p *probe) {
			p.onThrottled = func(p *probe) { p.Conn().Close() }
		}, sendsLarge(t))
		got, err := c.rest(slow)
		require.NoError(t, err)
		assert.Equal(t, pattern(large), got)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
		assert.Equal(t, 1, p.count("OnSent 1"))

		c, p = f.stuck(stuckConfig(), func(p *probe) {
			p.onThrottled = func(p *probe) { p.Conn().Abort(nil) }
		}, sendsLarge(t))
		p.closeError(t)
		assert.Equal(t, "OnThrottled,OnSendFailed 1,OnClosed,Stopping,Stopped", last(p, 5))
		assert.Zero(t, p.count("OnSent")+p.count("OnUnthrottled"))
		_, err = c.rest(slow)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
}
