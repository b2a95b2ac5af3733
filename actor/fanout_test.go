//go:build linux

package actor_test

import (
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

const audience = 1000

// An audience is 1,000 connections that one actor writes to.
func openAudience(t *testing.T, f *fixture, receive func(p *probe, ctx proto.Context)) (pids []*proto.PID) {
	s := f.serve(actor.ListenConfig{}, func(p *probe) {
		p.quiet = true
		p.receive = receive
	})
	for range audience {
		_, p := s.open()
		pids = append(pids, p.self)
	}
	return pids
}

// asleep waits until all loops sleep.
func (f *fixture) asleep() {
	before := f.LoopStats()
	soon(f.t, func() bool {
		runtime.Gosched()
		now := f.LoopStats()
		still := now == before && now.Parks > now.Wakes
		before = now
		return still
	}, "the loops to sleep")
}

func TestMSG11_OneWakeOfEachLoopForABurstToManyConnections(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		if w.portable || w.blocking {
			w.cannot(t, "goroutines that take turns or write wake the loops, too")
		}
		f := w.start(t, actor.Config{Loops: 2})
		blocked, release := make(chan struct{}, 2), make(chan struct{})
		var done atomic.Int64
		pids := openAudience(t, f, func(_ *probe, ctx proto.Context) {
			switch ctx.Message() {
			case "wait": // else a fast loop could be done, and sleep again, in the middle of the burst
				blocked <- struct{}{}
				<-release
			case "done":
				done.Add(1)
			}
		})
		write := &actor.Write{Data: []byte("news")}
		sender := system.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
			if ctx.Message() != "burst" {
				return
			}
			ctx.Send(pids[0], "wait")
			ctx.Send(pids[1], "wait") // the other loop's: connections are dealt out in turn
			for _, pid := range pids {
				ctx.Send(pid, write)
				ctx.Send(pid, "done")
			}
			close(release)
		}))
		defer func() { _ = system.Root.StopFuture(sender).Wait() }()
		f.asleep()
		before := f.LoopStats()
		system.Root.Send(sender, "burst")
		for range 2 {
			select {
			case <-blocked:
			case <-time.After(patience):
				require.FailNow(t, "a loop was not woken")
			}
		}
		soon(t, func() bool { return done.Load() == audience }, "the burst to be handled")
		assert.LessOrEqual(t, f.LoopStats().Wakes-before.Wakes, uint64(2), "one for each loop")
	})
}

// A listener counts what it is told, and allocates nothing.
type listener struct {
	actor.Base
	pids chan *proto.PID
	done *atomic.Int64
	sent int
}

func (l *listener) OnConnected(*conn.Conn)            { l.pids <- l.Context().Self() }
func (l *listener) OnSent(*conn.Conn, conn.SendToken) { l.sent++ }
func (l *listener) Receive(ctx proto.Context) {
	if ctx.Message() == "done" {
		l.done.Add(1)
	}
}

func TestRES4_AWriteToEachOfManyConnectionsAllocatesNothing(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		if w.portable || w.blocking {
			w.cannot(t, "goroutines that take turns, read or write are made and end")
		}
		if raceEnabled {
			t.Skip("the race detector allocates")
		}
		f := w.start(t, actor.Config{Loops: 2})
		var done atomic.Int64
		joined := make(chan *proto.PID, audience)
		ln, err := f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor { return &listener{pids: joined, done: &done} },
			actor.ListenConfig{})
		require.NoError(t, err)
		s := &server{t: t, Listener: ln}
		var pids []*proto.PID
		for range audience {
			s.dial()
			pids = append(pids, <-joined)
		}
		write := &actor.Write{Data: []byte("news")}
		var last any = "done"
		burst := func() {
			done.Store(0)
			for _, pid := range pids {
				system.Root.Send(pid, write)
			}
			for _, pid := range pids {
				system.Root.Send(pid, last)
			}
			for deadline := time.Now().Add(patience); done.Load() < audience && time.Now().Before(deadline); {
				runtime.Gosched()
			}
			assert.EqualValues(t, audience, done.Load())
		}
		burst()
		allocs := math.Inf(1)
		for try := 0; try < 3 && allocs >= 50; try++ { // what ran before may still be ending
			allocs = min(allocs, testing.AllocsPerRun(20, burst))
		}
		assert.Less(t, allocs, 50.0, "for %d writes; the runtime has a few of its own", audience)
	})
}
