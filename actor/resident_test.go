//go:build linux

package actor_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
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

// settle spawns an actor that does receive.
func (f *fixture) settle(cfg actor.SpawnConfig, receive func(proto.Context)) *proto.PID {
	f.t.Helper()
	pid, err := f.Spawn(func() proto.Actor { return proto.ReceiveFunc(receive) }, cfg)
	require.NoError(f.t, err)
	return pid
}

// goid names the goroutine that calls it.
func goid() string {
	stack := make([]byte, 64)
	return string(bytes.Fields(stack[:runtime.Stack(stack, false)])[1])
}

// answer is what pid responds to msg.
func answer(t testing.TB, pid *proto.PID, msg any) any {
	t.Helper()
	res, err := system.Root.RequestFuture(pid, msg, slow).Result()
	require.NoError(t, err)
	return res
}

func TestAResidentSharesMemoryWithItsLoop(t *testing.T) {
	for name, portable := range map[string]bool{"poller": false, "portable": true} {
		t.Run(name, func(t *testing.T) { sharesMemory(t, portable) })
	}
}

func sharesMemory(t *testing.T, portable bool) {
	const clients, rounds = 10, 100
	f := start(t, actor.Config{Loops: 2, Portable: portable})
	s := f.serve(actor.ListenConfig{}, echoes)
	for home := 1; home <= f.Loops(); home++ {
		var count int // of all of them, without a lock
		var where = map[string]bool{}
		pid := f.settle(actor.SpawnConfig{Loop: home}, func(ctx proto.Context) {
			where[goid()] = true
			switch ctx.Message() {
			case "add":
				count++
			case "count":
				assert.Equal(t, home, actor.LoopOf(ctx))
				ctx.Respond([2]int{count, len(where)})
			}
		})
		var done sync.WaitGroup
		for range clients {
			done.Add(1)
			left := rounds
			f.call(s.Addr().String(), &probe{
				quiet: true,
				onConnected: func(p *probe) {
					assert.Equal(t, home, actor.LoopOf(p.Context()))
					_, _ = p.Conn().Send([]byte("x"))
				},
				onReceived: func(p *probe, data []byte) error {
					where[goid()] = true
					count += len(data)
					p.Context().Send(pid, "add")
					if left -= len(data); left == 0 {
						p.Conn().Close()
						return nil
					}
					_, err := p.Conn().Send(data)
					return err
				},
				onClosed: func(*probe, error) { done.Done() },
			}, actor.DialConfig{Loop: home})
		}
		done.Wait()
		assert.Equal(t, [2]int{2 * clients * rounds, 1}, answer(t, pid, "count"), "and all on one goroutine")
	}
}

func TestAResidentDialsOntoItsLoop(t *testing.T) {
	f := start(t, actor.Config{Loops: 2})
	s := f.serve(actor.ListenConfig{}, echoes)
	for home := 1; home <= 2; home++ {
		p := &probe{onConnected: func(p *probe) { _, _ = p.Conn().Send([]byte("x")) }, onEOF: func(*probe) {}}
		var mine string
		p.onReceived = func(p *probe, _ []byte) error { p.Conn().Close(); return nil }
		p.trip = func(where string) { assert.Equal(t, mine, goid(), where) }
		f.settle(actor.SpawnConfig{Loop: home}, func(ctx proto.Context) {
			if _, ok := ctx.Message().(*proto.Started); ok {
				mine = goid()
				_, err := f.Dial(context.Background(), s.Addr().String(), p, actor.DialConfig{Loop: actor.LoopOf(ctx)})
				assert.NoError(t, err)
			}
		})
		p.await(t, "Stopped")
		assert.Equal(t, []string{"Started", "OnEvent", "OnConnected", "OnSent 1", "OnReceived x", "OnEOF", "OnClosed",
			"Stopping", "Stopped"}, p.notes())
	}
}

func TestResidentsSpawnAnywhere(t *testing.T) {
	f := start(t, actor.Config{Loops: 2})
	// In Receive, on the other loop; there in Started, again; and on a connection.
	grandchild := make(chan int, 1)
	last := func(ctx proto.Context) {
		if _, ok := ctx.Message().(*proto.Started); ok {
			grandchild <- actor.LoopOf(ctx)
		}
	}
	f.settle(actor.SpawnConfig{Loop: 1}, func(ctx proto.Context) {
		if _, ok := ctx.Message().(*proto.Started); ok {
			f.settle(actor.SpawnConfig{Loop: 2}, func(ctx proto.Context) {
				if _, ok := ctx.Message().(*proto.Started); ok {
					f.settle(actor.SpawnConfig{Loop: actor.LoopOf(ctx)}, last)
				}
			})
		}
	})
	assert.Equal(t, 2, <-grandchild)
	s := f.serve(actor.ListenConfig{}, func(p *probe) {
		p.onConnected = func(p *probe) { f.settle(actor.SpawnConfig{Loop: actor.LoopOf(p.Context())}, last) }
	})
	_, p := s.open()
	got := <-grandchild
	p.await(t, "OnConnected")
	assert.Contains(t, []int{1, 2}, got)
}

