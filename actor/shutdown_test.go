//go:build linux

package actor_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
)

func TestShutdownAnswersTheMailThatIsLeft(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const queued = 50_000
		f := w.start(t, actor.Config{Loops: 1})
		asker := new(counter)
		asker.pid, _ = system.ProcessRegistry.Add(asker, "counter"+system.ProcessRegistry.NextId())
		defer system.ProcessRegistry.Remove(asker.pid)
		blocked, release := make(chan struct{}), make(chan struct{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.receive = func(_ *probe, ctx proto.Context) {
				if ctx.Message() == "block" {
					close(blocked)
					<-release
				}
			}
		})
		_, p := s.open()
		system.Root.Send(p.self, "block")
		<-blocked
		write := &actor.Write{Data: []byte("x"), Ack: 1}
		for range queued {
			system.Root.RequestWithCustomSender(p.self, write, asker.pid)
		}
		time.AfterFunc(10*time.Millisecond, func() { close(release) })
		_, aborted, err := f.Shutdown(timeout(t, -1))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, aborted)
		// The actor may have handled some between its release and the stop.
		assert.EqualValues(t, queued, asker.written.Load()+asker.failed.Load())
		assert.Greater(t, asker.failed.Load(), int64(queued/2))
	})
}

// A counter is a process that counts the answers to Writes.
type counter struct {
	pid             *proto.PID
	written, failed atomic.Int64
}

func (c *counter) SendUserMessage(_ *proto.PID, msg any) {
	switch msg.(type) {
	case *actor.Written:
		c.written.Add(1)
	case *actor.WriteFailed:
		c.failed.Add(1)
	}
}
func (c *counter) SendSystemMessage(*proto.PID, any) {}
func (c *counter) Stop(*proto.PID)                   {}

func TestShutdownRefusesAClientOnItsWay(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		making, release := make(chan struct{}), make(chan struct{})
		s := f.serve(actor.ListenConfig{}, func(*probe) {
			close(making)
			<-release
		})
		c := s.dial()
		<-making
		shut := make(chan error, 1)
		go func() {
			closed, aborted, err := f.Shutdown(timeout(t, patience))
			assert.Zero(t, closed+aborted)
			shut <- err
		}()
		soon(t, f.Ending, "no new connections are wanted")
		close(release)
		require.NoError(t, <-shut)
		assert.Empty(t, s.next().notes(), "there was no actor")
		c.expectEnd()
	})
}

// TestShutdownOfABlockedLoop shows that Shutdown does not wait for ever for a callback that does not return.
func TestShutdownOfABlockedLoop(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		block := func(blocked, release chan struct{}) {
			close(blocked)
			<-release
		}
		t.Run("OnReceived", func(t *testing.T) {
			blocked, release := make(chan struct{}), make(chan struct{})
			f := w.start(t, actor.Config{Loops: 1})
			f.SetGrace(100 * time.Millisecond)
			s := f.serve(actor.ListenConfig{}, func(p *probe) {
				p.onReceived = func(*probe, []byte) error { block(blocked, release); return nil }
			})
			c, _ := s.open()
			c.send("x")
			<-blocked
			_, _, err := f.Shutdown(timeout(t, -1))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "1 connections did not end")
			close(release)
			closed, aborted, err := f.Shutdown(timeout(t, patience))
			require.NoError(t, err, "a second call goes on")
			assert.Equal(t, 1, closed+aborted)
		})
		t.Run("newActor", func(t *testing.T) {
			blocked, release := make(chan struct{}), make(chan struct{})
			f := w.start(t, actor.Config{Loops: 1})
			f.SetGrace(100 * time.Millisecond)
			s := f.serve(actor.ListenConfig{}, func(*probe) { block(blocked, release) })
			c := s.dial()
			<-blocked
			_, _, err := f.Shutdown(timeout(t, -1))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "newActor blocks it")
			close(release)
			_, _, err = f.Shutdown(timeout(t, patience))
			require.NoError(t, err)
			c.expectEnd()
		})
	})
}
