package loop

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// What a broken turn borrowed is nobody else's while it is being reported: the owner may still give blocks back.
func TestABrokenTurnKeepsItsDeskUntilItIsReported(t *testing.T) {
	var l *Loop
	var mine *conn.Memory
	others, reported := make(chan *conn.Memory, 1), make(chan struct{})
	l = newLoop(t, Config{Panicked: func(Task, any, []byte) {
		defer close(reported)
		other := newLoner(l)
		other.turn = func(_ time.Time, m *conn.Memory) bool { others <- m; return false }
		other.Start()
		assert.NotSame(t, mine, <-others)
	}})
	e := newLoner(l)
	e.turn = func(_ time.Time, m *conn.Memory) bool { mine = m; panic("on purpose") }
	e.Start()
	await(t, reported, "the report")
}

// A connection that cannot be registered tells who it was all the same.
func TestFLT6_ADetachedThatCannotBeRegisteredKnowsItsPeer(t *testing.T) {
	sys := broken()
	sys.control = func(ep, op, fd int, ev *unix.EpollEvent) error {
		if op == unix.EPOLL_CTL_ADD && ev.Fd >= 0 {
			return unix.ENOSPC
		}
		return unix.EpollCtl(ep, op, fd, ev)
	}
	l := newLoop(t, Config{sys: sys})
	got := make(chan *loner, 1)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(a *Accepted) {
		e := newLoner(l)
		assert.ErrorIs(t, e.Open(a), unix.ENOSPC)
		got <- e
	}}, nil)
	c := dial(t, s.Addr())
	e := await(t, got, "the connection")
	assert.Equal(t, c.LocalAddr().String(), e.Info().Remote.String())
}

// A connection may be closed in the moment in which it is connected: from then on nothing touches the socket.
func TestADetachedThatIsClosedStaysClosed(t *testing.T) {
	l := newLoop(t, Config{})
	far := serve(t, []*Loop{newLoop(t, Config{})}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	e := newLoner(l)
	inTurn, goOn := make(chan struct{}), make(chan struct{})
	e.Start()
	e.Post(func() {
		e.Detached.Dial(context.Background(), DialConfig{Network: "tcp", Addr: far.Addr().String()})
		close(inTurn)
		<-goOn
		assert.NoError(t, e.Detached.Close(true))
	})
	await(t, inTurn, "the turn")
	for connected := false; !connected; runtime.Gosched() {
		e.mu.Lock()
		connected = e.info.Remote.IsValid()
		e.mu.Unlock()
	}
	close(goOn)
	await(t, e.joined, "Connected")
	e.on(t, func() { assert.False(t, e.open) })
	await(t, far.ends, "the other end")
}
