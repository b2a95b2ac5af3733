//go:build linux

package actor_test

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

func echo(p *probe, data []byte) error {
	_, err := p.Conn().Send(data)
	return err
}

func echoes(p *probe) { p.onReceived = echo }

//go:noinline
func thisFunctionPanics(v any) { panic(v) }

func TestSUP1_OnePanicEndsOneConnection(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const others = 99
		f := w.start(t, actor.Config{Loops: 1})
		s := f.serve(stuckConfig(), func(p *probe) {
			p.quiet = true
			p.onReceived = func(p *probe, data []byte) error {
				if data[0] != '!' {
					return echo(p, data)
				}
				_, err1 := p.Conn().Send(pattern(60_000))
				_, err2 := p.Conn().Send(pattern(256_000))
				assert.NoError(t, errors.Join(err1, err2))
				thisFunctionPanics("a value")
				return nil
			}
		})
		var clients []*peer
		for range others {
			c, _ := s.open()
			clients = append(clients, c)
		}
		victim := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnConnected")

		var running sync.WaitGroup
		chat := func(c *peer) {
			defer running.Done()
			buf := make([]byte, 1000)
			for i := range 50 {
				if i == 10 && c == clients[0] {
					_, err := victim.Write([]byte{'!'})
					assert.NoError(t, err)
				}
				want := pattern(1000)
				_, err := c.Write(want)
				assert.NoError(t, err)
				_, err = io.ReadFull(c, buf)
				assert.NoError(t, err)
				assert.Equal(t, want, buf)
			}
		}
		for _, c := range clients {
			require.NoError(t, c.SetDeadline(time.Now().Add(slow)))
			running.Add(1)
			go chat(c)
		}
		running.Wait()
		p.await(t, "Stopped")
		assert.Equal(t, []string{"Started", "OnConnected", "OnSendFailed 1", "OnSendFailed 2", "OnClosed", "Stopping", "Stopped"},
			p.notes())
		var closed *conn.CloseError
		require.ErrorAs(t, p.err, &closed)
		assert.Equal(t, conn.CauseHandler, closed.Cause)
		var panicked *actor.PanicError
		require.ErrorAs(t, p.err, &panicked)
		assert.Equal(t, "a value", panicked.Value)
		assert.Contains(t, string(panicked.Stack), "thisFunctionPanics")
		victim.expectReset()
		assert.Equal(t, others, s.Len())
	})
}

func TestSUP3_PanicInStarted(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		always := proto.NewOneForOneStrategy(1000, 0, func(any) proto.Directive { return proto.RestartDirective })
		for _, fail := range []func(){func() { panic("at the start") }, runtime.Goexit} {
			f := w.start(t, actor.Config{Strategy: always})
			s := f.serve(actor.ListenConfig{}, func(p *probe) {
				p.trip = func(where string) {
					if where == "Started" {
						fail()
					}
				}
			})
			c := s.dial()
			p := s.next()
			p.await(t, "Stopped")
			assert.Equal(t, []string{"Started", "OnConnectFailed", "Stopping", "Stopped"}, p.notes())
			var failed *conn.ConnectError
			require.ErrorAs(t, p.err, &failed)
			var panicked *actor.PanicError
			require.ErrorAs(t, p.err, &panicked)
			c.expectReset()
			assert.Empty(t, s.probes, "there is no restart")
		}
	})
}

