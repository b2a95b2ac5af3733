package loop

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

// call dials from l.
func call(t testing.TB, l *Loop, ctx context.Context, cfg DialConfig) *caller {
	t.Helper()
	c := newCaller(l)
	do(t, l, func() { require.NoError(t, c.Dial(ctx, l, c, cfg)) })
	return c
}

// reach is call, and waits for success.
func reach(t testing.TB, l *Loop, cfg DialConfig) *caller {
	t.Helper()
	c := call(t, l, context.Background(), cfg)
	for word := ""; word != "connected"; {
		word = await(t, c.told, "the connection")
		if strings.HasPrefix(word, "failed") {
			require.NoError(t, c.err)
		}
	}
	t.Cleanup(func() { _ = l.Do(func() { _ = c.Socket.Close(true) }) })
	return c
}

// miss is call, and waits for failure.
func miss(t testing.TB, l *Loop, ctx context.Context, cfg DialConfig) *caller {
	t.Helper()
	c := call(t, l, ctx, cfg)
	for word := ""; !strings.HasPrefix(word, "failed"); {
		word = await(t, c.told, "the failure")
		require.NotEqual(t, "connected", word)
	}
	return c
}

func portOf(s *server) string { return strconv.Itoa(s.Addr().(*net.TCPAddr).Port) }

func TestDIAL1_BothEndsKnowEachOther(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		l, far := newLoop(t, cfg), newLoop(t, cfg)
		for _, k := range []struct{ network, listen, dial, host string }{
			{"tcp", "127.0.0.1:0", "127.0.0.1:", "127.0.0.1"},
			{"tcp", "[::1]:0", "[::1]:", "::1"},
			{"tcp4", "127.0.0.1:0", "localhost:", "localhost"},
			{"tcp6", "[::1]:0", ":", ""},
			{"tcp", ":0", ":", ""},
			{"tcp", ":0", "0.0.0.0:", "0.0.0.0"},
			{"tcp", ":0", "[::]:", "::"},
			{"tcp", "127.0.0.1:0", "[::ffff:127.0.0.1]:", "::ffff:127.0.0.1"},
			{"tcp", "[::1]:0", "[::1%lo]:", "::1%lo"},
		} {
			s := serve(t, []*Loop{far}, k.network, k.listen, ListenConfig{}, nil)
			cfg := DialConfig{Network: k.network, Addr: k.dial + portOf(s)}
			cfg.Resolver = book{"localhost": {"127.0.0.1"}}
			c := reach(t, l, cfg)
			e := await(t, s.ends, "the other end")
			if !l.portable() { // there, nobody says so: a Write tells
				c.until(t, conn.Writable)
			}
			c.on(t, func() {
				i := c.Info()
				assert.Equal(t, k.host, i.Host)
				assert.Equal(t, k.dial+portOf(s), i.Addr)
				assert.True(t, i.Dialed)
				e.on(t, func() {
					assert.Equal(t, e.Info().Remote.String(), i.Local.String())
					assert.Equal(t, e.Info().Local.Port(), i.Remote.Port())
					assert.Equal(t, e.Info().Local.Addr().WithZone(""), i.Remote.Addr().WithZone(""))
				})
				assert.NoError(t, c.Socket.Close(false))
				assert.Equal(t, i, c.Info())
			})
			e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
			assert.Zero(t, l.Load())
		}
	})
}

func TestDIAL3_PingPong(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l := newLoop(t, Config{})
		s := serve(t, []*Loop{l}, "tcp", addr, ListenConfig{}, func(e *end) { echo(t, e) })
		c := reach(t, l, DialConfig{Network: "tcp", Addr: s.Addr().String()})
		c.until(t, conn.Writable)
		for range 100 {
			c.on(t, func() {
				n, err := c.Write([][]byte{[]byte("ping")})
				assert.NoError(t, err)
				assert.Equal(t, 4, n)
			})
			for got := ""; got != "ping"; {
				c.until(t, conn.Readable)
				more, err := c.readAll(t)
				require.Same(t, conn.ErrWouldBlock, err)
				got += string(more)
			}
		}
		e := await(t, s.ends, "the other end")
		e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
	}
}

