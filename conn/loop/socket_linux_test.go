package loop

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// A connection has one of each, so they must not grow unnoticed.
func TestSocketAndLinkAreSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Socket{}), uintptr(80))
	assert.EqualValues(t, 4, unsafe.Sizeof(Link{}))
	assert.EqualValues(t, 16, unsafe.Sizeof(slot{}))
}

func TestSocketReadsWhatComesAndThenTheEnd(t *testing.T) {
	e, c := pair(t, newLoop(t, Config{}), ListenConfig{})
	assert.EqualValues(t, 1, e.connected.Load())
	first := e.until(t, conn.Writable)
	assert.Zero(t, first&conn.Readable, "nothing was sent yet")
	_, err := e.readAll(t)
	assert.Same(t, conn.ErrWouldBlock, err)

	mustWrite(t, c, "hello")
	assert.Zero(t, e.until(t, conn.Readable)&conn.Hangup)
	e.on(t, func() {
		n, err := e.Unread()
		assert.NoError(t, err)
		assert.Equal(t, 5, n)
	})
	got, err := e.readAll(t)
	assert.Equal(t, "hello", string(got))
	assert.Same(t, conn.ErrWouldBlock, err)
	e.on(t, func() {
		n, err := e.Unread()
		assert.NoError(t, err)
		assert.Zero(t, n)
	})

	mustWrite(t, c, "bye")
	require.NoError(t, c.CloseWrite())
	e.until(t, conn.Readable|conn.Hangup)
	e.on(t, func() {
		n, err := e.Unread()
		assert.NoError(t, err, "bytes come before the end")
		assert.Equal(t, 3, n)
	})
	got, err = e.readAll(t)
	assert.Equal(t, "bye", string(got), "a hangup is no reason to lose what came before it")
	assert.Same(t, io.EOF, err)
	e.on(t, func() {
		_, err := e.Unread()
		assert.Same(t, io.EOF, err)
		n, err := e.Write([][]byte{[]byte("still "), {}, []byte("here")})
		assert.NoError(t, err)
		assert.Equal(t, 10, n)
		assert.NoError(t, e.CloseWrite())
	})
	back, err := io.ReadAll(c)
	assert.NoError(t, err)
	assert.Equal(t, "still here", string(back))
}

// An end that was read need not be looked for; a reset behind it must be.
func TestUnreadBehindTheEnd(t *testing.T) {
	sys := broken()
	recvs := 0
	sys.recv = func(fd int, p []byte, flags int) (int, syscall.Errno) { recvs++; return recv(fd, p, flags) }
	e, c := pair(t, newLoop(t, Config{sys: sys}), ListenConfig{})
	require.NoError(t, c.CloseWrite())
	e.until(t, conn.Hangup)
	_, err := e.readAll(t)
	require.Same(t, io.EOF, err)
	e.on(t, func() {
		recvs = 0
		_, err := e.Unread()
		assert.Same(t, io.EOF, err)
		assert.Zero(t, recvs)
	})
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
	e.until(t, conn.Writable|conn.Hangup)
	e.on(t, func() {
		_, err := e.Unread()
		assert.ErrorIs(t, err, syscall.EPIPE)
	})
}

// What the peer sent before its connection was registered is reported all the same.
func TestLSN6_WhatCameBeforeRegistrationIsReported(t *testing.T) {
	l := newLoop(t, Config{})
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	goOn := make(chan struct{})
	l.Do(func() { <-goOn })
	c := dial(t, s.Addr())
	mustWrite(t, c, "early")
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	close(goOn)
	e := await(t, s.ends, "the connection")
	e.until(t, conn.Readable|conn.Hangup)
	got, err := e.readAll(t)
	assert.Equal(t, "early", string(got))
	assert.Same(t, io.EOF, err)
}

func TestSocketTellsAResetFromAnEnd(t *testing.T) {
	reset := func(t *testing.T) (*end, *net.TCPConn) {
		e, c := pair(t, newLoop(t, Config{}), ListenConfig{})
		mustWrite(t, c, "unread")
		e.until(t, conn.Readable)
		require.NoError(t, c.SetLinger(0))
		require.NoError(t, c.Close())
		e.until(t, conn.Readable|conn.Writable|conn.Hangup)
		return e, c
	}
	t.Run("by reading", func(t *testing.T) {
		e, _ := reset(t)
		_, err := e.readAll(t)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		var sys interface{ Timeout() bool }
		assert.ErrorAs(t, err, &sys)
	})
	t.Run("by writing", func(t *testing.T) {
		e, _ := reset(t)
		e.on(t, func() {
			_, err := e.Write([][]byte{[]byte("x")})
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		})
	})
	t.Run("by asking, and again afterwards", func(t *testing.T) {
		e, _ := reset(t)
		e.on(t, func() {
			for range 2 {
				_, err := e.Unread()
				assert.ErrorIs(t, err, syscall.ECONNRESET, "whatever still waits")
			}
			_, err := e.Write([][]byte{[]byte("x")})
			assert.ErrorIs(t, err, syscall.ECONNRESET, "asking had cleared the reason")
		})
		_, err := e.readAll(t)
		assert.ErrorIs(t, err, syscall.ECONNRESET, "asking had cleared the reason")
	})
	t.Run("and ending it is no error", func(t *testing.T) {
		e, _ := reset(t)
		e.on(t, func() {
			assert.NoError(t, e.CloseWrite())
			assert.NoError(t, e.Socket.Close(true))
		})
	})
}

