package loop

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// poller is an epoll instance, and what wakes its loop: the runtime, or an eventfd. It decides nothing.
//
// All descriptors are registered edge-triggered, once. A connection that does not read, or has nothing to write, thus
// costs no event and no change of registration, and a hangup, which cannot be masked, is told once and not for ever.
// What an event says is sticky in the connection, which reads or writes until the system has no more.
type poller struct {
	sys          *system
	ep, evt, tfd int // epoll instance, eventfd, timerfd

	events  [128]unix.EpollEvent
	n, next int    // events of the last poll; the first one not dispatched yet
	polls   uint32 // since the loop slept last

	scratch // of the turns on the loop
	parking
}

// scratch is what system calls need for their duration.
type scratch struct {
	iov [256]unix.Iovec // for sendmsg; cleared after use
	msg unix.Msghdr
	one [1]byte // for a peek
}

// What epoll is told of a descriptor is the index of its socket, with the generation; or, negative, whose door it is,
// or that it is the eventfd or the timerfd, which have nothing to say: the loop is awake, and looks at its timers.
const wakeIndex = -1

func doorIndex(id int32) int32 { return wakeIndex - id } // ids count from 1

// interests is what is watched of a connection's socket.
const interests = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP

func (l *Loop) systemWaiter() waiter { return &l.poller }

func (p *poller) open(l *Loop) (err error) {
	if p.sys = l.cfg.sys; p.sys == nil {
		p.sys = &realSystem
	}
	p.ep, p.evt, p.tfd = -1, -1, -1
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if p.evt, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if p.tfd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	if err = errors.Join(p.add(p.evt, unix.EPOLLIN, wakeIndex, 0), p.add(p.tfd, unix.EPOLLIN, wakeIndex, 0)); err != nil {
		return err
	}
	return p.openParking(l)
}

func (p *poller) add(fd int, events uint32, index int32, gen uint32) error {
	ev := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: index, Pad: int32(gen)}
	return os.NewSyscallError("epoll_ctl", p.sys.control(p.ep, unix.EPOLL_CTL_ADD, fd, &ev))
}

// remove comes before close: a registration outlives the descriptor where a child process or a duplicate holds it.
func (p *poller) remove(fd int) error {
	return os.NewSyscallError("epoll_ctl", p.sys.control(p.ep, unix.EPOLL_CTL_DEL, fd, &unix.EpollEvent{}))
}

// aloudEvery is how often the scheduler hears of a poll, while the loop does not sleep. Its monitor takes the processor
// from goroutines that keep it for long, and sleeps, for up to a minute, once all processors were idle. It is woken by
// whoever makes a system call and says so. Loops that are busy all the time, and say nothing, kept all other goroutines
// waiting: one that shuts the program down, too. One that sleeps gives its processor away, and need not say anything:
// the monitor would look around a dozen times before it slept again.
const aloudEvery = 32

// poll looks for events and does not wait.
func (p *poller) poll() {
	p.polls++
	errno := unix.EINTR
	for p.n, p.next = 0, 0; errno == unix.EINTR; {
		p.n, errno = p.sys.poll(p.ep, p.events[:], p.polls%aloudEvery == 0)
	}
	p.n = max(p.n, 0)
}

// wake ends the park of the loop, now or next time.
//
// A deadline that has passed makes the runtime run the loop's goroutine next. An event of the eventfd would first have to
// be found, and schedulers that have enough to do look for events every 10 ms only.
func (p *poller) wake() {
	if !p.blocks.Load() && p.sys.hurry(p.file) == nil {
		return
	}
	for p.sys.wake(p.evt) == unix.EINTR {
	}
}

// dispatch tells owners what the last poll found.
func (p *poller) dispatch(l *Loop) {
	for p.next < p.n {
		ev := &p.events[p.next]
		p.next++
		if ev.Fd < 0 {
			if d := l.door(wakeIndex - ev.Fd); d != nil {
				l.QueueLocal(d)
			}
			continue
		}
		if s := l.slots.find(ev.Fd, uint32(ev.Pad)); s != nil {
			l.ready(s, interest(ev.Events))
		}
	}
}

// interest translates: an error or an end is also readable and, where nothing can be written any more, writable, for
// reading and writing is how one learns which it is.
func interest(events uint32) (i conn.Interest) {
	if events&unix.EPOLLIN != 0 {
		i |= conn.Readable
	}
	if events&unix.EPOLLOUT != 0 {
		i |= conn.Writable
	}
	if events&unix.EPOLLRDHUP != 0 {
		i |= conn.Readable | conn.Hangup
	}
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		i |= conn.Readable | conn.Writable | conn.Hangup
	}
	return i
}

func (p *poller) close() error {
	var errs []error
	if p.file != nil {
		errs = append(errs, p.file.Close())
	} else if p.ep >= 0 {
		errs = append(errs, os.NewSyscallError("close", unix.Close(p.ep)))
	}
	for _, fd := range []int{p.evt, p.tfd} {
		if fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
		}
	}
	p.ep, p.evt, p.tfd = -1, -1, -1
	return errors.Join(errs...)
}