// What a peer says first, and that it ends, is told even if it came before anybody looked.
func TestDIAL1_APeerThatIsFast(t *testing.T) {
	l, far := newLoop(t, Config{}), newLoop(t, Config{})
	s := serve(t, []*Loop{far}, "tcp", "127.0.0.1:0", ListenConfig{}, func(e *end) {
		e.turn = func(time.Time) bool {
			_, err := e.Write([][]byte{[]byte("hello")})
			assert.NoError(t, err)
			assert.NoError(t, e.Socket.Close(false))
			e.turn = nil
			return false
		}
	})
	gate := make(chan struct{})
	c := newCaller(l)
	l.Do(func() {
		assert.NoError(t, c.Dial(context.Background(), l, c, DialConfig{Network: "tcp", Addr: s.Addr().String()}))
		l.QueueLocal(&step{do: func(time.Time) bool { <-gate; return false }}) // after the attempt has begun
	})
	await(t, s.ends, "the other end")
	do(t, far, func() {}) // it has had its turn
	close(gate)
	c.until(t, conn.Readable|conn.Hangup)
	got, err := c.readAll(t)
	assert.Equal(t, "hello", string(got))
	assert.Same(t, io.EOF, err)
	c.on(t, func() { assert.NoError(t, c.Socket.Close(false)) })
}

func TestDIAL4_NobodyListens(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		l := newLoop(t, cfg)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := ln.Addr().String()
		require.NoError(t, ln.Close())
		files := openFiles()
		c := miss(t, l, context.Background(), DialConfig{Network: "tcp", Addr: addr})
		assert.Equal(t, conn.StageDial, c.stage)
		assert.ErrorIs(t, c.err, syscall.ECONNREFUSED)
		assert.ErrorContains(t, c.err, addr)
		assert.Equal(t, files, openFiles())
		assert.Zero(t, l.Load())
		do(t, l, func() { assert.Empty(t, c.told) })
	})
}

// Where the system gives us the very port that we dial, there is nobody but us.
func TestDIAL4_NobodyButOurselves(t *testing.T) {
	l := newLoop(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, ln.Close())
	cfg := DialConfig{Network: "tcp", Addr: addr.String()}
	cfg.Options.Control = func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { assert.NoError(t, unix.Bind(int(fd), sockaddr(addr))) })
	}
	c := miss(t, l, context.Background(), cfg)
	assert.ErrorIs(t, c.err, syscall.ECONNREFUSED)
}

func TestDIAL5_TheSystemsResolver(t *testing.T) {
	l := newLoop(t, Config{})
	c := miss(t, l, context.Background(), DialConfig{Network: "tcp", Addr: "no-such-host.invalid:7669"})
	assert.Equal(t, conn.StageDNS, c.stage)
	var told *net.DNSError
	require.ErrorAs(t, c.err, &told)
	assert.Equal(t, "no-such-host.invalid", told.Name)

	c = miss(t, l, context.Background(), DialConfig{Network: "tcp", Addr: "127.0.0.1:no-such-service"})
	assert.Equal(t, conn.StageDNS, c.stage)
	assert.ErrorContains(t, c.err, "no-such-service")

	c = miss(t, l, context.Background(), DialConfig{Network: "tcp", Addr: "[fe80::1%no-such-zone]:7669"})
	assert.Equal(t, conn.StageDNS, c.stage)
	assert.ErrorContains(t, c.err, "no-such-zone")
}

