package loop

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// A failing accept is a list of errors that come first.
func failingAccept(errnos ...syscall.Errno) (sys *system, calls func() []time.Time) {
	sys = broken()
	var at []time.Time
	sys.accept = func(fd int) (int, netip.AddrPort, error) {
		at = append(at, time.Now())
		if len(errnos) > 0 {
			err := errnos[0]
			errnos = errnos[1:]
			return -1, netip.AddrPort{}, err
		}
		return accept(fd)
	}
	return sys, func() []time.Time { return at }
}

func TestLSN10_AcceptingRestsWithoutDescriptors(t *testing.T) {
	sys, calls := failingAccept(unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM)
	l := newLoop(t, Config{sys: sys})
	told := make(chan error, 10)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Resting: func(err error) { told <- err }}, nil)
	c := dial(t, s.Addr())
	mustWrite(t, c, "x")
	err := await(t, told, "Resting")
	assert.ErrorIs(t, err, syscall.EMFILE)
	assert.ErrorContains(t, err, "accept4")
	dial(t, s.Addr()) // an event while it rests; none comes after it
	e := await(t, s.ends, "the client to be served by the same listener")
	e.until(t, conn.Readable)
	do(t, l, func() {
		at := calls()
		if assert.GreaterOrEqual(t, len(at), 5) {
			for i := 1; i < 5; i++ {
				assert.GreaterOrEqual(t, at[i].Sub(at[i-1]), restTime, "accept was tried while it rests")
				assert.Less(t, at[i].Sub(at[i-1]), restTime+tooLate)
			}
		}
	})
	await(t, s.ends, "the other client")
	assert.Equal(t, 4, s.Rests())
	assert.Empty(t, told, "it is told once")
	assert.Equal(t, 2, s.Len())
}

func TestLSN4_OneReadyClientIsOneConnection(t *testing.T) {
	sys, calls := failingAccept()
	l := newLoop(t, Config{sys: sys})
	offered := 0
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, func(*end) { offered++ })
	dial(t, s.Addr())
	e := await(t, s.ends, "the connection")
	do(t, l, func() {
		assert.Len(t, calls(), 2, "the client, and then it would block")
		assert.Equal(t, 1, offered)
		assert.EqualValues(t, 1, e.connected.Load())
	})
	assert.Equal(t, 1, s.Len())
}

func TestLSN12_OtherErrorsOfAcceptDoNotPause(t *testing.T) {
	sys, calls := failingAccept(unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ECONNRESET, unix.EPERM, unix.ENETDOWN)
	polls, served := 0, 0 // polls before the first accept, and before the connection was served
	accept := sys.accept
	sys.accept = func(fd int) (int, netip.AddrPort, error) {
		if len(calls()) == 0 {
			polls = 0
		}
		return accept(fd)
	}
	sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
		polls++
		return poll(ep, ev, aloud)
	}
	l := newLoop(t, Config{sys: sys})
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, func(*end) { served = polls })
	dial(t, s.Addr())
	await(t, s.ends, "the connection")
	do(t, l, func() {
		assert.Len(t, calls(), 8, "six errors, the client, and nobody more")
		assert.Zero(t, served, "it is not served in the same turn")
	})
	assert.Zero(t, s.Rests())
}

// An error that never ends does not make the loop spin.
func TestLSN12_EndlessErrorsRest(t *testing.T) {
	sys := broken()
	var calls atomic.Int64
	sys.accept = func(int) (int, netip.AddrPort, error) { calls.Add(1); return -1, netip.AddrPort{}, unix.EPERM }
	l := newLoop(t, Config{sys: sys})
	told := make(chan error, 1)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Resting: func(err error) { told <- err }}, nil)
	dial(t, s.Addr())
	assert.ErrorIs(t, await(t, told, "Resting"), syscall.EPERM)
	assert.EqualValues(t, acceptsPerTurn, calls.Load())
	assert.Equal(t, 1, s.Rests())
}

func TestFLT6_AFailedRegistrationIsThatConnectionsAlone(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.ENOSPC, unix.EINVAL} {
		sys := broken()
		fail := false
		sys.control = func(ep, op, fd int, ev *unix.EpollEvent) error {
			if op == unix.EPOLL_CTL_ADD && fail {
				fail = false
				return errno
			}
			return unix.EpollCtl(ep, op, fd, ev)
		}
		l := newLoop(t, Config{sys: sys})
		files := openFiles()
		failed, served := make(chan error, 1), make(chan *end, 1)
		s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{MaxConns: 1, Accept: func(a *Accepted) {
			e := newEnd(l)
			if err := e.Open(a, e); err != nil {
				assert.Zero(t, e.connected.Load())
				assert.Equal(t, a.Remote(), e.Info().Remote, "who had connected")
				failed <- err
				a.Listener().Release()
				return
			}
			served <- e
		}}, nil)
		goOn := make(chan struct{})
		l.Do(func() { fail = true; <-goOn })
		first := dial(t, s.Addr())
		second := dial(t, s.Addr())
		mustWrite(t, second, "x")
		close(goOn)
		err := await(t, failed, "the failure")
		assert.ErrorIs(t, err, errno)
		assert.ErrorContains(t, err, "epoll_ctl")
		e := await(t, served, "the next client")
		e.until(t, conn.Readable)
		_, err = first.Read(make([]byte, 1))
		assert.Same(t, io.EOF, err)
		do(t, l, func() { assert.Equal(t, 1, l.slots.open) })
		assert.Equal(t, 1, l.Load())
		assert.Equal(t, 1, s.Len())
		e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
		require.NoError(t, s.Close())
		_ = first.Close()
		_ = second.Close()
		assert.Equal(t, files, openFiles())
	}
}

func TestFLT6_AListenerThatCannotBeRegistered(t *testing.T) {
	sys := broken()
	l := newLoop(t, Config{sys: sys})
	do(t, l, func() {
		sys.control = func(int, int, int, *unix.EpollEvent) error { return unix.ENOSPC }
	})
	files := openFiles()
	_, err := Listen(t.Context(), []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(*Accepted) {}})
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, files, openFiles())
	var op *net.OpError
	assert.ErrorAs(t, err, &op)
}

// However a Release meets the acceptor, which finds no room and is about to wait for it, it is noticed.
func TestLSN8_NoReleaseIsLost(t *testing.T) {
	full := func() (ln *Listener, queued func() bool) {
		ln = &Listener{cfg: ListenConfig{MaxConns: 1}}
		ln.door = &acceptor{loop: &Loop{}, ln: ln}
		ln.live.Store(1)
		return ln, ln.door.link().begin
	}
	ln, queued := full() // before the acceptor has raised its flag
	assert.False(t, ln.room())
	ln.Release()
	assert.False(t, queued(), "nobody waits")
	assert.True(t, ln.roomAfterAll(), "the acceptor waits for what has come")

	ln, queued = full() // after
	assert.False(t, ln.admit())
	ln.Release()
	assert.True(t, queued(), "the acceptor waits, and nobody tells it")

	ln, queued = full() // between the flag and the look: one of the two sees to it, here both
	ln.full.Store(true)
	ln.Release()
	assert.True(t, queued())
	assert.True(t, ln.admit())
}
