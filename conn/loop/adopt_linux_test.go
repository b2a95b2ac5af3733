package loop

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// ncPair connects two net.Conns.
func ncPair(t *testing.T, network, addr string) (near, far net.Conn) {
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	far = dial(t, ln.Addr())
	near, err = ln.Accept()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	t.Cleanup(func() { _ = near.Close() })
	return near, far
}

// works asserts that nc is as good as it was.
func works(t *testing.T, nc, far net.Conn) {
	t.Helper()
	go func() { _, _ = io.WriteString(far, "still") }()
	p := make([]byte, 5)
	_, err := io.ReadFull(nc, p)
	assert.NoError(t, err)
	assert.Equal(t, "still", string(p))
}

func TestSHL6_AdoptedConnectionsWork(t *testing.T) {
	for _, k := range [][2]string{
		{"tcp", "127.0.0.1:0"},
		{"tcp", "[::1]:0"},
		{"unix", filepath.Join(t.TempDir(), "socket")},
	} {
		l := newLoop(t, Config{})
		nc, far := ncPair(t, k[0], k[1])
		mustWrite(t, far, "early")
		files := openFiles()
		c := newCaller(l)
		c.on(t, func() {
			require.NoError(t, c.Adopt(nc, l, c))
			echo(t, &c.end)
		})
		assert.Equal(t, []string{"connected"}, c.heard())
		assert.Equal(t, files, openFiles(), "the other descriptor is closed")
		assert.ErrorIs(t, nc.Close(), net.ErrClosed)
		back := make([]byte, 5)
		_, err := io.ReadFull(far, back)
		require.NoError(t, err)
		assert.Equal(t, "early", string(back), "what came before is reported")
		c.on(t, func() {
			i := c.Info()
			assert.False(t, i.Dialed)
			assert.Empty(t, i.Host)
			if k[0] == "tcp" {
				assert.Equal(t, nc.LocalAddr().String(), i.Local.String())
				assert.Equal(t, nc.RemoteAddr().String(), i.Remote.String())
			}
			flags, err := unix.FcntlInt(uintptr(c.fd()), unix.F_GETFL, 0)
			assert.NoError(t, err)
			assert.NotZero(t, flags&unix.O_NONBLOCK)
			flags, err = unix.FcntlInt(uintptr(c.fd()), unix.F_GETFD, 0)
			assert.NoError(t, err)
			assert.NotZero(t, flags&unix.FD_CLOEXEC)
			assert.Equal(t, 1, l.Load())
			assert.NoError(t, c.Socket.Close(false))
			assert.Zero(t, l.Load())
			assert.Zero(t, l.slots.open)
		})
		_, err = far.Read(back)
		assert.Same(t, io.EOF, err)
		assert.Equal(t, files-1, openFiles())
	}
}

// A type that embeds a connection may do more than it does.
type wrapped struct{ *net.TCPConn }

func TestSHL6_WhatCannotBeAdoptedStaysTheCallers(t *testing.T) {
	l := newLoop(t, Config{})
	refused := func(nc net.Conn) error {
		c := newCaller(l)
		var err error
		c.on(t, func() { err = c.Adopt(nc, l, c) })
		require.Error(t, err)
		assert.Empty(t, c.told)
		assert.Zero(t, l.Load())
		return err
	}
	tcp, _ := ncPair(t, "tcp", "127.0.0.1:0")
	gram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@galago-adopt-test", Net: "unixgram"})
	require.NoError(t, err)
	udp, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	files := openFiles()
	for _, k := range []struct {
		nc   net.Conn
		want string
	}{
		{nil, "<nil>"},
		{(*net.TCPConn)(nil), "*net.TCPConn"},
		{(*net.UnixConn)(nil), "*net.UnixConn"},
		{gram, "*net.UnixConn"},
		{udp, "*net.UDPConn"},
	} {
		err := refused(k.nc)
		var e *AdoptError
		require.ErrorAs(t, err, &e)
		assert.Equal(t, k.nc, e.Conn)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, k.want)
	}
	assert.Equal(t, files, openFiles())
	assert.NoError(t, gram.Close())
	assert.NoError(t, udp.Close())

	pipe, _ := net.Pipe()
	require.NoError(t, tcp.Close())
	require.NoError(t, pipe.Close())
	for _, nc := range []net.Conn{tcp, wrapped{tcp.(*net.TCPConn)}, pipe} {
		assert.ErrorIs(t, refused(nc), net.ErrClosed)
	}
}

// What has no descriptor of its own is read and written by its own methods: a type that embeds a socket may do more.
func TestAdoptLeavesToOthersWhatTheyDo(t *testing.T) {
	l := newLoop(t, Config{})
	adopt := func(nc net.Conn) *caller {
		c := newCaller(l)
		c.on(t, func() { require.NoError(t, c.Adopt(nc, l, c)) })
		t.Cleanup(func() { c.on(t, func() { _ = c.Socket.Close(true) }) })
		assert.Equal(t, "connected", await(t, c.told, "the connection"))
		return c
	}
	for _, kind := range []string{"pipe", "wrapped"} {
		t.Run(kind, func(t *testing.T) {
			near, far := net.Pipe()
			if kind == "wrapped" {
				tcp, peer := ncPair(t, "tcp", "127.0.0.1:0")
				near, far = wrapped{tcp.(*net.TCPConn)}, peer
			}
			c := adopt(near)
			mustWrite(t, far, "ping")
			c.until(t, conn.Readable)
			got, err := c.readAll(t)
			assert.Equal(t, "ping", string(got))
			assert.Same(t, conn.ErrWouldBlock, err)
			c.on(t, func() {
				_, err := c.Write([][]byte{[]byte("po"), []byte("ng")})
				assert.Same(t, conn.ErrWouldBlock, err)
			})
			p := make([]byte, 4)
			_, err = io.ReadFull(far, p)
			require.NoError(t, err)
			assert.Equal(t, "pong", string(p))
			c.until(t, conn.Writable)
			c.on(t, func() {
				n, err := c.Write([][]byte{[]byte("po"), []byte("ng")})
				assert.NoError(t, err)
				assert.Equal(t, 4, n)
			})
			require.NoError(t, far.Close())
			c.until(t, conn.Hangup)
			c.on(t, func() {
				_, err := c.Read(p)
				assert.ErrorIs(t, err, io.EOF)
				assert.NoError(t, c.Socket.Close(false))
				assert.Zero(t, l.Load())
			})
		})
	}
}

func TestFLT6_AdoptedSocketThatCannotBeRegistered(t *testing.T) {
	sys := broken()
	fail := false
	sys.control = func(ep, op, fd int, ev *unix.EpollEvent) error {
		if fail && op == unix.EPOLL_CTL_ADD {
			return unix.ENOSPC
		}
		return unix.EpollCtl(ep, op, fd, ev)
	}
	l := newLoop(t, Config{sys: sys})
	nc, far := ncPair(t, "tcp", "127.0.0.1:0")
	files := openFiles()
	c := newCaller(l)
	c.on(t, func() {
		fail = true
		assert.ErrorIs(t, c.Adopt(nc, l, c), syscall.ENOSPC)
		assert.Zero(t, l.slots.open)
		assert.Zero(t, l.Load())
	})
	assert.Empty(t, c.told)
	assert.Equal(t, files, openFiles())
	works(t, nc, far)
}

var _ conn.Backend = (*caller)(nil)
