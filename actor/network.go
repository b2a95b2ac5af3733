package actor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn/loop"
)

// A Network runs connection actors on a set of event loops. Its methods may be called by any goroutine.
type Network struct {
	sys      *proto.ActorSystem
	own      bool // sys is ours
	strategy proto.SupervisorStrategy
	log      *slog.Logger
	grace    time.Duration // abortGrace, unless a test cannot wait for so long
	sups     []*supervisor // one for each loop
	all      []*loop.Loop  // the loops of sups
	resolver loop.Resolver // for Dial; nil, unless a test has its own

	residents residents

	dealt atomic.Uint32 // how many connections were dialed or adopted

	closing  atomic.Bool // Shutdown was called
	aborting atomic.Bool // ... and its patience is over
	closed   atomic.Int64
	aborted  atomic.Int64

	mu        sync.Mutex // guards listeners
	listeners []*Listener

	finish sync.Once
	err    error         // of finish
	down   chan struct{} // closed when all is over
}

// Config sets up a Network. The zero Config is ready to use.
type Config struct {
	Loops int // event loops; if zero, one for each CPU

	// Portable runs the loops on package net, and not on the system's poller: each connection then has a goroutine that
	// reads ahead. On systems other than Linux that is always so.
	Portable bool

	// Strategy decides what becomes of a connection whose actor panicked; if nil, it is aborted and its actor stops.
	// It decides on one connection, whatever it says of others; Escalate, or a panic of its own, means Stop.
	Strategy proto.SupervisorStrategy

	// Logger gets every panic, with its stack, and what no connection can tell: that newActor made none, that a listener
	// has no descriptors, that a turn took too long. If nil, it is the actor system's; and if New makes that itself,
	// slog.Default() gets the errors, panics among them, and warnings are lost. Its handler is called on event loops and
	// should not block, as one does that writes to a terminal or a pipe which nobody reads.
	Logger *slog.Logger

	StallWarning time.Duration // log a turn that holds its loop up longer; if zero, 100 ms
}

const defaultStallWarning = 100 * time.Millisecond

func (cfg *Config) validate() error {
	var errs []error
	if cfg.Loops < 0 {
		errs = append(errs, fmt.Errorf("actor: Config.Loops is %d: it must be 0 (one for each CPU) or a number of loops", cfg.Loops))
	}
	if cfg.StallWarning < 0 {
		errs = append(errs, fmt.Errorf("actor: Config.StallWarning is %v: it must be 0 (for 100 ms) or a positive duration",
			cfg.StallWarning))
	}
	return errors.Join(errs...)
}

// New starts the event loops of a Network for the actors of sys; if sys is nil, of an actor system of its own, which
// logs warnings and errors to cfg.Logger, or errors to slog.Default() if that is nil; see System. The Network must be
// shut down.
func New(sys *proto.ActorSystem, cfg Config) (*Network, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Network{sys: sys, strategy: cfg.Strategy, log: cfg.Logger, grace: abortGrace, down: make(chan struct{})}
	if n.strategy == nil {
		n.strategy = stopAlways
	}
	if cfg.Loops == 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	if cfg.StallWarning == 0 {
		cfg.StallWarning = defaultStallWarning
	}
	loops, err := n.startLoops(cfg.Loops, loop.Config{
		StallWarning: cfg.StallWarning, Stalled: n.stalled, Panicked: n.panicked, Portable: cfg.Portable,
	})
	if err != nil {
		return nil, err
	}
	if n.own = sys == nil; n.own {
		n.sys = newSystem(cfg.Logger)
	}
	if n.log == nil {
		n.log = n.sys.Logger()
	}
	for _, l := range loops {
		n.sups = append(n.sups, newSupervisor(n, l))
	}
	n.all = loops
	return n, nil
}

// System returns the actor system of n's actors: the one that New was given, or its own, which ends with n. Whoever is no
// actor sends to connections by its Root context.
func (n *Network) System() *proto.ActorSystem { return n.sys }

// newSystem makes an actor system that does not write about everyday things on an event loop, as Proto.Actor's default
// does.
func newSystem(log *slog.Logger) *proto.ActorSystem {
	handler := atLeast{slog.Default().Handler(), slog.LevelError}
	if log != nil {
		handler = atLeast{log.Handler(), slog.LevelWarn}
	}
	sys := proto.NewActorSystem(
		proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger { return slog.New(handler) }),
		// Dead letters are counted, by a goroutine that lives for so long, though they are not logged.
		proto.WithDeadLetterThrottleInterval(10*time.Millisecond))
	shrinkRegistry(sys)
	return sys
}

// atLeast is a handler that passes on what is important enough.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}
func (h atLeast) WithAttrs(as []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(as), h.level}
}
func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}

func (n *Network) startLoops(count int, cfg loop.Config) (loops []*loop.Loop, err error) {
	for range count {
		l, err := loop.New(cfg)
		if err != nil {
			errs := []error{fmt.Errorf("actor: starting event loop %d: %w", len(loops)+1, err)}
			for _, l := range loops {
				errs = append(errs, l.Close())
			}
			return nil, errors.Join(errs...)
		}
		loops = append(loops, l)
	}
	return loops, nil
}

// stalled is told by a loop of a turn that took long.
func (n *Network) stalled(t loop.Task, d time.Duration) {
	n.log.LogAttrs(context.Background(), slog.LevelWarn, "a turn held its event loop up: callbacks must not block",
		slog.String("of", t.String()), slog.Duration("for", d))
}

// panicked is told by a loop of a panic that should have been contained. The task gets no more turns.
func (n *Network) panicked(t loop.Task, value any, stack []byte) {
	n.logPanic("BUG: the turn of "+t.String(), &PanicError{value, stack})
	switch a := t.(type) {
	case *connection:
		if a.phase != gone {
			a.guarded(a.abandon)
			for a.bury(a.self()) {
			}
		}
	case *resident:
		a.abandon()
		a.bury(true)
		n.residents.remove(a)
	}
}

// remember returns false if the network is being shut down.
func (n *Network) remember(ln *Listener) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing.Load() {
		return false
	}
	n.listeners = append(n.listeners, ln)
	return true
}

func (n *Network) forget(ln *Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = slices.DeleteFunc(n.listeners, func(l *Listener) bool { return l == ln })
}
