package loop

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

const hungUp = unix.EPOLLOUT | unix.EPOLLERR | unix.EPOLLHUP

func TestDIAL4_WriteableIsNoSuccess(t *testing.T) {
	for name, k := range map[string]struct {
		failure int
		want    error
	}{
		"a reason":              {int(unix.ECONNREFUSED), syscall.ECONNREFUSED},
		"a reason asked before": {0, syscall.ENOTCONN},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.failure[to("192.0.2.1")] = k.failure
			c := s.call(context.Background(), DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"})
			assert.Equal(t, []string{"connecting 1"}, c.heard())
			s.event(0, hungUp)
			assert.Equal(t, []string{"failed: dial"}, c.heard())
			assert.ErrorIs(t, c.err, k.want)
			assert.ErrorContains(t, c.err, "192.0.2.1:7669: connect")
			c.SetDeadline(s.now.Add(time.Hour)) // the owner does not know yet
			s.empty(0)
			assert.NoError(t, c.Socket.Close(true))
			assert.Equal(t, "192.0.2.1", c.Info().Host)
			assert.True(t, c.Info().Dialed)
		})
	}
}

// An event without a meaning decides nothing.
func TestDIAL4_EventsThatSayNothing(t *testing.T) {
	s := newStage(t)
	far := to("192.0.2.1")
	c := s.call(context.Background(), DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"})
	assert.Empty(t, s.l.timers.heap, "there is no other address to wait for")
	s.event(0, unix.EPOLLOUT)
	for _, errno := range []syscall.Errno{unix.EINPROGRESS, unix.EALREADY, unix.EINTR} {
		s.failure[far] = int(errno)
		s.event(0, unix.EPOLLOUT)
	}
	assert.Equal(t, []string{"connecting 1"}, c.heard())
	s.failure[far], s.answered[far] = 0, true
	s.event(0, unix.EPOLLOUT)
	assert.Equal(t, []string{"connected"}, c.heard())
	s.empty(1)
	assert.NoError(t, c.Socket.Close(false))
	s.empty(0)
}

func TestDIAL5_TheResolverFails(t *testing.T) {
	s := newStage(t)
	gone := &net.DNSError{Err: "no such host", Name: "far.example", IsNotFound: true}
	cfg := DialConfig{Network: "tcp", Addr: "far.example:7669",
		Resolver: resolver(func(_ context.Context, network, host string) ([]netip.Addr, error) {
			assert.Equal(t, "ip far.example", network+" "+host)
			return nil, gone
		})}
	c := s.call(context.Background(), cfg)
	assert.Empty(t, c.heard())
	s.posted()
	assert.Equal(t, []string{"failed: look-up"}, c.heard())
	var told *net.DNSError
	require.ErrorAs(t, c.err, &told)
	assert.Same(t, gone, told)
	assert.Empty(t, s.fds)
	s.empty(0)
}

func TestDIAL5_NoAddressOfTheFamily(t *testing.T) {
	for _, cfg := range []DialConfig{
		{Network: "tcp6"},
		{Network: "tcp", Local: netip.MustParseAddrPort("[::1]:0")},
	} {
		s := newStage(t)
		cfg.Addr, cfg.Resolver = "far.example:7669", book{"far.example": {"192.0.2.1", "::ffff:192.0.2.2"}}
		c := s.call(context.Background(), cfg)
		s.posted()
		assert.Equal(t, []string{"failed: look-up"}, c.heard())
		assert.ErrorContains(t, c.err, "far.example")
		assert.ErrorContains(t, c.err, "no suitable address")
		assert.Empty(t, s.fds)
		s.empty(0)
	}
}

func TestDIAL6_AllFailAtOnce(t *testing.T) {
	s := newStage(t)
	addrs := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
	for _, a := range addrs {
		s.connects[to(a)] = unix.ENETUNREACH
	}
	c := s.lookedUp(addrs...)
	assert.Equal(t, []string{"connecting 1", "failed: dial"}, c.heard())
	assert.ErrorIs(t, c.err, syscall.ENETUNREACH)
	for _, a := range addrs {
		assert.ErrorContains(t, c.err, "dial tcp "+a+":7669: connect: network is unreachable")
	}
	s.empty(0)
}

func TestDIAL7_TheDeadlineEndsADial(t *testing.T) {
	hangs := make(chan struct{})
	defer close(hangs)
	silent := DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"}
	hanging := DialConfig{Network: "tcp", Addr: "far.example:7669",
		Resolver: resolver(func(context.Context, string, string) ([]netip.Addr, error) {
			<-hangs // whatever the context says
			return nil, errors.New("too late")
		})}
	for name, cfg := range map[string]DialConfig{"nobody answers": silent, "the resolver hangs": hanging} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			c := s.call(context.Background(), cfg)
			c.heard()
			c.SetDeadline(s.now.Add(300 * time.Millisecond))
			s.pass(299 * time.Millisecond)
			assert.Empty(t, c.due)
			s.pass(time.Millisecond)
			await(t, c.due, "the deadline")
			c.SetDeadline(s.now.Add(time.Hour)) // Close takes it away
			require.NoError(t, c.Socket.Close(true))
			s.empty(0)
			s.pass(time.Second)
			assert.Empty(t, c.heard())
		})
	}
}

