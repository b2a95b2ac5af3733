//go:build linux

package actor_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
	"github.com/galago-go/galago/interceptor"
)

func TestNew_InvalidConfig(t *testing.T) {
	for want, cfg := range map[string]actor.Config{
		"Loops is -1": {Loops: -1}, "StallWarning is -1s": {StallWarning: -time.Second},
	} {
		n, err := actor.New(system, cfg)
		assert.Nil(t, n)
		assert.ErrorContains(t, err, want)
	}
}

func TestLSN1_ListensWhenListenReturns(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, echoes)
		assert.Positive(t, s.Addr().(*net.TCPAddr).Port)
		c := s.dial()
		c.send("now")
		c.expect("now")
	})
}

func TestLSN2_PortInUse(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		first := f.serve(actor.ListenConfig{}, echoes)
		addr := first.Addr().String()
		before := descriptors()
		_, err := f.Listen(t.Context(), addr, func() actor.Actor { return new(probe) }, actor.ListenConfig{})
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		assert.ErrorContains(t, err, addr)
		assert.Equal(t, before, descriptors(), "nothing was started")
		require.NoError(t, first.Close())
		second, err := f.Listen(t.Context(), addr, func() actor.Actor { return new(probe) }, actor.ListenConfig{})
		require.NoError(t, err, "the port is free at once")
		assert.Equal(t, addr, second.Addr().String())
	})
}

func TestLSN3_ListenNamesWhatCannotWork(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		const good = "127.0.0.1:0"
		ok := func() actor.Actor { return new(probe) }
		before := descriptors()
		for want, c := range map[string]struct {
			addr     string
			newActor func() actor.Actor
			cfg      actor.ListenConfig
		}{
			"127.0.0.1":              {"127.0.0.1", ok, actor.ListenConfig{}}, // no port
			"70000":                  {"127.0.0.1:70000", ok, actor.ListenConfig{}},
			`"udp"`:                  {good, ok, actor.ListenConfig{Network: "udp"}},
			"MaxConns is -1":         {good, ok, actor.ListenConfig{MaxConns: -1}},
			"CloseTimeout is -1s":    {good, ok, actor.ListenConfig{Conn: conn.Config{CloseTimeout: -time.Second}}},
			"HighWater is -2":        {good, ok, actor.ListenConfig{Conn: conn.Config{HighWater: -2}}},
			"WriteBuffer is -3":      {good, ok, actor.ListenConfig{Socket: loop.Options{WriteBuffer: -3}}},
			"newActor is nil":        {good, nil, actor.ListenConfig{}},
			"ListenConfig.Props[0] ": {good, ok, actor.ListenConfig{Props: []proto.PropsOption{nil}}},
		} {
			ln, err := f.Listen(t.Context(), c.addr, c.newActor, c.cfg)
			assert.Nil(t, ln, want)
			assert.ErrorContains(t, err, want)
		}
		assert.Equal(t, before, descriptors(), "no port is open")
		_, err := f.Listen(t.Context(), good, nil, actor.ListenConfig{MaxConns: -1, Network: "udp"})
		for _, want := range []string{"newActor", "MaxConns", "udp"} {
			assert.ErrorContains(t, err, want, "all of them are named")
		}
	})
}

func TestLSN5_ABurstOfClients(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const clients = 300
		f := w.start(t, actor.Config{Loops: 1})
		busy, release := make(chan struct{}), make(chan struct{})
		var connected atomic.Int32
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onConnected = func(*probe) { connected.Add(1) }
			p.receive = func(_ *probe, ctx proto.Context) {
				if ctx.Message() == "block" {
					close(busy)
					<-release
				}
			}
		})
		_, p := s.open()
		system.Root.Send(p.self, "block")
		<-busy
		time.AfterFunc(100*time.Millisecond, func() { close(release) })
		for range clients {
			nc, err := net.Dial("tcp", s.Addr().String())
			require.NoError(t, err)
			defer nc.Close()
		}
		soon(t, func() bool { return connected.Load() == clients+1 }, "all are served")
		assert.Equal(t, clients+1, s.Len())
	})
}

func TestLSN6_AClientThatCameAndWentEarly(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{Loops: 1})
		busy, release := make(chan struct{}), make(chan struct{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.receive = func(_ *probe, ctx proto.Context) {
				if ctx.Message() == "block" {
					close(busy)
					<-release
				}
			}
		})
		_, p := s.open()
		system.Root.Send(p.self, "block")
		<-busy
		c := s.dial()
		c.send("early")
		require.NoError(t, c.CloseWrite())
		close(release)
		p = s.next()
		p.await(t, "Stopped")
		assert.Equal(t, []string{"Started", "OnConnected", "OnReceived early", "OnEOF", "OnClosed", "Stopping", "Stopped"}, p.notes())
		assert.NoError(t, p.err)
	})
}

