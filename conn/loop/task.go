package loop

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/conn"
)

// A Task takes turns on one [Loop], one at a time. It embeds a [Link], so that queueing allocates nothing.
type Task interface {
	fmt.Stringer // names the task where a long turn or a panic is reported; goroutines of the task may be running
	// Turn takes a turn. m is lent for its duration. If more, there is another one, behind all that are queued now.
	Turn(now time.Time, m *conn.Memory) (more bool)
	link() *Link
}

// A Link says whether its [Task] is queued. The zero Link is ready to use; it must not be copied once it was.
type Link struct {
	state atomic.Uint32
}

// The states of a Link. Whoever moves it from idle to queued puts the task into a queue, so it is never in two; whoever
// finds it running leaves a mark, which the loop meets when the turn ends, so no wish for a turn is ever lost.
const (
	linkIdle    uint32 = iota
	linkQueued         // in the inbox or in the run queue; its turn has not begun
	linkRunning        // in its turn
	linkAgain          // in its turn, and wanted again
	linkDropped        // it gets no more turns
)

func (k *Link) link() *Link { return k }

// want reports whether the caller must put the task into a queue.
func (k *Link) want() bool {
	for {
		switch k.state.Load() {
		case linkIdle:
			if k.state.CompareAndSwap(linkIdle, linkQueued) {
				return true
			}
		case linkRunning:
			if k.state.CompareAndSwap(linkRunning, linkAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// begin starts the turn of a queued task; it is false if the task was dropped. Who asks for a turn from here on gets
// another one.
func (k *Link) begin() bool { return k.state.CompareAndSwap(linkQueued, linkRunning) }

// enter is want and begin in one, of a task that does not wait for a turn; it is false if the task does, or was dropped.
func (k *Link) enter() bool { return k.state.CompareAndSwap(linkIdle, linkRunning) }

// end ends the turn and reports whether the task must be queued again.
func (k *Link) end(more bool) bool {
	if !more && k.state.CompareAndSwap(linkRunning, linkIdle) {
		return false
	}
	k.state.Store(linkQueued)
	return true
}

// drop makes the task deaf for good.
func (k *Link) drop() { k.state.Store(linkDropped) }

// A queue is a ring of tasks, first in, first out. It gives its memory back when a burst is over.
type queue struct {
	ring    []Task // its length is a power of two, or 0
	head, n int
}

const (
	minQueue  = 64
	keepQueue = 4096 // an empty queue of more slots than this is let go
)

func (q *queue) push(t Task) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = t
	q.n++
}

// pop takes the oldest task; there must be one.
func (q *queue) pop() Task {
	t := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	if q.n == 0 && len(q.ring) > keepQueue {
		*q = queue{}
	}
	return t
}

func (q *queue) grow() {
	ring := make([]Task, max(minQueue, 2*len(q.ring)))
	k := copy(ring, q.ring[q.head:])
	copy(ring[k:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}
