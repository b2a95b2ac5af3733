package actor

import (
	"errors"
	"fmt"
	"net"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
)

// How an actor ends. Proto.Actor's order is: Stopping, children, removal from the registry, Stopped, Terminated to
// watchers and parent. After Stopped its invoker is deaf, and a panic on the way leaves the actor stranded; so the
// connection's last callbacks are made in Stopping, and all user code there runs under a recover of its own.

var (
	errStopped  = errors.New("actor: the connection's actor was stopped")
	errShutdown = fmt.Errorf("actor: the network was shut down: %w", net.ErrClosed)
)

// stop lets Proto.Actor stop the actor, now.
func (c *connection) stop(t *turns, cur *any, msg any) {
	if c.phase != alive {
		return
	}
	c.phase = stopping
	*cur = msg
	c.inv.InvokeSystemMessage(msg)
	c.stopped(t)
}

// receiveLast is Receive once the actor is stopping.
func (c *connection) receiveLast(ctx proto.Context) {
	switch m := ctx.Message().(type) {
	case *proto.Stopping:
		c.endConn(c.turns())
		c.facts |= factStopping
	case *proto.Stopped:
		if !c.facts.has(factStopped) {
			c.facts |= factStopped
			c.guarded(func() { c.Actor.Receive(ctx) })
		}
		c.part() // before watchers hear of the end
		return
	case *proto.Terminated:
		if m.Who == ctx.Self() { // see complete
			return
		}
	}
	c.guarded(func() { c.Actor.Receive(ctx) })
}

// endConn ends the connection if it has not ended, and makes the callbacks that are still due. It is the one case in
// which they do not wait for a turn.
func (c *connection) endConn(t *turns) {
	d := &c.driver
	if d.Done() {
		return
	}
	c.guarded(func() { d.Abort(c.cause()) })
	for told := true; told && !d.Done(); {
		d.Begin(t.now, t.mem)
		told = false
		for n, ok := d.Next(); ok; n, ok = d.Next() {
			told = true
			c.guarded(func() { d.Deliver(n) })
		}
	}
}

// cause says why an actor that stops ends its connection.
func (c *connection) cause() (conn.Cause, error) {
	switch {
	case c.died != nil:
		return conn.CauseHandler, c.died
	case c.kind.sup.net.closing.Load():
		return conn.CauseAbort, errShutdown
	}
	return conn.CauseAbort, errStopped
}

// complete takes up a stop that broke off: runtime.Goexit cannot be caught, nor can a panic in middleware where it
// happens. It is called again if it breaks off, too; each time user code has less left to run.
func (c *connection) complete(t *turns) {
	c.endConn(t)
	if c.tries++; c.tries > maxTries {
		c.abandon()
	} else {
		told := c.facts.has(factStopping)
		c.facts |= factStopping // by now, or never
		stopAgain(c.inv, told)
		c.stopped(t)
	}
	c.facts &^= factBroken
	if c.phase != gone {
		c.driver.End()
	}
}

// abandon ends an actor that Proto.Actor could not bring to its end. Its parent hears of it; watchers do not.
func (c *connection) abandon() {
	self, n := c.self(), c.kind.sup.net
	if c.driver.Conn().State() != conn.StateClosed {
		c.reset() // the Driver could not
	}
	if self != nil {
		n.sys.ProcessRegistry.Remove(self)
		c.kind.sup.PostSystemMessage(&proto.Terminated{Who: self})
	}
	c.phase, c.facts = stopping, c.facts|factStopped
	c.leave()
}

// reset gives up the socket.
func (c *connection) reset() {
	if own := c.kind.own; own != nil {
		_ = own.Close(true)
		return
	}
	_ = c.socket.Close(true)
}

// stopped looks whether Proto.Actor has done with the actor: it may still wait for children.
func (c *connection) stopped(t *turns) {
	if c.facts.has(factStopped) || !c.registered() {
		c.endConn(t) // middleware may have kept Stopping back
		c.leave()
	}
}

func (c *connection) registered() bool {
	_, ok := c.kind.sup.net.sys.ProcessRegistry.Get(c.self())
	return ok
}

// leave frees what the actor took up. Its mail goes to the dead letters from now on.
func (c *connection) leave() {
	if c.phase == gone {
		return
	}
	c.driver.End() // gives back what the connection borrowed
	c.phase = gone
	c.mail.close()
	if c.driver.Conn().State() != conn.StateClosed {
		c.reset()
	}
	c.part()
	c.Actor, c.acks, c.died = nil, nil, nil // whoever keeps the PID keeps this connection, but no more
}

// part makes room for another connection at the listener, and lets the user's value be given to another one.
func (c *connection) part() {
	if c.facts.has(factSlot) {
		c.facts &^= factSlot
		c.kind.door.Release()
	}
	c.Actor.base().c.CompareAndSwap(c, nil)
}

// bury passes on what was left in the mailbox of self, and reports whether there is more.
func (c *connection) bury(self *proto.PID) (more bool) {
	n := c.kind.sup.net
	c.guarded(func() {
		// All of it in a shutdown: a loop that closes drops its tasks.
		c.mail.bury(&n.closing, func(msg any) { c.refuse(self, msg) }, func(msg any) { n.refuseSystem(self, msg) })
	})
	if c.mail.hasSystem() || c.mail.hasUser() {
		return true
	}
	c.mail.idle()
	return false
}
