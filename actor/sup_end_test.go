//go:build linux

package actor_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// lateStrategy restarts when it is let.
type lateStrategy struct {
	failed chan struct{}
	decide chan func()
}

func newLateStrategy() *lateStrategy {
	return &lateStrategy{make(chan struct{}, 1), make(chan func(), 1)}
}

func (s *lateStrategy) HandleFailure(_ *proto.ActorSystem, sup proto.Supervisor, child *proto.PID,
	_ *proto.RestartStatistics, _, _ any) {
	s.decide <- func() { sup.RestartChildren(child) }
	s.failed <- struct{}{}
}

func TestSUP6_NothingIsDeliveredWhileSuspended(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		strategy := newLateStrategy()
		f := w.start(t, actor.Config{Strategy: strategy})
		var made atomic.Int32
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			first := made.Add(1) == 1
			p.onReceived = func(p *probe, _ []byte) error {
				if first {
					panic("the first frame")
				}
				return nil
			}
		})
		c, old := s.open()
		c.send("aaaa")
		<-strategy.failed
		c.send("bbbbcccc")
		for range 3 {
			system.Root.Send(old.self, "mail")
		}
		stays(t, func() bool { return len(old.notes()) == 3 }, "it is suspended")
		(<-strategy.decide)()
		fresh := s.next()
		fresh.awaitN(t, 3, "string", patience)
		assert.Equal(t, []string{"Started", "OnReceived bbbb", "OnReceived cccc", "string", "string", "string"}, fresh.notes())
		assert.Equal(t, []string{"Started", "OnConnected", "OnReceived aaaa", "Restarting"}, old.notes())
	})
}

func TestSUP6_EndsOnTimeWhileSuspended(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		for name, end := range map[string]func(c *peer){
			"reset":        func(c *peer) { c.reset() },
			"CloseTimeout": func(*peer) {}, // Close was called; the peer does not end
		} {
			t.Run(name, func(t *testing.T) {
				strategy := newLateStrategy()
				f := w.start(t, actor.Config{Strategy: strategy})
				var made atomic.Int32
				cfg := actor.ListenConfig{Conn: conn.Config{CloseTimeout: 100 * time.Millisecond}}
				s := f.serve(cfg, func(p *probe) {
					first := made.Add(1) == 1
					p.onReceived = func(p *probe, _ []byte) error {
						if first {
							if name == "CloseTimeout" {
								p.Conn().Close()
							}
							panic("the first frame")
						}
						return nil
					}
				})
				c, old := s.open()
				before := descriptors() // both ends
				c.send("x")
				<-strategy.failed
				end(c)
				want := before - 1
				if name == "reset" {
					want = before - 2
				}
				soon(t, func() bool { return descriptors() == want }, "the descriptor is closed, not only when the pause ends")
				assert.Zero(t, old.count("OnClosed"))
				(<-strategy.decide)()
				fresh := s.next()
				fresh.await(t, "Stopped")
				assert.Equal(t, []string{"Started", "OnClosed", "Stopping", "Stopped"}, fresh.notes())
				var closed *conn.CloseError
				require.ErrorAs(t, fresh.err, &closed)
				assert.Equal(t, name == "CloseTimeout", closed.Timeout())
			})
		}
	})
}

func TestSUP7_StopOvertakesAndAborts(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const queued = 10_000
		f := w.start(t, actor.Config{Loops: 1})
		watcher, sender := newFriend(t), newFriend(t)
		busy, release := make(chan struct{}), make(chan struct{})
		s := f.serve(stuckConfig(), func(p *probe) {
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "block" {
					_, err1 := p.Conn().Send(pattern(60_000))
					_, err2 := p.Conn().Send(pattern(256_000))
					assert.NoError(t, errors.Join(err1, err2))
					close(busy)
					<-release
				}
			}
		})
		c := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnConnected")
		watcher.watch(t, p.self)
		dead := make(chan struct{})
		var letters atomic.Int32
		sub := system.EventStream.Subscribe(func(ev any) {
			if d, ok := ev.(*proto.DeadLetterEvent); ok && d.PID.Equal(p.self) {
				if letters.Add(1) == queued {
					close(dead)
				}
			}
		})
		defer system.EventStream.Unsubscribe(sub)

		system.Root.Send(p.self, "block")
		<-busy
		for range queued {
			sender.ask(p.self, "too late")
		}
		system.Root.Stop(p.self)
		close(release)

		watcher.await(t, "Terminated")
		select {
		case <-dead:
		case <-time.After(patience):
			require.Fail(t, "dead letters are missing", "%d", letters.Load())
		}
		sender.awaitN(t, queued, "*actor.DeadLetterResponse", patience)
		assert.Equal(t, []string{"Started", "OnConnected", "string", "OnSendFailed 1", "OnSendFailed 2", "OnClosed", "Stopping", "Stopped"},
			p.notes())
		var closed *conn.CloseError
		require.ErrorAs(t, p.err, &closed)
		assert.Equal(t, conn.CauseAbort, closed.Cause)
		c.expectReset()
		assert.Equal(t, 1, watcher.count("Terminated"))
	})
}

func TestSUP7_PoisonQueuesBehindMail(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		c, p := s.open()
		for range 100 {
			system.Root.Send(p.self, "mail")
		}
		system.Root.Poison(p.self)
		p.await(t, "Stopped")
		assert.Equal(t, 100, p.count("string"))
		c.expectReset()
	})
}

func TestSUP8_TheActorStopsByItself(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		ends := map[string]func(c *peer, p *probe){
			"FIN":   func(c *peer, _ *probe) { _ = c.CloseWrite() },
			"reset": func(c *peer, _ *probe) { c.reset() },
			"Close": func(c *peer, p *probe) {
				system.Root.Send(p.self, &actor.Close{})
				_, err := c.rest(patience)
				assert.NoError(t, err)
				_ = c.Close()
			},
			"Abort": func(_ *peer, p *probe) { system.Root.Send(p.self, &actor.Abort{}) },
		}
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{Loops: 1})
				watcher := newFriend(t)
				s := f.serve(actor.ListenConfig{}, nil)
				c, p := s.open()
				watcher.watch(t, p.self)
				end(c, p)
				watcher.await(t, "Terminated "+p.self.Id)
				assert.Equal(t, []string{"OnClosed", "Stopping", "Stopped"}, p.notes()[len(p.notes())-3:])
				_, known := system.ProcessRegistry.Get(p.self)
				assert.False(t, known, "the PID is unknown")
				assert.Nil(t, p.Conn())
				soon(t, func() bool { return s.Len() == 0 }, "the slot is free")
				fastShutdown(t, f.Network) // no child is left
				watcher.sync(t)
				assert.Equal(t, 1, watcher.count("Terminated"))
			})
		}
	})
}