func TestDIAL9_TheSecondAddressAfter250ms(t *testing.T) {
	s := newStage(t)
	c := s.lookedUp("192.0.2.1", "192.0.2.2")
	assert.Equal(t, []string{"connecting 1"}, c.heard())
	assert.Equal(t, 1, s.l.Load())
	s.pass(249 * time.Millisecond)
	assert.Len(t, s.fds, 1)
	s.pass(time.Millisecond)
	assert.Equal(t, []string{"connecting 2"}, c.heard())
	assert.Equal(t, []string{"192.0.2.1", "192.0.2.2"}, s.dialed())
	assert.Equal(t, 1, s.l.Load())
	s.pass(time.Hour)
	assert.Empty(t, c.heard())

	late := s.slot[s.fds[0]]
	s.answered[to("192.0.2.2")] = true
	s.event(1, unix.EPOLLOUT)
	assert.Equal(t, []string{"connected"}, c.heard())
	assert.Equal(t, conn.Writable, <-c.ready, "what the event said is not said again, so it is passed on")
	assert.Equal(t, to("192.0.2.2"), c.Info().Remote)
	assert.Equal(t, "far.example", c.Info().Host)
	assert.True(t, c.Info().Dialed)
	assert.Equal(t, s.fds[1], c.fd())
	s.empty(1)

	late.Events = unix.EPOLLOUT // of the loser, from the same batch
	s.say(late)
	assert.Empty(t, c.ready)
	s.event(1, unix.EPOLLIN)
	assert.Equal(t, conn.Readable, <-c.ready, "the winner keeps its registration")
	require.NoError(t, c.Socket.Close(true))
	s.empty(0)
}

func TestDIAL10_TheSecondAddressWhenTheFirstRefuses(t *testing.T) {
	s := newStage(t)
	c := s.lookedUp("192.0.2.1", "192.0.2.2", "192.0.2.3")
	s.pass(10 * time.Millisecond)
	s.failure[to("192.0.2.1")] = int(unix.ECONNREFUSED)
	s.event(0, hungUp)
	assert.Equal(t, []string{"192.0.2.1", "192.0.2.2"}, s.dialed())
	assert.Equal(t, []string{"connecting 1"}, c.heard(), "there was one, and there is one")
	s.pass(249 * time.Millisecond)
	assert.Len(t, s.fds, 2, "the second has 250 ms of its own")
	s.pass(time.Millisecond)
	assert.Len(t, s.fds, 3)
	s.failure[to("192.0.2.2")] = int(unix.ECONNREFUSED)
	s.event(1, hungUp)
	assert.Equal(t, []string{"connecting 2", "connecting 1"}, c.heard())
	s.answered[to("192.0.2.3")] = true
	s.event(2, unix.EPOLLOUT)
	assert.Equal(t, []string{"connected"}, c.heard())
	s.empty(1)
	require.NoError(t, c.Socket.Close(true))
}

func TestDIAL11_CloseEndsAllAttempts(t *testing.T) {
	s := newStage(t)
	c := s.lookedUp("192.0.2.1", "192.0.2.2", "192.0.2.3")
	s.pass(attemptDelay)
	assert.Equal(t, []string{"connecting 1", "connecting 2"}, c.heard())
	events := []unix.EpollEvent{s.slot[s.fds[0]], s.slot[s.fds[1]]}
	c.SetDeadline(s.now.Add(30 * time.Second))
	require.NoError(t, c.Socket.Close(true))
	s.empty(0)
	s.answered[to("192.0.2.1")] = true
	for _, ev := range events {
		ev.Events = unix.EPOLLOUT
		s.say(ev)
	}
	s.pass(time.Minute)
	assert.Empty(t, c.heard())
	assert.Len(t, s.fds, 2)
	assert.NoError(t, c.Socket.Close(true), "a second Close does nothing")
	s.empty(0)
}

// Both attempts have something to say when the first of them ends the dial.
func TestDIAL11_CloseBetweenEventAndTurn(t *testing.T) {
	for _, ends := range []func(s *stage, c *caller){
		func(_ *stage, c *caller) { _ = c.Socket.Close(true) },
		func(s *stage, _ *caller) { s.turns() }, // the first wins
	} {
		s := newStage(t)
		c := s.lookedUp("192.0.2.1", "192.0.2.2")
		s.pass(attemptDelay)
		s.answered[to("192.0.2.1")], s.answered[to("192.0.2.2")] = true, true
		s.tell(0, unix.EPOLLOUT)
		s.tell(1, unix.EPOLLOUT|unix.EPOLLIN)
		ends(s, c)
		s.turns()
		c.heard()
		_ = c.Socket.Close(true)
		s.empty(0)
	}
}

