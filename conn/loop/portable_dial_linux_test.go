package loop

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Whatever Control does, the next address is tried, and no descriptor is left.
func TestDIAL14_ControlOnAPortableLoop(t *testing.T) {
	no := errors.New("no")
	for _, k := range []struct {
		name, want string
		do         func()
	}{
		{"refuses", "no", nil},
		{"panics", "Options.Control panicked: on purpose", panicsOnPurpose},
		{"ends the goroutine", "Options.Control ended the goroutine", runtime.Goexit},
	} {
		t.Run(k.name, func(t *testing.T) {
			reported := make(chan string, 10)
			l := newLoop(t, Config{Portable: true, Panicked: func(task Task, value any, stack []byte) {
				assert.Equal(t, "on purpose", value)
				reported <- string(stack)
			}})
			control := func(network, _ string, _ syscall.RawConn) error {
				assert.Equal(t, "tcp4", network)
				if k.do != nil {
					k.do()
				}
				return no
			}
			cfg := DialConfig{Network: "tcp", Addr: "far.example:7669", Resolver: book{"far.example": {"127.0.0.2", "127.0.0.1"}}}
			cfg.Options.Control = control
			files := openFiles()
			c := miss(t, l, context.Background(), cfg)
			assert.Equal(t, 2, strings.Count(c.err.Error(), k.want), "%v", c.err)
			if k.name == "refuses" {
				assert.ErrorIs(t, c.err, no)
			}
			if k.name == "panics" {
				for range 2 {
					assert.Contains(t, await(t, reported, "the report"), "panicsOnPurpose")
				}
			}
			assert.Equal(t, files, openFiles())
			assert.Zero(t, l.Load())
		})
	}
}

// A context that ends says all there is to say: that it interrupted the attempts is no news.
func TestDIAL15_ASilentTargetOfAPortableLoop(t *testing.T) {
	enough := errors.New("enough")
	addr := silent(t)
	for range 20 {
		l := newLoop(t, Config{Portable: true})
		files := openFiles()
		ctx, cancel := context.WithCancelCause(context.Background())
		c := call(t, l, ctx, DialConfig{Network: "tcp", Addr: addr})
		assert.Equal(t, "connecting 1", await(t, c.told, "the attempt"))
		cancel(enough)
		assert.Equal(t, "failed: dial", await(t, c.told, "the failure"))
		assert.ErrorIs(t, c.err, enough)
		assert.EqualError(t, c.err, "dial tcp "+addr+": context canceled: enough")
		assert.NoError(t, l.Close())
		assert.Equal(t, files, openFiles())
	}
}

// Unix-domain sockets, as the others: a dial that fails names the path.
func TestDialUnixSocketsOnAPortableLoop(t *testing.T) {
	l := newLoop(t, Config{Portable: true})
	path := t.TempDir() + "/none"
	c := miss(t, l, context.Background(), DialConfig{Network: "unix", Addr: path})
	assert.ErrorIs(t, c.err, syscall.ENOENT)
	assert.Equal(t, 1, strings.Count(c.err.Error(), path), "%v", c.err)
	a := &portedAttempt{d: &dialer{cfg: DialConfig{Addr: path}}}
	assert.Equal(t, "attempt to connect to "+path, a.String())
}

// An attempt goes on for a while after its dial is over, and needs nothing of it.
func TestDIAL11_CloseWhileAPortableLoopConnects(t *testing.T) {
	l := newLoop(t, Config{Portable: true, Panicked: func(_ Task, value any, _ []byte) { assert.Fail(t, "panic", value) }})
	addr := silent(t)
	for range 100 {
		cfg := DialConfig{Network: "tcp", Addr: addr, Options: Options{ReadBuffer: 10_000}}
		cfg.Options.Control = func(string, string, syscall.RawConn) error { return nil }
		c := call(t, l, context.Background(), cfg)
		await(t, c.told, "the attempt")
		c.on(t, func() { assert.NoError(t, c.Socket.Close(true)) })
	}
}

// A connection that comes when nobody wants it any more is closed, and nobody is told.
func TestDIAL11_APortableAttemptThatIsOver(t *testing.T) {
	l := newLoop(t, Config{Portable: true})
	closed := func(far net.Conn) {
		t.Helper()
		_ = far.SetReadDeadline(time.Now().Add(patience))
		_, err := far.Read(make([]byte, 1))
		assert.Same(t, io.EOF, err)
	}
	for _, first := range []string{"over", "connected"} {
		near, far := net.Pipe()
		a := &portedAttempt{loop: l, d: &dialer{}}
		do(t, l, func() { // so that a's turn comes when both have happened
			if first == "over" {
				assert.NoError(t, a.close())
				a.ended(near, nil)
			} else {
				a.ended(near, nil)
				assert.NoError(t, a.close())
			}
		})
		closed(far)
		do(t, l, func() {})
		do(t, l, func() { assert.Equal(t, linkIdle, a.state.Load()) }) // it was not dropped by a panic
	}
}

// What package net does not set itself is set on both ends.
func TestOptionsOfAPortableLoop(t *testing.T) {
	for _, nagle := range []bool{false, true} {
		l := newLoop(t, Config{Portable: true})
		o := Options{Nagle: nagle}
		s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Options: o}, nil)
		c := reach(t, l, DialConfig{Network: "tcp", Addr: s.Addr().String(), Options: o})
		e := await(t, s.ends, "the other end")
		for _, end := range []*end{&c.end, e} {
			end.on(t, func() {
				raw, err := end.about.ported.nc.(*net.TCPConn).SyscallConn()
				require.NoError(t, err)
				require.NoError(t, raw.Control(func(fd uintptr) {
					v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY)
					assert.NoError(t, err)
					assert.Equal(t, nagle, v == 0)
				}))
			})
		}
		e.on(t, func() { assert.NoError(t, e.Socket.Close(true)) })
	}
}
