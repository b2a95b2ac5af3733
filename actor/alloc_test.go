package actor

import (
	"testing"
	"time"
	"unsafe"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// TestConnectionSize keeps a connection in the allocator's size class of 448 bytes: of each idle connection it is the
// largest part.
func TestConnectionSize(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(connection{}), uintptr(448))
	assert.Equal(t, unsafe.Sizeof(uintptr(0)), unsafe.Sizeof(Base{}), "Base is one pointer")
}

// A source is a fakeSocket from which 64 bytes can be read whenever ready is set, and which takes everything.
type source struct {
	fakeSocket
	ready   bool
	written int
}

func (s *source) Read(p []byte) (int, error) {
	if !s.ready {
		return 0, conn.ErrWouldBlock
	}
	s.ready = false
	return len(p[:64]), nil
}

func (s *source) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		n += len(b)
	}
	s.written += n
	return n, nil
}

// plain is an actor that echoes.
type plain struct {
	Base
	sent int
}

func (p *plain) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

func (p *plain) OnSent(*conn.Conn, conn.SendToken) { p.sent++ }

// newPlainRig connects a to a source.
func newPlainRig(t testing.TB, a Actor, options ...proto.PropsOption) (*rig, *source) {
	r := newRig(t, a, conn.Config{}, options...)
	src := new(source)
	r.driver = conn.Driver{}
	r.init(src)
	r.connect()
	return r, src
}

func echoTurn(r *rig, src *source) {
	src.ready = true
	r.Ready(conn.Readable)
	for r.Turn() { // and the one that tells OnSent
	}
}

func TestRES4_AnEchoAllocatesNothing(t *testing.T) {
	p := new(plain)
	r, src := newPlainRig(t, p)
	allocs := testing.AllocsPerRun(10_000, func() { echoTurn(r, src) })
	assert.Zero(t, allocs)
	assert.Equal(t, 64*10_001, src.written)
	assert.Equal(t, 10_001, p.sent)
}

func TestRES4_AWriteWithoutAckAllocatesNothing(t *testing.T) {
	r, src := newPlainRig(t, new(plain))
	msg := &Write{Data: make([]byte, 64)}
	allocs := testing.AllocsPerRun(10_000, func() {
		System.Root.Send(r.self(), msg)
		System.Root.Send(r.self(), msg)
		for r.Turn() {
		}
	})
	assert.Zero(t, allocs)
	assert.Equal(t, 2*64*10_001, src.written)
}

func TestRES4_AMessageAllocatesNothing(t *testing.T) {
	r, _ := newPlainRig(t, new(plain))
	var msg any = new(int)
	allocs := testing.AllocsPerRun(10_000, func() {
		for range 10 {
			System.Root.Send(r.self(), msg)
		}
		for r.Turn() {
		}
	})
	assert.Zero(t, allocs)
}

func TestAnAnswerAllocatesOnlyItself(t *testing.T) {
	r, _ := newPlainRig(t, new(plain))
	b := newInbox(t)
	b.msgs = make([]any, 0, 4)
	msg := b.from(&Write{Data: make([]byte, 64), Ack: b})
	allocs := testing.AllocsPerRun(1000, func() {
		b.msgs = b.msgs[:0]
		r.PostUserMessage(msg)
		for r.Turn() {
		}
	})
	require.Len(t, b.msgs, 1)
	assert.LessOrEqual(t, allocs, 1.0)
}

// BenchmarkTurnEcho is a turn that reads 64 bytes and sends them back, without system calls; and, if the actor has an
// OnSent, the turn that tells it.
func BenchmarkTurnEcho(b *testing.B) {
	run := func(a Actor) func(b *testing.B) {
		return func(b *testing.B) {
			r, src := newPlainRig(b, a)
			b.ReportAllocs()
			for b.Loop() {
				echoTurn(r, src)
			}
		}
	}
	b.Run("unheard", run(new(echoer)))
	b.Run("heard", run(new(plain)))
}

// BenchmarkTurnMessage is a turn that handles one message, posting included.
func BenchmarkTurnMessage(b *testing.B) {
	r, _ := newPlainRig(b, new(plain))
	var msg any = new(int)
	b.ReportAllocs()
	for b.Loop() {
		r.PostUserMessage(msg)
		r.Turn()
	}
}

// BenchmarkPostWrite is one Write among 64 of a turn, from posting it to its outcome.
func BenchmarkPostWrite(b *testing.B) {
	r, _ := newPlainRig(b, new(plain))
	msg := &Write{Data: make([]byte, 64)}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		r.PostUserMessage(msg)
		if n++; n%messagesPerTurn == 0 {
			for r.Turn() {
			}
		}
	}
}

// BenchmarkFanout is a Write to each of 100 connections from an actor elsewhere, and the turns in which they are written.
// It counts messages.
func BenchmarkFanout(b *testing.B) {
	const audience = 100
	sup := newRigSupervisor(b)
	var rigs []*rig
	for range audience {
		r := newRigOf(b, sup, new(echoer), conn.Config{})
		r.driver = conn.Driver{}
		r.init(new(source))
		rigs = append(rigs, r.connect())
	}
	write := &Write{Data: make([]byte, 64)}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		System.Root.Send(rigs[n%audience].self(), write)
		if n++; n%audience == 0 {
			for _, r := range rigs {
				r.Turn()
			}
		}
	}
}

// BenchmarkTurnEmpty is what a turn costs in which nothing happens.
func BenchmarkTurnEmpty(b *testing.B) {
	r, _ := newPlainRig(b, new(plain))
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		r.connection.Turn(now, &r.mem)
	}
}
