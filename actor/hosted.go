package actor

import (
	"fmt"
	"sync/atomic"

	proto "github.com/asynkron/protoactor-go/actor"
)

// What the actors that we host have in common, be they connections or not: how mail comes in, and how Proto.Actor is
// kept from leaving one stranded.

// system adds a system message. Started comes first, even if another was faster while the actor was spawned, and opens
// the mailbox: nothing may come before it.
func (m *mailbox) system(msg any) mailState {
	_, started := msg.(*proto.Started)
	state := m.postSystem(msg, started)
	if started && state == mailEarly {
		m.open()
		state = mailOpen
	}
	return state
}

// unpack returns what is to be posted for a batch: its elements and then the batch itself, which acknowledges it. It
// returns nil if msg is none.
func unpack(msg any) []any {
	_, inner, sender := proto.UnwrapEnvelope(msg)
	batch, ok := inner.(proto.MessageBatch)
	if !ok {
		return nil
	}
	return append(expand(nil, batch, sender), msg)
}

// buriedPerTurn is how many messages of an actor that is gone are passed on in one turn.
const buriedPerTurn = 256

// bury passes on what is left in a closed mailbox, user messages in portions unless all is set.
func (m *mailbox) bury(all *atomic.Bool, user, system func(msg any)) {
	for msg, ok := m.nextSystem(); ok; msg, ok = m.nextSystem() {
		system(msg)
	}
	for n := 0; n < buriedPerTurn || all.Load(); n++ {
		msg, ok := m.next()
		if !ok {
			return
		}
		user(msg)
	}
}

// refuseSystem drops a system message that came too late. A Watch is answered: with Terminated, by the dead letters.
func (n *Network) refuseSystem(self *proto.PID, msg any) {
	if _, ok := msg.(*proto.Watch); ok {
		n.sys.DeadLetter.SendSystemMessage(self, msg)
	}
}

// escalate asks the parent what to do; until it answers the actor is suspended. If that fails too, the actor ends.
func escalate(inv proto.MessageInvoker, m *mailbox, p *PanicError, cur any) {
	asked := false
	defer func() {
		if !asked {
			_ = recover()
			m.postSystem(stopMessage, false)
		}
	}()
	inv.EscalateFailure(p, cur)
	asked = true
}

// guarded calls f and logs its panic, as who's. runtime.Goexit goes on.
func (n *Network) guarded(who fmt.Stringer, f func()) {
	whole := false
	defer func() {
		if !whole {
			n.logPanic(who.String(), caught(recover()))
		}
	}()
	f()
	whole = true
}

// maxTries is how often a stop that breaks off is taken up again. The actor can break it off twice at most; middleware
// may do so for ever.
const maxTries = 8

// stopAgain takes up a stop that broke off in user code; told says whether Stopping was given. The actor must ignore a
// Terminated that is about itself.
func stopAgain(inv proto.MessageInvoker, told bool) {
	ctx, _ := inv.(proto.Context)
	if !told {
		inv.InvokeUserMessage(new(proto.Stopping))
	}
	for _, child := range append([]*proto.PID(nil), ctx.Children()...) {
		ctx.Stop(child)
	}
	// Proto.Actor then looks whether there are children left, and if not goes on where it was.
	inv.InvokeSystemMessage(&proto.Terminated{Who: ctx.Self()})
}
