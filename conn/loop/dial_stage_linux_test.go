package loop

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// A caller is an end that dials, with what it was told.
type caller struct {
	end
	told         chan string
	stage        conn.Stage
	err          error
	onConnecting func() // may be nil
}

func newCaller(l *Loop) *caller {
	c := &caller{told: make(chan string, 1000)}
	c.l, c.ready, c.due = l, make(chan conn.Interest, 10_000), make(chan time.Time, 100)
	return c
}

func (c *caller) Connecting(n int) {
	c.told <- fmt.Sprint("connecting ", n)
	if c.onConnecting != nil {
		c.onConnecting()
	}
}

func (c *caller) Connected() { c.told <- "connected" }

func (c *caller) Failed(stage conn.Stage, err error) {
	c.stage, c.err = stage, err
	c.told <- "failed: " + stage.String()
}

// heard returns what c was told since the last call.
func (c *caller) heard() (all []string) {
	for len(c.told) > 0 {
		all = append(all, <-c.told)
	}
	return all
}

// A stage is a loop without a goroutine, on system calls that connect to nobody, in a time that passes when it is told
// to. Its sockets are real, so that options can be set on them, and leaks seen.
type stage struct {
	t      *testing.T
	l      *Loop
	sys    *system
	now    time.Time
	files  int
	dialer *dialer // the last one
	woken  chan struct{}

	log      []string                 // calls, in order
	fds      []int                    // sockets, in the order in which they were opened
	to       map[int]netip.AddrPort   // where they connect to
	slot     map[int]unix.EpollEvent  // what the poller was told of them
	connects map[netip.AddrPort]error // what connect returns; if missing, that it takes time
	failure  map[netip.AddrPort]int   // SO_ERROR
	answered map[netip.AddrPort]bool  // there is a peer
	socket   func() error             // may be nil
	register func(fd int) error       // may be nil
}

func newStage(t *testing.T) *stage {
	s := &stage{
		t: t, now: time.Now(), files: openFiles(), woken: make(chan struct{}, 1000), to: make(map[int]netip.AddrPort),
		slot: make(map[int]unix.EpollEvent), connects: make(map[netip.AddrPort]error),
		failure: make(map[netip.AddrPort]int), answered: make(map[netip.AddrPort]bool),
	}
	s.sys = broken()
	s.sys.wake = func(int) error { s.woken <- struct{}{}; return nil }
	s.sys.socket = func(family, kind, protocol int) (int, error) {
		if s.socket != nil {
			if err := s.socket(); err != nil {
				return -1, err
			}
		}
		fd, err := unix.Socket(family, kind, protocol)
		require.NoError(t, err)
		other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 200+len(s.fds)) // a number that is not used again
		require.NoError(t, unix.Close(fd))
		s.fds = append(s.fds, other)
		return other, err
	}
	s.sys.connect = func(fd int, sa unix.Sockaddr) error {
		to := addrPort(sa)
		s.to[fd] = to
		s.log = append(s.log, "connect "+to.String())
		if err, ok := s.connects[to]; ok {
			return err
		}
		return unix.EINPROGRESS
	}
	s.sys.sockErr = func(fd int) (int, error) { return s.failure[s.to[fd]], nil }
	s.sys.peer = func(fd int) (unix.Sockaddr, error) {
		if to := s.to[fd]; s.answered[to] {
			return sockaddr(to), nil
		}
		return nil, unix.ENOTCONN
	}
	s.sys.control = func(_, op, fd int, ev *unix.EpollEvent) error {
		if op == unix.EPOLL_CTL_DEL {
			assert.Contains(t, s.slot, fd)
			delete(s.slot, fd)
			return nil
		}
		assert.Equal(t, unix.EPOLL_CTL_ADD, op)
		assert.NotContains(t, s.slot, fd, "it is registered once")
		if s.register != nil {
			if err := s.register(fd); err != nil {
				return err
			}
		}
		s.slot[fd] = *ev
		return nil
	}
	s.l = &Loop{cfg: Config{sys: s.sys}, clock: clock{now: s.now}}
	s.l.timers.base = s.now
	s.l.poller.sys, s.l.waiter = s.sys, &s.l.poller
	s.l.sleep() // so that whoever posts wakes it
	return s
}

// call dials from the stage.
func (s *stage) call(ctx context.Context, cfg DialConfig) *caller {
	c := newCaller(s.l)
	gate := make(chan struct{})
	if inner := cfg.Resolver; inner != nil {
		// An answer that comes during the dialer's turn is not posted; let it come after it.
		cfg.Resolver = resolver(func(ctx context.Context, network, host string) ([]netip.Addr, error) {
			<-gate
			return inner.LookupNetIP(ctx, network, host)
		})
	}
	require.NoError(s.t, c.Dial(ctx, s.l, c, cfg))
	assert.Empty(s.t, c.told, "nothing is told within Dial")
	s.dialer = c.about.dialer
	s.turns()
	close(gate)
	return c
}

// turns gives turns until nobody on the loop wants one.
func (s *stage) turns() {
	for s.l.runq.n > 0 {
		t := s.l.runq.pop()
		if !t.link().begin() {
			continue
		}
		s.l.now = s.now
		if t.link().end(t.Turn(s.now, &s.l.mem)) {
			s.l.runq.push(t)
		}
	}
	s.l.slots.recycle()
}

// pass lets time pass.
func (s *stage) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.l.timers.expire(int64(s.now.Sub(s.l.timers.base)))
	s.turns()
}

// posted waits for another goroutine.
func (s *stage) posted() {
	s.t.Helper()
	await(s.t, s.woken, "something to be posted")
	for s.l.takeInbox(); !s.l.sleep(); s.l.takeInbox() {
		s.turns()
	}
	s.turns()
}

// event lets the poller say something of the n-th socket.
func (s *stage) event(n int, events uint32) {
	s.tell(n, events)
	s.turns()
}

func (s *stage) tell(n int, events uint32) {
	ev, ok := s.slot[s.fds[n]]
	require.True(s.t, ok, "it is not registered")
	ev.Events = events
	s.say(ev)
}

func (s *stage) say(ev unix.EpollEvent) {
	s.l.poller.events[0] = ev
	s.l.poller.n, s.l.poller.next = 1, 0
	s.l.poller.dispatch(s.l)
}

// dialed returns where the sockets connect to, in order.
func (s *stage) dialed() (all []string) {
	for _, fd := range s.fds {
		all = append(all, s.to[fd].Addr().String())
	}
	return all
}

// empty asserts that nothing is left, but for open sockets that won.
func (s *stage) empty(open int) {
	s.t.Helper()
	assert.Equal(s.t, s.files+open, openFiles(), "descriptors")
	assert.Len(s.t, s.slot, open, "registrations")
	assert.Equal(s.t, open, s.l.slots.open, "slots")
	assert.Equal(s.t, open, s.l.Load(), "load")
	assert.Empty(s.t, s.l.timers.heap, "deadlines")
}

// A book is a resolver that knows some names.
type book map[string][]string

func (b book) LookupNetIP(_ context.Context, network, host string) (addrs []netip.Addr, err error) {
	for _, a := range b[host] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

// A resolver is a function as one.
type resolver func(ctx context.Context, network, host string) ([]netip.Addr, error)

func (f resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return f(ctx, network, host)
}

// lookedUp is call for a name.
func (s *stage) lookedUp(addrs ...string) *caller {
	c := s.call(context.Background(), DialConfig{Network: "tcp", Addr: "far.example:7669", Resolver: book{"far.example": addrs}})
	s.posted()
	return c
}

func to(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 7669) }
