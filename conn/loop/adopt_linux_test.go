package loop

import (
	"crypto/tls"
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
	near, far := net.Pipe()
	tcp, peer := ncPair(t, "tcp", "127.0.0.1:0")
	files := openFiles()
	for _, k := range []struct {
		nc   net.Conn
		want string
	}{
		{near, "*net.pipe"},
		{tls.Client(tcp, &tls.Config{ServerName: "a"}), "*tls.Conn"},
		{wrapped{tcp.(*net.TCPConn)}, "loop.wrapped"},
		{nil, "<nil>"},
	} {
		err := refused(k.nc)
		var e *AdoptError
		require.ErrorAs(t, err, &e)
		assert.Equal(t, k.nc, e.Conn)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, k.want)
	}
	works(t, near, far)
	works(t, tcp, peer)
	assert.Equal(t, files, openFiles())
	require.NoError(t, near.Close())
	require.NoError(t, far.Close())

	gram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@galago-adopt-test", Net: "unixgram"})
	require.NoError(t, err)
	assert.ErrorIs(t, refused(gram), errors.ErrUnsupported)
	assert.NoError(t, gram.Close())

	require.NoError(t, tcp.Close())
	assert.ErrorIs(t, refused(tcp), net.ErrClosed)
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
