package main

import (
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/tls"
)

// A node is the actor of one end. It passes all on to its side, which outlives it.
type node struct {
	actor.Base
	w    *world
	door *door // who accepted; nil if it was dialed or adopted
	s    *side
}

// wake is what an actor is told behind a Pause from outside: somebody must end it.
type wake struct{}

// howAreYou asks for a description, of a connection that hangs.
type howAreYou struct{}

// call makes one callback: checked, and with a panic behind it now and then.
func (n *node) call(name string, f func(s *side)) {
	s := n.s
	s.state.Store(&name)
	s.told.enter(name)
	f(s)
	s.told.leave()
	s.maybePanic()
}

// Receive hears of the actor's life, and of pauses from outside.
func (n *node) Receive(ctx proto.Context) {
	switch ctx.Message().(type) {
	case *proto.Started:
		n.started(ctx)
	case *proto.Stopping:
		n.s.maybePanic()
	case *proto.Stopped:
		n.s.gone(n.Conn())
	case *howAreYou:
		ctx.Respond(n.s.describe(n.Conn()))
	case *wake:
		if n.s.after(n.Conn(), upTo(n.s.rng, n.s.plan.rest), n.s.resume) == 0 {
			n.s.resume(n.Conn())
		}
	}
}

// started finds the side of a successor, or makes one for who was accepted.
func (n *node) started(ctx proto.Context) {
	self := ctx.Self()
	if s, ok := n.w.sides.Load(self.Id); ok {
		n.s = s.(*side)
		return
	}
	if n.s == nil {
		n.s = n.w.newSide(1, &n.door.cfg, n.door, n.door.layered)
	}
	n.s.pid = self
	n.w.sides.Store(self.Id, n.s)
	n.w.alive.Add(1)
}

func (n *node) OnConnected(c *conn.Conn) {
	n.call("OnConnected", func(s *side) { s.connected(c) })
}

func (n *node) OnConnectFailed(c *conn.Conn, err error) {
	n.w.terminals.Add(1)
	n.call("OnConnectFailed", func(s *side) { s.closed(c, true, err) })
}

func (n *node) OnReceived(c *conn.Conn, data []byte) (err error) {
	n.call("OnReceived", func(s *side) { err = s.received(c, data) })
	return err
}

func (n *node) OnEOF(c *conn.Conn, _ error) {
	n.call("OnEOF", func(s *side) { s.peerEnded(c) })
}

func (n *node) OnThrottled(c *conn.Conn) {
	n.w.rep.add(countThrottles, 1)
	n.call("OnThrottled", func(s *side) { s.told.onThrottled(c.IsWriteable()) })
}

func (n *node) OnUnthrottled(c *conn.Conn) {
	n.call("OnUnthrottled", func(s *side) {
		s.told.onUnthrottled(c.IsWriteable())
		s.pump(c)
	})
}

func (n *node) OnSent(c *conn.Conn, t conn.SendToken) {
	n.w.rep.add(countSent, 1)
	n.call("OnSent", func(s *side) {
		s.told.onSent(t, c.Stats().BytesWritten)
		if s.plan.onSent {
			s.pump(c)
		}
	})
}

func (n *node) OnSendFailed(_ *conn.Conn, t conn.SendToken) {
	n.w.rep.add(countSendFailed, 1)
	n.call("OnSendFailed", func(s *side) { s.told.onSendFailed(t) })
}

func (n *node) OnTimer(c *conn.Conn, t conn.TimerToken) {
	n.w.rep.add(countTimers, 1)
	n.call("OnTimer", func(s *side) { s.onTimer(c, t) })
}

func (n *node) OnIdle(c *conn.Conn) {
	n.w.rep.add(countIdles, 1)
	n.call("OnIdle", func(s *side) {
		s.told.onIdle(s.plan.idle)
		if !s.plan.keep {
			s.close(c)
		}
	})
}

func (n *node) OnEvent(_ *conn.Conn, ev any) {
	n.call("OnEvent", func(s *side) {
		switch ev := ev.(type) {
		case pestEvent:
			n.w.rep.add(countEvents, 1)
			s.told.onEvent(uint64(ev))
		case conn.Connecting:
		case tls.Established:
			s.told.onEstablished()
			n.w.rep.add(countSecured, 1)
			if ev.Layer.State().DidResume {
				n.w.rep.add(countResumed, 1)
			}
		default:
			s.fail("OnEvent with a %T", ev)
		}
	})
}

func (n *node) OnClosed(c *conn.Conn, err error) {
	n.w.terminals.Add(1)
	n.call("OnClosed", func(s *side) { s.closed(c, false, err) })
}

var _ actor.Actor = (*node)(nil)

// usualCloseTimeout is never reached, unless something hangs.
const usualCloseTimeout = 30 * time.Second