func TestDIAL13_WhatCannotWorkIsNamed(t *testing.T) {
	long := strings.Repeat("x", 108)
	for _, k := range []struct {
		cfg  DialConfig
		want []string
	}{
		{DialConfig{Network: "tcp", Addr: "127.0.0.1"}, []string{"127.0.0.1", "missing port"}},
		{DialConfig{Network: "tcp", Addr: "127.0.0.1:"}, []string{`"127.0.0.1:"`, "port"}},
		{DialConfig{Network: "tcp", Addr: "::1:7669"}, []string{`"::1:7669"`, "[host]:port"}},
		{DialConfig{Network: "tcp", Addr: "localhost:70000"}, []string{"70000", "65535"}},
		{DialConfig{Network: "tcp", Addr: "localhost:-1"}, []string{"-1", "65535"}},
		{DialConfig{Network: "tcp", Addr: "localhost:0"}, []string{"localhost:0", "from 1"}},
		{DialConfig{Network: "tcp", Addr: "localhost:99999999999999999999"}, []string{"99999999999999999999", "65535"}},
		{DialConfig{Network: "udp", Addr: "127.0.0.1:7669"}, []string{"udp", "tcp6"}},
		{DialConfig{Addr: "127.0.0.1:7669"}, []string{`""`, "tcp6"}},
		{DialConfig{Network: "tcp4", Addr: "[::1]:7669"}, []string{"[::1]:7669", "tcp4"}},
		{DialConfig{Network: "tcp6", Addr: "[::ffff:127.0.0.1]:7669"}, []string{"[::ffff:127.0.0.1]:7669", "tcp6"}},
		{DialConfig{Network: "tcp6", Addr: "a:1", Local: netip.MustParseAddrPort("127.0.0.1:0")}, []string{"127.0.0.1:0", "tcp6"}},
		{DialConfig{Network: "tcp", Addr: "[::1]:1", Local: netip.MustParseAddrPort("127.0.0.1:0")}, []string{"[::1]:1", "127.0.0.1"}},
		{DialConfig{Network: "unix"}, []string{`""`, "path"}},
		{DialConfig{Network: "unix", Addr: long}, []string{long, "107"}},
		{DialConfig{Network: "unix", Addr: "x", Local: netip.MustParseAddrPort("127.0.0.1:9")}, []string{"127.0.0.1:9", "unix"}},
		{DialConfig{Network: "tcp", Addr: "a:70000", Options: Options{ReadBuffer: -7}}, []string{"-7", "70000"}},
	} {
		s := newStage(t)
		c := newCaller(s.l)
		err := c.Dial(context.Background(), s.l, c, k.cfg)
		require.Error(t, err, "%+v", k.cfg)
		for _, want := range k.want {
			assert.ErrorContains(t, err, want)
		}
		s.turns()
		assert.Empty(t, c.heard())
		assert.Empty(t, s.fds)
		s.empty(0)
	}
	var unknown net.UnknownNetworkError
	assert.ErrorAs(t, (&DialConfig{Network: "udp", Addr: "a:1"}).Validate(), &unknown)
	for _, cfg := range []DialConfig{
		{Network: "tcp", Addr: "host:http"},
		{Network: "tcp", Addr: ":1"},
		{Network: "tcp4", Addr: "[::ffff:127.0.0.1]:65535"},
		{Network: "tcp", Addr: "[::1]:1", Local: netip.MustParseAddrPort("0.0.0.0:5000")},
		{Network: "unix", Addr: long[1:]},
		{Network: "unix", Addr: "@" + long[1:]},
	} {
		assert.NoError(t, cfg.Validate(), "%+v", cfg)
	}
}

func TestDIAL13_ASocketIsUsedOnce(t *testing.T) {
	s := newStage(t)
	cfg := DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"}
	c := s.call(context.Background(), cfg)
	assert.ErrorIs(t, c.Dial(context.Background(), s.l, c, cfg), net.ErrClosed)
	assert.ErrorIs(t, c.Adopt(nil, s.l, c), net.ErrClosed)
	require.NoError(t, c.Socket.Close(false))
	assert.ErrorIs(t, c.Dial(context.Background(), s.l, c, cfg), net.ErrClosed)
	s.empty(0)
	assert.PanicsWithValue(t, "loop: Dial needs a context", func() {
		//lint:ignore SA1012 on purpose
		_ = newCaller(s.l).Dial(nil, s.l, c, cfg)
	})
}

