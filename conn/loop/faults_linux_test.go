package loop

import (
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// broken returns the real system calls, to be spoilt.
func broken() *system {
	s := realSystem
	return &s
}

// thrice makes f fail with EINTR three times before each result, and counts the failures.
func thrice(failures *atomic.Int64) func() bool {
	n := 0
	return func() bool {
		n++
		if n%4 != 0 {
			failures.Add(1)
			return true
		}
		return false
	}
}

func TestFLT4_InterruptedCallsAreRepeated(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		if cfg.Portable {
			t.Skip("package net makes the system calls")
		}
		var polls, waits, recvs, sends, msgs, wakes atomic.Int64
		sys := broken()
		failPoll, failWait, failRecv := thrice(&polls), thrice(&waits), thrice(&recvs)
		failSend, failMsg := thrice(&sends), thrice(&msgs)
		sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
			if failPoll() {
				return -1, unix.EINTR
			}
			return poll(ep, ev, aloud)
		}
		sys.wait = func(ep int, ev []unix.EpollEvent, ms int) (int, syscall.Errno) {
			if failWait() {
				return -1, unix.EINTR
			}
			return wait(ep, ev, ms)
		}
		sys.recv = func(fd int, p []byte, flags int) (int, syscall.Errno) {
			if failRecv() {
				return -1, unix.EINTR
			}
			return recv(fd, p, flags)
		}
		sys.send = func(fd int, p []byte) (int, syscall.Errno) {
			if failSend() {
				return -1, unix.EINTR
			}
			return send(fd, p)
		}
		sys.sendmsg = func(fd int, m *unix.Msghdr, size int) (int, syscall.Errno) {
			if failMsg() {
				return -1, unix.EINTR
			}
			return sendmsg(fd, m, size)
		}
		sys.wake = func(fd int) error {
			if wakes.Add(1)%4 != 0 {
				return unix.EINTR
			}
			return wake(fd)
		}
		cfg.sys = sys
		l := newLoop(t, cfg)
		e, c := pair(t, l, ListenConfig{})
		e.on(t, func() { echo(t, e) })
		for _, word := range []string{"x", "hello", "bye"} { // one buffer, and two
			mustWrite(t, c, word)
			back := make([]byte, len(word))
			_, err := io.ReadFull(c, back)
			require.NoError(t, err)
			assert.Equal(t, word, string(back))
		}
		start := time.Now()
		e.on(t, func() { e.turn = nil; e.SetDeadline(start.Add(30 * time.Millisecond)) })
		due := await(t, e.due, "the deadline")
		assert.GreaterOrEqual(t, due.Sub(start), 30*time.Millisecond)
		assert.Less(t, due.Sub(start), tooLate, "the wait begins anew after a signal")
		e.on(t, func() {
			_, err := e.Unread()
			assert.NoError(t, err)
		})
		seen := []*atomic.Int64{&recvs, &sends, &msgs}
		if cfg.noParks {
			for end := time.Now().Add(patience); wakes.Load() == 0 && time.Now().Before(end); {
				do(t, l, func() {}) // until one finds the loop asleep
			}
			seen = append(seen, &waits, &wakes)
		} else {
			seen = append(seen, &polls)
		}
		for i, n := range seen {
			assert.NotZero(t, n.Load(), "call %d was never interrupted", i)
		}
	})
}

