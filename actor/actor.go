// Package actor runs connections as Proto.Actor actors. A connection actor owns a [conn.Conn]; its messages and the
// callbacks of its connection arrive one at a time. Middleware, if there is any, sees callbacks and reading as messages,
// and supervision covers them.
//
// The one thing to know: all of an actor's code runs in turns of its connection, on the goroutine of an event loop
// that serves many others. So it needs no locks, and it must not block; unless it is given Blocking in [ListenConfig] or
// [DialConfig], which moves its turns to a goroutine of their own.
//
// # Where to start
//
// Embed [Base] in a type, and write the callbacks that matter; [conn.Handler] lists them. An echo server:
//
//	type echo struct{ actor.Base }
//
//	func (e *echo) OnReceived(c *conn.Conn, data []byte) error {
//		_, err := c.Send(data)
//		return err
//	}
//
//	network, err := actor.New(nil, actor.Config{})
//	ln, err := network.Listen(ctx, "127.0.0.1:7669", func() actor.Actor { return new(echo) }, actor.ListenConfig{})
//	...
//	closed, aborted, err := network.Shutdown(ctx)
//
// These are the parts:
//
//   - [New] starts a [Network]: its event loops, for the actors of an actor system of yours or of its own.
//   - [Network.Listen] calls a function of yours for each client. [Network.Dial] connects one actor to a server, and
//     [Network.Adopt] gives it a connection that is already there. [Network.Spawn] runs an actor without a connection
//     beside those of a loop.
//   - [ListenConfig] and [DialConfig] hold the settings of connections, a [conn.Config], and those of sockets.
//   - Whoever has the PID of a connection may send it any message, which Receive gets, and [Write],
//     [Close], [Abort], [Pause] and [Resume], which act on the connection. Goroutines that are no actors do it by
//     network.System().Root: Send(pid, &actor.Write{Data: data}).
//   - [Network.Shutdown] ends all of it in order.
//
// Package conn/conntest tests such actors without sockets, for each is a [conn.Handler]. There, Base has no connection
// and no context: use the Conn that a callback is given.
//
// # Turns
//
// A turn is: system messages of Proto.Actor; what happened since the last turn (OnSent, OnClosed and the like); one
// reading, OnReceived for each frame of it; at most 64 messages; one write of all that was sent. Package conn says
// what a connection promises.
//
// [Network.Spawn] runs actors without a connection on the same loops. What lives on one loop may share memory without
// locks: see [LoopOf] and [DialConfig].
//
// # Life
//
// [proto.Started] comes first, then OnConnected. After OnClosed or OnConnectFailed the actor stops by itself:
// [proto.Stopping], [proto.Stopped], and no more. An actor that is stopped from outside (Stop, Poison) has its
// connection aborted first; what its sends came to and OnClosed still come before Stopping. To end in order, send
// [Close].
//
// # Panics
//
// A panic, or runtime.Goexit, in a callback, in Receive or in a layer ends that connection and nothing else: it is
// aborted, its sends settle, and OnClosed gets a [conn.CloseError] that holds a [*PanicError]. Config.Strategy may
// decide otherwise: restart makes a new actor for the same connection, resume goes on with the old one. A panic in
// Started, Stopping or Stopped always ends the actor.
package actor

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// An Actor owns one connection. Embed [Base] to make one.
type Actor interface {
	proto.Actor  // Receive: messages of other actors, and Proto.Actor's own
	conn.Handler // OnConnected ... OnClosed
	base() *Base
}

// Base gives an Actor its connection, its context and default callbacks: those of [conn.Defaults], and a Receive that
// does nothing. Embed it by value. Its methods are for use in callbacks and in Receive.
type Base struct {
	conn.Defaults
	// Atomic, because an actor that is given to two connections by mistake must be noticed, whichever loops they are on.
	c atomic.Pointer[connection]
}

// Conn returns the actor's connection. It is nil before the actor has one, so while it is being made, and after
// Stopped.
func (b *Base) Conn() *conn.Conn {
	if c := b.c.Load(); c != nil {
		return c.driver.Conn()
	}
	return nil
}

// Context returns what Proto.Actor knows of the message or callback that is being handled. It is nil outside the
// actor's own turns.
func (b *Base) Context() proto.Context {
	if c := b.c.Load(); c != nil {
		return c.context()
	}
	return nil
}

// Receive does nothing.
func (b *Base) Receive(proto.Context) {}

func (b *Base) base() *Base { return b }

// A PanicError is what a CloseError or ConnectError holds after a panic in the actor, in a layer or in middleware. If
// the goroutine was ended by runtime.Goexit, as t.FailNow does, Value is an error that says so.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked, as runtime/debug.Stack formats it
}

// Error names the value.
func (e *PanicError) Error() string { return fmt.Sprintf("actor: panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

var errGoexit = errors.New("runtime.Goexit was called, perhaps by t.FailNow")

// caught makes a PanicError of what recover returned. It is called by the deferred function that recovered, so that
// the stack still shows who panicked; if that was on another goroutine, a layer has brought its stack along.
func caught(recovered any) *PanicError {
	switch p := recovered.(type) {
	case nil:
		recovered = errGoexit
	case *interceptor.Panic:
		return &PanicError{Value: p.Value, Stack: p.Stack}
	}
	return &PanicError{Value: recovered, Stack: debug.Stack()}
}
