//go:build linux

package actor_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
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
)

func TestEchoTellsEverythingInOrder(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		c, p := f.serve(actor.ListenConfig{}, echoes).open()
		c.send("hello")
		c.expect("hello")
		p.await(t, "OnSent")
		_ = c.CloseWrite()
		p.await(t, "Stopped")
		assert.Equal(t, []string{"Started", "OnConnected", "OnReceived hello", "OnSent 1", "OnEOF", "OnClosed", "Stopping", "Stopped"},
			p.notes())
		assert.NoError(t, p.err)
		rest, err := c.rest(patience)
		assert.Empty(t, rest)
		assert.NoError(t, err)
	})
}

func TestMSG1_WriteIsAnsweredOnce(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		asker := newFriend(t)
		s := f.serve(stuckConfig(), nil)
		c := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnConnected")
		asker.ask(p.self, &actor.Write{Data: pattern(200_000), Ack: 7})
		p.await(t, "OnThrottled")
		stays(t, func() bool { return len(asker.heard()) == 0 }, "not all is taken")
		got := make([]byte, 200_000)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		assert.Equal(t, pattern(200_000), got)
		asker.await(t, "*actor.Written")
		p.await(t, "OnUnthrottled")
		asker.ask(p.self, &actor.Write{Ack: 8})
		asker.ask(p.self, &actor.Write{Data: []byte("no answer")})
		asker.ask(p.self, &actor.Write{Ack: 9})
		asker.awaitN(t, 3, "*actor.Written", patience)
		assert.Equal(t, []any{&actor.Written{Ack: 7}, &actor.Written{Ack: 8}, &actor.Written{Ack: 9}}, asker.heard())
		assert.Zero(t, p.count("OnSent"))
	})
}

func TestMSG3_TenActorsWriteToOneConnection(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const writers, each, size = 10, 1000, 100
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{HighWater: 4 << 20}}, func(p *probe) { p.quiet = true })
		c, p := s.open()
		var askers []*friend
		var running sync.WaitGroup
		for w := range writers {
			a := newFriend(t)
			askers = append(askers, a)
			running.Go(func() {
				for i := range each {
					msg := make([]byte, size)
					binary.BigEndian.PutUint32(msg, uint32(w))
					binary.BigEndian.PutUint32(msg[4:], uint32(i))
					copy(msg[8:], pattern(size-8))
					a.ask(p.self, &actor.Write{Data: msg, Ack: i})
				}
			})
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
		var next [writers]uint32
		msg := make([]byte, size)
		for range writers * each {
			_, err := io.ReadFull(c, msg)
			require.NoError(t, err)
			w, i := binary.BigEndian.Uint32(msg), binary.BigEndian.Uint32(msg[4:])
			require.Equal(t, next[w], i, "writer %d", w)
			next[w]++
			require.Equal(t, pattern(size-8), msg[8:])
		}
		running.Wait()
		for _, a := range askers {
			a.awaitN(t, each, "*actor.Written", patience)
			for i, m := range a.heard() {
				require.Equal(t, &actor.Written{Ack: i}, m)
			}
		}
	})
}

func TestMSG4_WriteToAnActorThatIsGone(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		asker := newFriend(t)
		c, p := f.serve(actor.ListenConfig{}, nil).open()
		c.reset()
		p.await(t, "Stopped")
		soon(t, func() bool { _, known := system.ProcessRegistry.Get(p.self); return !known }, "it is gone")
		asker.ask(p.self, &actor.Write{Data: []byte("x"), Ack: 1})
		asker.await(t, "*actor.")
		stays(t, func() bool { return len(asker.heard()) == 1 }, "one answer")
		switch m := asker.heard()[0].(type) {
		case *actor.WriteFailed, *proto.DeadLetterResponse:
		default:
			assert.Fail(t, "a wrong answer", "%T", m)
		}
	})
}

// A process takes what is sent to it at once: of an actor, Terminated may overtake what was sent before.
type process struct {
	diary
	pid  *proto.PID
	msgs []any // to be read when all have come
}

func newProcess(t testing.TB) *process {
	p := new(process)
	p.pid, _ = system.ProcessRegistry.Add(p, "process"+system.ProcessRegistry.NextId())
	t.Cleanup(func() { system.ProcessRegistry.Remove(p.pid) })
	return p
}

func (p *process) SendUserMessage(_ *proto.PID, msg any) {
	p.msgs = append(p.msgs, msg)
	p.note(fmt.Sprintf("%T", msg))
}
func (p *process) SendSystemMessage(pid *proto.PID, msg any) { p.SendUserMessage(pid, msg) }
func (p *process) Stop(*proto.PID)                           {}