// A wait that signals interrupt is as long as the deadline says: it goes on with the time that is left.
func TestFLT4_AnInterruptedWaitGoesOnWithTheTimeLeft(t *testing.T) {
	var asked []int
	sys := broken()
	sys.wait = func(ep int, ev []unix.EpollEvent, ms int) (int, syscall.Errno) {
		if ms < 0 || ms > 200 {
			return wait(ep, ev, ms)
		}
		n, errno := wait(ep, ev, min(ms, 10))
		if n == 0 { // and not a signal, which leaves all the time there was
			asked = append(asked, ms)
		}
		if n == 0 && ms > 10 {
			return -1, unix.EINTR
		}
		return n, errno
	}
	l := newLoop(t, Config{noParks: true, sys: sys})
	rung := make(chan time.Time)
	b := &bell{ring: func() { rung <- time.Now() }}
	var start time.Time
	do(t, l, func() { start = time.Now(); l.timers.set(b, start.Add(60*time.Millisecond)) })
	d := await(t, rung, "the deadline").Sub(start)
	assert.GreaterOrEqual(t, d, 60*time.Millisecond)
	assert.Less(t, d, tooLate)
	do(t, l, func() {
		assert.GreaterOrEqual(t, len(asked), 3)
		for i := 1; i < len(asked); i++ {
			assert.Less(t, asked[i], asked[i-1])
		}
	})
}

func TestFLT4_OtherErrorsNameTheCallAndTheReason(t *testing.T) {
	var recvErrno, sendErrno syscall.Errno
	sys := broken()
	sys.recv = func(fd int, p []byte, flags int) (int, syscall.Errno) {
		if recvErrno != 0 {
			return -1, recvErrno
		}
		return recv(fd, p, flags)
	}
	sys.send = func(fd int, p []byte) (int, syscall.Errno) {
		if sendErrno != 0 {
			return -1, sendErrno
		}
		return send(fd, p)
	}
	l := newLoop(t, Config{sys: sys})
	a, _ := pair(t, l, ListenConfig{})
	b, _ := pair(t, l, ListenConfig{})
	do(t, l, func() {
		recvErrno, sendErrno = unix.ETIMEDOUT, unix.ENOBUFS
		_, err := a.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		assert.ErrorContains(t, err, "recv")
		_, err = b.Write([][]byte{{1}})
		assert.ErrorIs(t, err, syscall.ENOBUFS)
		assert.ErrorContains(t, err, "send")
		_, err = b.Unread()
		assert.ErrorIs(t, err, syscall.ENOBUFS, "what the connection died of")
	})
}

// faked returns system calls whose next poll finds the events that are stored in batch, and nothing else.
func faked() (sys *system, batch *atomic.Pointer[[]unix.EpollEvent]) {
	sys, batch = broken(), new(atomic.Pointer[[]unix.EpollEvent])
	sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
		if b := batch.Swap(nil); b != nil {
			return copy(ev, *b), 0
		}
		return poll(ep, ev, aloud)
	}
	return sys, batch
}

// An event that was found before its socket left is dropped, whoever has number and slot by then.
func TestFLT5_StaleEventsAreDropped(t *testing.T) {
	var first, second, third *end
	sys, batch := faked()
	l := newLoop(t, Config{sys: sys})
	first, _ = pair(t, l, ListenConfig{})
	second, _ = pair(t, l, ListenConfig{})
	for _, e := range []*end{first, second} {
		e.until(t, conn.Writable)
	}
	spare, far, err := socketPair()
	require.NoError(t, err)
	defer func() { _ = unix.Close(far) }()

	third = newEnd(l)
	first.onReady = func(conn.Interest) {
		first.onReady = nil
		number := second.fd()
		assert.NoError(t, second.Socket.Close(false))
		// The new connection gets that very number, and asks for a slot in the same batch.
		assert.NoError(t, unix.Dup3(spare, number, unix.O_CLOEXEC))
		assert.NoError(t, unix.Close(spare))
		l.load.Add(1)
		assert.NoError(t, third.Open(&Accepted{loop: l, number: int32(number) + 1}, third))
		assert.Equal(t, number, third.fd())
	}
	do(t, l, func() {
		batch.Store(&[]unix.EpollEvent{event(first, unix.EPOLLIN), event(second, unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR)})
	})
	first.until(t, conn.Readable)
	do(t, l, func() {})
	got := third.until(t, conn.Writable)
	assert.Equal(t, conn.Writable, got, "the new connection heard of an event of the old one")
	assert.Empty(t, third.ready)
	assert.Empty(t, second.ready)

	// Even if it gets that slot, later.
	old := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLHUP, Fd: second.slot, Pad: 0}
	fourth, _ := pair(t, l, ListenConfig{})
	fourth.until(t, conn.Writable)
	do(t, l, func() {
		require.Equal(t, second.slot, fourth.slot, "another slot: this proves nothing")
		batch.Store(&[]unix.EpollEvent{old})
	})
	do(t, l, func() {})
	do(t, l, func() {})
	assert.Nil(t, batch.Load(), "the event was never looked at")
	assert.Empty(t, fourth.ready)
	do(t, l, func() {
		_, err := fourth.Write([][]byte{[]byte("alive")})
		assert.NoError(t, err)
		assert.NoError(t, third.Socket.Close(false))
	})
}

