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
func connect(to netip.AddrPort, conns, size int) (_ *load, err error) {
	l := new(load)
	if err := l.open(); err != nil {
		return nil, err
	}
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
		if err := watch(l.ep, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
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

func (l *load) open() (err error) {
	l.events, l.buf = make([]unix.EpollEvent, 256), make([]byte, 256<<10)
	l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return os.NewSyscallError("epoll_create1", err)
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
	at := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	err = unix.Connect(fd, at)
	for err == unix.EINTR { // by a signal of Go's scheduler: it goes on, and whoever asks again waits for it
		if err = unix.Connect(fd, at); err == unix.EISCONN {
			err = nil
		}
	}
	if err != nil {
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
		if fd := l.clients[i].fd; fd >= 0 {
			unix.Close(fd)
		}
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
	before := l.messages
	took, err = l.poll(d, l.serve)
	return took, l.messages - before, err
}

// once exchanges one message on each connection, and leaves them idle.
func (l *load) once() error {
	if err := l.start(); err != nil {
		return err
	}
	left := len(l.clients)
	for left > 0 {
		_, err := l.poll(0, func(c *client) error {
			if err := c.flush(); err != nil {
				return err
			}
			whole, err := l.receive(c)
			if whole {
				left--
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// poll calls serve for each client that becomes ready, for d or a little longer.
func (l *load) poll(d time.Duration, serve func(*client) error) (took time.Duration, err error) {
	begin := time.Now()
	heard := begin
	for {
		n, errno := epollWait(l.ep, l.events, 100)
		if errno != 0 && errno != unix.EINTR {
			return 0, os.NewSyscallError("epoll_wait", errno)
		}
		for _, ev := range l.events[:n] {
			if c := l.byFD[ev.Fd]; c != nil {
				if err := serve(c); err != nil {
					return 0, err
				}
			}
		}
		now := time.Now()
		if n > 0 {
			heard = now
		} else if now.Sub(heard) > stallLimit {
			return 0, fmt.Errorf("the server was silent for %v, after %d messages", stallLimit, l.messages)
		}
		if (n > 0 || d > 0) && now.Sub(begin) >= d {
			return now.Sub(begin), nil
		}
	}
}

// serve goes on with one client until it has to wait.
func (l *load) serve(c *client) error {
	if err := c.flush(); err != nil {
		return err
	}
	whole, err := l.receive(c)
	if err != nil || !whole {
		return err
	}
	return l.next(c)
}

// receive reads what has come for c, and reports whether its message is whole now. Then nothing more can be there.
func (l *load) receive(c *client) (whole bool, err error) {
	for {
		n, errno := recv(c.fd, l.buf, unix.MSG_DONTWAIT)
		switch {
		case errno == unix.EAGAIN:
			return false, nil
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return false, os.NewSyscallError("recv", errno)
		case n == 0:
			return false, errors.New("the server closed a connection")
		}
		if err := c.check(l.buf[:n]); err != nil {
			return false, err
		}
		if c.got == len(c.message) {
			l.messages++
			return true, nil
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
