package tls

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// A handshake is one while it lasts. crypto/tls runs it on a goroutine of its own, which exists once there is something
// to work on, holds a place of the pool while it computes, and ends with the handshake, whichever way that ends. What
// both sides touch is guarded by mu; the goroutine meets the turn only through link.Post, the turn the goroutine only
// through cond.
//
// While the goroutine works on what came up, reading is held: nothing piles up, and the peer's end is not taken for the
// end of a handshake that the bytes in hand would complete.
type handshake struct {
	layer *Layer
	link  interceptor.Link
	pool  *Pool
	gate  *gate  // nil for a client
	host  string // as a client dialed it

	mu      sync.Mutex
	cond    sync.Cond // the goroutine waits here: for bytes, or for a place of the pool
	in      []byte    // came up; read up to off
	off     int
	out     []byte // for the turn to pass down
	begun   bool   // the goroutine exists, or waits at the gate
	idle    bool   // it waits for bytes
	granted bool   // it was given a place of the pool
	lost    error  // why it was given up

	ctx    context.Context    // for callbacks of the configuration
	cancel context.CancelFunc // nil if there are none

	since   time.Time // it waits for its client; of the gate, as what follows
	evicted bool      // it was given up to make room

	// Of the goroutine, and of the turn once that is gone.
	holding  bool // a place of the pool
	sent     sentAlert
	err      error
	panicked *interceptor.Panic

	queued, admitted place // in a line of the pool, in one of the gate
}

func newHandshake(l *Layer, link interceptor.Link, o *options) *handshake {
	h := &handshake{layer: l, link: link, pool: o.pool, gate: o.gate}
	h.cond.L = &h.mu
	h.queued.of, h.admitted.of = h, h
	return h
}

// The turn's side.

// feed takes what came up. The handshake begins with the first flight of a client, and goes on with each whole record.
func (h *handshake) feed(p []byte) {
	h.mu.Lock()
	h.in = append(h.in[:copy(h.in, h.in[h.off:])], p...)
	h.off = 0
	begin := !h.begun && worthReading(h.in)
	goOn := h.idle && h.ready()
	if goOn {
		h.cond.Signal()
	}
	h.mu.Unlock()
	switch {
	case begin:
		h.begin()
	case goOn:
		h.link.Hold()
	}
}

// begin lets the goroutine begin, when the gate lets it pass.
func (h *handshake) begin() {
	h.begun = true
	// For a context that can end, crypto/tls has a goroutine wait beside the handshake.
	if h.ctx = context.Background(); h.layer.options.seen {
		h.ctx, h.cancel = context.WithCancel(h.ctx)
	}
	h.link.Hold()
	if h.gate == nil {
		go h.run()
	} else {
		h.gate.enter(h)
	}
}

// giveUp ends the goroutine soon. The turn does not wait for it.
func (h *handshake) giveUp(err error) {
	h.mu.Lock()
	if h.lost == nil {
		h.lost = err
	}
	h.cond.Signal()
	h.mu.Unlock()
	if h.cancel != nil {
		h.cancel()
	}
	if h.gate != nil {
		h.gate.forget(h)
	}
}

// pass is posted when the goroutine waits for bytes: what it wrote goes down, and reading goes on.
func (h *handshake) pass() error {
	if h.layer.phase != shaking {
		return nil
	}
	err := h.passDown()
	h.link.Release()
	return err
}

func (h *handshake) passDown() error {
	h.mu.Lock()
	out := h.out
	h.out = nil
	h.mu.Unlock()
	if len(out) == 0 {
		return nil
	}
	return h.link.Down([][]byte{out})
}

// finish is posted when the goroutine ends.
func (h *handshake) finish() error {
	l := h.layer
	var err error
	if l.phase == shaking {
		err = h.passDown()
	}
	l.pipe.hs = nil
	switch {
	case h.panicked != nil:
		l.fail()
		panic(h.panicked)
	case l.phase != shaking: // the turn has given it up, and knows why
		return nil
	case err != nil:
		l.fail()
		return err
	case h.err != nil:
		l.fail()
		return handshakeError(h.err, h.sent, h.gate == nil)
	}
	return l.established(h.link, h.in[h.off:])
}

// The goroutine's side.

var (
	errGaveUp = errors.New("tls: the connection ended during the handshake")
	errGoexit = errors.New("runtime.Goexit was called in a callback of the tls.Config")
)

func (h *handshake) run() {
	whole := false
	defer func() {
		if !whole {
			h.panicked = &interceptor.Panic{Value: recover(), Stack: debug.Stack()}
			if h.panicked.Value == nil {
				h.panicked.Value = errGoexit
			}
		}
		h.release()
		if h.gate != nil {
			h.gate.leave(h)
		}
		if h.cancel != nil {
			h.cancel()
		}
		h.link.Post(h.finish)
	}()
	h.err = h.compute()
	whole = true
}

func (h *handshake) compute() error {
	h.pool.acquire(h, false)
	if err := h.given(); err != nil {
		return err
	}
	err := h.layer.begin(h).HandshakeContext(h.ctx)
	if lost := h.given(); lost != nil {
		return lost // err is about the context
	}
	return err
}

// given returns why the handshake was given up, nil if it was not.
func (h *handshake) given() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// ready reports whether there is something to read. mu is held.
func (h *handshake) ready() bool { return h.layer.pipe.records.whole(h.in[h.off:]) }

func (h *handshake) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil && !h.ready() {
		h.wait()
	}
	if h.lost != nil {
		return 0, h.lost
	}
	n := h.layer.pipe.records.take(b, h.in[h.off:])
	h.off += n
	return n, nil
}

// wait waits for bytes, without a place of the pool. mu is held before and after.
func (h *handshake) wait() {
	h.idle = true
	h.mu.Unlock()
	h.release()
	if h.gate != nil {
		h.gate.waits(h)
	}
	h.link.Post(h.pass)
	h.mu.Lock()
	for h.lost == nil && !h.ready() {
		h.cond.Wait()
	}
	h.idle = false
	h.mu.Unlock()
	if h.gate != nil {
		h.gate.works(h)
	}
	h.pool.acquire(h, true)
	h.mu.Lock()
}

func (h *handshake) release() {
	if h.holding {
		h.holding = false
		h.pool.release()
	}
}

func (h *handshake) write(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, b...)
	h.sent.see(b)
}

// grant gives the goroutine a place of the pool. Any goroutine calls it.
func (h *handshake) grant() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.granted = true
	h.cond.Signal()
}

// awaitGrant waits for a place, and no longer than the handshake goes on if impatient. It reports whether there is one.
func (h *handshake) awaitGrant(impatient bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.granted && (h.lost == nil || !impatient) {
		h.cond.Wait()
	}
	got := h.granted
	h.granted = false
	return got
}