func TestLoopOfOthersIsZero(t *testing.T) {
	f := start(t, actor.Config{})
	assert.Zero(t, actor.LoopOf(nil))
	assert.Zero(t, actor.LoopOf(new(probe).Context()))
	plain := system.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
		if ctx.Message() == "where" {
			ctx.Respond(actor.LoopOf(ctx))
		}
	}))
	defer func() { _ = system.Root.StopFuture(plain).Wait() }()
	assert.Equal(t, 0, answer(t, plain, "where"))
	where := make(chan int, 1)
	s := f.serve(actor.ListenConfig{Blocking: true}, func(p *probe) {
		p.onConnected = func(p *probe) { where <- actor.LoopOf(p.Context()) }
	})
	s.open()
	assert.Zero(t, <-where, "its turns leave the loop")
}

func TestABusyResidentStarvesNobody(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	s := f.serve(actor.ListenConfig{}, echoes)
	var handled, continued atomic.Int64
	future := proto.NewFuture(system, slow)
	busy := f.settle(actor.SpawnConfig{}, func(ctx proto.Context) {
		switch ctx.Message().(type) {
		case *proto.Started, string:
			handled.Add(1)
			ctx.Send(ctx.Self(), "again")
		}
	})
	// A continuation is a system message, and these go first.
	reentrant := f.settle(actor.SpawnConfig{}, func(ctx proto.Context) {
		if _, ok := ctx.Message().(*proto.Started); ok {
			var again func(any, error)
			again = func(any, error) {
				continued.Add(1)
				ctx.ReenterAfter(future, again)
			}
			ctx.ReenterAfter(future, again)
		}
	})
	system.Root.Send(future.PID(), "done")
	other := f.settle(actor.SpawnConfig{}, func(ctx proto.Context) {
		if ctx.Message() == "ping" {
			ctx.Respond("pong")
		}
	})
	soon(t, func() bool { return handled.Load() > 1000 && continued.Load() > 1000 }, "they are busy")
	c, _ := s.open()
	before := handled.Load()
	const rounds = 200
	for range rounds {
		c.send("x")
		c.expect("x")
		assert.Equal(t, "pong", answer(t, other, "ping"))
	}
	assert.Greater(t, handled.Load()-before, int64(rounds), "it goes on meanwhile")
	require.NoError(t, system.Root.StopFuture(busy).Wait(), "Stop overtakes what it sends itself")
	require.NoError(t, system.Root.StopFuture(reentrant).Wait())
}

func TestABurstForAResidentCostsOneWake(t *testing.T) {
	const burst = 1000
	f := start(t, actor.Config{Loops: 1})
	blocked, release := make(chan struct{}), make(chan struct{})
	var handled atomic.Int64
	pid := f.settle(actor.SpawnConfig{}, func(ctx proto.Context) {
		if ctx.Message() == "mail" && handled.Add(1) == 1 {
			close(blocked)
			<-release
		}
	})
	before := f.LoopStats()
	for { // until the loop has parked after Started
		if now := f.LoopStats(); now == before && now.Parks > now.Wakes {
			break
		} else {
			before = now
		}
		runtime.Gosched()
	}
	for i := range burst {
		system.Root.Send(pid, "mail")
		if i == 0 {
			<-blocked
		}
	}
	close(release)
	soon(t, func() bool { return handled.Load() == burst }, "all are handled")
	assert.Equal(t, uint64(1), f.LoopStats().Wakes-before.Wakes)
}

// A request is work that a connection hands to a worker on another loop; a reply is what comes of it.
type (
	request struct{ n int }
	reply   struct{ n int }
)

func TestAResidentIsAWorkerForOtherLoops(t *testing.T) {
	const clients, rounds = 20, 200
	f := start(t, actor.Config{Loops: 2})
	var worked int // the worker's own
	worker := f.settle(actor.SpawnConfig{Loop: 2}, func(ctx proto.Context) {
		switch m := ctx.Message().(type) {
		case *request:
			worked++
			ctx.Send(ctx.Sender(), &reply{m.n * m.n})
		case string:
			ctx.Respond(worked)
		}
	})
	// Each line of the peer is a number. The connection asks for its square, and passes the answers on as they come.
	server := func(p *probe) {
		p.quiet = true
		p.onReceived = func(p *probe, line []byte) error {
			n, err := strconv.Atoi(string(line))
			p.Context().Request(worker, &request{n})
			return err
		}
		p.receive = func(p *probe, ctx proto.Context) {
			if m, ok := ctx.Message().(*reply); ok {
				_, err := p.Conn().Send([]byte(strconv.Itoa(m.n) + "\n"))
				assert.NoError(t, err)
			}
		}
	}
	var all sync.WaitGroup
	for range clients {
		near, far := tcpPair(t)
		p := new(probe)
		server(p)
		_, err := f.Adopt(near, p, actor.DialConfig{Loop: 1, Conn: conn.Config{Split: bufio.ScanLines}})
		require.NoError(t, err)
		all.Go(func() {
			var ask, want bytes.Buffer
			for n := range rounds {
				fmt.Fprintln(&ask, n)
				fmt.Fprintln(&want, n*n)
			}
			_, err := far.Write(ask.Bytes())
			assert.NoError(t, err)
			got := make([]byte, want.Len())
			_ = far.SetReadDeadline(time.Now().Add(slow))
			_, err = io.ReadFull(far, got)
			assert.NoError(t, err)
			assert.Equal(t, want.String(), string(got), "the answers, in order")
		})
	}
	all.Wait()
	assert.Equal(t, clients*rounds, answer(t, worker, "how many"))
}
