//go:build linux

package actor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
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
)

// A lodger is an actor without a connection that writes down what happens to it, and then does what its hook says.
type lodger struct {
	diary
	hook func(ctx proto.Context)
}

func (l *lodger) Receive(ctx proto.Context) {
	l.note(noteOf(ctx))
	if l.hook != nil {
		l.hook(ctx)
	}
}

// noteOf is the message itself, if it is a string, or its type.
func noteOf(ctx proto.Context) string {
	if s, ok := ctx.Message().(string); ok {
		return s
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", ctx.Message()), "*actor.")
}

// lodge spawns a lodger. Its successors write into the same diary.
func (f *fixture) lodge(hook func(ctx proto.Context), options ...proto.PropsOption) (*lodger, *proto.PID) {
	f.t.Helper()
	l := &lodger{hook: hook}
	pid, err := f.Spawn(func() proto.Actor { return l }, actor.SpawnConfig{Props: options})
	require.NoError(f.t, err)
	return l, pid
}

// once fails the first time that an actor gets the message it is for.
func once(what string, fail func()) func(proto.Context) {
	done := false
	return func(ctx proto.Context) {
		if !done && noteOf(ctx) == what {
			done = true
			fail()
		}
	}
}

// A judge is a guardian that remembers why actors failed.
type judge struct {
	reasons chan any
	verdict func(sup proto.Supervisor, child *proto.PID)
}

func newJudge(verdict func(proto.Supervisor, *proto.PID)) *judge {
	return &judge{make(chan any, 100), verdict}
}

func (j *judge) HandleFailure(_ *proto.ActorSystem, sup proto.Supervisor, child *proto.PID, _ *proto.RestartStatistics,
	reason, _ any) {
	j.reasons <- reason
	j.verdict(sup, child)
}

func TestAResidentThatFails(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { thisFunctionPanics("no") }, "Goexit": runtime.Goexit} {
		t.Run(name+", by default it is restarted", func(t *testing.T) {
			f := start(t, actor.Config{Loops: 1})
			l, pid := f.lodge(once("bad", fail))
			for _, msg := range []string{"good", "bad", "better"} {
				system.Root.Send(pid, msg)
			}
			l.await(t, "better")
			assert.Equal(t, []string{"Started", "good", "bad", "Restarting", "Started", "better"}, l.notes())
			assert.Contains(t, f.log.String(), pid.Id)
			assert.Contains(t, f.log.String(), "resident_end_test.go", "the stack")
		})
		t.Run(name+", a guardian decides", func(t *testing.T) {
			f := start(t, actor.Config{Loops: 1})
			g := newJudge(func(sup proto.Supervisor, child *proto.PID) { sup.StopChildren(child) })
			watcher := newFriend(t)
			l, pid := f.lodge(once("bad", fail), proto.WithGuardian(g))
			watcher.watch(t, pid)
			system.Root.Send(pid, "bad")
			watcher.await(t, "Terminated "+pid.Id)
			assert.Equal(t, []string{"Started", "bad", "Stopping", "Stopped"}, l.notes())
			p, ok := (<-g.reasons).(*actor.PanicError)
			require.True(t, ok)
			assert.Contains(t, string(p.Stack), "resident_end_test.go")
			if name == "panic" {
				assert.Equal(t, "no", p.Value)
			} else {
				assert.ErrorContains(t, p, "Goexit")
			}
		})
		for _, where := range []string{"Stopping", "Stopped"} {
			t.Run(name+" in "+where+" cannot strand it", func(t *testing.T) {
				f := start(t, actor.Config{Loops: 1})
				watcher := newFriend(t)
				l, pid := f.lodge(once(where, fail))
				watcher.watch(t, pid)
				system.Root.Stop(pid)
				watcher.await(t, "Terminated "+pid.Id)
				assert.Equal(t, []string{"Started", "Stopping", "Stopped"}, l.notes())
				assert.Contains(t, f.log.String(), "level=ERROR")
				fastShutdown(t, f.Network)
			})
		}
		t.Run(name+" in Started, Restarting and newActor", func(t *testing.T) {
			f := start(t, actor.Config{Loops: 1})
			watcher := newFriend(t)
			guardian := proto.WithGuardian(proto.NewOneForOneStrategy(5, slow, proto.DefaultDecider))
			l, made := new(lodger), 0
			l.hook = func(ctx proto.Context) {
				if what := noteOf(ctx); what == "Started" && made == 1 || what == "Restarting" && made == 2 {
					made++ // so that it fails once
					fail()
				}
			}
			pid, err := f.Spawn(func() proto.Actor {
				if made++; made > 3 {
					fail()
				}
				return l
			}, actor.SpawnConfig{Props: []proto.PropsOption{guardian}})
			require.NoError(t, err)
			watcher.watch(t, pid)
			watcher.await(t, "Terminated "+pid.Id)
			notes := l.notes()
			assert.Equal(t, []string{"Stopping", "Stopped"}, notes[len(notes)-2:])
			assert.Equal(t, 1, l.count("Started"), "no successor was made")
			fastShutdown(t, f.Network)
		})
	}
}