func TestLSN7_TheLimitLetsClientsWait(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{MaxConns: 10}, echoes)
		var clients []*peer
		for range 10 {
			c, _ := s.open()
			clients = append(clients, c)
		}
		last := s.dial()
		last.send("are you there?")
		stays(t, func() bool { return len(s.probes) == 0 }, "the 11th has no actor")
		assert.Equal(t, 10, s.Len())
		clients[3].reset()
		last.expect("are you there?")
		assert.Equal(t, 10, s.Len())
	})
}

func TestLSN8_NeverMoreThanTheLimit(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const limit, clients, atOnce = 5, 200, 50
		f := w.start(t, actor.Config{})
		var now, most atomic.Int32
		s := f.serve(actor.ListenConfig{MaxConns: limit}, func(p *probe) {
			echoes(p)
			p.onConnected = func(*probe) {
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
			}
			p.onClosed = func(*probe, error) { now.Add(-1) }
		})
		var running sync.WaitGroup
		places := make(chan struct{}, atOnce)
		for range clients {
			places <- struct{}{}
			running.Go(func() {
				defer func() { <-places }()
				nc, err := net.Dial("tcp", s.Addr().String())
				if !assert.NoError(t, err) {
					return
				}
				defer nc.Close()
				buf := make([]byte, 4)
				assert.NoError(t, nc.SetDeadline(time.Now().Add(slow)))
				_, err = io.WriteString(nc, "ping")
				assert.NoError(t, err)
				_, err = io.ReadFull(nc, buf)
				assert.NoError(t, err)
				assert.Equal(t, "ping", string(buf))
			})
		}
		running.Wait()
		soon(t, func() bool { return s.Len() == 0 && now.Load() == 0 }, "all have ended")
		assert.LessOrEqual(t, most.Load(), int32(limit))
	})
}

// failing is a layer that fails as soon as it is opened; silent one that is never ready.
type failing struct{ interceptor.Pass }
type silent struct{ interceptor.Pass }

func (failing) Open(interceptor.Link) error { return errors.New("refused by a layer") }
func (silent) Open(interceptor.Link) error  { return nil }

func TestLSN9_EveryEndFreesTheSlotOnce(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		strategies := map[string]proto.SupervisorStrategy{
			"stop": nil,
			"restart": proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive {
				return proto.RestartDirective
			}),
		}
		type end struct {
			name     string
			layers   []interceptor.Factory
			strategy string
			onData   func(p *probe) error
			peer     func(c *peer)
		}
		ends := []end{
			{name: "FIN", peer: func(c *peer) { _ = c.CloseWrite() }},
			{name: "RST", peer: (*peer).reset},
			{name: "Close", onData: func(p *probe) error { p.Conn().Close(); return nil }, peer: func(c *peer) {
				_, _ = c.rest(patience)
				_ = c.Close()
			}},
			{name: "Abort", onData: func(p *probe) error { p.Conn().Abort(nil); return nil }},
			{name: "error", onData: func(*probe) error { return errors.New("an error of OnReceived") }},
			{name: "panic", onData: func(*probe) error { panic("told to") }},
			{name: "Goexit", onData: func(*probe) error { runtime.Goexit(); return nil }},
			{name: "restart, then FIN", strategy: "restart", onData: func(*probe) error { panic("told to") },
				peer: func(c *peer) { _ = c.CloseWrite() }},
			{name: "stop", onData: func(p *probe) error { p.Context().Stop(p.self); return nil }},
			{name: "poison", onData: func(p *probe) error { p.Context().Poison(p.self); return nil }},
			{name: "failing handshake", layers: []interceptor.Factory{func() interceptor.Interceptor { return failing{} }}},
			{name: "silent handshake", layers: []interceptor.Factory{func() interceptor.Interceptor { return silent{} }}},
			{name: "no layer", layers: []interceptor.Factory{func() interceptor.Interceptor { panic("no layer") }}},
		}
		for _, e := range ends {
			t.Run(e.name, func(t *testing.T) {
				f := w.start(t, actor.Config{Strategy: strategies[e.strategy]})
				cfg := actor.ListenConfig{MaxConns: 1}
				cfg.Conn.StartTimeout = 200 * time.Millisecond
				var clients atomic.Int32
				cfg.Conn.Layers = nil
				if e.layers != nil {
					cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor {
						if clients.Add(1) > 1 {
							return interceptor.Pass{}
						}
						return e.layers[0]()
					}}
				}
				s := f.serve(cfg, func(p *probe) {
					p.onReceived = func(p *probe, data []byte) error {
						if data[0] == '!' {
							return e.onData(p)
						}
						return echo(p, data)
					}
				})
				first := s.dial()
				s.next()
				second := s.dial()
				second.send("my turn?")
				if e.onData != nil {
					first.send("!")
				}
				if e.peer != nil {
					e.peer(first)
				}
				second.expect("my turn?")
				assert.Equal(t, 1, s.Len())
				second.reset()
				soon(t, func() bool { return s.Len() == 0 }, "the count ends at 0")
				fastShutdown(t, f.Network)
				assert.Zero(t, s.Len(), "and stays there")
			})
		}
	})
}

