package interceptor

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// A stack is what a world has between its socket and the test: a Chain in some shape, or a twin.
type stack interface {
	Interceptor
	Timed
	WriteObserver
	ReadObserver
	SleepObserver
	Push(i Interceptor) error
}

// A world has a stack, its layers and its socket. A chain that another holds as a layer of a type of its own is known to
// differ from a flat one in small things, which a gentle world spares it: the order of deadlines that are due at once,
// and of being told that reading is held while it opens; a layer that closes all and goes on; what still happens
// after an error; and EOF before it is ready.
type world struct {
	stack
	socket  *socket
	puppets []*puppet
	seen    string // what was seen after the last step
	closed  bool
	failed  bool // there was an error
	gently  bool // see above
}

// newWorld makes n puppets with the habits that rng draws, and gives them to build.
func newWorld(t *testing.T, rng *rand.Rand, gently bool, build func(p []*puppet) stack) *world {
	w := &world{socket: newSocket(), gently: gently}
	w.socket.coarse = true
	for i := range 2 + rng.IntN(3) {
		w.puppets = append(w.puppets, w.newPuppet(t, rng, i))
	}
	w.stack = build(w.puppets)
	return w
}

func (w *world) newPuppet(t *testing.T, rng *rand.Rand, i int) *puppet {
	p := newPuppet(t, w.socket.journal, string(rune('A'+i)))
	p.lazy = rng.IntN(2) == 0
	p.bye = []string{"", "bye" + p.name}[rng.IntN(2)]
	if rng.IntN(8) == 0 {
		p.errs["EOF"] = io.ErrUnexpectedEOF
	}
	if rng.IntN(16) == 0 && !w.gently {
		p.errs["Open"] = errTest
	}
	return p
}

// mayEnd reports whether the stream may end, and bytes may go down, here.
func (w *world) mayEnd() bool { return !w.gently || w.socket.isReady }

// action is one thing that a layer can do. It draws first, so that each world draws the same.
func (w *world) action(rng *rand.Rand, step int) func(l Link) error {
	k, seconds := rng.IntN(20), rng.IntN(6)
	text := fmt.Sprint("m", step)
	return func(l Link) error {
		switch {
		case k < 4:
			return l.Up([]byte(text))
		case k < 7:
			return l.Down(one(text))
		case k < 11:
			l.Ready()
		case k == 11 && w.mayEnd():
			return l.EOF()
		case k == 12:
			l.Hold()
		case k == 13:
			l.Release()
		case k == 14:
			l.Raise(text)
		case k == 15 && seconds == 0 && !w.gently:
			w.Close()
		case k == 16 && seconds == 0 && !w.gently:
			return errTest
		default: // a fraction of a second tells the deadlines apart
			l.SetDeadline(w.socket.now.Add(time.Duration(seconds)*time.Second + time.Duration(step)))
		}
		return nil
	}
}

var methods = []string{"Open", "Up", "EOF", "Down", "CloseWrite", "Expire", "Wrote", "Reading", "Slept"}

// step does one thing, the same in each world that is given an equal rng.
func (w *world) step(t *testing.T, rng *rand.Rand, step int) {
	var err error
	kind, text := rng.IntN(25), fmt.Sprint("w", step)
	p := w.puppets[rng.IntN(len(w.puppets))]
	method, ok, do := methods[rng.IntN(len(methods))], rng.IntN(2) == 0, w.action(rng, step)
	switch {
	case kind < 4:
		err = w.Up(w.socket, []byte(text))
	case kind < 6 && w.mayEnd():
		err = w.Down(w.socket, one(text))
	case kind == 6 && ok && w.mayEnd():
		err = w.EOF(w.socket)
	case kind == 7 && ok:
		err = w.CloseWrite(w.socket)
	case kind == 8:
		w.Wrote(w.socket, step, 0)
	case kind == 9 && !w.gently:
		w.Reading(w.socket, ok)
	case kind == 10:
		extra := w.newPuppet(t, rng, len(w.puppets))
		if err = w.Push(extra); err != ErrClosed {
			w.puppets = append(w.puppets, extra)
		}
	case kind < 13:
		w.socket.now = w.socket.now.Add(time.Duration(step%5) * time.Second)
		if w.gently && w.socket.now.After(w.socket.deadline) && !w.socket.deadline.IsZero() {
			w.socket.now = w.socket.deadline
		}
		if w.socket.deadline.IsZero() || w.socket.now.Before(w.socket.deadline) {
			break
		}
		w.socket.deadline = time.Time{}
		err = w.Expire(w.socket, w.socket.now)
	case kind < 16 && p.link != nil:
		p.link.Post(func() error { return do(p.link) })
	case kind < 18:
		err = w.socket.turn()
	case kind < 20 && p.link != nil:
		err = do(p.link)
	case kind == 20:
		w.Slept(w.socket, time.Duration(step)*time.Second)
	default: // it is done the next time that the method runs
		p.do[method] = func(l Link) error { delete(p.do, method); return do(l) }
	}
	switch s := w.stack.(type) {
	case *twin:
		w.socket.deadline = s.earliest()
		w.closed = s.closed
	case *Chain:
		w.closed = s.closed
	}
	if w.closed {
		w.socket.deadline = time.Time{} // of no interest any more
	}
	w.failed = w.failed || err != nil
	w.seen = fmt.Sprintf("%s failed=%v deadline=%v", w.socket.journal.take(), err != nil, w.socket.deadline)
}

// TestAChainDoesWhatItsTwinDoes compares a Chain with its twin, and with chains that hold chains, in random runs.
func TestAChainDoesWhatItsTwinDoes(t *testing.T) {
	flat := func(p []*puppet) stack {
		c := new(Chain)
		for _, p := range p {
			_ = c.Push(p)
		}
		return c
	}
	builds := map[string]func(p []*puppet) stack{
		"flat": flat,
		"nested": func(p []*puppet) stack {
			c, half := new(Chain), len(p)/2
			_ = c.Push(flat(p[:half]))
			_ = c.Push(flat(p[half:]))
			return c
		},
		"held": func(p []*puppet) stack {
			c, half := new(Chain), len(p)/2
			_ = c.Push(box{flat(p[:half]).(*Chain)})
			_ = c.Push(box{flat(p[half:]).(*Chain)})
			return c
		},
	}
	runs := uint64(1000)
	if testing.Short() {
		runs = 200
	}
	for seed := range runs {
		source := func() *rand.Rand { return rand.New(rand.NewPCG(1, seed)) }
		for name, build := range builds {
			ours, its := source(), source()
			a := newWorld(t, ours, name == "held", build)
			b := newWorld(t, its, name == "held", func(p []*puppet) stack {
				w := new(twin)
				for _, p := range p {
					_ = w.Push(p)
				}
				return w
			})
			ea, eb := a.Open(a.socket), b.Open(b.socket)
			if (ea == nil) != (eb == nil) {
				t.Fatalf("seed %d, %s: Open gives %v, the twin %v", seed, name, ea, eb)
			}
			for i := 0; i < 60 && !(a.gently && a.failed); i++ {
				a.step(t, ours, i)
				b.step(t, its, i)
				if a.seen != b.seen {
					t.Fatalf("seed %d, %s, step %d:\n chain %s\n twin  %s", seed, name, i, a.seen, b.seen)
				}
			}
			a.Close()
			b.Close()
			want(t, fmt.Sprintf("seed %d, %s: Close", seed, name), a.socket.journal.take(), b.socket.journal.take())
			if t.Failed() {
				return
			}
		}
	}
}