func event(e *end, events uint32) unix.EpollEvent {
	return unix.EpollEvent{Events: events, Fd: e.slot, Pad: int32(e.l.slots.at(e.slot).gen)}
}

func socketPair() (near, far int, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return p[0], p[1], err
}

// A panic while events are told loses none of the others: they will not be reported again.
func TestAPanicInReadyLosesNoOtherEvent(t *testing.T) {
	panics := make(chan Task, 1)
	sys, batch := faked()
	l := newLoop(t, Config{sys: sys, Panicked: func(task Task, _ any, _ []byte) { panics <- task }})
	a, _ := pair(t, l, ListenConfig{})
	b, _ := pair(t, l, ListenConfig{})
	for _, e := range []*end{a, b} {
		e.until(t, conn.Writable)
	}
	a.onReady = func(conn.Interest) { panicsOnPurpose() }
	do(t, l, func() {
		batch.Store(&[]unix.EpollEvent{event(a, unix.EPOLLIN), event(b, unix.EPOLLIN)})
	})
	assert.Same(t, a, await(t, panics, "the report"))
	b.until(t, conn.Readable)
	before := a.turns.Load()
	do(t, l, func() { l.QueueLocal(a) })
	do(t, l, func() {})
	assert.Equal(t, before, a.turns.Load(), "a dropped task got a turn")
}

// Without descriptors, New and Listen say what they could not do, and leave nothing.
func TestFLT1_NoDescriptorLeft(t *testing.T) {
	l := newLoop(t, Config{})
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	files := openFiles()
	// Each lets one descriptor more be opened than the one before.
	for spare := range 4 {
		limit := &unix.Rlimit{Cur: limitFor(spare), Max: old.Max}
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, limit))
		made, newErr := New(Config{})
		if newErr == nil {
			_ = made.Close()
		}
		ln, listenErr := Listen(t.Context(), []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(*Accepted) {}})
		if listenErr == nil {
			_ = ln.Close()
		}
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
		if spare < 3 {
			assert.ErrorIs(t, newErr, syscall.EMFILE)
			assert.ErrorContains(t, newErr, []string{"epoll_create1", "eventfd", "timerfd_create"}[spare])
		} else {
			assert.NoError(t, newErr)
		}
		if spare < 2 {
			assert.ErrorIs(t, listenErr, syscall.EMFILE)
		} else {
			assert.NoError(t, listenErr)
		}
		assert.Equal(t, files, openFiles())
	}
	do(t, l, func() {})
}

// limitFor returns the limit of descriptors with which no more than spare can be opened.
func limitFor(spare int) uint64 {
	for fd := 0; ; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			continue
		}
		if spare == 0 {
			return uint64(fd)
		}
		spare--
	}
}

// A loop that sleeps now and then does not wake the scheduler's monitor, which looks around for long when it is awake.
func TestTheSchedulerHearsNothingOfLoopsThatSleep(t *testing.T) {
	sys := broken()
	var heard atomic.Int64
	sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
		if aloud {
			heard.Add(1)
		}
		return poll(ep, ev, aloud)
	}
	l := newLoop(t, Config{sys: sys})
	for range 3 * aloudEvery {
		parked(t, l)
		do(t, l, func() {})
	}
	assert.Zero(t, heard.Load())
}

