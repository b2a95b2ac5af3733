package loop

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

func TestAcceptedSocketsInheritTheOptions(t *testing.T) {
	get := func(e *end, level, name int) (v int) {
		e.on(t, func() {
			var err error
			v, err = unix.GetsockoptInt(e.fd(), level, name)
			assert.NoError(t, err)
		})
		return v
	}
	probes := func(e *end) [4]int {
		return [4]int{
			get(e, unix.SOL_SOCKET, unix.SO_KEEPALIVE), get(e, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
			get(e, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), get(e, unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
		}
	}
	l := newLoop(t, Config{})
	e, _ := pair(t, l, ListenConfig{})
	assert.Equal(t, 1, get(e, unix.IPPROTO_TCP, unix.TCP_NODELAY))
	assert.Equal(t, [4]int{1, 15, 15, 9}, probes(e))
	assert.Equal(t, unix.IPPROTO_TCP, get(e, unix.SOL_SOCKET, unix.SO_PROTOCOL), "not plain TCP")
	flags := func(cmd int) (f int) {
		e.on(t, func() { f, _ = unix.FcntlInt(uintptr(e.fd()), cmd, 0) })
		return f
	}
	assert.NotZero(t, flags(unix.F_GETFD)&unix.FD_CLOEXEC)
	assert.NotZero(t, flags(unix.F_GETFL)&unix.O_NONBLOCK)

	var controlled []string
	o := Options{
		Nagle: true, ReadBuffer: 30_000, WriteBuffer: 20_000,
		KeepAlive: net.KeepAliveConfig{Enable: true, Idle: 90 * time.Second, Interval: 1500 * time.Millisecond, Count: -1},
		Control: func(network, address string, _ syscall.RawConn) error {
			controlled = append(controlled, network+" "+address)
			return nil
		},
	}
	e, _ = pair(t, l, ListenConfig{Options: o})
	assert.Zero(t, get(e, unix.IPPROTO_TCP, unix.TCP_NODELAY))
	p := probes(e)
	assert.Equal(t, []int{1, 90, 2}, p[:3])
	assert.Equal(t, 60_000, get(e, unix.SOL_SOCKET, unix.SO_RCVBUF), "Linux doubles what it is told")
	assert.Equal(t, 40_000, get(e, unix.SOL_SOCKET, unix.SO_SNDBUF))
	assert.Equal(t, []string{"tcp4 127.0.0.1:0"}, controlled)

	e, _ = pair(t, l, ListenConfig{Options: Options{KeepAlive: net.KeepAliveConfig{Idle: -1}}})
	assert.Zero(t, get(e, unix.SOL_SOCKET, unix.SO_KEEPALIVE))
}

func TestUnixSockets(t *testing.T) {
	l := newLoop(t, Config{})
	for _, addr := range []string{filepath.Join(t.TempDir(), "socket"), "@galago-loop-test"} {
		s := serve(t, []*Loop{l}, "unix", addr, ListenConfig{}, nil)
		c := dial(t, s.Addr())
		e := await(t, s.ends, "the connection")
		assert.Zero(t, e.Info())
		mustWrite(t, c, "hello")
		e.until(t, conn.Readable)
		e.on(t, func() {
			n, err := e.Unread()
			assert.NoError(t, err)
			assert.Equal(t, 5, n)
		})
		got, _ := e.readAll(t)
		assert.Equal(t, "hello", string(got))
		require.NoError(t, c.Close())
		e.until(t, conn.Hangup)
		_, err := e.readAll(t)
		assert.Same(t, io.EOF, err)
		e.on(t, func() { assert.NoError(t, e.Socket.Close(true)) })
		require.NoError(t, s.Close())
		_, err = os.Stat(addr)
		assert.ErrorIs(t, err, os.ErrNotExist)
	}
}
