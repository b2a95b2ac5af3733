package actor

import (
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
)

// messagesPerTurn is how many user messages one turn handles at most; then others have their turn.
const messagesPerTurn = 64

var stopMessage any = new(proto.Stop)

// Turn is one turn of the connection, and one run of its mailbox.
func (c *connection) Turn(now time.Time, m *conn.Memory) (more bool) {
	t := c.turns()
	t.begin(c, now, m)
	var cur any // what is being handled, for whoever decides on a failure
	whole := false
	defer func() { // deferred, so that runtime.Goexit comes through here too
		if !whole {
			c.broke(cur, caught(recover()))
			t.more = c.driver.Pending()
		}
		more = c.rest(t)
		t.end()
	}()
	switch {
	case c.facts.has(factBroken):
		c.complete(t)
		t.more = c.driver.Pending()
	case c.phase != gone:
		c.run(t, &cur)
	}
	whole = true
	return more
}

// run does what a turn consists of, in this order. System messages are looked for before each step.
func (c *connection) run(t *turns, cur *any) {
	d := &c.driver
	if c.mail.hasSystem() {
		for _, f := range c.mail.funcs() {
			f()
		}
	}
	d.Begin(t.now, t.mem)
	open := c.system(t, cur)
	if open && c.facts.has(factJoined) {
		// Only now: layers and OnConnected come after Started.
		c.facts &^= factJoined
		d.Connected()
		d.Begin(t.now, t.mem)
	}
	for open && !d.Done() {
		n, ok := d.Next()
		if !ok {
			break
		}
		c.tell(t, cur, n)
		open = c.system(t, cur)
	}
	if open && !d.Done() && d.Reads() {
		c.read(t, cur)
		open = c.system(t, cur)
	}
	for i := 0; open && i < messagesPerTurn && c.goesOn(); i++ {
		msg, ok := c.mail.next()
		if !ok {
			break
		}
		*cur = msg
		c.inv.InvokeUserMessage(msg)
		open = c.system(t, cur)
	}
	if c.phase == gone {
		return
	}
	*cur = nil
	t.more = d.End()
	if d.Done() && c.phase == alive {
		c.stop(t, cur, stopMessage)
		t.more = d.Pending()
	}
}

// goesOn reports whether user messages are still for the actor. After the last callback they are not, unless its stop
// waits for children.
func (c *connection) goesOn() bool { return c.phase == stopping || !c.driver.Done() }

// direct reports whether nobody can tell whether a callback came through Proto.Actor's invoker: there is no middleware,
// and no receive timeout that it would put off. The way through the invoker touches memory that a turn does not need else.
func (c *connection) direct() bool { return c.kind.unseen && !c.facts.has(factTimed) }

// tell delivers a notice, as a message if anybody sees it.
func (c *connection) tell(t *turns, cur *any, n conn.Notice) {
	t.notice.Notice, t.due = n, true
	*cur = &t.notice
	if c.direct() {
		t.due = false
		c.driver.Deliver(n)
		t.notice.Notice = conn.Notice{}
		return
	}
	c.inv.InvokeUserMessage(*cur)
	if t.due { // middleware kept it back, but a promise is a promise
		t.due = false
		c.driver.Deliver(n)
	}
	t.notice.Notice = conn.Notice{}
}

// read lets the turn's reading take place, as a message if anybody sees it.
func (c *connection) read(t *turns, cur *any) {
	*cur = readable
	if c.direct() {
		c.driver.Read()
		return
	}
	t.reads = true
	c.inv.InvokeUserMessage(readable)
	if t.reads { // see tell
		t.reads = false
		c.driver.Read()
	}
}

// system handles all system messages there are. It reports whether notices, data and user messages may be delivered.
func (c *connection) system(t *turns, cur *any) bool {
	for c.mail.hasSystem() && c.phase != gone {
		msg, ok := c.mail.nextSystem()
		if !ok {
			break // functions wait, for the next turn
		}
		*cur = msg
		c.handle(t, cur, msg)
	}
	return c.phase != gone && !c.facts.has(factSuspended)
}

func (c *connection) handle(t *turns, cur *any, msg any) {
	switch msg.(type) {
	case *proto.SuspendMailbox:
		c.facts |= factSuspended
	case *proto.ResumeMailbox:
		c.facts &^= factSuspended
		if c.phase == alive && !c.facts.has(factOrphaned) {
			c.died = nil
		}
	case *proto.Stop:
		c.stop(t, cur, msg)
	case *proto.Restart:
		if c.driver.Done() { // nothing is left for a successor; a stop that goes on must not be undone
			c.stop(t, cur, stopMessage)
			return
		}
		c.inv.InvokeSystemMessage(msg)
	case *proto.Terminated:
		c.inv.InvokeSystemMessage(msg)
		if c.phase == stopping { // it may have been the last child that the stop waited for
			c.stopped(t)
		}
	default:
		c.inv.InvokeSystemMessage(msg)
	}
}

// broke cleans up after a turn that a panic or runtime.Goexit broke off while cur was handled. It runs deferred.
func (c *connection) broke(cur any, p *PanicError) {
	c.kind.sup.net.logPanic(c.String(), p)
	switch {
	case c.phase != alive:
		c.facts |= factBroken // to be completed in a turn of its own, for user code may break that off, too
	case c.driver.Done():
		c.mail.postSystem(stopMessage, false) // it was in the last callback: there is nothing left to decide
	case lifecycle(cur):
		c.died = p
		c.mail.postSystem(stopMessage, false)
	default:
		c.died = p
		escalate(c.inv, &c.mail, p, cur)
	}
	if t := c.turns(); t.due { // middleware broke before the callback, which is due all the same
		t.due = false
		c.guarded(func() { c.driver.Deliver(t.notice.Notice) })
	}
	if c.phase != gone {
		c.guarded(func() { c.driver.End() })
	}
}

// lifecycle reports whether msg is one of those messages after which, half handled, an actor cannot go on.
func lifecycle(msg any) bool {
	switch msg.(type) {
	case *proto.Started, *proto.Restart:
		return true
	}
	return false
}

// guarded calls f and logs its panic. runtime.Goexit goes on.
func (c *connection) guarded(f func()) { c.kind.sup.net.guarded(c, f) }

// rest leaves the turn, and reports whether another one is wanted.
func (c *connection) rest(t *turns) (more bool) {
	if c.phase == gone {
		return c.bury(c.self())
	}
	if t.ctx != nil {
		c.learnTimeout(t.ctx)
	}
	if c.driver.Moved() {
		c.setDeadline()
	}
	if c.mail.hasSystem() || c.facts.has(factBroken) {
		return true
	}
	if c.facts.has(factSuspended) {
		return false
	}
	if c.mail.hasUser() {
		return true
	}
	c.mail.idle()
	return t.more
}

// setDeadline asks for a turn when the connection wants one.
func (c *connection) setDeadline() {
	if own := c.kind.own; own != nil {
		own.SetDeadline(c.driver.Deadline())
	} else {
		c.socket.SetDeadline(c.driver.Deadline())
	}
}

// learnTimeout looks whether the actor, which had its context in this turn, has set a receive timeout.
func (c *connection) learnTimeout(ctx proto.Context) {
	c.facts &^= factTimed
	if ctx.ReceiveTimeout() > 0 {
		c.facts |= factTimed
	}
}
