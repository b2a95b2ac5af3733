package loop

import (
	"time"

	"github.com/galago-go/galago/conn"
)

// An Owner owns a [Socket]. It is told, on the loop, what happens to it; after each of these calls, but as
// Slept has it, the loop queues the owner, so they only need to take note. That of a [Detached] is told on the goroutine of its turns, before one. Only Post
// may be called by any goroutine.
type Owner interface {
	Task
	// Connecting says that inflight addresses are being tried.
	Connecting(inflight int)
	// Connected says that the socket is connected and registered with the loop. Readiness is reported from here on.
	Connected()
	// Failed says that the socket will never be connected.
	Failed(stage conn.Stage, err error)
	// Ready says that the socket became ready, once for each change: what is not read or written now is not reported
	// again before something changes.
	Ready(i conn.Interest)
	// Due says that the time given to SetDeadline has come; there is no deadline any more.
	Due()
	// Slept says that the machine has slept for d, a time that the clock of turns and deadlines does not know. It reports
	// whether the owner wants a turn for that; the loop queues it only then.
	Slept(d time.Duration) (more bool)
	// Post runs f between two turns, as conn.Backend has it. It is what [Socket.Post] calls.
	Post(f func())
}
