package loop

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// parking is how a loop sleeps: in the runtime's own poller, which watches our epoll instance like any descriptor.
// A goroutine that waits there costs no thread, and it wakes without the scheduler having to find a processor for a
// thread that comes back from a system call. If the runtime refuses, the loop waits in epoll_wait.
type parking struct {
	loop    *Loop
	file    *os.File // owns the epoll descriptor; a finalizer would close it, so it is kept
	raw     syscall.RawConn
	probe   func(uintptr) bool // p.look, bound once: a method value allocates
	armed   int64              // when the timerfd ends a park, in nanoseconds since the loop's base, or never
	hurried bool               // the file has a deadline that has passed, for the loop was woken

	// It changes while the loop is awake. Whoever saw it asleep sees what held then.
	blocks atomic.Bool // the loop waits in epoll_wait
}

func (p *poller) openParking(l *Loop) (err error) {
	p.loop, p.armed, p.probe = l, never, p.look
	p.blocks.Store(true)
	// Without O_NONBLOCK, os.NewFile does not offer the descriptor to the runtime.
	if err = unix.SetNonblock(p.ep, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	p.file = os.NewFile(uintptr(p.ep), "epoll")
	if l.cfg.noParks || p.file.SetReadDeadline(time.Time{}) != nil {
		return nil // refused
	}
	p.raw, err = p.file.SyscallConn()
	p.blocks.Store(err != nil)
	return err
}

// park polls, and waits for an event, a wake or the time next if there is nothing.
func (p *poller) park(next int64) {
	if p.blocks.Load() {
		p.block(next)
		return
	}
	if next != never || p.armed != never {
		now := p.loop.timers.clock()
		if next <= now {
			p.poll()
			return
		}
		if (next < p.armed || p.armed <= now) && !p.arm(next, now) {
			p.block(next)
			return
		}
	}
	p.n, p.next = 0, 0
	if p.hurried { // while the deadline stands, Read fails before it probes
		p.hurried = false
		if p.file.SetReadDeadline(time.Time{}) != nil {
			p.blocks.Store(true)
			p.poll()
			return
		}
	}
	switch err := p.raw.Read(p.probe); {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded): // what was posted is served first; then there is another poll
		p.hurried = true
	default:
		p.blocks.Store(true)
		p.poll()
	}
}

// look is called by the runtime, first of all and whenever something has happened. It returns false to sleep, and may
// do so only after a poll that found nothing: the runtime hears of a change, and not of events that were left.
func (p *poller) look(uintptr) bool {
	p.poll()
	if p.n > 0 || !p.loop.sleep() {
		return true
	}
	p.polls = 0
	return false
}

// arm lets the park end at the time next. The timer is one of the system's, an event like others: one of the runtime's
// would wake the loop's goroutine and, each time, a thread that looks for more work and finds none.
// If that is refused, the loop has to wait in epoll_wait from now on.
func (p *poller) arm(next, now int64) bool {
	if p.armed = next; next != never && p.sys.setTimer(p.tfd, time.Duration(next-now)) != 0 {
		p.blocks.Store(true)
		return false
	}
	return true
}

// block is park without the runtime's help. If a signal ends the wait, the loop comes back, with the time that is left.
func (p *poller) block(next int64) {
	p.n, p.next = 0, 0
	if !p.loop.sleep() {
		p.poll()
		return
	}
	n, _ := p.sys.wait(p.ep, p.events[:], milliseconds(next, p.loop.timers.clock()))
	p.n = max(n, 0)
}

// milliseconds is how long to wait until next, rounded up: it is never too early.
func milliseconds(next, now int64) int {
	const most = 1 << 30
	switch {
	case next == never:
		return -1
	case next <= now:
		return 0
	case (next-now)/1e6 >= most:
		return most // and then it looks again
	}
	return int((next - now + 1e6 - 1) / 1e6)
}