func TestDIAL11_CloseWhileBeingTold(t *testing.T) {
	s := newStage(t)
	c := newCaller(s.l)
	c.onConnecting = func() { assert.NoError(t, c.Socket.Close(true)) }
	require.NoError(t, c.Dial(context.Background(), s.l, c, DialConfig{Network: "tcp", Addr: "192.0.2.1:7669"}))
	s.turns()
	assert.Equal(t, []string{"connecting 1"}, c.heard())
	assert.Empty(t, s.log, "it was not connected any more")
	s.empty(0)
}

func TestFLT1_NoDescriptorForADial(t *testing.T) {
	s := newStage(t)
	s.socket = func() error {
		if len(s.fds) == 1 {
			return unix.EMFILE
		}
		return nil
	}
	c := s.lookedUp("192.0.2.1", "192.0.2.2")
	s.pass(attemptDelay)
	assert.Equal(t, []string{"connecting 1"}, c.heard(), "the first attempt goes on")
	s.failure[to("192.0.2.1")] = int(unix.ETIMEDOUT)
	s.event(0, hungUp)
	assert.Equal(t, []string{"failed: dial"}, c.heard())
	assert.ErrorIs(t, c.err, syscall.EMFILE)
	assert.ErrorIs(t, c.err, syscall.ETIMEDOUT)
	assert.ErrorContains(t, c.err, "192.0.2.2:7669: socket")
	s.empty(0)
}

func TestFLT6_AnAttemptThatCannotBeRegistered(t *testing.T) {
	s := newStage(t)
	s.connects[to("192.0.2.1")] = nil // connected at once
	s.connects[to("192.0.2.2")] = nil
	s.register = func(fd int) error {
		if fd == s.fds[0] && len(s.fds) == 1 {
			return unix.ENOSPC
		}
		return nil
	}
	s.answered[to("192.0.2.2")] = true
	c := s.lookedUp("192.0.2.1", "192.0.2.2")
	assert.Equal(t, []string{"connecting 1", "connected"}, c.heard())
	assert.Equal(t, to("192.0.2.2"), c.Info().Remote)
	s.empty(1)
	require.NoError(t, c.Socket.Close(false))
	s.empty(0)
}

// Whatever happens in whatever order: one end, and nothing left.
func TestDIAL9_AnyRaceHasOneEnd(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newStage(t)
		addrs := []string{"192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3"}[:1+r.IntN(5)]
		for _, a := range addrs {
			switch r.IntN(8) {
			case 0:
				s.connects[to(a)] = unix.ENETUNREACH
			case 1:
				s.connects[to(a)] = nil
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		c := s.call(ctx, DialConfig{Network: "tcp", Addr: "far.example:7669", Resolver: book{"far.example": addrs}})
		s.posted()
		for range 40 {
			n := r.IntN(len(addrs))
			if k := r.IntN(20); k == 0 {
				s.cancel(c, cancel)
			} else if k == 1 {
				_ = c.Socket.Close(true)
				c.told <- "closed"
			} else if k < 8 {
				s.pass(time.Duration(r.IntN(200)) * time.Millisecond)
			} else if n < len(s.fds) {
				if _, ok := s.slot[s.fds[n]]; ok {
					far := s.to[s.fds[n]]
					switch r.IntN(4) {
					case 0:
						s.answered[far] = true
					case 1:
						s.failure[far] = int(unix.ECONNREFUSED)
					}
					s.tell(n, []uint32{unix.EPOLLOUT, hungUp, unix.EPOLLOUT | unix.EPOLLIN}[r.IntN(3)])
				}
			}
			if r.IntN(2) == 0 {
				s.turns()
			}
			if c.number != 0 {
				s.empty(1)
			}
		}
		s.cancel(c, cancel)
		ends := 0
		for i, word := range c.heard() {
			if word == "connected" || word == "failed: dial" {
				ends++
			} else if word != "closed" {
				assert.Zero(t, ends, "seed %d: %q came after the end, at %d", seed, word, i)
			}
		}
		assert.LessOrEqual(t, ends, 1, "seed %d", seed)
		_ = c.Socket.Close(true)
		s.empty(0)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// cancel ends the context of c's dial.
func (s *stage) cancel(c *caller, cancel func()) {
	s.turns()
	dialing := s.l.slots.open > 0 && c.number == 0
	cancel()
	if dialing {
		s.posted()
	}
}