func TestMSG5_WriteThenClose(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		asker := newProcess(t)
		c, p := f.serve(actor.ListenConfig{}, nil).open()
		ask := func(msg any) { system.Root.RequestWithCustomSender(p.self, msg, asker.pid) }
		self, _ := system.ProcessRegistry.Get(p.self)
		self.SendSystemMessage(p.self, &proto.Watch{Watcher: asker.pid})
		ask(&actor.Write{Data: []byte("last words"), Ack: 1})
		ask(&actor.Close{})
		ask(&actor.Write{Data: []byte("too late"), Ack: 2})
		got, err := c.rest(patience)
		require.NoError(t, err)
		assert.Equal(t, "last words", string(got))
		_ = c.Close()
		asker.await(t, "*actor.Terminated")
		assert.Len(t, asker.msgs, 3)
		assert.ElementsMatch(t, []any{&actor.Written{Ack: 1}, &actor.WriteFailed{Ack: 2, Err: conn.ErrNotConnected}}, asker.msgs[:2])
		assert.NoError(t, p.err)
	})
}

func TestMSG5_WriteThenAbort(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		asker := newFriend(t)
		s := f.serve(stuckConfig(), nil)
		c := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnConnected")
		asker.ask(p.self, &actor.Write{Data: pattern(256_000), Ack: 1})
		why := fmt.Errorf("a reason")
		asker.ask(p.self, &actor.Abort{Err: why})
		p.await(t, "Stopped")
		asker.await(t, "*actor.WriteFailed")
		assert.Equal(t, []any{&actor.WriteFailed{Ack: 1, Err: conn.ErrNotConnected}}, asker.heard())
		assert.ErrorIs(t, p.err, why)
		c.expectReset()
	})
}

func TestMSG6_PauseHoldsReadingUntilResume(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		asker := newFriend(t)
		c, p := f.serve(actor.ListenConfig{}, nil).open()
		barrier := func() {
			t.Helper()
			n := asker.count("*actor.Written")
			asker.ask(p.self, &actor.Write{Ack: true})
			asker.awaitN(t, n+1, "*actor.Written", patience)
		}
		asker.ask(p.self, &actor.Pause{})
		asker.ask(p.self, &actor.Pause{})
		barrier()
		c.send("one ")
		stays(t, func() bool { return p.count("OnReceived") == 0 }, "it is paused")
		c.send("two")
		asker.ask(p.self, &actor.Resume{})
		asker.ask(p.self, &actor.Resume{})
		p.await(t, "OnReceived")
		_ = c.CloseWrite()
		p.await(t, "Stopped")
		assert.Equal(t, len("one two"), p.received)
		assert.NoError(t, p.err)
	})
}

func TestMSG7_MessagesKeepTheirPlaceBetweenWrites(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.receive = func(p *probe, ctx proto.Context) {
				if s, ok := ctx.Message().(string); ok {
					_, err := p.Conn().Send([]byte(s))
					assert.NoError(t, err)
				}
			}
		})
		c, p := s.open()
		want := ""
		for i := range 100 {
			system.Root.Send(p.self, &actor.Write{Data: fmt.Appendf(nil, "W%d.", i)})
			system.Root.Send(p.self, fmt.Sprintf("S%d.", i))
			want += fmt.Sprintf("W%d.S%d.", i, i)
		}
		c.expect(want)
	})
}

func TestMSG9_OneMailboxCannotStarveAnother(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		queued, begin := int64(300_000), int64(1000)
		if w.blocking || raceEnabled { // it takes long, and shows no more
			queued /= 10
		}
		f := w.start(t, actor.Config{Loops: 1})
		var handled, seen atomic.Int64
		var b *proto.PID
		ready := make(chan struct{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.receive = func(p *probe, ctx proto.Context) {
				switch ctx.Message() {
				case "a":
					if handled.Add(1) == begin {
						ctx.Send(b, "b")
					}
				case "b":
					seen.Store(handled.Load())
					p.note("heard")
				case "wait":
					<-ready
				}
			}
		})
		_, pa := s.open()
		_, pb := s.open()
		b = pb.self
		system.Root.Send(pa.self, "wait")
		for range queued {
			system.Root.Send(pa.self, "a")
		}
		close(ready)
		pb.await(t, "heard")
		if !w.blocking { // there it is the Go scheduler that deals out
			assert.LessOrEqual(t, seen.Load(), begin+128)
		}
		require.Eventually(t, func() bool { return handled.Load() == queued }, slow, time.Millisecond)
	})
}