// However busy a loop is, the scheduler hears of it now and then.
func TestTheSchedulerHearsOfPolls(t *testing.T) {
	sys := broken()
	var silent, most, heard atomic.Int64 // polls since the last one that it heard of
	sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
		if silent.Add(1); aloud {
			heard.Add(1)
			silent.Store(0)
		}
		most.Store(max(most.Load(), silent.Load()))
		return poll(ep, ev, aloud)
	}
	l := newLoop(t, Config{sys: sys})
	done := make(chan struct{})
	l.Queue(&step{do: func(time.Time) bool {
		if heard.Load() < 3 {
			return true
		}
		close(done)
		return false
	}})
	await(t, done, "polls")
	assert.InDelta(t, aloudEvery, most.Load(), 2, "before it was busy it slept, and the polls until then do not count")
}

// However much there is to do, sockets are polled: after 256 turns; or after 50 µs, if those that were queued had their
// turn.
func TestMSG9_SocketsArePolledAmongTurns(t *testing.T) {
	sys := broken()
	turns, since, most, polls := 0, 0, 0, 0
	sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
		most, since = max(most, since), 0
		polls++
		return poll(ep, ev, aloud)
	}
	l := newLoop(t, Config{sys: sys})
	done := make(chan struct{})
	l.Queue(&step{do: func(time.Time) bool {
		turns++
		since++
		if turns == 100_000 {
			close(done)
			return false
		}
		return true
	}})
	await(t, done, "all turns")
	do(t, l, func() {
		assert.LessOrEqual(t, most, maxTurns)
		assert.GreaterOrEqual(t, polls, 100_000/maxTurns)
	})
	// Turns that take long leave sooner.
	turns = 0
	long := make(chan int, 1)
	l.Queue(&step{do: func(now time.Time) bool {
		if turns == 0 {
			polls = 0
		}
		for time.Since(now) < maxSpan {
		}
		if turns++; turns == 20 {
			long <- polls
			return false
		}
		return true
	}})
	assert.GreaterOrEqual(t, await(t, long, "long turns"), 18)
}

// Those that were found by one poll have their turn before the next one, which would only put others behind them.
func TestMSG9_SocketsAreNotPolledWhileThoseOfTheLastPollWait(t *testing.T) {
	sys := broken()
	polls := 0
	sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
		polls++
		return poll(ep, ev, aloud)
	}
	l := newLoop(t, Config{sys: sys})
	// Each of n tasks takes a turn of length d. It returns how often the loop polled meanwhile, and how long all took.
	round := func(n int, d time.Duration) (polled int, took time.Duration) {
		done := make(chan struct{})
		var begun time.Time
		task := func(k int) *step {
			return &step{do: func(now time.Time) bool {
				if k == 0 {
					begun, polls = now, 0
				}
				for time.Since(now) < d {
				}
				if k == n-1 {
					polled, took = polls, time.Since(begun)
					close(done)
				}
				return false
			}}
		}
		do(t, l, func() {
			for k := range n {
				l.QueueLocal(task(k))
			}
			for now := l.Now(); time.Since(now) < 2*maxSpan; { // so that it polls now
			}
		})
		await(t, done, "all turns")
		return polled, took
	}
	quick := false
	for end := time.Now().Add(patience); !quick && time.Now().Before(end); {
		polled, took := round(5, 2*maxSpan)
		if quick = took < maxRound; quick { // else the machine was too slow, and the round over
			assert.Zero(t, polled)
		}
	}
	assert.True(t, quick, "five short turns always take a millisecond")
	polled, _ := round(10, maxRound)
	assert.GreaterOrEqual(t, polled, 9, "nobody waits for so long")
}

