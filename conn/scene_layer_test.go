package conn_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/interceptor"
)

// A sceneLayer is a layer whose methods are functions of the test. Without one, a method does what interceptor.Pass
// does. It objects to calls before Open, after Close, and to a Close while one of its methods runs.
type sceneLayer struct {
	s    *scene
	name string
	link interceptor.Link // what Open was given

	open       func(l interceptor.Link) error
	up         func(l interceptor.Link, p []byte) error
	eof        func(l interceptor.Link) error
	down       func(l interceptor.Link, bufs [][]byte) error
	closeWrite func(l interceptor.Link) error
	expire     func(l interceptor.Link, now time.Time) error
	onWrote    func(l interceptor.Link, n, pending int)

	opened  bool
	closes  int
	running int
	wrote   []int  // what Wrote was told, n after n
	pending []int  // and the pending bytes that came with it
	reading []bool // what Reading was told: whether reading is held
	expired []time.Time
	slept   []time.Duration
	onSlept func(l interceptor.Link)
}

// layer makes a factory for a layer that setup prepares.
func (s *scene) layer(name string, setup func(l *sceneLayer)) interceptor.Factory {
	return func() interceptor.Interceptor {
		l := &sceneLayer{s: s, name: name}
		if setup != nil {
			setup(l)
		}
		s.layers = append(s.layers, l)
		return l
	}
}

func (l *sceneLayer) enter(method string) func() {
	assert.Zero(l.s.t, l.closes, "%s of layer %s after its Close", method, l.name)
	assert.True(l.s.t, l.opened, "%s of layer %s before its Open", method, l.name)
	l.running++
	return func() { l.running-- }
}

func (l *sceneLayer) Open(link interceptor.Link) error {
	assert.False(l.s.t, l.opened, "layer %s is opened twice", l.name)
	l.opened, l.link = true, link
	defer l.enter("Open")()
	if l.open != nil {
		return l.open(link)
	}
	link.Ready()
	return nil
}

func (l *sceneLayer) Up(link interceptor.Link, p []byte) error {
	defer l.enter("Up")()
	if l.up != nil {
		return l.up(link, p)
	}
	return link.Up(p)
}

func (l *sceneLayer) EOF(link interceptor.Link) error {
	defer l.enter("EOF")()
	if l.eof != nil {
		return l.eof(link)
	}
	return nil
}

func (l *sceneLayer) Down(link interceptor.Link, bufs [][]byte) error {
	defer l.enter("Down")()
	if l.down != nil {
		return l.down(link, bufs)
	}
	return link.Down(bufs)
}

func (l *sceneLayer) CloseWrite(link interceptor.Link) error {
	defer l.enter("CloseWrite")()
	if l.closeWrite != nil {
		return l.closeWrite(link)
	}
	return nil
}

func (l *sceneLayer) Close() {
	assert.Zero(l.s.t, l.running, "Close of layer %s while a method of it runs", l.name)
	assert.True(l.s.t, l.opened, "Close of layer %s, which was never opened", l.name)
	l.closes++
}

func (l *sceneLayer) Expire(link interceptor.Link, now time.Time) error {
	defer l.enter("Expire")()
	l.expired = append(l.expired, now)
	if l.expire != nil {
		return l.expire(link, now)
	}
	return nil
}

func (l *sceneLayer) Wrote(link interceptor.Link, n, pending int) {
	defer l.enter("Wrote")()
	assert.Positive(l.s.t, n, "Wrote is never told 0")
	l.wrote = append(l.wrote, n)
	l.pending = append(l.pending, pending)
	if l.onWrote != nil {
		l.onWrote(link, n, pending)
	}
}

func (l *sceneLayer) Reading(_ interceptor.Link, held bool) {
	defer l.enter("Reading")()
	l.reading = append(l.reading, held)
}

func (l *sceneLayer) Slept(link interceptor.Link, d time.Duration) {
	defer l.enter("Slept")()
	l.slept = append(l.slept, d)
	if l.onSlept != nil {
		l.onSlept(link)
	}
}

var (
	_ interceptor.Interceptor   = (*sceneLayer)(nil)
	_ interceptor.Timed         = (*sceneLayer)(nil)
	_ interceptor.WriteObserver = (*sceneLayer)(nil)
	_ interceptor.ReadObserver  = (*sceneLayer)(nil)
	_ interceptor.SleepObserver = (*sceneLayer)(nil)
)

// say passes words down, as a layer's own.
func say(l interceptor.Link, words string) error { return l.Down([][]byte{[]byte(words)}) }

// wrapper puts begin and end around each Down, and takes them off each Up. Each Up is one message.
func wrapper(begin, end string) func(l *sceneLayer) {
	return func(s *sceneLayer) {
		s.down = func(l interceptor.Link, bufs [][]byte) error {
			list := append([][]byte{[]byte(begin)}, bufs...)
			return l.Down(append(list, []byte(end)))
		}
		s.up = func(l interceptor.Link, p []byte) error {
			if !bytes.HasPrefix(p, []byte(begin)) || !bytes.HasSuffix(p, []byte(end)) {
				return fmt.Errorf("%q is not wrapped in %s%s", p, begin, end)
			}
			return l.Up(p[len(begin) : len(p)-len(end)])
		}
	}
}

// masker changes every byte both ways, as a cipher would.
func masker(key byte) func(l *sceneLayer) {
	return func(s *sceneLayer) {
		s.down = func(l interceptor.Link, bufs [][]byte) error {
			return l.Down([][]byte{masked(bytes.Join(bufs, nil), key)})
		}
		s.up = func(l interceptor.Link, p []byte) error { return l.Up(masked(p, key)) }
	}
}

func masked(p []byte, key byte) []byte {
	out := make([]byte, len(p))
	for i, b := range p {
		out[i] = b ^ key
	}
	return out
}
