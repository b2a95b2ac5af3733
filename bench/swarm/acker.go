package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// An acker accounts for the Writes that another actor makes for one side.
type acker struct {
	side *side
	fail func(format string, args ...any)

	mu    sync.Mutex
	next  [sources]uint32
	count ackCount
}

// An ack is what comes back in the answer to one Write.
type ack struct {
	acker    *acker
	serial   uint32
	bytes    int
	answered bool
}

// askWrites asks a helper for n Writes.
type askWrites struct {
	side  *side
	acked bool
	n     int
}

// ask asks for n Writes. The pair is not judged before they are made and answered.
func (a *acker) ask(w *world, acked bool, n int) {
	p := a.side.pair
	p.mu.Lock()
	p.acks += n
	p.mu.Unlock()
	w.sys.Root.Send(w.helpers[p.id%uint64(len(w.helpers))], &askWrites{a.side, acked, n})
}

// issue notes a Write that is about to be made.
func (a *acker) issue(source byte) (serial uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	serial = a.next[source]
	a.next[source]++
	if source == fromAcked {
		a.count.asked++
	}
	return serial
}

// written and failed are the answers; dead stands for either, if the actor was gone.
func (a *acker) written(k *ack) {
	if a.answer(k, "Written") {
		a.count.written++
		a.count.sum += mix(uint64(k.serial) + 1)
		a.mu.Unlock()
	}
}

func (a *acker) failed(k *ack, err error) {
	var reason conn.SendError
	tooLarge := k.bytes > a.side.cfg.MaxPending
	if !errors.As(err, &reason) || reason == conn.ErrNotReady || reason == conn.ErrTooLarge && !tooLarge {
		a.fail("WriteFailed for a Write of %d bytes: %v", k.bytes, err)
	}
	if a.answer(k, "WriteFailed") {
		a.count.refused++
		a.mu.Unlock()
	}
}

func (a *acker) dead(k *ack) {
	if a.answer(k, "dead letter") {
		a.count.dead++
		a.mu.Unlock()
	}
}

// answer checks that k has no answer yet. If so, it leaves a locked.
func (a *acker) answer(k *ack, name string) bool {
	a.mu.Lock()
	if k.answered {
		a.mu.Unlock()
		a.fail("%s: a second answer to Write %d", name, k.serial)
		return false
	}
	k.answered = true
	return true
}

func (a *acker) total() ackCount {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// order is something that a helper tells a side's actor from outside.
type order struct {
	pid  *proto.PID
	what what
}

type what byte

const (
	orderStop what = iota
	orderPoison
	orderClose
	orderAbort
	orderPause
)

// outside lets a helper tell s something.
func (w *world) outside(s *side, o what) {
	w.sys.Root.Send(w.helpers[s.pair.id%uint64(len(w.helpers))], &order{s.pid, o})
}

// A helper is an actor that is no connection. It writes to others, hears what became of that, and stops them.
type helper struct{ w *world }

func (h *helper) Receive(ctx proto.Context) {
	defer func() {
		if r := recover(); r != nil {
			h.w.rep.violation("helper", fmt.Sprintf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	switch m := ctx.Message().(type) {
	case *askWrites:
		h.write(ctx, m)
	case *actor.Written:
		k := m.Ack.(*ack)
		k.acker.written(k)
		h.w.rep.add(countWritten, 1)
		h.w.settled(k.acker.side.pair, 1)
	case *actor.WriteFailed:
		k := m.Ack.(*ack)
		k.acker.failed(k, m.Err)
		h.w.rep.add(countWriteFailed, 1)
		h.w.settled(k.acker.side.pair, 1)
	case *proto.DeadLetterResponse: // it names nobody; see deadLetter
		h.w.deadAnswers.Add(1)
	case *order:
		h.obey(ctx, m)
	}
}

// deadLetter hears of all that was sent to actors that are gone. Of a Write with Ack, Proto.Actor then tells the
// sender that there was nobody.
func (w *world) deadLetter(ev any) {
	dead, ok := ev.(*proto.DeadLetterEvent)
	if !ok {
		return
	}
	if m, ok := dead.Message.(*actor.Write); ok && m.Ack != nil {
		w.deadWrites.Add(1)
		k := m.Ack.(*ack)
		k.acker.dead(k)
		w.rep.add(countWriteDead, 1)
		w.settled(k.acker.side.pair, 1)
	}
}

// write makes Writes for a side.
func (h *helper) write(ctx proto.Context, m *askWrites) {
	s := m.side
	for range m.n {
		source := fromQuiet
		if m.acked {
			source = fromAcked
		}
		serial := s.acks.issue(source)
		data := s.out.appendChunk(nil, s.framing, source, serial)
		if m.acked {
			ctx.Request(s.pid, &actor.Write{Data: data, Ack: &ack{acker: &s.acks, serial: serial, bytes: len(data)}})
			continue
		}
		h.w.rep.add(countQuiet, 1)
		ctx.Send(s.pid, &actor.Write{Data: data})
		h.w.settled(s.pair, 1)
	}
}

func (h *helper) obey(ctx proto.Context, o *order) {
	switch o.what {
	case orderStop:
		ctx.Stop(o.pid)
	case orderPoison:
		ctx.Poison(o.pid)
	case orderClose:
		ctx.Send(o.pid, new(actor.Close))
	case orderAbort:
		ctx.Send(o.pid, &actor.Abort{Err: errPlanned})
	case orderPause:
		ctx.Send(o.pid, new(actor.Pause))
		ctx.Send(o.pid, new(wake))
	}
}
