package main

import (
	"math/rand/v2"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// A pest is a layer that passes all bytes on unchanged and does everything else that a layer may: it raises events,
// posts functions, holds reading back until a deadline, and ends some connections. It checks what it is told, too.
type pest struct {
	interceptor.Pass
	rng    *rand.Rand
	fail   func(format string, args ...any)
	ends   int // so many bytes up, and it ends the connection; if 0, never
	up     int
	raised uint64
	wrote  uint64
	held   bool // reading is, as Reading said
	closed bool
}

// A pestEvent is raised by a pest; they count from 1.
type pestEvent uint64

func newPest(seed uint64, fail func(format string, args ...any)) interceptor.Interceptor {
	p := &pest{rng: rand.New(rand.NewPCG(seed, 1)), fail: fail}
	if happens(p.rng, 0.2) {
		p.ends = 1 + int(200_000*p.rng.Float64()*p.rng.Float64())
	}
	return p
}

func (p *pest) raise(l interceptor.Link) {
	p.raised++
	l.Raise(pestEvent(p.raised))
}

// Up passes on, and makes trouble behind it.
func (p *pest) Up(l interceptor.Link, b []byte) error {
	p.alive("Up")
	if err := l.Up(b); err != nil {
		return err
	}
	p.up += len(b)
	switch x := p.rng.Float64(); {
	case p.ends > 0 && p.up >= p.ends:
		p.ends = 0
		l.End(errPlanned)
	case x < 0.1:
		p.raise(l)
	case x < 0.15:
		l.Post(func() error { p.raise(l); return nil })
	case x < 0.25:
		l.Hold()
		l.SetDeadline(l.Now().Add(upTo(p.rng, 20*time.Millisecond)))
	}
	return nil
}

// Expire ends a hold.
func (p *pest) Expire(l interceptor.Link, _ time.Time) error {
	p.alive("Expire")
	l.Release()
	return nil
}

// Down passes on.
func (p *pest) Down(l interceptor.Link, bufs [][]byte) error {
	p.alive("Down")
	return l.Down(bufs)
}

// Wrote counts what the system took.
func (p *pest) Wrote(_ interceptor.Link, n, pending int) {
	p.alive("Wrote")
	if n <= 0 || pending < 0 {
		p.fail("a layer was told of %d bytes written and %d pending", n, pending)
	}
	p.wrote += uint64(n)
}

// Reading is told changes only.
func (p *pest) Reading(_ interceptor.Link, held bool) {
	p.alive("Reading")
	if held == p.held {
		p.fail("a layer was told twice that reading is held: %v", held)
	}
	p.held = held
}

// Close comes last, and once.
func (p *pest) Close() {
	p.alive("Close")
	p.closed = true
}

func (p *pest) alive(name string) {
	if p.closed {
		p.fail("%s of a layer after its Close", name)
	}
}

var (
	_ interceptor.Timed         = (*pest)(nil)
	_ interceptor.WriteObserver = (*pest)(nil)
	_ interceptor.ReadObserver  = (*pest)(nil)
)
