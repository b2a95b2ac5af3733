package loop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// An acceptor is a listening socket and the task that accepts from it.
type acceptor struct {
	Link
	loop     *Loop
	ln       *Listener
	id       int32
	deadline int32 // its number, plus one

	next    int  // the loop to try first when dealing
	resting bool // until the deadline comes
	told    bool // Resting was called, and nothing was accepted since
	local   Accepted

	mu   sync.Mutex // Close may come while a turn accepts
	fd   int        // -1 once closed
	path string     // to remove when closing
}

// open resolves, binds and listens as package net does, and then takes the descriptor over: closing a net.Listener
// closes its own copy only.
func (ln *Listener) open(ctx context.Context, network, addr string) (err error) {
	lc := net.ListenConfig{Control: ln.cfg.Options.listening}
	lc.SetMultipathTCP(false) // what is accepted should be plain TCP, whose calls cost less
	nl, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return err
	}
	ln.addr = nl.Addr()
	ln.about = commonTo(ln.addr)
	a := &acceptor{ln: ln, loop: Least(ln.loops, 0), fd: -1}
	ln.door = a
	if ul, ok := nl.(*net.UnixListener); ok {
		if name := ln.addr.String(); name != "" && name[0] != '@' {
			a.path = name
		}
		ul.SetUnlinkOnClose(false)
	}
	fd, err := duplicate(nl.(syscall.Conn))
	err = errors.Join(err, nl.Close())
	if fd >= 0 && err != nil {
		err = errors.Join(err, closeSocket(fd, false))
	} else if fd >= 0 {
		err = a.open(fd)
	}
	if err != nil {
		a.unlink()
		return &net.OpError{Op: "listen", Net: network, Addr: ln.addr, Err: err}
	}
	return nil
}

// duplicate returns a descriptor of its own for c. It leaves c's mode alone: that belongs to both.
func duplicate(c syscall.Conn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, os.NewSyscallError("fcntl", dupErr)); err != nil {
		return -1, err
	}
	return fd, nil
}

// open registers fd, and closes it if that fails. The lock keeps whoever closes the loop waiting.
func (a *acceptor) open(fd int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	id, ok := a.loop.addDoor(a, 0)
	if !ok {
		return errors.Join(net.ErrClosed, closeSocket(fd, false))
	}
	a.id, a.fd = id, fd
	if err := a.loop.poller.add(fd, unix.EPOLLIN, doorIndex(id), 0); err != nil {
		a.fd = -1
		a.loop.removeDoor(id)
		return errors.Join(err, closeSocket(fd, false))
	}
	return nil
}

func (a *acceptor) home() *Loop { return a.loop }

// close may be called by any goroutine. The door leaves its loop last, for then nothing needs the poller any more.
func (a *acceptor) close() error {
	a.mu.Lock()
	fd := a.fd
	a.fd = -1
	var err error
	if fd >= 0 {
		a.unlink()
		err = errors.Join(a.loop.poller.remove(fd), closeSocket(fd, false))
	}
	a.mu.Unlock()
	a.loop.removeDoor(a.id)
	return err
}

func (a *acceptor) unlink() {
	if a.path != "" {
		_ = os.Remove(a.path) // somebody else may have done it
	}
}

// Turn accepts until there is nobody, no room or no descriptor, and no more than some in one turn.
func (a *acceptor) Turn(time.Time, *conn.Memory) (more bool) {
	if a.resting {
		return false
	}
	var err error
	for range acceptsPerTurn {
		if !a.ln.admit() {
			return false
		}
		var fd int
		var remote netip.AddrPort
		fd, remote, err = a.accept()
		switch {
		case err == nil:
			a.told = false
			a.deal(fd, remote)
		case err == unix.EAGAIN || err == net.ErrClosed:
			return false
		case !passing(err):
			a.rest(err)
			return false
		}
	}
	if err != nil { // one such error is another client's; so many in a row are ours
		a.rest(err)
		return false
	}
	return true
}

func (a *acceptor) accept() (int, netip.AddrPort, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fd < 0 {
		return -1, netip.AddrPort{}, net.ErrClosed
	}
	return a.loop.poller.sys.accept(a.fd)
}

// passing reports whether accept failed for one client only, so that the next may be accepted at once. See accept(2):
// on Linux, errors that came over the network are returned by it.
func passing(err error) bool {
	switch err {
	case unix.EINTR, unix.ECONNABORTED, unix.ECONNRESET, unix.EPROTO, unix.EPERM, unix.ENETDOWN, unix.ENETUNREACH,
		unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.ETIMEDOUT:
		return true
	}
	return false
}

// rest stops accepting for a while. No event will come: who waits has been reported already. It serves errors that
// nobody foresaw, too, for accepting must not end because of one.
func (a *acceptor) rest(err error) {
	a.resting = true
	a.loop.timers.set(a, time.Now().Add(restTime))
	a.ln.rests.Add(1)
	if !a.told && a.ln.cfg.Resting != nil {
		a.told = true
		a.ln.cfg.Resting(os.NewSyscallError("accept4", err))
	}
}

func (a *acceptor) timer() *int32 { return &a.deadline }

func (a *acceptor) expired() {
	a.resting = false
	a.loop.QueueLocal(a)
}

// deal gives a connection to the loop that has the fewest.
func (a *acceptor) deal(fd int, remote netip.AddrPort) {
	l := a.ln.choose(&a.next)
	c := Accepted{ln: a.ln, loop: l, about: a.ln.about, remote: remote, number: int32(fd) + 1}
	if l == a.loop {
		a.local = c
		a.ln.hand(a, &a.local)
		a.local = Accepted{}
		return
	}
	c.send()
}

// String names the task where a long turn is reported.
func (a *acceptor) String() string { return "listener at " + a.ln.addr.String() }

// commonTo returns what all connections accepted at addr have in common, or nil if they may differ.
func commonTo(addr net.Addr) *about {
	switch addr := addr.(type) {
	case *net.UnixAddr:
		return new(about)
	case *net.TCPAddr:
		if ap := addr.AddrPort(); ap.IsValid() && !ap.Addr().IsUnspecified() {
			return &about{local: unmapped(ap)}
		}
	}
	return nil
}
