package loop

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A scripted listener accepts what the test says.
type scripted struct {
	net.Listener
	script chan any // errors and connections
	asked  atomic.Int32
	quit   chan struct{}
}

func (s *scripted) Accept() (net.Conn, error) {
	s.asked.Add(1)
	select {
	case <-s.quit: // whatever else there is
		return nil, net.ErrClosed
	default:
	}
	select {
	case next := <-s.script:
		if nc, ok := next.(net.Conn); ok {
			return nc, nil
		}
		return nil, next.(error)
	case <-s.quit:
		return nil, net.ErrClosed
	}
}

func (s *scripted) Close() error   { close(s.quit); return nil }
func (s *scripted) Addr() net.Addr { return &net.TCPAddr{} }

// runScript runs a portable listener of l that accepts from a script.
func runScript(t *testing.T, l *Loop, cfg ListenConfig) (*Listener, *scripted) {
	t.Helper()
	s := &scripted{script: make(chan any, 1000), quit: make(chan struct{})}
	ln := &Listener{cfg: cfg, loops: []*Loop{l}, addr: s.Addr()}
	a := &portedAcceptor{ln: ln, loop: l, nl: s, room: make(chan struct{}, 1)}
	a.quit, a.end = context.WithCancel(context.Background())
	ln.door = a
	var ok bool
	a.id, ok = l.addDoor(a, 1)
	require.True(t, ok)
	go a.run()
	return ln, s
}

// Errors of single clients do not pause a portable listener; so many in a row do, and others do at once. Resting is told
// once, until something was accepted.
func TestLSN12_APortableListenerRestsWhereItMust(t *testing.T) {
	l := newLoop(t, Config{Portable: true})
	told, accepted := make(chan error, 100), make(chan struct{}, 100)
	ln, s := runScript(t, l, ListenConfig{
		Accept:  func(*Accepted) { accepted <- struct{}{} },
		Resting: func(err error) { told <- err },
	})
	client := func() {
		nc, far := net.Pipe()
		s.script <- nc
		await(t, accepted, "the client")
		_ = far.Close()
	}
	for range 3 { // what was accepted in between makes them errors of single clients
		for range acceptsPerTurn - 1 {
			s.script <- syscall.ECONNABORTED
		}
		client()
	}
	assert.Zero(t, ln.Rests())
	began := time.Now()
	for range 2 * acceptsPerTurn {
		s.script <- syscall.ECONNABORTED
	}
	client()
	assert.Equal(t, 2, ln.Rests())
	assert.ErrorIs(t, await(t, told, "the news"), syscall.ECONNABORTED)
	for range 2 {
		s.script <- syscall.EMFILE
	}
	client()
	assert.Equal(t, 4, ln.Rests())
	assert.ErrorIs(t, await(t, told, "the news"), syscall.EMFILE)
	assert.Empty(t, told, "it is told once")
	assert.GreaterOrEqual(t, time.Since(began), 4*restTime)
	assert.Zero(t, ln.Len(), "what Accept does not open is rejected")
	require.NoError(t, ln.Close())
	assert.Empty(t, l.doors)
}

// A listener that is full does not ask for clients, and one that is closed meanwhile ends.
func TestLSN7_APortableListenerThatIsFullDoesNotAsk(t *testing.T) {
	l := newLoop(t, Config{Portable: true})
	ends := make(chan *end, 10)
	ln, s := runScript(t, l, ListenConfig{MaxConns: 2, Accept: func(a *Accepted) {
		e := newEnd(l)
		assert.NoError(t, e.Open(a, e))
		ends <- e
	}})
	for range 4 {
		nc, _ := net.Pipe()
		s.script <- nc
	}
	first, second := await(t, ends, "the first"), await(t, ends, "the second")
	for !ln.full.Load() { // then it has looked, and waits
		assert.LessOrEqual(t, s.asked.Load(), int32(2))
	}
	assert.EqualValues(t, 2, s.asked.Load())
	gone := func(e *end) {
		e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
		ln.Release()
	}
	gone(first)
	third := await(t, ends, "the third")
	gone(second)
	fourth := await(t, ends, "the fourth")
	for !ln.full.Load() {
	}
	assert.EqualValues(t, 4, s.asked.Load())
	require.NoError(t, ln.Close())
	gone(third)
	gone(fourth)
	assert.Zero(t, ln.Len())
	assert.NoError(t, l.Close()) // which waits for the goroutine
	assert.EqualValues(t, 4, s.asked.Load())
}
