package tls

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A Pool bounds how many handshakes compute at the same time. Those that wait for their peers do not count. It has no
// goroutines of its own, and need not be closed. All connections of a program share one unless an option says
// otherwise.
type Pool struct {
	mu     sync.Mutex // guards what follows
	size   int
	busy   int
	again  line // those that were at work before, and heard from their peers
	fresh  line
	grants uint64
	watch  *time.Timer
	seen   uint64 // grants, when watch was set
}

// NewPool returns a Pool in which n handshakes may compute at the same time; n is at least 1.
func NewPool(n int) *Pool {
	if n < 1 {
		panic(fmt.Sprintf("tls: NewPool(%d): it must be 1 or more", n))
	}
	return &Pool{size: n}
}

var defaultPool = sync.OnceValue(func() *Pool { return NewPool(runtime.GOMAXPROCS(0)) })

// stuckAfter is how long handshakes wait while nobody leaves the pool. Computing takes a few milliseconds at most; who
// takes longer waits in a callback of the tls.Config, or for a key that is elsewhere, and needs no processor.
const stuckAfter = 10 * time.Millisecond

// acquire waits for a place for h, first come, first served; but those that only have to go on come before those that
// begin, so that what was begun gets done. If h is given up, it may return without a place.
//
// Who has a place goes behind all goroutines that are ready to run. Otherwise whoever leaves the pool would be followed at
// once by the one that it woke, and that by the next; while one waits for a processor after the other, the scheduler
// hardly looks elsewhere, and event loops would wait for most of the queue.
func (p *Pool) acquire(h *handshake, again bool) {
	defer runtime.Gosched()
	p.mu.Lock()
	if p.busy < p.size {
		p.busy++
		p.grants++
		p.mu.Unlock()
		h.holding = true
		return
	}
	if again {
		p.again.push(&h.queued)
	} else {
		p.fresh.push(&h.queued)
	}
	if p.watch == nil {
		p.seen = p.grants
		p.watch = time.AfterFunc(stuckAfter, p.look)
	}
	p.mu.Unlock()
	if h.awaitGrant(true) {
		h.holding = true
		return
	}
	p.mu.Lock()
	waits := h.queued.leave()
	p.mu.Unlock()
	if !waits { // a grant is on its way
		h.holding = h.awaitGrant(false)
	}
}

// release gives a place to the next.
func (p *Pool) release() {
	p.mu.Lock()
	p.busy--
	var next *handshake
	if p.busy < p.size {
		next = p.next()
	}
	p.mu.Unlock()
	if next != nil {
		next.grant()
	}
}

// next takes the next one that waits, for the place that it gets. mu is held.
func (p *Pool) next() *handshake {
	h := p.again.pop()
	if h == nil {
		h = p.fresh.pop()
	}
	if h != nil {
		p.busy++
		p.grants++
	}
	return h
}

// look lends places out once more if nobody was given one since it was set.
func (p *Pool) look() {
	var more []*handshake
	p.mu.Lock()
	for n := 0; p.seen == p.grants-uint64(n) && n < p.size; n++ {
		h := p.next()
		if h == nil {
			break
		}
		more = append(more, h)
	}
	if p.watch = nil; !p.again.empty() || !p.fresh.empty() {
		p.seen = p.grants
		p.watch = time.AfterFunc(stuckAfter, p.look)
	}
	p.mu.Unlock()
	for _, h := range more {
		h.grant()
	}
}

// A line is a queue of handshakes, in their own places.
type line struct {
	first, last *place
	n           int
}

type place struct {
	prev, next *place
	in         *line // nil if in none
	of         *handshake
}

func (l *line) empty() bool { return l.n == 0 }

func (l *line) push(p *place) {
	l.n++
	p.in, p.prev = l, l.last
	if l.last == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
}

func (l *line) pop() *handshake {
	p := l.first
	if p == nil {
		return nil
	}
	p.leave()
	return p.of
}

// leave reports whether p was in a line.
func (p *place) leave() bool {
	l := p.in
	if l == nil {
		return false
	}
	l.n--
	if p.prev == nil {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next, p.in = nil, nil, nil
	return true
}
