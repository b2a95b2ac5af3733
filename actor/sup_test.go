//go:build linux

package actor_test

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

func echo(p *probe, data []byte) error {
	_, err := p.Conn().Send(data)
	return err
}

func echoes(p *probe) { p.onReceived = echo }

//go:noinline
func thisFunctionPanics(v any) { panic(v) }

func TestSUP1_OnePanicEndsOneConnection(t *testing.T) {
	const others = 99
	f := start(t, actor.Config{Loops: 1})
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
}

// trippy is a layer that fails where it is told to.
type trippy struct {
	interceptor.Pass
	trip func(where string)
}

func (l *trippy) Open(k interceptor.Link) error {
	l.trip("layer.Open")
	k.Raise("opened")
	k.SetDeadline(k.Now().Add(time.Millisecond))
	k.Ready()
	return nil
}
func (l *trippy) Up(k interceptor.Link, p []byte) error { l.trip("layer.Up"); return k.Up(p) }
func (l *trippy) EOF(interceptor.Link) error            { l.trip("layer.EOF"); return nil }
func (l *trippy) Down(k interceptor.Link, bufs [][]byte) error {
	l.trip("layer.Down")
	return k.Down(bufs)
}
func (l *trippy) CloseWrite(interceptor.Link) error        { l.trip("layer.CloseWrite"); return nil }
func (l *trippy) Close()                                   { l.trip("layer.Close") }
func (l *trippy) Wrote(interceptor.Link, int, int)         { l.trip("layer.Wrote") }
func (l *trippy) Reading(interceptor.Link, bool)           { l.trip("layer.Reading") }
func (l *trippy) Expire(interceptor.Link, time.Time) error { l.trip("layer.Expire"); return nil }

// everything makes each callback and each method of a layer happen that can happen in one connection.
func everything(p *probe) {
	p.onConnected = func(p *probe) {
		p.Conn().StartTimer(time.Millisecond)
		p.Context().Send(p.self, "hello")
		_, _ = p.Conn().Send([]byte("welcome"))
		p.Conn().Pause()
	}
	p.onTimer = func(p *probe) {
		p.Conn().Resume()
	}
	p.onReceived = func(p *probe, _ []byte) error {
		_, err := p.Conn().Send(pattern(300_000))
		return err
	}
}

// TestSUP2 lets each callback and each method of a layer fail, by a panic and by runtime.Goexit.
func TestSUP2_AnyFailureEndsOneConnectionInOrder(t *testing.T) {
	type failure struct {
		where string
		peer  string // what the peer does: "ends", "resets", "reads" what comes, or "refuses" in a layer
	}
	failures := []failure{
		{"OnConnected", ""}, {"OnReceived", ""}, {"OnSent", ""}, {"OnTimer", ""}, {"OnEvent", ""}, {"OnThrottled", ""},
		{"OnUnthrottled", "reads"}, {"OnIdle", "idles"}, {"OnEOF", "ends"}, {"OnSendFailed", "resets"}, {"OnClosed", "ends"},
		{"OnConnectFailed", "refuses"}, {"string", ""},
		{"layer.Open", ""}, {"layer.Up", ""}, {"layer.Down", ""}, {"layer.Wrote", ""}, {"layer.Reading", ""},
		{"layer.Expire", ""}, {"layer.EOF", "ends"}, {"layer.CloseWrite", "ends"}, {"layer.Close", "ends"},
	}
	ways := map[string]func(){"panic": func() { thisFunctionPanics("as told") }, "Goexit": runtime.Goexit}
	for way, fail := range ways {
		for _, x := range failures {
			t.Run(way+" in "+x.where, func(t *testing.T) { failOnce(t, x.where, x.peer, fail) })
		}
	}
}

