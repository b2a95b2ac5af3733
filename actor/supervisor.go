package actor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// A supervisor is the parent of the connections of one loop, and an actor that takes its turns on that loop. It holds
// no more than they need to be spawned, and it outlives whatever they do: nobody but the network can stop it.
//
// An actor's children may only be spawned in its turn. So a turn of the supervisor that touches them holds a lock, and
// whoever takes the lock has that turn. While an actor is made, which runs code of the user's, the lock is given up.
type supervisor struct {
	loop.Link
	net   *Network
	loop  *loop.Loop
	turns turns // of the connections; for use on the loop
	mail  mailbox
	inv   proto.MessageInvoker

	mu     sync.Mutex    // guards what follows, and the children
	ctx    proto.Context // nil until it is spawned
	ending bool          // there are no new children
	making int           // actors that are being made, and are no children yet
	tell   teller        // what those have missed; nil unless ending
	empty  chan struct{} // closed when ending and there are no children, nor actors being made

	stopMe  bool          // guarded by mu: the network wants it to stop
	stopped chan struct{} // closed when it has
}

var (
	_ proto.Actor              = (*supervisor)(nil)
	_ proto.Mailbox            = (*supervisor)(nil)
	_ proto.SupervisorStrategy = (*supervisor)(nil)
	_ loop.Task                = (*supervisor)(nil)
)

// newSupervisor spawns the supervisor of l. It has no parent, so that no strategy of others reaches it.
func newSupervisor(n *Network, l *loop.Loop) *supervisor {
	s := &supervisor{net: n, loop: l, empty: make(chan struct{}), stopped: make(chan struct{})}
	props := proto.PropsFromProducer(func() proto.Actor { return s },
		proto.WithMailbox(func() proto.Mailbox { return s }))
	proto.NewRootContext(n.sys, nil).SpawnPrefix(props, "galago")
	return s
}

// spawnAccepted is spawn for a connection whose kind is shared: it must be called on the loop.
func (s *supervisor) spawnAccepted(c *connection) error {
	s.turns.making = c
	defer func() { s.turns.making = nil }()
	return s.spawn(c)
}

// spawn makes c an actor. Any goroutine may call it, if c has a kind of its own. It is guarded, for options of the user
// run in it; only runtime.Goexit passes, when all is cleaned up.
func (s *supervisor) spawn(c *connection) (err error) {
	name := s.net.sys.ProcessRegistry.NextId()
	spawned := false
	defer func() {
		if spawned {
			return
		}
		if r := recover(); r != nil {
			err = caught(r)
		}
		pid := s.net.sys.NewLocalPID(s.ctx.Self().Id + "/" + name)
		if err != proto.ErrNameExists && err != errShutdown {
			// It may be in the registry, for everybody to see, though nobody will ever take its mail.
			s.net.sys.ProcessRegistry.Remove(pid)
		}
		c.mail.close()
		for c.bury(pid) {
		}
		c.Actor.base().c.CompareAndSwap(c, nil)
	}()
	err = s.spawnNamed(c, name)
	spawned = err == nil
	return err
}

func (s *supervisor) spawnNamed(c *connection, name string) error {
	pid, missed, err := s.bear(c, name)
	if err == nil && missed != nil {
		s.tellOne(pid, missed)
	}
	return err
}

// bear makes c a child. missed is what children were told meanwhile, or nil.
func (s *supervisor) bear(c *connection, name string) (pid *proto.PID, missed teller, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return nil, nil, errShutdown
	}
	s.making++
	defer func() { // also if an option panics
		s.making--
		s.checkEmpty()
	}()
	pid, err = s.ctx.SpawnNamed(c.kind.props, name)
	if err != nil {
		return nil, nil, err
	}
	if _, ok := s.net.sys.ProcessRegistry.Get(pid); !ok {
		// It has ended, and its end may have been heard of before it was a child.
		s.PostSystemMessage(&proto.Terminated{Who: pid})
	}
	return pid, s.tell, nil
}

// spawnUnlocked makes an actor without the lock, which its caller holds: options of the user may block, dial or spawn.
func (s *supervisor) spawnUnlocked(sys *proto.ActorSystem, id string, props *proto.Props, parent proto.SpawnerContext) (
	*proto.PID, error) {
	s.mu.Unlock()
	defer s.mu.Lock()
	return proto.DefaultSpawner(sys, id, props, parent)
}

// Turn handles what came for the supervisor: failures of connections, their ends, and its own.
func (s *supervisor) Turn(time.Time, *conn.Memory) (more bool) {
	for range messagesPerTurn {
		msg, ok := s.mail.nextSystem()
		if !ok {
			break
		}
		s.handle(msg)
	}
	return s.mail.hasSystem()
}

func (s *supervisor) handle(msg any) {
	whole := false
	defer func() {
		if !whole {
			s.net.logPanic(s.String(), caught(recover()))
		}
	}()
	switch msg.(type) {
	case *proto.Failure:
		// Without the lock: it does not touch the children, and the strategy is the user's, who may want to spawn.
		s.inv.InvokeSystemMessage(msg)
	case *proto.Restart, *proto.SuspendMailbox, *proto.ResumeMailbox:
		// Nobody may restart or suspend it: that would take every connection of the loop along.
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, stop := msg.(*proto.Stop); !stop || s.stopMe {
			s.inv.InvokeSystemMessage(msg)
		}
	}
	whole = true
}

