package actor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// ListenConfig sets up a Listener. The zero ListenConfig is ready to use.
type ListenConfig struct {
	Conn     conn.Config
	Socket   loop.Options
	Network  string // "tcp", "tcp4", "tcp6" or "unix"; if empty, "tcp"
	MaxConns int    // at this number accepting waits; if zero, 100,000
	// Blocking lets callbacks and Receive block: the turns of each connection run on a goroutine of their own, which
	// lives while turns are wanted. Everything else is the same. newActor is called on an event loop all the same, and so
	// are Props; but for a restart, newActor is called in the turn that restarts.
	Blocking bool
	// Props are options for each actor, such as receiver middleware, which costs an allocation for every message. The
	// producer, the mailbox, the dispatcher, the spawner and the guardian are ours.
	Props []proto.PropsOption
}

const defaultMaxConns = 100_000

// validate returns an error that names each value that cannot work.
func (cfg *ListenConfig) validate() error {
	errs := []error{cfg.Conn.Validate(), cfg.Socket.Validate()}
	switch cfg.Network {
	case "", "tcp", "tcp4", "tcp6", "unix":
	default:
		errs = append(errs, fmt.Errorf("actor: ListenConfig.Network is %q: it must be tcp, tcp4, tcp6 or unix: %w",
			cfg.Network, net.UnknownNetworkError(cfg.Network)))
	}
	if cfg.MaxConns < 0 {
		errs = append(errs, fmt.Errorf("actor: ListenConfig.MaxConns is %d: it must be 0 (for 100,000) or a number of connections",
			cfg.MaxConns))
	}
	for i, option := range cfg.Props {
		if option == nil {
			errs = append(errs, fmt.Errorf("actor: ListenConfig.Props[%d] is nil: it must be an option", i))
		}
	}
	return errors.Join(errs...)
}

// A Listener accepts connections. They outlive it. Its methods may be called by any goroutine, also in a callback.
type Listener struct {
	net   *Network
	inner *loop.Listener
}

// Addr returns the address that ln listens at, with the port that it was given.
func (ln *Listener) Addr() net.Addr { return ln.inner.Addr() }

// Len returns how many connections there are now that ln accepted: a connection counts until its actor has stopped.
func (ln *Listener) Len() int { return ln.inner.Len() }

// Close stops accepting: when it returns, new clients are refused. Those that have connected, but have no actor yet,
// are closed or reset; the others live on. A second Close returns the same.
func (ln *Listener) Close() error {
	ln.net.forget(ln)
	return ln.inner.Close()
}

