package actor

import (
	"log/slog"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn/loop"
)

// System serves all tests of the package, inside and outside of it: one costs 2.9 MB.
var System = proto.NewActorSystem(
	proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
	proto.WithDeadLetterThrottleInterval(time.Millisecond))

// InUse returns what connections did not give back. n must have been shut down.
func (n *Network) InUse() (bytes int) {
	for _, s := range n.sups {
		bytes += s.loop.InUse()
	}
	return bytes
}

// LoopStats adds up what the loops counted.
func (n *Network) LoopStats() (sum loop.Stats) {
	for _, s := range n.sups {
		one := s.loop.Stats()
		sum.Parks += one.Parks
		sum.Wakes += one.Wakes
	}
	return sum
}

// SetGrace replaces the 5 s that Shutdown waits for what it aborted.
func (n *Network) SetGrace(d time.Duration) { n.grace = d }

// Ending reports whether all supervisors refuse new connections.
func (n *Network) Ending() bool {
	for _, s := range n.sups {
		s.mu.Lock()
		ending := s.ending
		s.mu.Unlock()
		if !ending {
			return false
		}
	}
	return true
}

// SetResolver makes Dial look names up with r. It must be called before Dial.
func (n *Network) SetResolver(r loop.Resolver) { n.resolver = r }

// Closing reports whether Shutdown was called.
func (n *Network) Closing() bool { return n.closing.Load() }