// Receive hears of the supervisor's own life, and of its children's ends.
func (s *supervisor) Receive(ctx proto.Context) {
	switch ctx.Message().(type) {
	case *proto.Terminated:
		s.checkEmpty()
	case *proto.Stopped:
		s.mail.close()
		close(s.stopped)
	}
}

// checkEmpty must be called with mu held.
func (s *supervisor) checkEmpty() {
	if s.ending && s.making == 0 && len(s.ctx.Children()) == 0 {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

// A teller says something to an actor.
type teller func(p proto.Process, pid *proto.PID)

// end lets no more children be spawned, and calls tell for each there is, or is about to be.
func (s *supervisor) end(tell teller) {
	s.mu.Lock()
	s.ending, s.tell = true, tell
	s.checkEmpty()
	children := append([]*proto.PID(nil), s.ctx.Children()...)
	s.mu.Unlock()
	for _, pid := range children {
		s.tellOne(pid, tell)
	}
}

func (s *supervisor) tellOne(pid *proto.PID, tell teller) {
	if p, ok := s.net.sys.ProcessRegistry.Get(pid); ok {
		tell(p, pid)
	}
}

// stop stops the supervisor, and all children that are left.
func (s *supervisor) stop() {
	s.mu.Lock()
	s.ending, s.stopMe = true, true
	s.mu.Unlock()
	s.PostSystemMessage(stopMessage)
}

// Start has nothing to do: RegisterHandlers did it.
func (s *supervisor) Start() {}

// RegisterHandlers opens the mailbox: the supervisor is spawned.
func (s *supervisor) RegisterHandlers(inv proto.MessageInvoker, _ proto.Dispatcher) {
	s.inv = inv
	s.ctx = inv.(proto.Context)
	s.mail.open()
}

// UserMessageCount returns 0: the supervisor takes none.
func (s *supervisor) UserMessageCount() int { return 0 }

// PostSystemMessage queues what Proto.Actor has to say.
func (s *supervisor) PostSystemMessage(msg any) {
	switch s.mail.postSystem(msg, false) {
	case mailOpen:
		s.loop.Queue(s)
	case mailClosed:
		s.net.refuseSystem(s.ctx.Self(), msg)
	}
}

// PostUserMessage passes msg to the dead letters: nothing said to the parent of connections means anything.
func (s *supervisor) PostUserMessage(msg any) {
	if ctx, ok := s.inv.(proto.Context); ok {
		s.net.sys.DeadLetter.SendUserMessage(ctx.Self(), msg)
	}
}

// HandleFailure lets the user's strategy decide on one connection. Whatever it does, only that one is affected; if it
// breaks, the connection ends.
func (s *supervisor) HandleFailure(sys *proto.ActorSystem, _ proto.Supervisor, child *proto.PID,
	rs *proto.RestartStatistics, reason, message any) {
	v := &verdict{sys, child}
	whole := false
	defer func() {
		if !whole {
			s.net.logPanic("Config.Strategy, deciding on "+child.Id, caught(recover()))
			v.StopChildren(child)
		}
	}()
	s.net.strategy.HandleFailure(sys, v, child, rs, reason, message)
	whole = true
}

// stopAlways is the default strategy: a stream that lost its actor in the middle of a message makes no sense to
// another one.
var stopAlways = proto.NewOneForOneStrategy(0, 0, func(any) proto.Directive { return proto.StopDirective })

// A verdict is the supervisor as a strategy sees it: with one child. A strategy may keep it, to decide later, on any
// goroutine.
type verdict struct {
	sys   *proto.ActorSystem
	child *proto.PID
}

var _ proto.Supervisor = (*verdict)(nil)

// Children returns the child alone: decisions are for one connection, never for all of a loop.
func (v *verdict) Children() []*proto.PID { return []*proto.PID{v.child} }

// EscalateFailure counts as stop: above the supervisor there is nobody who knows more.
func (v *verdict) EscalateFailure(any, any) { v.StopChildren(v.child) }

// RestartChildren restarts the child if it is among pids.
func (v *verdict) RestartChildren(pids ...*proto.PID) { v.tell(new(proto.Restart), pids) }

// StopChildren stops the child if it is among pids.
func (v *verdict) StopChildren(pids ...*proto.PID) { v.tell(stopMessage, pids) }

// ResumeChildren resumes the child if it is among pids.
func (v *verdict) ResumeChildren(pids ...*proto.PID) { v.tell(new(proto.ResumeMailbox), pids) }

func (v *verdict) tell(msg any, pids []*proto.PID) {
	for _, pid := range pids {
		if pid != nil && pid.Equal(v.child) {
			if p, ok := v.sys.ProcessRegistry.Get(v.child); ok {
				p.SendSystemMessage(v.child, msg)
			}
			return
		}
	}
}

// logPanic reports a panic, and who panicked.
func (n *Network) logPanic(who string, p *PanicError) {
	defer func() { _ = recover() }() // of the handler that should have taken note
	n.log.LogAttrs(context.Background(), slog.LevelError, "panic",
		slog.String("in", who), slog.Any("value", p.Value), slog.String("stack", string(p.Stack)))
}

// String names the actor, where a long turn is reported.
func (c *connection) String() string {
	if self := c.self(); self != nil {
		return self.Id
	}
	return "a connection that is being set up"
}

func (s *supervisor) String() string { return "supervisor of a loop" }