func TestAFailedDecisionStopsAResident(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	watcher := newFriend(t)
	g := newJudge(func(sup proto.Supervisor, child *proto.PID) { sup.EscalateFailure("nobody is above", nil) })
	l, pid := f.lodge(once("bad", func() { panic("no") }), proto.WithGuardian(g))
	watcher.watch(t, pid)
	system.Root.Send(pid, "bad")
	watcher.await(t, "Terminated")
	assert.Equal(t, []string{"Started", "bad", "Stopping", "Stopped"}, l.notes())
}

func TestBrokenMiddlewareCannotStrandAResident(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	_, pid := f.lodge(nil, proto.WithReceiverMiddleware(func(proto.ReceiverFunc) proto.ReceiverFunc {
		return func(proto.ReceiverContext, *proto.MessageEnvelope) { panic("broken") }
	}))
	soon(t, func() bool { _, known := system.ProcessRegistry.Get(pid); return !known }, "it ends")
	fastShutdown(t, f.Network)
}

func TestAResidentIsSuspendedUntilDecided(t *testing.T) {
	strategy := newLateStrategy()
	f := start(t, actor.Config{Loops: 1})
	l, pid := f.lodge(once("bad", func() { panic("no") }), proto.WithGuardian(strategy))
	system.Root.Send(pid, "bad")
	<-strategy.failed
	system.Root.Send(pid, "mail")
	stays(t, func() bool { return len(l.notes()) == 2 }, "it is suspended")
	(<-strategy.decide)()
	l.await(t, "mail")
	assert.Equal(t, []string{"Started", "bad", "Restarting", "Started", "mail"}, l.notes())
}

// boss decides on its children itself.
type boss struct {
	*judge
	lodger
}

func TestAResidentHasChildren(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	child := new(lodger)
	child.hook = once("bad", func() { panic("no") })
	b := &boss{judge: newJudge(func(sup proto.Supervisor, child *proto.PID) { sup.RestartChildren(child) })}
	var pid *proto.PID
	spawned := make(chan struct{}, 10)
	b.hook = func(ctx proto.Context) {
		if _, ok := ctx.Message().(*proto.Started); ok {
			pid = ctx.Spawn(proto.PropsFromProducer(func() proto.Actor { return child }))
			spawned <- struct{}{}
		}
	}
	self, err := f.Spawn(func() proto.Actor { return b }, actor.SpawnConfig{})
	require.NoError(t, err)
	<-spawned
	system.Root.Send(pid, "bad")
	assert.Equal(t, "no", <-b.reasons, "the actor is its children's strategy")
	child.awaitN(t, 2, "Started", patience)

	p, ok := system.ProcessRegistry.Get(self)
	require.True(t, ok)
	p.SendSystemMessage(self, new(proto.Restart))
	<-spawned
	assert.Equal(t, []string{"Started", "Restarting", "Terminated", "Started"}, b.notes(), "its children end first")
	require.NoError(t, system.Root.PoisonFuture(self).Wait())
	assert.Equal(t, []string{"Stopping", "Terminated", "Stopped"}, b.notes()[4:])
	assert.Equal(t, 2, child.count("Stopped"))
}

