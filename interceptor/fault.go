package interceptor

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// Faults says how often each fault happens, from 0 (never) to 1 (always), for each call that brings bytes.
type Faults struct {
	Split   float64 // pass what came up on in pieces
	Delay   float64 // hold what came up until the next turn; reading is held back meanwhile
	Corrupt float64 // flip one bit of what goes up or down
	Break   float64 // fail with a [*FaultError], up or down, and pass nothing on
}

// A FaultError is how a [Fault] layer breaks a connection: which one, and where in its stream.
type FaultError struct {
	Seed   uint64 // as given to Fault
	Layer  uint64 // which one that the factory made; they count from 1
	Down   bool   // the bytes came from above
	Offset uint64 // the bytes that had come this way before
}

// Error names the seed and the place.
func (e *FaultError) Error() string {
	way := "up"
	if e.Down {
		way = "down"
	}
	return fmt.Sprintf("interceptor: fault of seed %d: layer %d broke at byte %d %s", e.Seed, e.Layer, e.Offset, way)
}

// Fault damages what passes. The faults of a connection depend on the seed, on how many the factory made before it, and
// on the calls that bring bytes, each direction apart: the same seed gives the same faults. It panics if one of f is
// not from 0 to 1.
func Fault(seed uint64, f Faults) Factory {
	check("Split", f.Split)
	check("Delay", f.Delay)
	check("Corrupt", f.Corrupt)
	check("Break", f.Break)
	made := new(atomic.Uint64)
	return func() Interceptor {
		n := made.Add(1)
		return &faulty{
			faults: f, seed: seed, number: n,
			up:   way{rng: rand.New(rand.NewPCG(seed, 2*n))},
			down: way{rng: rand.New(rand.NewPCG(seed, 2*n+1))},
		}
	}
}

func check(name string, p float64) {
	if !(p >= 0 && p <= 1) { // NaN too
		panic(fmt.Sprintf("interceptor: Faults.%s is %v, but must be from 0 to 1", name, p))
	}
}

// faulty is the layer that Fault makes.
type faulty struct {
	Pass
	faults   Faults
	seed     uint64
	number   uint64
	up, down way
	held     []byte // came up and waits for its turn
	holding  bool   // until held is empty, all that comes up goes there, behind what waits
}

// way is one direction. Each has its own numbers, so that what goes one way does not change the faults of the other.
type way struct {
	rng    *rand.Rand
	offset uint64
}

// happens draws whether a fault of probability p happens.
func (w *way) happens(p float64) bool { return w.rng.Float64() < p }

// Up breaks, corrupts, delays, splits, in this order.
func (f *faulty) Up(l Link, p []byte) error {
	if len(p) == 0 {
		return l.Up(p)
	}
	at := f.up.offset
	f.up.offset += uint64(len(p))
	broken, corrupt, delayed := f.up.happens(f.faults.Break), f.up.happens(f.faults.Corrupt), f.up.happens(f.faults.Delay)
	if broken {
		return &FaultError{Seed: f.seed, Layer: f.number, Offset: at}
	}
	if corrupt {
		p = f.up.flip(p, f.up.rng.IntN(8*len(p)))
	}
	if !delayed && !f.holding {
		return f.pass(l, p)
	}
	f.held = append(f.held, p...)
	if !f.holding {
		f.holding = true
		l.Hold() // or held would grow with what else is read
		l.Post(func() error { return f.flush(l) })
	}
	return nil
}

// flip returns a copy of p with one bit changed, for p is not ours.
func (w *way) flip(p []byte, bit int) []byte {
	q := append([]byte(nil), p...)
	q[bit/8] ^= 1 << (bit % 8)
	return q
}

// flush passes on what was held. It may find nothing: EOF was here first.
func (f *faulty) flush(l Link) error {
	for len(f.held) > 0 {
		p := f.held
		f.held = nil // what comes up meanwhile goes behind it
		if err := f.pass(l, p); err != nil {
			return err
		}
	}
	if f.holding {
		f.holding = false
		l.Release()
	}
	return nil
}

// pass passes p up, in up to four pieces more if it is to be split.
func (f *faulty) pass(l Link, p []byte) error {
	if f.up.happens(f.faults.Split) {
		for range 1 + f.up.rng.IntN(4) {
			if len(p) < 2 {
				break
			}
			n := 1 + f.up.rng.IntN(len(p)-1)
			if err := l.Up(p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	return l.Up(p)
}

// EOF passes on first what is held: nothing may follow it. An error of that cuts the stream short, and must end the
// connection too, which an error of EOF does not.
func (f *faulty) EOF(l Link) error {
	err := f.flush(l)
	if err != nil {
		l.Post(func() error { return err })
	}
	return err
}

// Down breaks, corrupts.
func (f *faulty) Down(l Link, bufs [][]byte) error {
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	if total == 0 {
		return l.Down(bufs)
	}
	at := f.down.offset
	f.down.offset += uint64(total)
	broken, corrupt := f.down.happens(f.faults.Break), f.down.happens(f.faults.Corrupt)
	if broken {
		return &FaultError{Seed: f.seed, Layer: f.number, Down: true, Offset: at}
	}
	if corrupt {
		bufs = f.down.flipOne(bufs, f.down.rng.IntN(8*total))
	}
	return l.Down(bufs)
}

// flipOne is flip over many buffers.
func (w *way) flipOne(bufs [][]byte, bit int) [][]byte {
	changed := append([][]byte(nil), bufs...)
	for i, b := range changed {
		if bit < 8*len(b) {
			changed[i] = w.flip(b, bit)
			break
		}
		bit -= 8 * len(b)
	}
	return changed
}