func TestDIAL14_OptionsAreSetBeforeConnect(t *testing.T) {
	l := newLoop(t, Config{})
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	cfg := DialConfig{Network: "tcp", Addr: s.Addr().String()}
	cfg.Options.Control = func(network, address string, c syscall.RawConn) error {
		assert.Equal(t, "tcp4 "+s.Addr().String(), network+" "+address)
		assert.ErrorIs(t, c.Read(nil), errors.ErrUnsupported)
		assert.ErrorIs(t, c.Write(nil), errors.ErrUnsupported)
		return c.Control(func(fd uintptr) {
			_, err := unix.Getpeername(int(fd))
			assert.Equal(t, unix.ENOTCONN, err)
			assert.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096))
		})
	}
	c := reach(t, l, cfg)
	c.on(t, func() {
		for _, o := range []struct{ level, name, want int }{
			{unix.SOL_SOCKET, unix.SO_RCVBUF, 8192},
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
		} {
			v, err := unix.GetsockoptInt(c.fd(), o.level, o.name)
			assert.NoError(t, err)
			assert.Equal(t, o.want, v)
		}
		for cmd, bit := range map[int]int{unix.F_GETFD: unix.FD_CLOEXEC, unix.F_GETFL: unix.O_NONBLOCK} {
			v, err := unix.FcntlInt(uintptr(c.fd()), cmd, 0)
			assert.NoError(t, err)
			assert.NotZero(t, v&bit)
		}
	})
	e := await(t, s.ends, "the other end")
	e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
}

// silent returns an address that never answers: its queue is full.
func silent(t *testing.T) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, sockaddr(netip.MustParseAddrPort("127.0.0.1:0"))))
	require.NoError(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	addr := addrPort(sa)
	dial(t, net.TCPAddrFromAddrPort(addr)) // there is room for one
	return addr.String()
}

func TestDIAL15_ASilentTarget(t *testing.T) {
	l := newLoop(t, Config{})
	addr := silent(t)
	files := openFiles()
	ctx, cancel := context.WithCancel(context.Background())
	c := call(t, l, ctx, DialConfig{Network: "tcp", Addr: addr})
	assert.Equal(t, "connecting 1", await(t, c.told, "the attempt"))
	cancel()
	assert.Equal(t, "failed: dial", await(t, c.told, "the failure"))
	assert.ErrorIs(t, c.err, context.Canceled)
	assert.ErrorContains(t, c.err, addr)
	assert.Equal(t, files, openFiles())
	assert.Zero(t, l.Load())
}

func TestDIAL9_AWinnerBesideASilentTarget(t *testing.T) {
	l := newLoop(t, Config{})
	_, p, err := net.SplitHostPort(silent(t))
	require.NoError(t, err)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.2:"+p, ListenConfig{}, nil)
	files := openFiles()
	start := time.Now()
	c := reach(t, l, DialConfig{Network: "tcp", Addr: "far.example:" + p, Resolver: book{"far.example": {"127.0.0.1", "127.0.0.2"}}})
	assert.GreaterOrEqual(t, time.Since(start), attemptDelay)
	e := await(t, s.ends, "the other end")
	assert.Equal(t, files+2, openFiles())
	c.on(t, func() { assert.Equal(t, "127.0.0.2:"+p, c.Info().Remote.String()) })
	e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
}

func TestFLT1_DialWithoutDescriptors(t *testing.T) {
	l := newLoop(t, Config{})
	s := serve(t, []*Loop{newLoop(t, Config{})}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	files := openFiles()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limitFor(0), Max: old.Max}))
	c := call(t, l, context.Background(), DialConfig{Network: "tcp", Addr: s.Addr().String()})
	word := await(t, c.told, "the failure")
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	assert.Equal(t, "failed: dial", word)
	assert.ErrorIs(t, c.err, syscall.EMFILE)
	assert.ErrorContains(t, c.err, "socket")
	assert.Equal(t, files, openFiles())
	reach(t, l, DialConfig{Network: "tcp", Addr: s.Addr().String()})
	e := await(t, s.ends, "the other end")
	e.on(t, func() { assert.NoError(t, e.Socket.Close(true)) })
}

