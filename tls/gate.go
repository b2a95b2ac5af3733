package tls

import (
	"errors"
	"sync"
	"time"
)

// ErrBusy is why a server turns a client away during the handshake: as many handshakes are in progress as MaxHandshakes
// allows, others wait, and this one has waited for its client longest.
var ErrBusy = errors.New("tls: too many handshakes are in progress, and this one has waited longest for its client")

// patience is how long a handshake may wait for its client while others wait at the gate.
const patience = 500 * time.Millisecond

// A gate bounds the handshakes that a Server has in progress: those that have a goroutine. Clients that have not sent
// their first flight are not among them. At the bound clients wait, first come, first served: for a handshake that is
// done, or for one that has waited for its own client for longer than patience, and is given up.
type gate struct {
	max int

	mu      sync.Mutex // guards what follows
	inside  int
	leaving int  // of those inside, were given up to make room
	outside line // wait to be let in
	waiting line // are inside and wait for their clients, the longest first
	watch   *time.Timer
}

// enter lets h begin, now or when it is its turn.
func (g *gate) enter(h *handshake) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.outside.push(&h.admitted)
	g.admit()
}

// admit lets in who may come in. mu is held.
func (g *gate) admit() {
	for g.inside < g.max {
		h := g.outside.pop()
		if h == nil {
			return
		}
		g.inside++
		go h.run()
	}
	if g.outside.n > g.leaving && g.watch == nil {
		g.watch = time.AfterFunc(g.untilEviction(), g.evict)
	}
}

// untilEviction is the time until a handshake may be given up. mu is held.
func (g *gate) untilEviction() time.Duration {
	if g.waiting.empty() {
		return patience
	}
	return max(time.Until(g.waiting.first.of.since)+patience, 0)
}

// evict gives up as many handshakes as clients wait outside, of those that have waited too long for their own.
func (g *gate) evict() {
	var gone []*handshake
	g.mu.Lock()
	for g.outside.n > g.leaving && !g.waiting.empty() && time.Since(g.waiting.first.of.since) >= patience {
		h := g.waiting.pop()
		h.evicted = true
		g.leaving++
		gone = append(gone, h)
	}
	g.watch = nil
	g.admit()
	g.mu.Unlock()
	for _, h := range gone {
		h.giveUp(ErrBusy)
	}
}

// waits notes that h, which is inside, waits for its client; works, that it goes on.
func (g *gate) waits(h *handshake) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h.since = time.Now()
	g.waiting.push(&h.admitted)
}

func (g *gate) works(h *handshake) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h.admitted.leave()
}

// leave notes that the goroutine of h has ended.
func (g *gate) leave(h *handshake) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if h.evicted {
		g.leaving--
	}
	g.admit()
}

// forget takes h out of the queue outside. One that is inside leaves when its goroutine ends.
func (g *gate) forget(h *handshake) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.admitted.in == &g.outside {
		h.admitted.leave()
	}
}
