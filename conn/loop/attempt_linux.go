package loop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

// A socketAttempt is one address that is being tried. It has a descriptor, and a Socket without one, which is there to
// be found in a slot: closing it ends the whole dial. It owns that Socket, and so is told of events.
type socketAttempt struct {
	Link
	d      *dialer
	to     netip.AddrPort // zero for unix-domain sockets
	fd     int            // -1 before it was opened, and when it is over
	added  bool           // it has a slot, and is registered
	sock   Socket
	events conn.Interest // all that were told
}

var _ Owner = (*socketAttempt)(nil)

func (d *dialer) newAttempt(to netip.AddrPort) attempt {
	if d.loop.portable() {
		return &portedAttempt{d: d, loop: d.loop, to: to}
	}
	return &socketAttempt{d: d, to: to, fd: -1}
}

// give hands the descriptor over with its registration: from here on, events find s in its slot.
func (a *socketAttempt) give(s *Socket) conn.Interest {
	l := s.loop
	l.slots.remove(s.slot)
	l.slots.at(a.sock.slot).socket = s
	s.slot, s.number = a.sock.slot, int32(a.fd)+1
	a.fd = -1
	return a.events
}

// Ready takes note. A turn follows, which asks what it means.
func (a *socketAttempt) Ready(i conn.Interest) { a.events |= i }

// Turn asks how connecting went.
func (a *socketAttempt) Turn(time.Time, *conn.Memory) bool {
	if a.fd < 0 {
		return false
	}
	if connected, err := a.outcome(); err != nil {
		a.d.lose(a, err)
	} else if connected {
		a.d.win(a)
	}
	return false
}

// An attempt has no deadline, and nobody else tells it anything.

func (a *socketAttempt) Connecting(int)           {}
func (a *socketAttempt) Connected()               {}
func (a *socketAttempt) Failed(conn.Stage, error) {}
func (a *socketAttempt) Due()                     {}
func (a *socketAttempt) Slept(time.Duration) bool { return false }
func (a *socketAttempt) Post(func())              {}

func (a *socketAttempt) address() netip.AddrPort { return a.to }

// String names the task where a long turn is reported.
func (a *socketAttempt) String() string { return "attempt to connect to " + a.d.addressOf(a.to) }

// open makes the socket and sets it up.
func (a *socketAttempt) open() (err error) {
	family, protocol := unix.AF_INET6, unix.IPPROTO_TCP // not Multipath TCP, whose calls cost more
	switch networkOf(a.to) {
	case "unix":
		family, protocol = unix.AF_UNIX, 0
	case "tcp4":
		family = unix.AF_INET
	}
	kind := unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if a.fd, err = a.d.loop.poller.sys.socket(family, kind, protocol); err != nil {
		a.fd = -1
		return os.NewSyscallError("socket", err)
	}
	if err = a.d.cfg.Options.set(a.fd, networkOf(a.to)); err != nil {
		return err
	}
	if err = a.control(); err != nil {
		return err
	}
	if a.fd < 0 {
		return net.ErrClosed // by Control
	}
	return a.bind()
}

// control calls Options.Control. It is the application's, and may do anything.
func (a *socketAttempt) control() (err error) {
	f := a.d.cfg.Options.Control
	if f == nil {
		return nil
	}
	raw := &rawSocket{a.fd}
	defer func() {
		raw.fd = -1
		if value := recover(); value != nil {
			err = fmt.Errorf("Options.Control panicked: %v", value)
			if report := a.d.loop.cfg.Panicked; report != nil {
				report(a.d, value, debug.Stack()) // and the dial goes on: the next address may fare better
			}
		}
	}()
	return f(networkOf(a.to), a.d.addressOf(a.to), raw)
}

