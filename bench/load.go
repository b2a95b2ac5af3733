package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stallLimit is how long the load waits for any byte before it gives the server up.
const stallLimit = 5 * time.Second

// A load is a set of clients on one thread. Each sends a message, waits until all of it has come back, compares it
// byte for byte, and sends the next one. It allocates nothing while it runs, so that it takes little of its processor.
type load struct {
	ep       int
	clients  []client
	byFD     []*client
	events   []unix.EpollEvent
	buf      []byte
	messages int // exchanged so far
}

type client struct {
	fd      int
	message []byte
	unsent  []byte // the rest of message that the system has not taken yet
	got     int    // bytes of message that have come back
}

// connect opens the connections and sends nothing.
func connect(to netip.AddrPort, conns, size int) (l *load, err error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l = &load{ep: ep, events: make([]unix.EpollEvent, 256), buf: make([]byte, 256<<10)}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for i := range conns {
		fd, err := dial(to)
		if err != nil {
			return nil, fmt.Errorf("connection %d of %d to %s: %w", i+1, conns, to, err)
		}
		l.clients = append(l.clients, client{fd: fd, message: message(i, size)})
		if err := watch(ep, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
			return nil, err
		}
	}
	for i := range l.clients {
		c := &l.clients[i]
		for len(l.byFD) <= c.fd {
			l.byFD = append(l.byFD, nil)
		}
		l.byFD[c.fd] = c
	}
	return l, nil
}

func dial(to netip.AddrPort) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	limit := unix.NsecToTimeval(stallLimit.Nanoseconds()) // bounds connect
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return 0, os.NewSyscallError("connect", err)
	}
	return fd, os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}

// message makes the message of client i; those of different clients differ.
func message(i, size int) []byte {
	m := make([]byte, size)
	x := uint32(i)*2654435761 + 1
	for k := range m {
		x = x*1664525 + 1013904223
		m[k] = byte(x >> 24)
	}
	return m
}

func (l *load) close() {
	for i := range l.clients {
		unix.Close(l.clients[i].fd)
	}
	unix.Close(l.ep)
}

// start sends the first message of each client.
func (l *load) start() error {
	for i := range l.clients {
		if err := l.next(&l.clients[i]); err != nil {
			return err
		}
	}
	return nil
}

// run keeps the clients busy for d. What is in flight then stays so: run may be called again. It returns how long it
// really took, and how many messages were exchanged in that time.
func (l *load) run(d time.Duration) (took time.Duration, messages int, err error) {
	begin, before := time.Now(), l.messages
	heard := begin
	for now := begin; now.Sub(begin) < d; now = time.Now() {
		n, errno := epollWait(l.ep, l.events, 100)
		if errno != 0 && errno != unix.EINTR {
			return 0, 0, os.NewSyscallError("epoll_wait", errno)
		}
		for _, ev := range l.events[:n] {
			if err := l.serve(l.byFD[ev.Fd]); err != nil {
				return 0, 0, err
			}
		}
		if n > 0 {
			heard = now
		} else if now.Sub(heard) > stallLimit {
			return 0, 0, fmt.Errorf("the server was silent for %v, after %d messages", stallLimit, l.messages)
		}
	}
	return time.Since(begin), l.messages - before, nil
}

// serve goes on with one client until it has to wait.
func (l *load) serve(c *client) error {
	if err := c.flush(); err != nil {
		return err
	}
	for {
		n, errno := recv(c.fd, l.buf, unix.MSG_DONTWAIT)
		switch {
		case errno == unix.EAGAIN:
			return nil
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return os.NewSyscallError("recv", errno)
		case n == 0:
			return errors.New("the server closed a connection")
		}
		if err := c.check(l.buf[:n]); err != nil {
			return err
		}
		if c.got == len(c.message) {
			l.messages++
			return l.next(c) // nothing more can be there: the answer was complete
		}
	}
}

// check compares what came back with what was sent.
func (c *client) check(p []byte) error {
	if left := len(c.message) - len(c.unsent) - c.got; len(p) > left {
		return fmt.Errorf("the server answered %d bytes more than it was sent", len(p)-left)
	}
	if !bytes.Equal(p, c.message[c.got:c.got+len(p)]) {
		return errors.New("the server answered other bytes than it was sent")
	}
	c.got += len(p)
	return nil
}

// next sends c's message anew.
func (l *load) next(c *client) error {
	c.got, c.unsent = 0, c.message
	return c.flush()
}

// flush sends what is unsent, as far as the system takes it.
func (c *client) flush() error {
	for len(c.unsent) > 0 {
		n, errno := send(c.fd, c.unsent, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case errno == unix.EAGAIN:
			return nil
		case errno != 0 && errno != unix.EINTR:
			return os.NewSyscallError("send", errno)
		}
		c.unsent = c.unsent[n:]
	}
	return nil
}