func failOnce(t *testing.T, where, what string, fail func()) {
	f := start(t, actor.Config{Loops: 1})
	watcher := newFriend(t)
	var armed atomic.Bool
	var failed atomic.Int32
	trip := func(at string) {
		if armed.Load() && at == where {
			failed.Add(1)
			fail()
		}
		if armed.Load() && what == "refuses" && at == "layer.Open" {
			panic("refused")
		}
	}
	cfg := stuckConfig()
	cfg.MaxConns = 1
	cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor { return &trippy{trip: trip} }}
	if what == "idles" {
		cfg.Conn.IdleTimeout = 20 * time.Millisecond
	}
	var pid atomic.Pointer[proto.PID]
	cfg.Props = []proto.PropsOption{proto.WithOnInit(func(ctx proto.Context) { pid.Store(ctx.Self()) })}
	neighbour, _ := f.serve(actor.ListenConfig{}, echoes).open()

	armed.Store(true)
	connected := make(chan struct{}) // a reset must not come before the client has connected and sent its request
	s := f.serve(cfg, func(p *probe) {
		<-connected
		p.trip = trip
		if what != "idles" {
			everything(p)
		}
	})
	c := s.dialWith(smallReader)
	c.send("request")
	if what == "ends" {
		_ = c.CloseWrite()
	}
	close(connected)
	p := s.next()
	soon(t, func() bool { return pid.Load() != nil }, "the actor is spawned")
	watcher.watch(t, pid.Load())
	switch what {
	case "ends", "reads":
		go func() { _, _ = io.Copy(io.Discard, c) }()
	case "resets":
		p.await(t, "OnThrottled")
		c.reset()
	}
	p.await(t, "Stopped")
	watcher.await(t, "Terminated "+pid.Load().Id)
	soon(t, func() bool { return s.Len() == 0 }, "the slot is free")
	assert.NotZero(t, failed.Load(), "it failed where it was to")

	notes := p.notes()
	terminal := p.count("OnClosed") + p.count("OnConnectFailed")
	assert.Equal(t, 1, terminal, "one terminal callback in %v", notes)
	assert.Equal(t, 1, p.count("Stopped"))
	for i, n := range notes {
		if n == "OnClosed" || n == "OnConnectFailed" {
			assert.Equal(t, []string{"Stopping", "Stopped"}, notes[i+1:], "nothing comes after the last callback")
		}
	}
	if !strings.HasSuffix(where, "Close") && where != "OnClosed" && where != "OnConnectFailed" && where != "OnSendFailed" {
		var panicked *actor.PanicError
		assert.ErrorAs(t, p.err, &panicked)
	}
	if what == "" {
		c.expectReset()
	}
	armed.Store(false)
	neighbour.send("are you there?")
	neighbour.expect("are you there?")
	again, _ := s.open() // the loop goes on, and the listener, too
	again.reset()
	assert.Equal(t, 1, watcher.count("Terminated"), "one Terminated")
}

func TestSUP3_PanicInStarted(t *testing.T) {
	always := proto.NewOneForOneStrategy(1000, 0, func(any) proto.Directive { return proto.RestartDirective })
	for _, way := range []func(){func() { panic("at the start") }, runtime.Goexit} {
		f := start(t, actor.Config{Strategy: always})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.trip = func(where string) {
				if where == "Started" {
					way()
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
}

func TestSUP3_PanicWhileStopping(t *testing.T) {
	for _, where := range []string{"Stopping", "Stopped"} {
		for name, way := range map[string]func(){"panic": func() { panic("at the end") }, "Goexit": runtime.Goexit} {
			t.Run(where+" "+name, func(t *testing.T) {
				f := start(t, actor.Config{Loops: 1})
				watcher := newFriend(t)
				s := f.serve(actor.ListenConfig{}, func(p *probe) {
					p.trip = func(at string) {
						if at == where {
							way()
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
}

func TestSUP4_RestartKeepsTheStream(t *testing.T) {
	strategy := proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive { return proto.RestartDirective })
	f := start(t, actor.Config{Strategy: strategy})
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
}

func TestSUP4_ResumeKeepsTheValue(t *testing.T) {
	strategy := proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive { return proto.ResumeDirective })
	f := start(t, actor.Config{Strategy: strategy})
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
}

func TestSUP4_RestartWithoutSuccessorStops(t *testing.T) {
	strategy := proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive { return proto.RestartDirective })
	for name, fail := range map[string]func() actor.Actor{
		"nil": func() actor.Actor { return nil }, "panic": func() actor.Actor { panic("no more") },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, actor.Config{Strategy: strategy})
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
}

func TestSUP5_EscalateAndBrokenStrategiesCountAsStop(t *testing.T) {
	for name, decide := range map[string]proto.DeciderFunc{
		"escalate": func(any) proto.Directive { return proto.EscalateDirective },
		"panic":    func(any) proto.Directive { panic("undecided") },
		"Goexit":   func(any) proto.Directive { runtime.Goexit(); return 0 },
	} {
		for kind, strategy := range map[string]proto.SupervisorStrategy{
			"one for one": proto.NewOneForOneStrategy(10, 0, decide), "all for one": proto.NewAllForOneStrategy(10, 0, decide),
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				f := start(t, actor.Config{Loops: 1, Strategy: strategy})
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
}

func TestSUP5_AllForOneDecidesOnOneConnection(t *testing.T) {
	f := start(t, actor.Config{Loops: 1,
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
}

// greedy stops a connection that has done nothing.
type greedy struct{ other atomic.Pointer[proto.PID] }

func (g *greedy) HandleFailure(_ *proto.ActorSystem, sup proto.Supervisor, child *proto.PID, _ *proto.RestartStatistics, _, _ any) {
	sup.RestartChildren(g.other.Load())
	sup.StopChildren(g.other.Load())
	sup.StopChildren(nil, child)
}

func TestSUP5_AStrategyReachesOneConnection(t *testing.T) {
	strategy := new(greedy)
	f := start(t, actor.Config{Loops: 1, Strategy: strategy})
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
}

func TestSUP5_AThousandPanics(t *testing.T) {
	f := start(t, actor.Config{})
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
}