func TestMSG10_MailBeforeTheActorIsSpawned(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Props: []proto.PropsOption{proto.WithOnInit(func(ctx proto.Context) {
			pid, sent := ctx.Self(), make(chan struct{})
			go func() { // the PID exists, its mailbox has no handler yet
				defer close(sent)
				system.Root.Send(pid, "early")
			}()
			<-sent
		})}}, nil)
		_, p := s.open()
		p.await(t, "string")
		stays(t, func() bool { return p.count("string") == 1 }, "it is handled once")
		assert.Equal(t, []string{"Started", "OnConnected", "string"}, p.notes())
	})
}

func TestMSG10_StopBeforeTheActorIsSpawned(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Props: []proto.PropsOption{proto.WithOnInit(func(ctx proto.Context) {
			ctx.Stop(ctx.Self())
		})}}, nil)
		c := s.dial()
		p := s.next()
		p.await(t, "Stopped")
		assert.Equal(t, []string{"Started", "OnConnectFailed", "Stopping", "Stopped"}, p.notes())
		c.expectReset()
	})
}

func TestMSG11_NoWakeUpIsLost(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		const senders, each = 4, 50_000
		f := w.start(t, actor.Config{Loops: 1})
		var handled atomic.Int64
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.receive = func(p *probe, ctx proto.Context) {
				if _, ok := ctx.Message().(int); ok {
					handled.Add(1)
				}
			}
		})
		_, p := s.open()
		var running sync.WaitGroup
		for n := range senders {
			running.Go(func() {
				random := rand.New(rand.NewPCG(uint64(n), 1))
				var msg any = n
				for range each {
					system.Root.Send(p.self, msg)
					if random.IntN(100) == 0 { // long enough for the loop to park
						time.Sleep(time.Duration(random.IntN(int(time.Millisecond))))
					}
				}
			})
		}
		running.Wait()
		require.Eventually(t, func() bool { return handled.Load() == senders*each }, slow, time.Millisecond)
		stats := f.LoopStats()
		if !w.blocking { // there messages do not touch the loop
			assert.Greater(t, stats.Parks, uint64(20), "the loop parked now and then")
		}
		assert.LessOrEqual(t, stats.Wakes, stats.Parks)
	})
}

func TestMSG11_OneWakeForABurst(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{Loops: 1})
		blocked, release := make(chan struct{}), make(chan struct{})
		var handled atomic.Int64
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "mail" {
					if handled.Add(1) == 1 {
						close(blocked)
						<-release
					}
				}
			}
		})
		_, p := s.open()
		before := f.LoopStats()
		for { // until the loop has parked after OnConnected
			if now := f.LoopStats(); now == before && now.Parks > 0 {
				break
			} else {
				before = now
			}
			runtime.Gosched()
		}
		for i := range 10_000 {
			system.Root.Send(p.self, "mail")
			if i == 0 {
				<-blocked
			}
		}
		close(release)
		require.Eventually(t, func() bool { return handled.Load() == 10_000 }, slow, time.Millisecond)
		assert.LessOrEqual(t, f.LoopStats().Wakes-before.Wakes, uint64(1))
	})
}

func TestMSG12_TheOwnerHearsOfItsOwnSendsOnly(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		asker, other := newFriend(t), newFriend(t)
		c, p := f.serve(actor.ListenConfig{}, sends(func(c *conn.Conn) {
			_, err := c.Send([]byte("S"))
			assert.NoError(t, err)
		})).open()
		for _, msg := range []any{"go", &actor.Write{Data: []byte("a"), Ack: 1}, &actor.Write{Data: []byte("b")}, "go"} {
			asker.ask(p.self, msg)
		}
		c.expect("SabS")
		p.awaitN(t, 2, "OnSent", patience)
		asker.await(t, "*actor.Written")
		stays(t, func() bool { return p.count("OnSent") == 2 && len(asker.heard()) == 1 }, "nothing more")
		var outcomes []string // among messages, which may come in one turn or in several
		for _, note := range p.notes() {
			if strings.HasPrefix(note, "OnSent") {
				outcomes = append(outcomes, note)
			}
		}
		assert.Equal(t, []string{"OnSent 1", "OnSent 4"}, outcomes)
		assert.Equal(t, []any{&actor.Written{Ack: 1}}, asker.heard())
		assert.Empty(t, other.heard())
	})
}
