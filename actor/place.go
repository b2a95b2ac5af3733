package actor

import (
	"fmt"
	"slices"

	proto "github.com/asynkron/protoactor-go/actor"
)

// Loops returns how many event loops there are. They are numbered from 1.
func (n *Network) Loops() int { return len(n.sups) }

// LoopOf returns the number of the event loop that runs the actor of ctx, from 1, be it the actor of a connection or
// one that was spawned on a loop. It returns 0 for all others: those with Blocking, and those of other Proto.Actor
// mailboxes; and for a nil ctx. Actors of one network that have the same number never run at the same time.
func LoopOf(ctx proto.Context) int {
	if ctx == nil {
		return 0
	}
	if a, ok := ctx.Actor().(interface{ home() *supervisor }); ok {
		if s := a.home(); s != nil {
			return slices.Index(s.net.sups, s) + 1
		}
	}
	return 0
}

// home is nil if the turns leave the loop.
func (c *connection) home() *supervisor {
	if c.kind.own != nil {
		return nil
	}
	return c.kind.sup
}

// checkLoop returns an error if a config's Loop is not the number of one.
func (n *Network) checkLoop(config string, number int) error {
	if number < 0 || number > len(n.sups) {
		return fmt.Errorf("actor: %s.Loop is %d: it must be 0 (the loop with the fewest connections) or the number "+
			"of a loop, 1 to %d", config, number, len(n.sups))
	}
	return nil
}

// supervisorOf returns that of a loop by number; if it is 0, of the loop with the fewest connections.
func (n *Network) supervisorOf(number int) *supervisor {
	if number == 0 {
		return n.least()
	}
	return n.sups[number-1]
}