// Bytes of every number and size arrive in order, however few the system takes.
func TestSocketWritesInPieces(t *testing.T) {
	e, c := pair(t, newLoop(t, Config{}), ListenConfig{Options: Options{WriteBuffer: 16 << 10}})
	require.NoError(t, c.SetReadBuffer(16<<10))
	r := rand.New(rand.NewPCG(5, 6))
	var all []byte
	bufs := make([][]byte, 256)
	for i := range bufs {
		bufs[i] = make([]byte, r.IntN(2000))
		for k := range bufs[i] {
			bufs[i][k] = byte(r.Uint32())
		}
		all = append(all, bufs[i]...)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16) // in a single buffer
	all = append(all, large...)
	bufs = append(bufs, large)

	done := make(chan struct{})
	partial := 0
	e.on(t, func() {
		e.turn = func(time.Time) bool {
			for len(bufs) > 0 {
				n, err := e.Write(bufs[:min(len(bufs), 256)])
				if err != nil {
					assert.Same(t, conn.ErrWouldBlock, err)
					return false
				}
				for len(bufs) > 0 && n >= len(bufs[0]) {
					n -= len(bufs[0])
					bufs = bufs[1:]
				}
				if n > 0 {
					partial++
					bufs[0] = bufs[0][n:]
				}
			}
			e.turn = nil
			assert.NoError(t, e.CloseWrite())
			close(done)
			return false
		}
		e.l.QueueLocal(e)
	})
	got, err := io.ReadAll(c)
	assert.NoError(t, err)
	await(t, done, "the writing")
	assert.True(t, bytes.Equal(all, got), "what came differs: %d bytes of %d", len(got), len(all))
	assert.NotZero(t, partial, "the system took each buffer whole, so this proves little")
	e.on(t, func() {
		for i := range e.l.poller.iov {
			require.Nil(t, e.l.poller.iov[i].Base, "scratch keeps a buffer alive")
		}
	})
}

func TestSocketCloseEndsOrResets(t *testing.T) {
	for _, reset := range []bool{false, true} {
		e, c := pair(t, newLoop(t, Config{}), ListenConfig{})
		e.on(t, func() {
			_, err := e.Write([][]byte{[]byte("last")})
			assert.NoError(t, err)
			assert.NoError(t, e.Socket.Close(reset))
			assert.NoError(t, e.Socket.Close(reset), "a second Close does nothing")
			for _, err := range []error{
				second(e.Read(make([]byte, 1))), second(e.Write([][]byte{{1}})), second(e.Unread()),
			} {
				assert.Equal(t, net.ErrClosed, err, "it works on a number that may be another's")
			}
			assert.Error(t, e.CloseWrite())
			assert.Equal(t, -1, e.fd())
		})
		got, err := io.ReadAll(c)
		if reset {
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		} else {
			assert.NoError(t, err)
			assert.Equal(t, "last", string(got))
		}
		assert.Zero(t, e.l.Load())
	}
}

func second(_ int, err error) error { return err }

func TestAZeroSocketHoldsNothing(t *testing.T) {
	var s Socket
	for _, err := range []error{second(s.Read(make([]byte, 1))), second(s.Write([][]byte{{1}})), second(s.Unread())} {
		assert.ErrorIs(t, err, net.ErrClosed)
	}
	assert.Error(t, s.CloseWrite())
	s.SetDeadline(time.Now())
	assert.Zero(t, s.Info())
	assert.NoError(t, s.Close(true))
}

// A socket that was closed before it was opened refuses, and the connection is gone.
func TestOpenAfterClose(t *testing.T) {
	l := newLoop(t, Config{})
	refused := make(chan error, 1)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(a *Accepted) {
		e := newEnd(l)
		assert.NoError(t, e.Socket.Close(false))
		err := e.Open(a, e)
		assert.Zero(t, e.connected.Load())
		a.Listener().Release()
		refused <- err
	}}, nil)
	c := dial(t, s.Addr())
	assert.ErrorIs(t, await(t, refused, "the refusal"), net.ErrClosed)
	_, err := c.Read(make([]byte, 1))
	assert.Same(t, io.EOF, err)
	assert.Zero(t, s.Len())
}