func TestLSN13_CloseFromACallback(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		var s *server
		s = f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if string(data) == "close" {
					assert.NoError(t, s.Close())
				}
				return echo(p, data)
			}
		})
		a, _ := s.open()
		b, _ := s.open()
		a.send("close")
		a.expect("close")
		_, err := net.Dial("tcp", s.Addr().String())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		for _, c := range []*peer{a, b} {
			c.send("still open")
			c.expect("still open")
		}
		require.NoError(t, s.Close(), "a second time")
		assert.Empty(t, s.probes, "newActor is not called any more")
		assert.Equal(t, 2, s.Len())
	})
}

func TestLSN14_NewActorFails(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		var taken probe
		for name, bad := range map[string]func() actor.Actor{
			"panic": func() actor.Actor { panic("no actor") },
			"nil":   func() actor.Actor { return nil },
			"no Base": func() actor.Actor {
				return struct {
					*actor.Base
				}{}
			},
			"nil pointer": func() actor.Actor { return (*probe)(nil) },
			"in use":      func() actor.Actor { return &taken },
			"Goexit":      func() actor.Actor { runtime.Goexit(); return nil },
		} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{Loops: 1})
				var calls atomic.Int32
				connected := make(chan struct{}, 3)
				first := new(probe)
				echoes(first)
				ln, err := f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor {
					<-connected
					switch n := calls.Add(1); {
					case name == "in use" && n == 1:
						return first
					case name == "in use" && n == 2:
						return first
					case n <= 2:
						return bad()
					}
					p := new(probe)
					echoes(p)
					return p
				}, actor.ListenConfig{MaxConns: 2})
				require.NoError(t, err)
				s := &server{Listener: ln, t: t}
				clients := []*peer{s.dial(), s.dial(), s.dial()}
				for range clients {
					connected <- struct{}{}
				}
				clients[2].send("served?")
				clients[2].expect("served?")
				clients[1].expectEnd()
				if name != "in use" {
					clients[0].expectEnd()
					assert.Equal(t, 1, s.Len())
				}
				if name != "Goexit" {
					assert.Contains(t, f.log.String(), "level=ERROR")
				}
			})
		}
	})
}

func TestLSN14_OptionsThatFail(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		for name, fail := range map[string]func(){"panic": func() { panic("in OnInit") }, "Goexit": runtime.Goexit} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{Loops: 1})
				asker := newFriend(t)
				var calls atomic.Int32
				var pid atomic.Pointer[proto.PID]
				cfg := actor.ListenConfig{MaxConns: 1, Props: []proto.PropsOption{proto.WithOnInit(func(ctx proto.Context) {
					if calls.Add(1) == 1 {
						pid.Store(ctx.Self())
						asker.ask(ctx.Self(), &actor.Write{Data: []byte("x"), Ack: 1})
						p, _ := system.ProcessRegistry.Get(ctx.Self())
						p.SendSystemMessage(ctx.Self(), &proto.Watch{Watcher: asker.pid})
						fail()
					}
				})}}
				s := f.serve(cfg, echoes)
				s.dial().expectEnd()
				c := s.dial()
				c.send("served?")
				c.expect("served?")
				_, known := system.ProcessRegistry.Get(pid.Load())
				assert.False(t, known, "nobody finds the actor that was not spawned")
				asker.await(t, "*actor.WriteFailed")
				asker.await(t, "Terminated "+pid.Load().Id)
				assert.Equal(t, 1, s.Len())
			})
		}
	})
}

func TestLSN15_ListenAndCloseAgainAndAgain(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		addr := "127.0.0.1:0"
		var before census
		for i := range 11 {
			ln, err := f.Listen(t.Context(), addr, func() actor.Actor {
				p := new(probe)
				echoes(p)
				return p
			}, actor.ListenConfig{})
			require.NoError(t, err)
			addr = ln.Addr().String()
			s := &server{Listener: ln, t: t}
			c := s.dial()
			c.send("ping")
			c.expect("ping")
			c.reset()
			soon(t, func() bool { return ln.Len() == 0 }, "the connection has ended")
			require.NoError(t, ln.Close())
			if i == 0 {
				before = takeCensus()
			}
		}
		assert.Empty(t, before.wait(), "nothing grows")
	})
}

func TestListenOnUnixSocket(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		path := t.TempDir() + "/socket"
		p := new(probe)
		echoes(p)
		ln, err := f.Listen(t.Context(), path, func() actor.Actor { return p }, actor.ListenConfig{Network: "unix"})
		require.NoError(t, err)
		nc, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer nc.Close()
		_, err = io.WriteString(nc, "ping")
		require.NoError(t, err)
		buf := make([]byte, 4)
		_, err = io.ReadFull(nc, buf)
		require.NoError(t, err)
		assert.Equal(t, "ping", string(buf))
		require.NoError(t, ln.Close())
	})
}
