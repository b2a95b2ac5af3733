//go:build linux

package actor_test

import (
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// Timers, idleness and deadlines, on real sockets.

func TestTMR4_TrafficNeitherDelaysNorStopsATimer(t *testing.T) {
	const after = 300 * time.Millisecond
	timer := func(p *probe) { p.Conn().StartTimer(after) }
	ways(t, func(t *testing.T, w way) {
		t.Run("traffic", func(t *testing.T) {
			f := w.start(t, actor.Config{})
			s := f.serve(actor.ListenConfig{}, func(p *probe) {
				echoes(p)
				p.onConnected = timer
			})
			began := time.Now()
			c, p := s.open()
			pace := time.NewTicker(after / 8)
			defer pace.Stop()
			for range 6 {
				<-pace.C
				c.send("x")
				c.expect("x")
			}
			p.await(t, "OnTimer")
			onTime(t, began, after)
			assert.Equal(t, 1, p.count("OnTimer"))
		})
		t.Run("a pause, and back-pressure", func(t *testing.T) {
			f := w.start(t, actor.Config{})
			began := time.Now()
			c, p := f.stuck(stuckConfig(), func(p *probe) { p.onConnected = timer }, func(p *probe) {
				sendsLarge(t)(p)
				p.Conn().Pause()
			})
			p.await(t, "OnThrottled")
			c.send("more")
			p.await(t, "OnTimer")
			onTime(t, began, after)
		})
	})
}

// onTime asserts that what was to come this long after the beginning came now.
func onTime(t *testing.T, began time.Time, after time.Duration) {
	t.Helper()
	took := time.Since(began)
	assert.GreaterOrEqual(t, took, after)
	assert.Less(t, took, after+700*time.Millisecond)
}

func TestTMR7_IdleAgainAndAgain(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onConnected = func(p *probe) { p.Conn().SetIdleTimeout(100 * time.Millisecond) }
			p.onIdle = func(p *probe) {
				if p.count("OnIdle") == 2 {
					assert.NoError(t, echo(p, []byte("anybody?")))
				}
			}
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "enough" {
					p.Conn().SetIdleTimeout(0)
				}
			}
		})
		began := time.Now()
		c, p := s.open()
		p.awaitN(t, 2, "OnIdle", patience)
		assert.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
		c.expect("anybody?")
		p.awaitN(t, 3, "OnIdle", patience)
		assert.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
		p.tell("enough")
		p.await(t, "string")
		n := p.count("OnIdle")
		stays(t, func() bool { return p.count("OnIdle") == n && p.count("OnClosed") == 0 }, "no more OnIdle")
	})
}

// handshake is a layer that is ready when it has heard "ready".
type handshake struct {
	interceptor.Pass
	open bool
}

func (*handshake) Open(interceptor.Link) error { return nil }
func (h *handshake) Up(l interceptor.Link, p []byte) error {
	if h.open {
		return l.Up(p)
	}
	if string(p) == "ready" {
		h.open = true
		l.Ready()
	}
	return nil
}

func TestTMR12_StartTimeout(t *testing.T) {
	const limit = 200 * time.Millisecond
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := actor.ListenConfig{Conn: conn.Config{StartTimeout: limit}}
		cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor { return new(handshake) }}
		s := f.serve(cfg, nil)
		began := time.Now()
		c := s.dial()
		p := s.next()
		pace := time.NewTicker(limit / 10)
		defer pace.Stop()
		for range 5 { // bytes that move do not extend it
			<-pace.C
			c.send("x")
		}
		failed := p.connectError(t)
		onTime(t, began, limit)
		assert.Equal(t, conn.StageTimeout, failed.Stage)
		assert.True(t, failed.Timeout())
		c.expectReset()

		c = s.dial()
		c.send("ready")
		p = s.next()
		p.await(t, "OnConnected")
		stays(t, func() bool { return p.count("On") == 1 }, "the deadline is over")
	})
}

func TestTMR13_AParkedLoopWakesForTimers(t *testing.T) {
	const after = 50 * time.Millisecond
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{Loops: 1})
		var began time.Time
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onConnected = func(p *probe) {
				began = time.Now()
				p.Conn().StartTimer(after)
			}
		})
		_, p := s.open()
		p.await(t, "OnTimer")
		took := time.Since(began)
		assert.GreaterOrEqual(t, took, after)
		assert.Less(t, took, 250*time.Millisecond)
		require.Equal(t, 1, p.count("OnTimer"))
	})
}