// Listen accepts connections at addr and spawns newActor() for each. ctx bounds the resolving of addr. When Listen
// returns, clients can connect.
//
// newActor is called on an event loop, for every connection, and again for each restart: by several goroutines at once.
// It must not block. It must return a fresh value, or one whose last connection has ended. A connection for which it
// returns nil or panics is closed. newActor may come once more for each loop while Close is being called.
//
// The error names every value that cannot work; then nothing was started. If the system refuses addr, as it does while
// another program listens there, it is a [*loop.ListenError]. After Shutdown it matches [net.ErrClosed].
func (n *Network) Listen(ctx context.Context, addr string, newActor func() Actor, cfg ListenConfig) (*Listener, error) {
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	errs := []error{cfg.validate()}
	if err := loop.CheckAddr(cfg.Network, addr); err != nil {
		errs = append(errs, fmt.Errorf("actor: %w", err))
	}
	if newActor == nil {
		errs = append(errs, errors.New("actor: newActor is nil: it must make an Actor"))
	}
	if ctx == nil {
		errs = append(errs, errNilContext)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if n.closing.Load() {
		return nil, errShutdown
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = defaultMaxConns
	}
	kinds := make(map[*loop.Loop]*kind, len(n.sups))
	for _, s := range n.sups {
		kinds[s.loop] = newKind(s, newActor, &cfg)
	}
	inner, err := loop.Listen(ctx, n.all, cfg.Network, addr, loop.ListenConfig{
		Options:  cfg.Socket,
		MaxConns: cfg.MaxConns,
		Accept: func(a *loop.Accepted) {
			if k := kinds[a.Loop()]; cfg.Blocking {
				k.acceptBlocking(a)
			} else {
				k.accept(a)
			}
		},
		Resting: func(err error) {
			n.log.LogAttrs(context.Background(), slog.LevelWarn, "accepting rests: the system has no room for connections",
				slog.String("listener", addr), slog.Any("error", err))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("actor: %w", &loop.ListenError{Addr: addr, Err: err})
	}
	ln := &Listener{net: n, inner: inner}
	if !n.remember(ln) {
		return nil, errors.Join(errShutdown, inner.Close())
	}
	return ln, nil
}

// A kind is what the connections of one listener on one loop share. It belongs to the loop. One that was dialed or
// adopted, or may block, has a kind of its own.
type kind struct {
	sup      *supervisor
	newActor func() Actor
	giver    string // who newActor is for the user, with a verb
	cfg      *conn.Config
	options  []proto.PropsOption
	props    *proto.Props
	door     *loop.Listener // who accepts them; known from the first one on; nil if nobody does
	own      *ownTurns      // nil if the connection takes its turns on the loop
	unseen   bool           // nobody sees the messages that carry callbacks: no middleware, no metrics
}

// ownTurns is what a connection has that takes its turns on a goroutine of its own.
type ownTurns struct {
	*loop.Detached
	turns turns
}

func newKind(s *supervisor, newActor func() Actor, cfg *ListenConfig) *kind {
	k := &kind{sup: s, newActor: newActor, giver: "newActor returned", cfg: &cfg.Conn, options: cfg.Props,
		unseen: s.unseen(cfg.Props)}
	k.props = ownProps(s, cfg.Props, k.produce, func() proto.Mailbox { return s.turns.making })
	return k
}

// unseen reports whether messages to an actor with these options pass through the invoker unseen.
func (s *supervisor) unseen(options []proto.PropsOption) bool {
	return len(options) == 0 && s.net.sys.Config.MetricsProvider == nil
}

// single makes a kind like k for c alone. Its Props know the connection: it is spawned by any goroutine, which must not
// touch what the turns of the loop share.
func (k *kind) single(c *connection, blocking bool) *kind {
	one := *k
	one.unseen = k.sup.unseen(k.options)
	spawned := false
	one.props = ownProps(k.sup, k.options, func() proto.Actor {
		if spawned {
			c.succeed()
		}
		spawned = true
		return c
	}, func() proto.Mailbox { return c })
	if blocking {
		one.own = &ownTurns{Detached: loop.NewDetached(k.sup.loop, c)}
	}
	return &one
}

// prepare gives c a kind like k of its own, and a new actor. It is guarded, for the user's options run in it as well; only
// runtime.Goexit passes.
func (k *kind) prepare(c *connection, blocking bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = caught(r)
		}
	}()
	c.kind = k.single(c, blocking)
	return k.equip(c)
}

// ownProps makes Props of the user's options and what is ours. The parent is ours too: s.
func ownProps(s *supervisor, options []proto.PropsOption, produce proto.Producer, mailbox proto.MailboxProducer) *proto.Props {
	return hostedProps(options, produce, mailbox).Configure(proto.WithGuardian(nil), proto.WithSpawnFunc(s.spawnUnlocked))
}

// hostedProps is ownProps for an actor without a parent of ours.
func hostedProps(options []proto.PropsOption, produce proto.Producer, mailbox proto.MailboxProducer) *proto.Props {
	props := proto.PropsFromProducer(produce, options...)
	return props.Configure( // behind the user's, so that ours hold
		proto.WithProducer(produce),
		proto.WithMailbox(mailbox),
		proto.WithDispatcher(nil),
		proto.WithSpawnFunc(nil),
	)
}

// produce is called by Proto.Actor, which wants an actor: for the connection that is being spawned, else for the one
// that is being restarted. One Props serves all connections, so it cannot say for which.
func (k *kind) produce() proto.Actor {
	t := &k.sup.turns
	if t.making != nil {
		return t.making
	}
	t.current.succeed()
	return t.current
}

// accept makes an actor of a connection. What is not opened when it returns is closed.
func (k *kind) accept(a *loop.Accepted) {
	k.door = a.Listener()
	c := &connection{kind: k}
	if err := k.equip(c); err != nil {
		k.sup.net.logRefused(a.Remote().String(), err)
		return
	}
	c.init(&c.socket)
	if !k.spawned(c, a, k.sup.spawnAccepted) {
		return
	}
	c.facts |= factSlot
	if err := c.socket.Open(a, c); err != nil {
		c.driver.Failed(conn.StageDial, err)
	}
}

// acceptBlocking is accept for a connection whose turns leave the loop. They begin when all is set.
func (k *kind) acceptBlocking(a *loop.Accepted) {
	k.door = a.Listener()
	c := new(connection)
	if err := k.prepare(c, true); err != nil {
		k.sup.net.logRefused(a.Remote().String(), err)
		return
	}
	own := c.kind.own
	c.init(own)
	if !k.spawned(c, a, k.sup.spawn) {
		return
	}
	c.facts |= factSlot
	if err := own.Open(a); err != nil {
		own.Failed(conn.StageDial, err)
	}
	own.Start()
}

func (k *kind) spawned(c *connection, a *loop.Accepted, spawn func(*connection) error) bool {
	err := spawn(c)
	if err != nil && err != errShutdown {
		k.sup.net.logRefused(a.Remote().String(), err)
	}
	return err == nil
}

// equip gives c a new actor of the user's. It is guarded; only runtime.Goexit passes.
func (k *kind) equip(c *connection) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = caught(r)
		}
	}()
	a := k.newActor()
	if a == nil {
		return fmt.Errorf("%s nil: it must be an Actor", k.giver)
	}
	b, ok := baseOf(a)
	switch {
	case !ok:
		return fmt.Errorf("%s a nil %T: it must be an Actor", k.giver, a)
	case b == nil:
		return fmt.Errorf("%s a %T without a Base: embed actor.Base by value", k.giver, a)
	case !b.c.CompareAndSwap(nil, c) && b.c.Load() != c:
		return fmt.Errorf("%s a %T that has a connection already: it must be a fresh one", k.giver, a)
	}
	c.Actor = a
	c.facts &^= factHearsSent | factHearsWrites
	h := hearingOf(a)
	if h.sent || len(k.options) > 0 { // middleware may hear
		c.facts |= factHearsSent
	}
	if h.sent || h.failed || len(k.options) > 0 || k.sup.net.strategy != stopAlways {
		c.facts |= factHearsWrites
	}
	return nil
}

// baseOf returns a's Base. ok is false if a is a nil pointer: then there is nothing that could have one.
func baseOf(a Actor) (b *Base, ok bool) {
	defer func() { _ = recover() }() // base is promoted, so nothing else can panic in it
	return a.base(), true
}

// succeed replaces the user's actor, for a restart. If there is no successor, the actor stops with the old one.
func (c *connection) succeed() {
	old := c.Actor
	if err := c.kind.equip(c); err != nil {
		c.facts |= factOrphaned
		if p, ok := err.(*PanicError); ok && c.died == nil {
			c.died = p
		}
		c.kind.sup.net.logRefused(c.String(), err)
		c.mail.postSystem(stopMessage, false)
		return
	}
	if c.Actor.base() != old.base() {
		old.base().c.CompareAndSwap(c, nil)
	}
	c.listen()
	c.died = nil
}

// logRefused reports that a connection got no actor.
func (n *Network) logRefused(who string, err error) {
	if p, ok := err.(*PanicError); ok {
		n.logPanic("newActor or ListenConfig.Props, for "+who, p)
		return
	}
	n.log.LogAttrs(context.Background(), slog.LevelError, "a connection gets no actor",
		slog.String("connection", who), slog.Any("error", err))
}