func TestSUP3_PanicWhileStopping(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		for _, where := range []string{"Stopping", "Stopped"} {
			for name, fail := range map[string]func(){"panic": func() { panic("at the end") }, "Goexit": runtime.Goexit} {
				t.Run(where+" "+name, func(t *testing.T) {
					f := w.start(t, actor.Config{Loops: 1})
					watcher := newFriend(t)
					s := f.serve(actor.ListenConfig{}, func(p *probe) {
						p.trip = func(at string) {
							if at == where {
								fail()
							}
						}
					})
					_, p := s.open()
					watcher.watch(t, p.self)
					system.Root.Stop(p.self)
					watcher.await(t, "Terminated")
					soon(t, func() bool { return s.Len() == 0 }, "the slot is free")
					fastShutdown(t, f.Network) // the supervisor can still stop
					watcher.sync(t)
					assert.Equal(t, 1, watcher.count("Terminated"))
					assert.Equal(t, []string{"Started", "OnConnected", "OnClosed", "Stopping", "Stopped"}, p.notes())
					_, known := system.ProcessRegistry.Get(p.self)
					assert.False(t, known)
					assert.Contains(t, f.log.String(), "panic")
				})
			}
		}
	})
}

func TestSUP4_RestartKeepsTheStream(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		strategy := proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive { return proto.RestartDirective })
		f := w.start(t, actor.Config{Strategy: strategy})
		var frames atomic.Int32
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if frames.Add(1) == 1 {
					panic("on the first frame")
				}
				tok, err := p.Conn().Send(data)
				p.note("token")
				assert.EqualValues(t, frames.Load(), tok, "the next token") // 1 was the greeting's
				return err
			}
			p.onConnected = func(p *probe) { _, _ = p.Conn().Send([]byte("hi")) }
		})
		c, old := s.open()
		c.expect("hi")
		old.await(t, "OnSent 1")
		pid := old.self
		c.send("aaaabbbbcccc")
		c.expect("bbbbcccc")
		fresh := s.next()
		fresh.awaitN(t, 2, "OnSent", patience)
		assert.NotContains(t, old.notes(), "Stopping")
		assert.Equal(t, "Restarting", old.notes()[len(old.notes())-1], "%v", old.notes())
		assert.Equal(t, []string{"Started", "OnReceived bbbb", "token", "OnReceived cccc", "token", "OnSent 2", "OnSent 3"}, fresh.notes())
		_ = c.CloseWrite()
		fresh.await(t, "Stopped")
		assert.NoError(t, fresh.err)
		assert.Nil(t, old.Conn(), "the old value has no connection any more")
		_, known := system.ProcessRegistry.Get(pid)
		assert.False(t, known)
	})
}

func TestSUP4_ResumeKeepsTheValue(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		strategy := proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive { return proto.ResumeDirective })
		f := w.start(t, actor.Config{Strategy: strategy})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if string(data) == "aaaa" {
					panic("on the first frame")
				}
				return echo(p, data)
			}
		})
		c, p := s.open()
		c.send("aaaabbbbcccc")
		c.expect("bbbbcccc")
		p.awaitN(t, 2, "OnSent", patience)
		assert.Equal(t, []string{"Started", "OnConnected", "OnReceived aaaa", "OnReceived bbbb", "OnReceived cccc", "OnSent 1", "OnSent 2"},
			p.notes())
		system.Root.Stop(p.self)
		p.await(t, "Stopped")
		var closed *conn.CloseError
		require.ErrorAs(t, p.err, &closed)
		assert.Equal(t, conn.CauseAbort, closed.Cause, "the panic is forgotten")
	})
}

func TestSUP4_RestartWithoutSuccessorStops(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		strategy := proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive { return proto.RestartDirective })
		for name, fail := range map[string]func() actor.Actor{
			"nil": func() actor.Actor { return nil }, "panic": func() actor.Actor { panic("no more") },
		} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{Strategy: strategy})
				var made atomic.Int32
				p := &probe{onReceived: func(*probe, []byte) error { panic("the first") }}
				ln, err := f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor {
					if made.Add(1) == 1 {
						return p
					}
					return fail()
				}, actor.ListenConfig{})
				require.NoError(t, err)
				s := &server{Listener: ln, t: t}
				c := s.dial()
				p.await(t, "OnConnected")
				c.send("x")
				p.await(t, "Stopped")
				assert.Equal(t, []string{"Started", "OnConnected", "OnReceived x", "Restarting", "OnClosed", "Stopping", "Stopped"}, p.notes())
				var panicked *actor.PanicError
				require.ErrorAs(t, p.err, &panicked)
				assert.Equal(t, "the first", panicked.Value)
				c.expectReset()
				soon(t, func() bool { return ln.Len() == 0 }, "the slot is free")
			})
		}
	})
}