// The count of wakes is that of deadlines, or of system calls where the loop waits in one.
func TestMSG11_WakesAreWhatTheyAreCountedAs(t *testing.T) {
	for _, noParks := range []bool{false, true} {
		var wakes, hurries atomic.Int64
		sys := broken()
		sys.wake = func(fd int) error { wakes.Add(1); return wake(fd) }
		sys.hurry = func(f *os.File) error { hurries.Add(1); return hurry(f) }
		l := newLoop(t, Config{sys: sys, noParks: noParks})
		for range 100 {
			do(t, l, func() {})
		}
		used, unused := &hurries, &wakes
		if noParks {
			used, unused = unused, used
		}
		assert.EqualValues(t, used.Load(), l.Stats().Wakes)
		assert.NotZero(t, used.Load())
		assert.Zero(t, unused.Load())
		assert.LessOrEqual(t, l.Stats().Wakes, l.Stats().Parks)
	}
}

// If the runtime does not take the deadline, the eventfd wakes.
func TestMSG11_ADeadlineThatIsRefused(t *testing.T) {
	sys := broken()
	sys.hurry = func(*os.File) error { return os.ErrNoDeadline }
	l := newLoop(t, Config{sys: sys})
	for range 100 {
		do(t, l, func() {})
	}
	assert.NotZero(t, l.Stats().Wakes)
}

// A deadline is met, too, if there is no timer for it.
func TestTMR13_ATimerThatIsRefused(t *testing.T) {
	sys := broken()
	sys.setTimer = func(int, time.Duration) syscall.Errno { return unix.EINVAL }
	l := newLoop(t, Config{sys: sys})
	e, _ := pair(t, l, ListenConfig{})
	for range 2 {
		start := time.Now()
		e.on(t, func() { e.turn = nil; e.SetDeadline(start.Add(20 * time.Millisecond)) })
		due := await(t, e.due, "the deadline")
		assert.GreaterOrEqual(t, due.Sub(start), 20*time.Millisecond)
		assert.Less(t, due.Sub(start), tooLate)
		do(t, l, func() {})
	}
}

// A deadline of the loop's own is met though wakes move it.
func TestTMR13_WakesDoNotDisturbADeadline(t *testing.T) {
	l := newLoop(t, Config{})
	e, _ := pair(t, l, ListenConfig{})
	start := time.Now()
	e.on(t, func() { e.turn = nil; e.SetDeadline(start.Add(50 * time.Millisecond)) })
	for range 20 {
		parked(t, l)
		do(t, l, func() {})
	}
	due := await(t, e.due, "the deadline")
	assert.GreaterOrEqual(t, due.Sub(start), 50*time.Millisecond)
	assert.Less(t, due.Sub(start), tooLate)
}

// A registration outlives its descriptor where somebody holds a duplicate, so it is taken back first.
func TestCloseTakesTheRegistrationBack(t *testing.T) {
	var index, heard atomic.Int32
	index.Store(-100)
	sys := broken()
	sys.poll = func(ep int, ev []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
		n, errno := poll(ep, ev, aloud)
		for i := range max(n, 0) {
			if ev[i].Fd == index.Load() {
				heard.Add(1)
			}
		}
		return n, errno
	}
	l := newLoop(t, Config{sys: sys})
	e, c := pair(t, l, ListenConfig{})
	e.until(t, conn.Writable)
	var dup int
	e.on(t, func() {
		var err error
		dup, err = unix.FcntlInt(uintptr(e.fd()), unix.F_DUPFD_CLOEXEC, 0)
		assert.NoError(t, err)
		assert.NoError(t, e.Socket.Close(false))
		index.Store(e.slot)
	})
	defer func() { assert.NoError(t, unix.Close(dup)) }()
	mustWrite(t, c, "to whoever holds it")
	p := []unix.PollFd{{Fd: int32(dup), Events: unix.POLLIN}}
	_, err := unix.Poll(p, int(patience/time.Millisecond))
	require.NoError(t, err)
	require.NotZero(t, p[0].Revents&unix.POLLIN)
	do(t, l, func() {})
	do(t, l, func() {})
	assert.Zero(t, heard.Load(), "the poller still hears of a socket that was closed")
}
