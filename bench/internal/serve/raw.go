package serve

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/sys"
)

// rawKind is the limit: what the system calls cost and nothing else. One thread sleeps in epoll_wait, reads what is
// ready and writes it back. It knows no back-pressure: but for a Source its sockets block, so one slow reader stops
// them all.
//
// It makes its system calls without telling Go's scheduler (RawSyscall), epoll_wait too, as no other goroutine has
// work here. Under load the ordinary wrapper for epoll_wait, or edge-triggered events, cost the same within 1 %.
var rawKind = Kind{
	Name:  "raw",
	About: "a minimal epoll loop on one thread, without queue and back-pressure: the limit",
	Roles: map[Role]Func{Echo: rawEcho, Frames: rawEcho, Sink: rawSink, Source: rawSource, Fanout: rawFanout},
}

// A rawLoop serves all connections of a process.
type rawLoop struct {
	ep, ln int
	buf    []byte
	events uint32 // that each connection waits for

	opened   func(fd int)
	received func(fd int, p []byte) bool // false: close it
	writable func(fd int) bool
	ended    func(fd int)
}

func rawEcho(cfg Config) error {
	l := rawLoop{events: unix.EPOLLIN, received: sendAll}
	return l.run(cfg)
}

func rawSink(cfg Config) error {
	tallies := map[int]*tally{}
	l := rawLoop{events: unix.EPOLLIN, opened: func(fd int) { tallies[fd] = new(tally) }}
	l.received = func(fd int, p []byte) bool { return sendAll(fd, tallies[fd].take(len(p))) }
	l.ended = func(fd int) { delete(tallies, fd) }
	return l.run(cfg)
}

func rawSource(cfg Config) error {
	at := map[int]*int{} // in Pattern
	l := rawLoop{events: unix.EPOLLIN | unix.EPOLLOUT, opened: func(fd int) { at[fd] = new(int) }}
	l.received = func(int, []byte) bool { return true }
	l.writable = func(fd int) bool {
		at := at[fd]
		for range 16 { // then it is others' turn
			n, errno := sys.Send(fd, Pattern[*at:min(*at+cfg.Size, len(Pattern))], unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			if errno == unix.EAGAIN {
				return true
			} else if errno != 0 && errno != unix.EINTR {
				return false
			}
			*at = (*at + n) % len(Pattern)
		}
		return true
	}
	l.ended = func(fd int) { delete(at, fd) }
	return l.run(cfg)
}

func rawFanout(cfg Config) error {
	var all []int
	many := bytes.Repeat(News, 255)
	tell := func(fd int, times byte) { // at once, which is what it costs at least
		if !sendAll(fd, many[:int(times)*len(News)]) {
			unix.Shutdown(fd, unix.SHUT_RDWR)
		}
	}
	l := rawLoop{events: unix.EPOLLIN}
	l.opened = func(fd int) {
		all = append(all, fd)
		tell(fd, 1)
	}
	l.received = func(_ int, p []byte) bool {
		for _, fd := range all {
			tell(fd, p[0])
		}
		return true
	}
	l.ended = func(fd int) { all = slices.DeleteFunc(all, func(x int) bool { return x == fd }) }
	return l.run(cfg)
}

func (l *rawLoop) run(cfg Config) (err error) {
	var bound string
	if l.ln, bound, err = listenRaw(cfg.Addr); err != nil {
		return err
	}
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := sys.Watch(l.ep, l.ln, unix.EPOLLIN); err != nil {
		return err
	}
	cfg.Ready(bound)
	_ = sys.Watch(l.ep, questions, unix.EPOLLIN) // it fails if it is a file

	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 256)
	l.buf = make([]byte, readSize)
	for {
		n, errno := sys.EpollWait(l.ep, events, -1)
		if errno != 0 && errno != unix.EINTR {
			return os.NewSyscallError("epoll_wait", errno)
		}
		for _, ev := range events[:n] {
			switch fd := int(ev.Fd); fd {
			case l.ln:
				if err := l.accept(); err != nil {
					return err
				}
			case questions:
				l.answer()
			default:
				if !l.serve(fd, ev.Events) {
					l.end(fd)
				}
			}
		}
	}
}

// serve does what fd is ready for, and reports whether it is still of use.
func (l *rawLoop) serve(fd int, ready uint32) bool {
	if ready&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		if n, errno := sys.Recv(fd, l.buf, 0); errno != 0 || n == 0 || !l.received(fd, l.buf[:n]) {
			return false
		}
	}
	return l.writable == nil || l.writable(fd)
}

func (l *rawLoop) end(fd int) {
	if l.ended != nil {
		l.ended(fd)
	}
	unix.Close(fd)
}

func (l *rawLoop) accept() error {
	fd, _, err := unix.Accept4(l.ln, unix.SOCK_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("accept4", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if l.opened != nil {
		l.opened(fd)
	}
	return sys.Watch(l.ep, fd, l.events)
}

// answer answers what can be read from the standard input, which is ready.
func (l *rawLoop) answer() {
	var p [64]byte
	n, err := unix.Read(questions, p[:])
	if n <= 0 || err != nil {
		unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, questions, nil)
		return
	}
	for q := range strings.FieldsSeq(string(p[:n])) {
		answer(os.Stdout, q)
	}
}

func listenRaw(addr string) (fd int, bound string, err error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().Is4() {
		return 0, "", fmt.Errorf("-addr is %q: it must be an IPv4 address and a port", addr)
	}
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, "", os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, "", os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return 0, "", fmt.Errorf("bind %s: %w", addr, err)
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return 0, "", os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, "", os.NewSyscallError("getsockname", err)
	}
	port := name.(*unix.SockaddrInet4).Port
	return fd, netip.AddrPortFrom(at.Addr(), uint16(port)).String(), nil
}

func sendAll(fd int, p []byte) bool {
	for len(p) > 0 {
		n, errno := sys.Send(fd, p, unix.MSG_NOSIGNAL)
		if errno != 0 && errno != unix.EINTR {
			return false
		}
		p = p[n:]
	}
	return true
}
