package liveness_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor/liveness"
)

func option(t *testing.T, c syscall.Conn, level, name int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, name) }))
	require.NoError(t, err)
	return value
}

func assertWatched(t *testing.T, c syscall.Conn, idle, interval, count, user int) {
	t.Helper()
	assert.Equal(t, 1, option(t, c, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))
	assert.Equal(t, idle, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), "idle")
	assert.Equal(t, interval, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL), "interval")
	assert.Equal(t, count, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT), "count")
	assert.Equal(t, user, option(t, c, syscall.IPPROTO_TCP, 18), "user timeout")
}

// One call for a listener is enough: what it accepts inherits all of it.
func TestOptionsOfTheSystemAreInherited(t *testing.T) {
	o := liveness.OS{Idle: 1500 * ms, Interval: 7 * s, Count: 5, UserTimeout: 2500*ms + 1}
	off := net.KeepAliveConfig{} // so that package net changes nothing on what it accepts
	lc := net.ListenConfig{Control: o.Control, KeepAlive: -1, KeepAliveConfig: off}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	d := net.Dialer{Control: liveness.OSFor(40 * s).Control, KeepAlive: -1}
	near, err := d.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer near.Close()
	far, err := ln.Accept()
	require.NoError(t, err)
	defer far.Close()
	assertWatched(t, far.(*net.TCPConn), 2, 7, 5, 2501)
	assertWatched(t, near.(*net.TCPConn), 10, 10, 3, 40_000)

	require.NoError(t, near.(*net.TCPConn).SetKeepAliveConfig(o.KeepAlive()))
	assertWatched(t, near.(*net.TCPConn), 2, 7, 5, 40_000)
}

func TestWhatFitsAnyTimeout(t *testing.T) {
	for _, test := range []struct{ t, idle, user time.Duration }{
		{10 * ms, s, 10 * ms},
		{3 * s, s, 3 * s},
		{40 * s, 10 * s, 40 * s},
		{day, 2 * h, day},
		{10 * year, 2 * h, (1<<31 - 1) * ms},
		{liveness.Never, 2 * h, 0},
	} {
		o := liveness.OSFor(test.t)
		assert.Equal(t, liveness.OS{Idle: test.idle, Interval: test.idle, Count: 3, UserTimeout: test.user}, o)
		d := net.Dialer{Control: o.Control}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		c, err := d.Dial("tcp", ln.Addr().String())
		require.NoError(t, err, "the system takes it")
		c.Close()
		ln.Close()
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for _, o := range []liveness.OS{{Idle: -1}, {Interval: 32768 * s}, {Count: 128}, {Count: -1}, {UserTimeout: -1}, {UserTimeout: 25 * day}} {
		d := net.Dialer{Control: o.Control}
		_, err := d.Dial("tcp", "127.0.0.1:1")
		assert.ErrorContains(t, err, "liveness: OS.")
	}
	var zero liveness.OS
	d := net.Dialer{Control: zero.Control}
	_, err := d.Dial("tcp", "127.0.0.1:1")
	assert.ErrorIs(t, err, syscall.ECONNREFUSED, "the zero OS changes no more than that the system probes at all")
}

// A unix-domain socket has none of this, and no need of it. Nothing is said of it, either.
func TestOptionsOfWhatIsNoTCPSocket(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	lc := net.ListenConfig{Control: liveness.OSFor(s).Control}
	ln, err := lc.Listen(context.Background(), "unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	ln.Close()
	assert.Empty(t, log.String())
}