func TestSUP5_EscalateAndBrokenStrategiesCountAsStop(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		for name, decide := range map[string]proto.DeciderFunc{
			"escalate": func(any) proto.Directive { return proto.EscalateDirective },
			"panic":    func(any) proto.Directive { panic("undecided") },
			"Goexit":   func(any) proto.Directive { runtime.Goexit(); return 0 },
		} {
			for kind, strategy := range map[string]proto.SupervisorStrategy{
				"one for one": proto.NewOneForOneStrategy(10, 0, decide), "all for one": proto.NewAllForOneStrategy(10, 0, decide),
			} {
				t.Run(name+" "+kind, func(t *testing.T) {
					f := w.start(t, actor.Config{Loops: 1, Strategy: strategy})
					s := f.serve(actor.ListenConfig{}, func(p *probe) {
						p.onReceived = func(p *probe, data []byte) error {
							if data[0] == '!' {
								panic("told to")
							}
							return echo(p, data)
						}
					})
					good, _ := s.open()
					bad, p := s.open()
					bad.send("!")
					p.await(t, "Stopped")
					bad.expectReset()
					good.send("still here")
					good.expect("still here")
				})
			}
		}
	})
}

func TestSUP5_AllForOneDecidesOnOneConnection(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{Loops: 1,
			Strategy: proto.NewAllForOneStrategy(10, 0, func(any) proto.Directive { return proto.StopDirective })})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if data[0] == '!' {
					panic("told to")
				}
				return echo(p, data)
			}
		})
		good, neighbour := s.open()
		bad, p := s.open()
		bad.send("!")
		p.await(t, "Stopped")
		good.send("still here")
		good.expect("still here")
		assert.Zero(t, neighbour.count("OnClosed"))
	})
}

// greedy stops a connection that has done nothing.
type greedy struct{ other atomic.Pointer[proto.PID] }

func (g *greedy) HandleFailure(_ *proto.ActorSystem, sup proto.Supervisor, child *proto.PID, _ *proto.RestartStatistics, _, _ any) {
	sup.RestartChildren(g.other.Load())
	sup.StopChildren(g.other.Load())
	sup.StopChildren(nil, child)
}

func TestSUP5_AStrategyReachesOneConnection(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		strategy := new(greedy)
		f := w.start(t, actor.Config{Loops: 1, Strategy: strategy})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if data[0] == '!' {
					panic("told to")
				}
				return echo(p, data)
			}
		})
		good, neighbour := s.open()
		strategy.other.Store(neighbour.self)
		bad, p := s.open()
		bad.send("!")
		p.await(t, "Stopped")
		good.send("still here")
		good.expect("still here")
		assert.Empty(t, s.probes, "nobody was restarted")
	})
}

func TestSUP5_AThousandPanics(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		parents := make(map[string]bool)
		var mu sync.Mutex
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onConnected = func(p *probe) {
				mu.Lock()
				defer mu.Unlock()
				parents[p.Context().Parent().Id] = true
			}
			p.onReceived = func(p *probe, data []byte) error {
				if data[0] == '!' {
					panic("told to")
				}
				return echo(p, data)
			}
		})
		for range 20 { // in batches, for the descriptors
			var batch []*peer
			for range 50 {
				c := s.dial()
				c.send("!")
				batch = append(batch, c)
			}
			for _, c := range batch {
				c.expectReset()
				_ = c.Close()
			}
		}
		soon(t, func() bool { return s.Len() == 0 }, "all are gone")
		c := s.dial()
		c.send("and now?")
		c.expect("and now?")
		mu.Lock()
		defer mu.Unlock()
		assert.Len(t, parents, 2, "the supervisors, one for each loop, are the same as before")
	})
}
