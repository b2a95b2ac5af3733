package actor

import (
	"errors"
	"fmt"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// SpawnConfig sets up an actor without a connection. The zero SpawnConfig is ready to use.
type SpawnConfig struct {
	Loop int // the number of the loop that it lives on, from 1; if zero, the one with the fewest connections
	// Props are options for the actor, such as a guardian, or a supervisor for its children. The producer, the mailbox,
	// the dispatcher and the spawner are ours.
	Props []proto.PropsOption
}

// Spawn runs what newActor makes as an actor without a connection, on one of the event loops. Its messages are
// handled in turns of that loop, 64 at most in each, on the same goroutine as the callbacks of the connections of
// that loop (but for Blocking ones). These never run at the same time, so they may share memory without locks; and
// like those callbacks Receive must not block. [LoopOf] tells which loop it is, for DialConfig.Loop and for other
// actors.
//
// newActor is called by Spawn, on the caller's goroutine, and again on the loop for each restart. It must return a
// fresh value. Receive hears first of [proto.Started].
//
// The actor has no parent. A panic in Receive, or runtime.Goexit, is logged, and goes as a [*PanicError] to the
// guardian among cfg.Props; without one Proto.Actor restarts the actor, and stops it at the eleventh failure in ten
// seconds. A panic in Stopping or Stopped is logged, and the stop goes on. Children that the actor spawns are
// ordinary ones, and run where their Props say.
//
// Shutdown stops the actor when the last connection has ended, behind the mail that it has by then: so it hears of
// all that connections told it in their last callbacks. When the patience of Shutdown ends it is stopped at once.
//
// The error names every value that cannot work; then nothing was started. Once Shutdown was called it matches
// [net.ErrClosed]; if newActor or an option panics, it holds a [*PanicError]. Spawn may be called by any goroutine,
// also in a callback or in Receive.
func (n *Network) Spawn(newActor func() proto.Actor, cfg SpawnConfig) (*proto.PID, error) {
	errs := []error{n.checkLoop("SpawnConfig", cfg.Loop)}
	if newActor == nil {
		errs = append(errs, errors.New("actor: newActor is nil: it must make a proto.Actor"))
	}
	for i, option := range cfg.Props {
		if option == nil {
			errs = append(errs, fmt.Errorf("actor: SpawnConfig.Props[%d] is nil: it must be an option", i))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	name := "resident" + n.sys.ProcessRegistry.NextId()
	r := &resident{net: n, sup: n.supervisorOf(cfg.Loop), newActor: newActor, self: n.sys.NewLocalPID(name)}
	if !n.residents.add(r, &n.closing) {
		return nil, errShutdown
	}
	if err := r.spawn(name, cfg.Props); err != nil {
		return nil, fmt.Errorf("actor: spawning: %w", err)
	}
	return r.self, nil
}

func (r *resident) home() *supervisor { return r.sup }

// A resident is an actor without a connection that takes its turns on a loop: what Proto.Actor runs, its mailbox, and a
// task of the loop. Only PostUserMessage, PostSystemMessage and UserMessageCount may be called by any goroutine.
type resident struct {
	loop.Link
	net      *Network
	sup      *supervisor // of its loop; it is not its parent
	newActor func() proto.Actor
	user     proto.Actor // what newActor made last; nil when the actor is gone
	self     *proto.PID
	inv      proto.MessageInvoker // its context, once it is spawned
	mail     mailbox

	phase phase
	facts facts
	tries int // times that a broken stop was taken up again
}

var (
	_ proto.Actor   = (*resident)(nil)
	_ proto.Mailbox = (*resident)(nil)
	_ loop.Task     = (*resident)(nil)
)

// A strategist is a resident whose actor decides on failures of its children itself.
type strategist struct {
	*resident
	proto.SupervisorStrategy
}

// spawn makes r an actor, and forgets it if that fails. It is guarded, for it runs the user's code; only runtime.Goexit
// passes, when all is cleaned up.
func (r *resident) spawn(name string, options []proto.PropsOption) (err error) {
	spawned := false
	defer func() {
		if spawned {
			return
		}
		if p := recover(); p != nil {
			err = caught(p)
		}
		if err != proto.ErrNameExists {
			r.net.sys.ProcessRegistry.Remove(r.self) // it may be there, though nobody will ever take its mail
		}
		r.mail.close()
		r.bury(true)
		r.net.residents.remove(r)
	}()
	if err := r.renew(); err != nil {
		return err
	}
	fresh := true
	props := hostedProps(options, func() proto.Actor {
		if !fresh {
			if err := r.renew(); err != nil {
				panic(err) // it is a failure like others
			}
		}
		fresh = false
		return r.wrapped()
	}, func() proto.Mailbox { return r })
	// A root context of its own: that of the system may have been given middleware.
	_, err = proto.NewRootContext(r.net.sys, nil).SpawnNamed(props, name)
	spawned = err == nil
	return err
}

// renew makes the user's actor.
func (r *resident) renew() error {
	a := r.newActor()
	if a == nil {
		return errors.New("newActor returned nil: it must be a proto.Actor")
	}
	r.user = a
	return nil
}

func (r *resident) wrapped() proto.Actor {
	if s, ok := r.user.(proto.SupervisorStrategy); ok {
		return &strategist{r, s}
	}
	return r
}

// Turn is one run of the mailbox.
func (r *resident) Turn(time.Time, *conn.Memory) (more bool) {
	var cur any // what is being handled, for whoever decides on a failure
	whole := false
	defer func() { // deferred, so that runtime.Goexit comes through here too
		if !whole {
			r.broke(cur, caught(recover()))
		}
		more = r.rest()
	}()
	switch {
	case r.phase == gone:
	case r.facts.has(factBroken):
		r.complete()
	default:
		r.run(&cur)
	}
	whole = true
	return more
}

// run handles messages: system messages first, and before each other one.
func (r *resident) run(cur *any) {
	quota := messagesPerTurn
	open := r.system(cur, &quota)
	for i := 0; open && i < messagesPerTurn; i++ {
		msg, ok := r.mail.next()
		if !ok {
			return
		}
		*cur = msg
		r.inv.InvokeUserMessage(msg)
		open = r.system(cur, &quota)
	}
}

// system handles system messages. It reports whether user messages may be delivered in this turn. There is a quota,
// for each continuation of a future is one, and may cause the next.
func (r *resident) system(cur *any, quota *int) bool {
	for r.phase != gone {
		if *quota == 0 {
			return false
		}
		msg, ok := r.mail.nextSystem()
		if !ok {
			break
		}
		*quota--
		*cur = msg
		r.handle(cur, msg)
	}
	return r.phase != gone && !r.facts.has(factSuspended)
}

func (r *resident) handle(cur *any, msg any) {
	switch msg.(type) {
	case *proto.SuspendMailbox:
		r.facts |= factSuspended
	case *proto.ResumeMailbox:
		r.facts &^= factSuspended
	case *proto.Stop:
		if r.phase == alive {
			r.phase = stopping
			r.inv.InvokeSystemMessage(msg)
			r.stopped()
		}
	case *proto.Restart:
		if r.phase == alive { // a stop that goes on must not be undone
			r.inv.InvokeSystemMessage(msg)
		}
	case *proto.Terminated:
		r.inv.InvokeSystemMessage(msg)
		if r.phase == stopping { // it may have been the last child that the stop waited for
			r.stopped()
		}
	default:
		r.inv.InvokeSystemMessage(msg)
	}
}

// Receive is where Proto.Actor's invoker arrives, after middleware. Once the actor stops, its panics must not reach
// Proto.Actor, which would leave it stranded.
func (r *resident) Receive(ctx proto.Context) {
	if r.phase == alive {
		r.user.Receive(ctx)
		return
	}
	switch m := ctx.Message().(type) {
	case *proto.Stopping:
		r.facts |= factStopping
	case *proto.Stopped:
		if r.facts.has(factStopped) {
			return
		}
		r.facts |= factStopped
	case *proto.Terminated:
		if m.Who == ctx.Self() { // see stopAgain
			return
		}
	}
	r.net.guarded(r, func() { r.user.Receive(ctx) })
}

// broke cleans up after a turn that a panic or runtime.Goexit broke off while cur was handled. It runs deferred.
func (r *resident) broke(cur any, p *PanicError) {
	r.net.logPanic(r.String(), p)
	if r.phase != alive {
		r.facts |= factBroken // to be completed in a turn of its own, for user code may break that off, too
		return
	}
	escalate(r.inv, &r.mail, p, cur)
}

// complete takes up a stop that broke off. It is called again if it breaks off, too.
func (r *resident) complete() {
	if r.tries++; r.tries > maxTries {
		r.abandon()
	} else {
		told := r.facts.has(factStopping)
		r.facts |= factStopping // by now, or never
		stopAgain(r.inv, told)
		r.stopped()
	}
	r.facts &^= factBroken
}

// abandon ends an actor that Proto.Actor could not bring to its end. Watchers do not hear of it.
func (r *resident) abandon() {
	r.net.sys.ProcessRegistry.Remove(r.self)
	r.leave()
}

// stopped looks whether Proto.Actor has done with the actor: it may still wait for children.
func (r *resident) stopped() {
	if _, known := r.net.sys.ProcessRegistry.Get(r.self); !known || r.facts.has(factStopped) {
		r.leave()
	}
}

// leave closes the mailbox. What is in it, or comes later, goes to the dead letters.
func (r *resident) leave() {
	r.phase = gone
	r.mail.close()
	r.user = nil // whoever keeps the PID keeps the resident, but no more
}

// rest leaves the turn, and reports whether another one is wanted.
func (r *resident) rest() (more bool) {
	switch {
	case r.phase == gone:
		if r.bury(false) {
			return true
		}
		r.net.residents.remove(r)
		return false
	case r.mail.hasSystem() || r.facts.has(factBroken):
		return true
	case r.facts.has(factSuspended):
		return false
	case r.mail.hasUser():
		return true
	}
	r.mail.idle()
	return false
}

// bury passes on what was left in the mailbox, all of it or a portion, and reports whether there is more.
func (r *resident) bury(all bool) (more bool) {
	for more = true; more; more = r.mail.hasSystem() || r.mail.hasUser() {
		r.net.guarded(r, func() {
			r.mail.bury(&r.net.closing,
				func(msg any) { r.net.sys.DeadLetter.SendUserMessage(r.self, msg) },
				func(msg any) { r.net.refuseSystem(r.self, msg) })
		})
		if !all {
			break
		}
	}
	more = r.mail.hasSystem() || r.mail.hasUser()
	if !more {
		r.mail.idle()
	}
	return more
}

// Start has nothing to do: RegisterHandlers did it.
func (r *resident) Start() {}

// RegisterHandlers keeps who handles messages. The mailbox opens with Started.
func (r *resident) RegisterHandlers(inv proto.MessageInvoker, _ proto.Dispatcher) { r.inv = inv }

// UserMessageCount returns how many user messages wait.
func (r *resident) UserMessageCount() int { return int(r.mail.users.Load()) }

// PostSystemMessage queues what Proto.Actor has to say.
func (r *resident) PostSystemMessage(msg any) {
	switch r.mail.system(msg) {
	case mailOpen:
		r.sup.loop.Queue(r)
	case mailClosed:
		r.net.refuseSystem(r.self, msg)
	}
}

// PostUserMessage queues a message; of a batch, its elements and then the batch itself.
func (r *resident) PostUserMessage(msg any) {
	if all := unpack(msg); all != nil {
		r.took(r.mail.post(all...), all...)
		return
	}
	r.took(r.mail.post(msg), msg)
}

func (r *resident) took(state mailState, msgs ...any) {
	switch state {
	case mailOpen:
		r.sup.loop.Queue(r)
	case mailClosed:
		for _, msg := range msgs {
			r.net.sys.DeadLetter.SendUserMessage(r.self, msg)
		}
	}
}

// String names the actor, where a long turn is reported.
func (r *resident) String() string { return r.self.Id }
