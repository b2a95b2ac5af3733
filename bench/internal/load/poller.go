package load

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/sys"
)

// A poller finds the clients that are ready.
type poller struct {
	ep     int
	events []unix.EpollEvent
	byFD   []*client
	begin  time.Time // of the clock
}

func newPoller() (p poller, err error) {
	p.events, p.begin = make([]unix.EpollEvent, 256), time.Now()
	p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return p, os.NewSyscallError("epoll_create1", err)
}

// add tells of changes of c's socket.
func (p *poller) add(c *client) error {
	return p.watch(c, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
}

func (p *poller) watch(c *client, events uint32) error {
	for len(p.byFD) <= c.fd {
		p.byFD = append(p.byFD, nil)
	}
	p.byFD[c.fd] = c
	return sys.Watch(p.ep, c.fd, events)
}

// drop closes c's socket, if it has one.
func (p *poller) drop(c *client) error {
	if c.fd < 0 {
		return nil
	}
	p.byFD[c.fd] = nil
	err := unix.Close(c.fd)
	c.fd = -1
	return os.NewSyscallError("close", err)
}

// now returns the time on a clock that never goes back; it costs less than time.Now.
func (p *poller) now() time.Duration { return time.Since(p.begin) }

// poll calls serve for each client that becomes ready, for d or a little longer; if d is 0, until done.
func (p *poller) poll(d time.Duration, serve func(*client) error, done func() bool) (took time.Duration, err error) {
	begin := p.now()
	for heard := begin; ; {
		n, err := p.wait(100)
		if err != nil {
			return 0, err
		}
		if err := p.each(n, serve); err != nil {
			return 0, err
		}
		now := p.now()
		if n > 0 {
			heard = now
		} else if now-heard > stallLimit {
			return 0, fmt.Errorf("the server was silent for %v", stallLimit)
		}
		if d > 0 && now-begin >= d || d == 0 && done() {
			return now - begin, nil
		}
	}
}

func (p *poller) wait(msec int) (n int, err error) {
	n, errno := sys.EpollWait(p.ep, p.events, msec)
	if errno != 0 && errno != unix.EINTR {
		return 0, os.NewSyscallError("epoll_wait", errno)
	}
	return n, nil
}

// each serves the clients of the first n events.
func (p *poller) each(n int, serve func(*client) error) error {
	for _, ev := range p.events[:n] {
		if c := p.byFD[ev.Fd]; c != nil {
			if err := serve(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *poller) close() { unix.Close(p.ep) }