func TestAResidentTakesBatchesAndEarlyMail(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	l, pid := f.lodge(nil, proto.WithOnInit(func(ctx proto.Context) {
		ctx.Send(ctx.Self(), "early") // before there is anybody to handle it
		system.Root.RequestWithCustomSender(ctx.Self(), "earlier than Started", nil)
	}))
	system.Root.Send(pid, mails{"one", mails{"two"}, "three"})
	require.NoError(t, system.Root.PoisonFuture(pid).Wait())
	assert.Equal(t, []string{"Started", "early", "earlier than Started", "one", "two", "actor_test.mails", "three",
		"actor_test.mails", "Stopping", "Stopped"}, l.notes())
}

// mails is a proto.MessageBatch.
type mails []any

func (m mails) GetMessages() []any { return m }

func TestStopAResidentDuringTraffic(t *testing.T) {
	const senders = 4
	f := start(t, actor.Config{Loops: 2})
	watcher, asker := newFriend(t), newFriend(t)
	pid := f.settle(actor.SpawnConfig{}, func(ctx proto.Context) {
		if ctx.Sender() != nil {
			ctx.Respond("done")
		}
	})
	watcher.watch(t, pid)
	var asked atomic.Int64
	var over atomic.Bool
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for !over.Load() {
				if asked.Load()-int64(asker.count("")) < 5000 { // bounded
					asker.ask(pid, "work")
					asked.Add(1)
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	asker.awaitN(t, 100, "string", slow)
	system.Root.Stop(pid)
	watcher.await(t, "Terminated "+pid.Id)
	asker.await(t, "*actor.DeadLetterResponse")
	over.Store(true)
	all.Wait()
	asker.awaitN(t, int(asked.Load()), "", slow)
	assert.Equal(t, int(asked.Load()), asker.count("string")+asker.count("*actor.DeadLetterResponse"))
	assert.Equal(t, 1, watcher.count("Terminated"))
	watcher.watch(t, pid)
	watcher.awaitN(t, 2, "Terminated "+pid.Id, patience) // who comes too late is told so
}

func TestResidentsOutliveConnections(t *testing.T) {
	f := start(t, actor.Config{Loops: 2})
	var s *server
	l, pid := f.lodge(func(ctx proto.Context) {
		if _, ok := ctx.Message().(*proto.Stopping); ok {
			assert.Zero(t, s.Len())
		}
	})
	s = f.serve(actor.ListenConfig{}, func(p *probe) {
		p.onClosed = func(p *probe, _ error) {
			p.Context().Send(pid, "one ended")
			_, err := f.Spawn(func() proto.Actor { return l }, actor.SpawnConfig{})
			assert.ErrorIs(t, err, net.ErrClosed)
		}
	})
	var clients sync.WaitGroup
	for range 3 {
		c, _ := s.open()
		clients.Go(func() {
			_, _ = c.rest(patience)
			_ = c.Close()
		})
	}
	fastShutdown(t, f.Network)
	clients.Wait()
	assert.Equal(t, []string{"Started", "one ended", "one ended", "one ended", "Stopping", "Stopped"}, l.notes())
	_, err := f.Spawn(func() proto.Actor { return l }, actor.SpawnConfig{})
	assert.ErrorIs(t, err, net.ErrClosed)
}

func TestShutdownStopsASuspendedResidentWhenItsPatienceEnds(t *testing.T) {
	strategy := newLateStrategy()
	f := start(t, actor.Config{Loops: 1})
	l, pid := f.lodge(once("bad", func() { panic("no") }), proto.WithGuardian(strategy))
	system.Root.Send(pid, "bad")
	<-strategy.failed
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, _, err := f.Shutdown(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []string{"Started", "bad", "Stopping", "Stopped"}, l.notes())
	fastShutdown(t, f.Network)
}

func TestShutdownWithAResidentThatBlocks(t *testing.T) {
	f := start(t, actor.Config{Loops: 2})
	f.SetGrace(50 * time.Millisecond)
	blocked, release := make(chan struct{}), make(chan struct{})
	_, pid := f.lodge(func(ctx proto.Context) {
		if _, ok := ctx.Message().(*proto.Stopping); ok {
			close(blocked)
			<-release
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-blocked
		cancel()
	}()
	_, _, err := f.Shutdown(ctx)
	assert.ErrorContains(t, err, "1 actors without a connection did not end in 50ms")
	assert.ErrorContains(t, err, pid.Id)
	assert.ErrorIs(t, err, context.Canceled)
	close(release)
	fastShutdown(t, f.Network)
}

func TestShutdownWhileSpawning(t *testing.T) {
	for range 20 {
		f := start(t, actor.Config{Loops: 2})
		var mu sync.Mutex
		var spawned []*proto.PID
		var started, stopped atomic.Int64
		count := func(ctx proto.Context) {
			switch ctx.Message().(type) {
			case *proto.Started:
				started.Add(1)
			case *proto.Stopped:
				stopped.Add(1)
			}
		}
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for {
					pid, err := f.Spawn(func() proto.Actor { return proto.ReceiveFunc(count) }, actor.SpawnConfig{})
					if err != nil {
						assert.ErrorIs(t, err, net.ErrClosed)
						return
					}
					mu.Lock()
					spawned = append(spawned, pid)
					mu.Unlock()
				}
			})
		}
		soon(t, func() bool { return started.Load() > 10 }, "some run")
		fastShutdown(t, f.Network)
		all.Wait()
		assert.EqualValues(t, len(spawned), started.Load())
		assert.EqualValues(t, len(spawned), stopped.Load())
		for _, pid := range spawned {
			_, known := system.ProcessRegistry.Get(pid)
			require.False(t, known)
		}
	}
}

func TestWhatCannotBeSpawnedIsNamed(t *testing.T) {
	f := start(t, actor.Config{Loops: 2})
	made := 0
	ok := func() proto.Actor { made++; return new(lodger) }
	panics := proto.WithOnInit(func(proto.Context) { panic(errors.New("not today")) })
	for _, test := range []struct {
		newActor func() proto.Actor
		cfg      actor.SpawnConfig
		says     string
	}{
		{nil, actor.SpawnConfig{Loop: 3}, "newActor is nil"},
		{nil, actor.SpawnConfig{Loop: 3}, "SpawnConfig.Loop is 3"},
		{ok, actor.SpawnConfig{Loop: -1}, "1 to 2"},
		{ok, actor.SpawnConfig{Props: []proto.PropsOption{nil}}, "SpawnConfig.Props[0] is nil"},
	} {
		pid, err := f.Spawn(test.newActor, test.cfg)
		assert.Nil(t, pid)
		assert.ErrorContains(t, err, test.says)
	}
	assert.Zero(t, made, "nothing was started")
	_, err := f.Spawn(func() proto.Actor { return nil }, actor.SpawnConfig{})
	assert.ErrorContains(t, err, "newActor returned nil")
	var p *actor.PanicError
	_, err = f.Spawn(func() proto.Actor { panic("none") }, actor.SpawnConfig{})
	assert.ErrorAs(t, err, &p)
	_, err = f.Spawn(ok, actor.SpawnConfig{Props: []proto.PropsOption{panics}})
	assert.ErrorContains(t, err, "not today")
	option := func(*proto.Props) { panic(errors.New("nor this")) }
	_, err = f.Spawn(ok, actor.SpawnConfig{Props: []proto.PropsOption{option}})
	assert.ErrorContains(t, err, "nor this")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = f.Spawn(func() proto.Actor { runtime.Goexit(); return nil }, actor.SpawnConfig{})
	}()
	<-ended
	s := f.serve(actor.ListenConfig{}, nil)
	_, err = f.Dial(context.Background(), s.Addr().String(), new(probe), actor.DialConfig{Loop: 3})
	assert.ErrorContains(t, err, "DialConfig.Loop is 3")
	near, _ := tcpPair(t)
	_, err = f.Adopt(near, new(probe), actor.DialConfig{Loop: -1})
	assert.ErrorContains(t, err, "DialConfig.Loop is -1")
	assert.NoError(t, near.Close(), "it is still the caller's")
	fastShutdown(t, f.Network) // nothing waits for those that failed
}

func TestAStallNamesTheResident(t *testing.T) {
	f := start(t, actor.Config{Loops: 1, StallWarning: time.Nanosecond})
	_, pid := f.lodge(nil)
	soon(t, func() bool { return strings.Contains(f.log.String(), "of="+pid.Id) }, "the turn is reported")
}
