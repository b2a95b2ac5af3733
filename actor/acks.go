package actor

import (
	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
)

// acks remembers which sends of a connection were Writes, and who wants to hear of them, in the order of their tokens,
// which is that of their outcomes. A connection borrows one while a Write is not settled.
type acks struct {
	list []ack
	head int // list is settled up to here
}

// An ack is one Write that somebody waits for, or a run of Writes, without a Send between them, for which nobody does.
type ack struct {
	first, last conn.SendToken
	value       any
	sender      *proto.PID // nil if nobody waits
}

// add notes that send t, the latest, is a Write.
func (as *acks) add(t conn.SendToken, value any, sender *proto.PID) {
	if sender == nil {
		if n := len(as.list); n > as.head {
			if e := &as.list[n-1]; e.sender == nil && e.last+1 == t {
				e.last = t
				return
			}
		}
	}
	if len(as.list) == cap(as.list) && as.head > len(as.list)/2 { // move up instead of growing: it may never be empty
		n := copy(as.list, as.list[as.head:])
		clear(as.list[n:])
		as.list, as.head = as.list[:n], 0
	}
	as.list = append(as.list, ack{t, t, value, sender})
}

// settle reports whether send t was a Write, and takes it off. It is asked for every outcome, in order.
func (as *acks) settle(t conn.SendToken) (a ack, ok bool) {
	if as.empty() {
		return ack{}, false
	}
	e := &as.list[as.head]
	if t < e.first {
		return ack{}, false
	}
	a = *e
	if t == e.last {
		*e = ack{}
		if as.head++; as.empty() {
			as.list, as.head = as.list[:0], 0
		}
	}
	return a, true
}

func (as *acks) empty() bool { return as.head == len(as.list) }

const (
	keepAcks = 64      // acks that one list may keep room for while nobody uses it
	keepRoom = 1 << 14 // ... that all such lists of a pool may
)

// An ackPool keeps lists for the connections of one loop: so a Write allocates nothing, and an idle connection holds
// nothing.
type ackPool struct {
	free []*acks
	room int // of all that are free
}

func (p *ackPool) get() *acks {
	n := len(p.free)
	if n == 0 {
		return new(acks)
	}
	as := p.free[n-1]
	p.free[n-1] = nil
	p.free = p.free[:n-1]
	p.room -= cap(as.list)
	return as
}

func (p *ackPool) put(as *acks) {
	if cap(as.list) <= keepAcks && p.room+cap(as.list) <= keepRoom {
		p.free = append(p.free, as)
		p.room += cap(as.list)
	}
}
