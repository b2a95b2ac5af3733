package loop

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDIAL14_ControlRefuses(t *testing.T) {
	s := newStage(t)
	no := errors.New("no")
	var kept syscall.RawConn
	o := Options{ReadBuffer: 30_000, Control: func(network, address string, c syscall.RawConn) error {
		s.log = append(s.log, "control "+network+" "+address)
		kept = c
		assert.NoError(t, c.Control(func(fd uintptr) {
			v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
			assert.NoError(t, err)
			assert.Equal(t, 60_000, v, "all else is set before")
		}))
		if address == "192.0.2.1:7669" {
			return no
		}
		return nil
	}}
	cfg := DialConfig{Network: "tcp", Addr: "far.example:7669", Options: o, Resolver: book{"far.example": {"192.0.2.1", "2001:db8::1"}}}
	c := s.call(context.Background(), cfg)
	s.posted()
	assert.Equal(t, []string{"control tcp4 192.0.2.1:7669", "control tcp6 [2001:db8::1]:7669", "connect [2001:db8::1]:7669"}, s.log)
	assert.Error(t, kept.Control(func(uintptr) { assert.Fail(t, "it is for that call only") }))
	s.failure[to("2001:db8::1")] = int(unix.ECONNREFUSED)
	s.event(1, hungUp)
	assert.Equal(t, []string{"connecting 1", "failed: dial"}, c.heard())
	assert.ErrorIs(t, c.err, no)
	assert.ErrorIs(t, c.err, syscall.ECONNREFUSED)
	s.empty(0)
}

func TestDIAL14_ControlThatPanics(t *testing.T) {
	s := newStage(t)
	reported := 0
	s.l.cfg.Panicked = func(task Task, value any, stack []byte) {
		reported++
		assert.Equal(t, "on purpose", value)
		assert.Contains(t, string(stack), "panicsOnPurpose")
	}
	cfg := DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"}
	cfg.Options.Control = func(string, string, syscall.RawConn) error { panicsOnPurpose(); return nil }
	c := s.call(context.Background(), cfg)
	assert.Equal(t, []string{"failed: dial"}, c.heard())
	assert.ErrorContains(t, c.err, "Options.Control panicked: on purpose")
	assert.Equal(t, 1, reported)
	s.empty(0)
}

// The task gets another turn, and goes on with the next address.
func TestDIAL14_ControlThatEndsTheGoroutine(t *testing.T) {
	l := newLoop(t, Config{})
	server := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	cfg := DialConfig{Network: "tcp", Addr: "far.example:" + portOf(server), Resolver: book{"far.example": {"127.0.0.2", "127.0.0.1"}}}
	first := true
	cfg.Options.Control = func(string, string, syscall.RawConn) error {
		if first {
			first = false
			runtime.Goexit()
		}
		return nil
	}
	c := call(t, l, context.Background(), cfg)
	assert.Equal(t, "connecting 1", await(t, c.told, "an attempt"))
	assert.Equal(t, "connected", await(t, c.told, "the connection"))
	c.on(t, func() { assert.NoError(t, c.Socket.Close(false)) })
}

func TestDIAL14_ControlThatCloses(t *testing.T) {
	s := newStage(t)
	c := newCaller(s.l)
	cfg := DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"}
	cfg.Options.Control = func(string, string, syscall.RawConn) error { return c.Socket.Close(false) }
	require.NoError(t, c.Dial(context.Background(), s.l, c, cfg))
	s.turns()
	assert.Empty(t, c.heard())
	assert.Empty(t, s.log)
	s.empty(0)
}

// A watched context counts who waits for its end.
type watched struct {
	context.Context
	done     chan struct{}
	watchers int
}

func (w *watched) Done() <-chan struct{} { return w.done }

func (w *watched) AfterFunc(f func()) func() bool {
	w.watchers++
	return func() bool { w.watchers--; return true }
}

func TestDIAL15_TheContextEnds(t *testing.T) {
	enough := errors.New("enough")
	t.Run("before", func(t *testing.T) {
		s := newStage(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c := s.call(ctx, DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"})
		assert.Equal(t, []string{"failed: dial"}, c.heard())
		assert.ErrorIs(t, c.err, context.Canceled)
		assert.Empty(t, s.fds)
		s.empty(0)
	})
	t.Run("while dialing", func(t *testing.T) {
		s := newStage(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		s.connects[to("192.0.2.1")] = unix.EHOSTUNREACH
		c := s.call(ctx, DialConfig{Network: "tcp", Addr: "far.example:7669",
			Resolver: book{"far.example": {"192.0.2.1", "192.0.2.2"}}})
		s.posted()
		assert.Equal(t, []string{"connecting 1"}, c.heard())
		cancel(enough)
		s.posted()
		assert.Equal(t, []string{"failed: dial"}, c.heard())
		assert.ErrorIs(t, c.err, context.Canceled)
		assert.ErrorIs(t, c.err, enough)
		assert.ErrorIs(t, c.err, syscall.EHOSTUNREACH, "what is known so far")
		s.empty(0)
	})
	t.Run("while looking up", func(t *testing.T) {
		s := newStage(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		heeded := make(chan struct{})
		c := s.call(ctx, DialConfig{Network: "tcp", Addr: "far.example:7669",
			Resolver: resolver(func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
				<-ctx.Done()
				close(heeded)
				return nil, errors.New("interrupted")
			})})
		cancel(enough)
		await(t, heeded, "the resolver")
		s.posted()
		assert.Equal(t, []string{"failed: look-up"}, c.heard())
		assert.ErrorIs(t, c.err, context.Canceled)
		assert.ErrorIs(t, c.err, enough)
		assert.ErrorContains(t, c.err, "far.example:7669")
		s.empty(0)
	})
	t.Run("afterwards", func(t *testing.T) {
		s := newStage(t)
		ctx := &watched{Context: context.Background(), done: make(chan struct{})}
		c := s.call(ctx, DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"})
		assert.Equal(t, 1, ctx.watchers)
		s.answered[to("192.0.2.1")] = true
		s.event(0, unix.EPOLLOUT)
		assert.Equal(t, []string{"connecting 1", "connected"}, c.heard())
		assert.Zero(t, ctx.watchers)
		close(ctx.done)
		s.l.QueueLocal(s.dialer) // as if it had been on its way
		s.turns()
		assert.Empty(t, c.heard())
		s.empty(1)
		require.NoError(t, c.Socket.Close(false))
	})
}

// The look-up is told that nobody waits for it.
func TestDIAL11_CloseEndsTheLookUp(t *testing.T) {
	s := newStage(t)
	heeded := make(chan struct{})
	c := s.call(context.Background(), DialConfig{Network: "tcp", Addr: "far.example:7669",
		Resolver: resolver(func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			close(heeded)
			return nil, ctx.Err()
		})})
	require.NoError(t, c.Socket.Close(true))
	await(t, heeded, "the resolver")
	s.posted()
	assert.Empty(t, c.heard())
	s.empty(0)
}
