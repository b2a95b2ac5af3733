package actor

import (
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// A connection is what Proto.Actor runs: the user's actor, its mailbox, its socket and its state machine, in one
// allocation. It forwards.
//
// It is many things to its neighbours: the actor and the mailbox of Proto.Actor, the handler of the Driver, a task of
// the loop, the owner of the socket. Only PostUserMessage, PostSystemMessage, UserMessageCount and Post may be called
// by any goroutine; the rest belongs to the goroutine that takes the turns.
type connection struct {
	// What every turn needs lies at the beginning, up to the counters that the mailbox begins with, and from the middle
	// of socket on.
	loop.Link
	facts facts
	phase phase
	tries uint8 // times that a broken stop was taken up again

	Actor // the user's; its callbacks are promoted, but for those that this file defines

	kind *kind
	acks *acks // Writes not settled; nil if there is none

	mail mailbox
	inv  proto.MessageInvoker // its context, once it is spawned
	died *PanicError          // the failure for which it is suspended, or ends; else nil

	socket loop.Socket // unused if kind has a Detached
	driver conn.Driver
}

var (
	_ proto.Actor   = (*connection)(nil)
	_ proto.Mailbox = (*connection)(nil)
	_ conn.Handler  = (*connection)(nil)
	_ loop.Owner    = (*connection)(nil)
)

// phase is where the actor, not its connection, is in its life.
type phase uint8

const (
	alive    phase = iota
	stopping       // told to stop; its children may not have ended yet
	gone           // Proto.Actor has forgotten it; only the rest of its mail is left
)

// facts outlive a call.
type facts uint16

func (f facts) has(x facts) bool { return f&x != 0 }

const (
	factJoined      facts = 1 << iota // the socket is connected; the driver hears of it after Started
	factSuspended                     // a failure is being decided on
	factOrphaned                      // newActor failed in a restart: there is nobody to tell of Started
	factStopping                      // Stopping was given
	factStopped                       // Stopped was given
	factBroken                        // a stop broke off in user code and must be completed
	factSlot                          // it takes up one of the listener's connections
	factReported                      // the end was counted
	factHearsSent                     // somebody may hear OnSent
	factHearsWrites                   // ... OnSent or OnSendFailed, which do not tell of Writes
	factTimed                         // it has a receive timeout
)

// context returns what Base.Context promises.
func (c *connection) context() proto.Context {
	t := c.turns()
	switch {
	case t.current != c:
		return nil
	case t.ctx == nil:
		t.ctx, _ = c.inv.(proto.Context)
	}
	return t.ctx
}

// init readies the driver, once c has an actor.
func (c *connection) init(b conn.Backend) {
	c.driver.Init(c, b, c.kind.cfg)
	c.listen()
}

// listen lets the driver tell outcomes that somebody hears: the actor, or whoever waits for a Write.
func (c *connection) listen() { c.driver.Hear(c.acks != nil || c.facts.has(factHearsSent)) }

// turns is what the turns of c's goroutine share.
func (c *connection) turns() *turns {
	if own := c.kind.own; own != nil {
		return &own.turns
	}
	return &c.kind.sup.turns
}

// wake asks for a turn. Every wish for one that does not come from the loop itself passes through here.
func (c *connection) wake() {
	if own := c.kind.own; own != nil {
		own.Queue()
		return
	}
	c.kind.sup.loop.Queue(c)
}

// Receive is where Proto.Actor's invoker arrives, after middleware.
func (c *connection) Receive(ctx proto.Context) {
	t := c.turns()
	t.ctx = ctx
	switch m := ctx.Message().(type) {
	case *Notice:
		if m == &t.notice && t.due {
			t.due = false
			c.driver.Deliver(m.Notice)
		}
	case *Readable:
		if t.reads {
			t.reads = false
			c.driver.Read()
		}
	case *Write:
		c.write(m, ctx.Sender())
	case Write:
		c.write(&m, ctx.Sender())
	case *Close, Close:
		c.driver.Conn().Close()
	case *Abort:
		c.driver.Conn().Abort(m.Err)
	case Abort:
		c.driver.Conn().Abort(m.Err)
	case *Pause, Pause:
		c.driver.Conn().Pause()
	case *Resume, Resume:
		c.driver.Conn().Resume()
	case *proto.Started:
		if !c.facts.has(factOrphaned) {
			c.Actor.Receive(ctx)
		}
	default:
		if c.phase != alive {
			c.receiveLast(ctx)
			return
		}
		c.Actor.Receive(ctx)
	}
}

// writeOf returns the Write that msg is, or nil.
func writeOf(msg any) *Write {
	switch m := msg.(type) {
	case *Write:
		return m
	case Write:
		return &m
	}
	return nil
}

// write handles a Write, from whoever sent it. It allocates only for an answer.
func (c *connection) write(w *Write, sender *proto.PID) {
	if w.Ack == nil {
		sender = nil
	}
	if sender == nil && !c.facts.has(factHearsWrites) {
		_, _ = c.driver.Conn().Send(w.Data) // Stats counts it
		return
	}
	c.driver.Hear(true) // first, for Send may write
	t, err := c.driver.Conn().Send(w.Data)
	if err == nil {
		if c.acks == nil {
			c.acks = c.turns().acks.get()
		}
		c.acks.add(t, w.Ack, sender)
	}
	c.listen()
	if err != nil && sender != nil {
		c.context().Send(sender, &WriteFailed{w.Ack, err})
	}
}

// settled answers the Write that was send t. It reports whether there was one: its outcome is not the handler's.
func (c *connection) settled(t conn.SendToken, sent bool) bool {
	if c.acks == nil {
		return false
	}
	a, ok := c.acks.settle(t)
	if c.acks.empty() {
		c.turns().acks.put(c.acks)
		c.acks = nil
		c.listen()
	}
	switch {
	case a.sender == nil:
	case sent:
		c.context().Send(a.sender, &Written{a.value})
	default:
		c.context().Send(a.sender, &WriteFailed{a.value, conn.ErrNotConnected})
	}
	return ok
}

// OnSent keeps the outcome of a Write from the handler.
func (c *connection) OnSent(k *conn.Conn, t conn.SendToken) {
	if !c.settled(t, true) {
		c.Actor.OnSent(k, t)
	}
}

// OnSendFailed keeps the outcome of a Write from the handler.
func (c *connection) OnSendFailed(k *conn.Conn, t conn.SendToken) {
	if !c.settled(t, false) {
		c.Actor.OnSendFailed(k, t)
	}
}

// OnClosed counts the end.
func (c *connection) OnClosed(k *conn.Conn, err error) {
	c.report(err)
	c.Actor.OnClosed(k, err)
}

// OnConnectFailed counts the end.
func (c *connection) OnConnectFailed(k *conn.Conn, err error) {
	c.report(err)
	c.Actor.OnConnectFailed(k, err)
}

func (c *connection) report(err error) {
	if !c.facts.has(factReported) {
		c.facts |= factReported
		c.kind.sup.net.ended(err)
	}
}

// Connecting, Connected, Failed, Ready, Due and Slept are told by the loop, which then queues a turn.

func (c *connection) Connecting(inflight int)            { c.driver.Connecting(inflight) }
func (c *connection) Connected()                         { c.facts |= factJoined }
func (c *connection) Failed(stage conn.Stage, err error) { c.driver.Failed(stage, err) }
func (c *connection) Ready(i conn.Interest)              { c.driver.Ready(i) }
func (c *connection) Due()                               { c.driver.Due() }
func (c *connection) Slept(d time.Duration) (more bool)  { return c.driver.Slept(d) }

// Post keeps f for the start of the next turn. Any goroutine may call it.
func (c *connection) Post(f func()) {
	if c.mail.postFunc(f) == mailOpen {
		c.wake()
	}
}

// Start has nothing to do: RegisterHandlers did it.
func (c *connection) Start() {}

// RegisterHandlers keeps who handles messages. The mailbox opens with Started, which nothing may come before.
func (c *connection) RegisterHandlers(inv proto.MessageInvoker, _ proto.Dispatcher) { c.inv = inv }

// UserMessageCount returns how many user messages wait.
func (c *connection) UserMessageCount() int { return int(c.mail.users.Load()) }

// PostSystemMessage queues what Proto.Actor has to say.
func (c *connection) PostSystemMessage(msg any) {
	switch c.mail.system(msg) {
	case mailOpen:
		c.wake()
	case mailClosed:
		c.kind.sup.net.refuseSystem(c.self(), msg)
	}
}

// PostUserMessage queues a message; of a batch, its elements and then the batch itself, which acknowledges it.
func (c *connection) PostUserMessage(msg any) {
	if all := unpack(msg); all != nil {
		c.took(c.mail.post(all...), all...)
		return
	}
	c.took(c.mail.post(msg), msg)
}

// expand appends the elements of a batch. Those that want an answer are told who sent the batch.
func expand(list []any, batch proto.MessageBatch, sender *proto.PID) []any {
	for _, msg := range batch.GetMessages() {
		_, inner, from := proto.UnwrapEnvelope(msg)
		if from == nil {
			from = sender
		}
		if nested, ok := inner.(proto.MessageBatch); ok {
			list = expand(list, nested, from)
		}
		if w := writeOf(msg); w != nil && w.Ack != nil && from != nil {
			msg = &proto.MessageEnvelope{Message: w, Sender: from}
		}
		list = append(list, msg)
	}
	return list
}

func (c *connection) took(state mailState, msgs ...any) {
	switch state {
	case mailOpen:
		c.wake()
	case mailClosed:
		for _, msg := range msgs {
			c.refuse(c.self(), msg)
		}
	}
}

// refuse answers a message that the actor will never see. Any goroutine may call it, once the mailbox is closed.
func (c *connection) refuse(self *proto.PID, msg any) {
	sys := c.kind.sup.net.sys
	_, inner, sender := proto.UnwrapEnvelope(msg)
	if w := writeOf(inner); w != nil && w.Ack != nil && sender != nil {
		if p, ok := sys.ProcessRegistry.Get(sender); ok {
			p.SendUserMessage(sender, &WriteFailed{w.Ack, conn.ErrNotConnected})
		}
		return
	}
	sys.DeadLetter.SendUserMessage(self, msg)
}

// self is nil if the actor was never spawned.
func (c *connection) self() *proto.PID {
	if ctx, ok := c.inv.(proto.Context); ok {
		return ctx.Self()
	}
	return nil
}

var readable any = new(Readable)