// bind chooses the local end, if it is to be chosen.
func (a *socketAttempt) bind() error {
	from := a.d.route.from
	addr, port := from.Addr(), from.Port()
	known := addr.IsValid() && !addr.IsUnspecified()
	if isUnix(a.to) || !known && port == 0 {
		return nil
	}
	if !known {
		addr = netip.IPv6Unspecified()
		if a.to.Addr().Is4() {
			addr = netip.IPv4Unspecified()
		}
	}
	if port == 0 {
		// The port is chosen in connect, when it is known where to. Chosen now, it could be used for one peer only, and
		// soon there were none left. Systems that do not know this do without.
		_ = unix.SetsockoptInt(a.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	} else if err := unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		// Several attempts share the port, and maybe the remains of a connection to another peer have it, too.
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("bind", unix.Bind(a.fd, sockaddr(netip.AddrPortFrom(addr, port))))
}

// connect begins to connect, and reports whether that was all. Only then is the socket registered: before, the poller
// would say that it hangs up.
func (a *socketAttempt) connect() (connected bool, err error) {
	l := a.d.loop
	var sa unix.Sockaddr = &unix.SockaddrUnix{Name: a.d.cfg.Addr}
	if !isUnix(a.to) {
		sa = sockaddr(a.to)
	}
	switch err := l.poller.sys.connect(a.fd, sa); err {
	case nil, unix.EISCONN:
		connected = true
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
	default:
		return false, os.NewSyscallError("connect", err)
	}
	a.sock = Socket{loop: l, owner: a, about: a.d.socket.about}
	index, gen := l.slots.add(&a.sock)
	a.sock.slot = index
	if err := l.poller.add(a.fd, interests, index, gen); err != nil {
		l.slots.remove(index)
		return false, err
	}
	a.added = true
	return connected, nil
}

// outcome asks what an event meant. That the socket is writeable says nothing: it is so, too, if nobody listens.
func (a *socketAttempt) outcome() (connected bool, err error) {
	sys := a.d.loop.poller.sys
	n, err := sys.sockErr(a.fd)
	if err != nil {
		return false, os.NewSyscallError("getsockopt", err)
	}
	switch errno := syscall.Errno(n); errno {
	case 0, unix.EISCONN:
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
		return false, nil
	default:
		return false, os.NewSyscallError("connect", errno)
	}
	switch _, err = sys.peer(a.fd); {
	case err == nil:
		return true, nil
	case a.events&conn.Hangup != 0: // somebody else has asked for the reason before, Control maybe
		return false, os.NewSyscallError("connect", err)
	}
	return false, nil // an event without a meaning; another will come
}

// ends returns what a socket that is connected connects.
func (a *socketAttempt) ends() (local, remote netip.AddrPort, err error) {
	if sa, err := unix.Getsockname(a.fd); err == nil {
		local = addrPort(sa)
	}
	remote = a.to
	if sa, err := a.d.loop.poller.sys.peer(a.fd); err == nil { // else it was reset since
		remote = addrPort(sa)
	}
	// Where nobody listens at a port of this host, the system may choose just that port for us, and connect us with
	// ourselves.
	if local.IsValid() && local == remote && a.d.route.from.Port() == 0 {
		return local, remote, os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	return local, remote, nil
}

// close gives up the descriptor. It does nothing if there is none.
func (a *socketAttempt) close() error {
	if a.fd < 0 {
		return nil
	}
	l, fd := a.d.loop, a.fd
	a.fd = -1
	var err error
	if a.added {
		err = l.poller.remove(fd)
		l.slots.remove(a.sock.slot)
	}
	return errors.Join(err, closeSocket(fd, false))
}

// sockaddr translates; the zone must be a number.
func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	a := ap.Addr()
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(ap.Port())}
	}
	zone, _ := strconv.ParseUint(a.Zone(), 10, 32) // none is 0
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(ap.Port()), ZoneId: uint32(zone)}
}

// A rawSocket is what Control gets. It is good for that call only.
type rawSocket struct{ fd int }

// Control calls f with the descriptor.
func (r *rawSocket) Control(f func(fd uintptr)) error {
	if r.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(r.fd))
	return nil
}

// Read fails: there is nothing to read yet.
func (r *rawSocket) Read(func(fd uintptr) (done bool)) error { return errors.ErrUnsupported }

// Write fails: nothing can be written yet.
func (r *rawSocket) Write(func(fd uintptr) (done bool)) error { return errors.ErrUnsupported }