func TestInfoKnowsBothEndsAlsoAfterwards(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		t.Run(addr, func(t *testing.T) {
			l := newLoop(t, Config{})
			s := serve(t, []*Loop{l}, "tcp", addr, ListenConfig{}, nil)
			c := dial(t, s.Addr())
			e := await(t, s.ends, "the connection")
			want := func(a net.Addr) netip.AddrPort {
				ap := a.(*net.TCPAddr).AddrPort()
				return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
			}
			local, remote := want(c.RemoteAddr()), want(c.LocalAddr())
			// The peer resets, so that the system itself forgets who it was. Nobody has asked before.
			require.NoError(t, c.(*net.TCPConn).SetLinger(0))
			require.NoError(t, c.Close())
			e.until(t, conn.Hangup)
			e.on(t, func() {
				assert.NoError(t, e.Socket.Close(false))
				i := e.Info()
				assert.Equal(t, local, i.Local)
				assert.Equal(t, remote, i.Remote)
				assert.False(t, i.Dialed)
				assert.Empty(t, i.Host)
			})
		})
	}
	t.Run("IPv4 at a listener for both", func(t *testing.T) {
		l := newLoop(t, Config{})
		s := serve(t, []*Loop{l}, "tcp", ":0", ListenConfig{}, nil)
		c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(s.Addr().(*net.TCPAddr).Port)).String())
		require.NoError(t, err)
		defer func() { assert.NoError(t, c.Close()) }()
		e := await(t, s.ends, "the connection")
		e.on(t, func() {
			assert.Equal(t, c.RemoteAddr().String(), e.Info().Local.String())
			assert.Equal(t, c.LocalAddr().String(), e.Info().Remote.String())
		})
	})
	t.Run("a zone", func(t *testing.T) {
		sa := &unix.SockaddrInet6{Addr: netip.MustParseAddr("fe80::1").As16(), Port: 7, ZoneId: 3}
		want := netip.MustParseAddrPort("[fe80::1%3]:7")
		assert.Equal(t, want, addrPort(sa))
		raw := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: sa.Addr, Port: binary.NativeEndian.Uint16([]byte{0, 7}), Scope_id: 3}
		var any unix.RawSockaddrAny
		*(*unix.RawSockaddrInet6)(unsafe.Pointer(&any)) = raw
		assert.Equal(t, want, rawAddrPort(&any))
	})
}

// An error or a hangup is told as readiness to learn of it, for nothing else may ever be reported.
func TestEventsAreTranslated(t *testing.T) {
	for events, want := range map[uint32]conn.Interest{
		unix.EPOLLIN:                   conn.Readable,
		unix.EPOLLOUT:                  conn.Writable,
		unix.EPOLLIN | unix.EPOLLRDHUP: conn.Readable | conn.Hangup,
		unix.EPOLLRDHUP:                conn.Readable | conn.Hangup,
		unix.EPOLLERR:                  conn.Readable | conn.Writable | conn.Hangup,
		unix.EPOLLHUP:                  conn.Readable | conn.Writable | conn.Hangup,
	} {
		assert.Equal(t, want, interest(events), "%x", events)
	}
}

// A descriptor in blocking mode, as somebody may leave it, freezes nobody.
func TestSocketDoesNotBlockOnABlockingDescriptor(t *testing.T) {
	e, c := pair(t, newLoop(t, Config{}), ListenConfig{Options: Options{WriteBuffer: 16 << 10}})
	require.NoError(t, c.SetReadBuffer(16<<10))
	e.on(t, func() {
		require.NoError(t, unix.SetNonblock(e.fd(), false))
		_, err := e.Read(make([]byte, 1))
		assert.Same(t, conn.ErrWouldBlock, err)
		for _, bufs := range [][][]byte{{make([]byte, 1<<20)}, {make([]byte, 1<<20), make([]byte, 1<<20)}} {
			for err = nil; err == nil; {
				_, err = e.Write(bufs)
			}
			assert.Same(t, conn.ErrWouldBlock, err)
		}
		_, err = e.Unread()
		assert.NoError(t, err)
	})
}

func TestSetDeadlineCallsDue(t *testing.T) {
	e, _ := pair(t, newLoop(t, Config{}), ListenConfig{})
	start := time.Now()
	e.on(t, func() {
		e.SetDeadline(start.Add(time.Hour))
		e.SetDeadline(start.Add(20 * time.Millisecond))
	})
	before := e.turns.Load()
	due := await(t, e.due, "the deadline")
	assert.GreaterOrEqual(t, due.Sub(start), 20*time.Millisecond)
	e.on(t, func() {})
	assert.Greater(t, e.turns.Load(), before, "Due queues its owner")
	e.on(t, func() {
		e.SetDeadline(time.Now().Add(time.Millisecond))
		assert.NoError(t, e.Socket.Close(false))
		e.SetDeadline(time.Now().Add(time.Millisecond))
		assert.EqualValues(t, never, e.l.timers.next(), "a closed socket has no deadline")
	})
	assert.Empty(t, e.due)
}

