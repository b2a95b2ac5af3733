//go:build linux

package actor_test

import (
	"context"
	"net"
	"sync"
	"testing"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
)

// A way is one of those in which connections may run: what they promise is the same in each. A scenario on real sockets
// is a test that runs in every way.
type way struct {
	name     string
	portable bool
	blocking bool
	together bool // other ways run at the same time: nothing that belongs to the whole process may be counted
}

var everyWay = []way{
	{name: "epoll/loop"},
	{name: "epoll/blocking", blocking: true},
	{name: "portable/loop", portable: true},
	{name: "portable/blocking", portable: true, blocking: true},
}

// ways runs a scenario in every way at once, since most scenarios wait most of the time. What they leak shows when all
// have ended.
func ways(t *testing.T, f func(t *testing.T, w way)) {
	t.Helper()
	before := takeCensus()
	var running sync.WaitGroup
	for _, w := range everyWay {
		w.together = true
		running.Go(func() { t.Run(w.name, func(t *testing.T) { f(t, w) }) })
	}
	running.Wait()
	if leak := before.wait(); leak != "" {
		t.Errorf("leaked: %s", leak)
	}
}

// waysInTurn runs a scenario in one way after the other. It is for those that count what belongs to the whole process,
// or that need all of the machine.
func waysInTurn(t *testing.T, f func(t *testing.T, w way)) {
	t.Helper()
	for _, w := range everyWay {
		t.Run(w.name, func(t *testing.T) { f(t, w) })
	}
}

// startWays starts a network in each way, for scenarios that share something dear: a server program, a cable. They end
// together, before one of them looks for leaks.
func startWays(t testing.TB) (all []*fixture) {
	t.Helper()
	for _, w := range everyWay {
		w.together = true
		all = append(all, w.start(t, actor.Config{}))
	}
	before := takeCensus()
	t.Cleanup(func() {
		for _, f := range all {
			fastShutdown(t, f.Network)
		}
		if leak := before.wait(); leak != "" {
			t.Errorf("leaked: %s", leak)
		}
	})
	return all
}

// cannot leaves a scenario that means nothing in this way, and says why.
func (w way) cannot(t *testing.T, why string) {
	t.Helper()
	t.Skipf("not %s: %s", w.name, why)
}

// closed asserts that n descriptors are open now that an actor has stopped; soon, if its turns are not taken where
// descriptors are closed.
func (w way) closed(t *testing.T, n int) {
	t.Helper()
	if w.blocking || w.portable {
		soon(t, func() bool { return descriptors() == n }, "the descriptor is closed")
	}
	assert.Equal(t, n, descriptors())
}

// network, listen and dial make configurations those of w.
func (w way) network(cfg actor.Config) actor.Config {
	cfg.Portable = cfg.Portable || w.portable
	return cfg
}

func (w way) listen(cfg actor.ListenConfig) actor.ListenConfig {
	cfg.Blocking = cfg.Blocking || w.blocking
	return cfg
}

func (w way) dial(cfg actor.DialConfig) actor.DialConfig {
	cfg.Blocking = cfg.Blocking || w.blocking
	return cfg
}

// Listen is that of the Network, in the fixture's way.
func (f *fixture) Listen(ctx context.Context, addr string, newActor func() actor.Actor, cfg actor.ListenConfig,
) (*actor.Listener, error) {
	known := newActor
	if newActor != nil {
		known = func() actor.Actor {
			a := newActor()
			f.know(a)
			return a
		}
	}
	return f.Network.Listen(ctx, addr, known, f.way.listen(cfg))
}

// Dial is that of the Network, in the fixture's way.
func (f *fixture) Dial(ctx context.Context, addr string, a actor.Actor, cfg actor.DialConfig) (*proto.PID, error) {
	f.know(a)
	return f.Network.Dial(ctx, addr, a, f.way.dial(cfg))
}

// Adopt is that of the Network, in the fixture's way.
func (f *fixture) Adopt(nc net.Conn, a actor.Actor, cfg actor.DialConfig) (*proto.PID, error) {
	f.know(a)
	return f.Network.Adopt(nc, a, f.way.dial(cfg))
}