// Closing a loop gives up its dials, wherever they are; a look-up is told.
func TestLoopCloseGivesUpDials(t *testing.T) {
	files := openFiles()
	l, err := New(Config{})
	require.NoError(t, err)
	attempt := call(t, l, context.Background(), DialConfig{Network: "tcp", Addr: silent(t)})
	assert.Equal(t, "connecting 1", await(t, attempt.told, "the attempt"))
	begun, heeded := make(chan struct{}), make(chan struct{})
	lookUp := call(t, l, context.Background(), DialConfig{Network: "tcp", Addr: "far.example:1",
		Resolver: resolver(func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			close(begun)
			<-ctx.Done()
			close(heeded)
			return nil, ctx.Err()
		})})
	await(t, begun, "the look-up")
	busy := openFiles()
	require.NoError(t, l.Close())
	await(t, heeded, "the resolver")
	assert.Equal(t, busy-4, openFiles(), "an attempt, and the three of the loop; before there were %d", files)
	assert.Empty(t, attempt.told)
	assert.Empty(t, lookUp.told)
	assert.Zero(t, l.Load())
	assert.Empty(t, l.timers.heap)
}

func TestRES5_NothingKeepsADialer(t *testing.T) {
	l := newLoop(t, Config{})
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var gone atomic.Int32
	track := func(c *caller) { runtime.AddCleanup(c, func(*atomic.Int32) { gone.Add(1) }, &gone) }
	closed := func(c *caller) { c.on(t, func() { assert.NoError(t, c.Socket.Close(true)) }) }
	refused := "127.0.0.9:" + portOf(s)
	hangs := make(chan struct{}) // whatever the context says
	defer close(hangs)
	func() {
		c := call(t, l, ctx, DialConfig{Network: "tcp", Addr: s.Addr().String()})
		for await(t, c.told, "the connection") != "connected" {
		}
		track(c)
		closed(c)
		c = miss(t, l, ctx, DialConfig{Network: "tcp", Addr: refused})
		track(c)
		closed(c)
		c = call(t, l, ctx, DialConfig{Network: "tcp", Addr: silent(t)})
		await(t, c.told, "the attempt")
		track(c)
		closed(c)
		c = call(t, l, ctx, DialConfig{Network: "tcp", Addr: "far.example:1",
			Resolver: resolver(func(context.Context, string, string) ([]netip.Addr, error) {
				<-hangs
				return nil, errors.New("too late")
			})})
		track(c)
		closed(c)
	}()
	e := await(t, s.ends, "the other end")
	e.on(t, func() { assert.NoError(t, e.Socket.Close(true)) })
	for end := time.Now().Add(patience); gone.Load() < 4; runtime.GC() {
		do(t, l, func() {}) // let it forget what it did last
		if !assert.True(t, time.Now().Before(end), "%d of 4 owners are kept", 4-gone.Load()) {
			break
		}
	}
}

// A socket that was dialed, and one that was adopted, keep the contract like one that was accepted.
func TestBackendDialedAndAdopted(t *testing.T) {
	conntest.TestBackend(t, func(t *testing.T) conntest.Pair {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		l := newLoop(t, Config{})
		near := reach(t, l, DialConfig{Network: "tcp", Addr: ln.Addr().String()})
		nc, err := ln.Accept()
		require.NoError(t, err)
		require.NoError(t, ln.Close())
		far := newCaller(newLoop(t, Config{}))
		far.on(t, func() { require.NoError(t, far.Adopt(nc, far.l, far)) })
		t.Cleanup(func() { _ = far.l.Do(func() { _ = far.Socket.Close(true) }) })
		return conntest.Pair{
			Near: near,
			Far:  far,
			Turn: func(b conn.Backend, f func()) { b.(*caller).on(t, f) },
			Ready: func(b conn.Backend) (i conn.Interest) {
				timeout := time.After(time.Millisecond)
				for {
					select {
					case got := <-b.(*caller).ready:
						i |= got
						continue
					case <-timeout:
					}
					return i
				}
			},
		}
	})
}