// A late Post reaches the owner that it was meant for, also when another has the slot.
func TestPostAfterTheEndReachesItsOwnOwner(t *testing.T) {
	e, _ := pair(t, newLoop(t, Config{}), ListenConfig{})
	e.on(t, func() { assert.NoError(t, e.Socket.Close(true)) })
	other, _ := pair(t, e.l, ListenConfig{})
	e.on(t, func() { assert.Equal(t, e.slot, other.slot, "the slot is used again, or this proves nothing") })
	posted := make(chan struct{})
	go e.Socket.Post(func() { close(posted) })
	await(t, posted, "the function")
}

// Writing to a connection that is gone is an error, and no signal.
func TestFLT3_NoSIGPIPE(t *testing.T) {
	e, c := pair(t, newLoop(t, Config{}), ListenConfig{})
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGPIPE, syscall.SIGWINCH)
	defer signal.Stop(signals)
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
	e.until(t, conn.Hangup)
	e.on(t, func() {
		for _, bufs := range [][][]byte{{{1}}, {{1}}, {{1}, {2}}, {make([]byte, 1<<20)}} {
			_, err := e.Write(bufs)
			assert.Error(t, err)
		}
	})
	// Of two that wait, the one with the lower number is told first.
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGWINCH))
	assert.Equal(t, syscall.SIGWINCH, await(t, signals, "a signal"))
}

// An owner has a turn to begin with, whatever the poller says.
func TestOpenQueuesItsOwner(t *testing.T) {
	l := newLoop(t, Config{})
	state := make(chan uint32, 1)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(a *Accepted) {
		e := newEnd(l)
		assert.NoError(t, e.Open(a, e))
		state <- e.state.Load()
	}}, nil)
	dial(t, s.Addr())
	assert.Equal(t, linkQueued, await(t, state, "the connection"))
}

// Once it is closed, nothing of the loop keeps an owner alive: no slot, queue, deadline or scratch.
func TestRES5_NothingKeepsAnOwner(t *testing.T) {
	l := newLoop(t, Config{})
	var gone atomic.Int32
	const owners = 20
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(a *Accepted) {
		e := newEnd(l)
		runtime.AddCleanup(e, func(*atomic.Int32) { gone.Add(1) }, &gone)
		assert.NoError(t, e.Open(a, e))
		e.SetDeadline(time.Now().Add(time.Hour))
		e.turn = func(time.Time) bool {
			_, err := e.Write([][]byte{make([]byte, 10), make([]byte, 10)})
			assert.NoError(t, err)
			assert.NoError(t, e.Socket.Close(false))
			e.turn = nil
			return true
		}
	}}, nil)
	for range owners {
		_, err := io.ReadAll(dial(t, s.Addr()))
		assert.NoError(t, err)
	}
	for end := time.Now().Add(patience); gone.Load() < owners; runtime.GC() {
		if !assert.True(t, time.Now().Before(end), "%d of %d owners are kept", owners-gone.Load(), owners) {
			break
		}
	}
}

// A turn that reads and writes, and the wait for the next, allocate nothing.
func TestRES4_AnEchoTurnDoesNotAllocate(t *testing.T) {
	e, c := pair(t, newLoop(t, Config{}), ListenConfig{})
	e.on(t, func() { echo(t, e) })
	p := make([]byte, 64)
	round := func() {
		if _, err := c.Write(p); err != nil {
			panic(err)
		}
		if _, err := io.ReadFull(c, p); err != nil {
			panic(err)
		}
	}
	for range 100 {
		round()
	}
	assert.Zero(t, testing.AllocsPerRun(10_000, round))
}

// echo makes e send back what it gets, one buffer or two at a time.
func echo(t testing.TB, e *end) {
	p := make([]byte, 64<<10)
	bufs := make([][]byte, 0, 2)
	e.turn = func(now time.Time) bool {
		e.SetDeadline(now.Add(time.Minute))
		n, err := e.Read(p)
		if err != nil {
			if err != conn.ErrWouldBlock && err != io.EOF && err != net.ErrClosed {
				assert.NoError(t, err)
			}
			return false
		}
		bufs = append(bufs[:0], p[:n])
		if n > 1 {
			bufs = append(bufs[:0], p[:1], p[1:n])
		}
		_, err = e.Write(bufs)
		assert.NoError(t, err)
		return false
	}
	e.l.QueueLocal(e)
}
