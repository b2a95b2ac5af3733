package main

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// serveRaw is the limit: what the system calls cost and nothing else. One thread sleeps in epoll_wait, reads what is
// ready and writes it back. It knows no back-pressure: its sockets block, so one slow reader stops them all.
//
// It makes its system calls without telling Go's scheduler (RawSyscall), epoll_wait too, as no other goroutine has
// work here. Under load the ordinary wrapper for epoll_wait, or edge-triggered events, cost the same within 1 %.
func serveRaw(addr string, ready func(addr string)) error {
	ln, bound, err := listenRaw(addr)
	if err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := watch(ep, ln, unix.EPOLLIN); err != nil {
		return err
	}
	ready(bound)
	_ = watch(ep, questions, unix.EPOLLIN) // it fails if it is a file

	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, readSize)
	for {
		n, errno := epollWait(ep, events, -1)
		if errno != 0 && errno != unix.EINTR {
			return os.NewSyscallError("epoll_wait", errno)
		}
		for _, ev := range events[:n] {
			fd := int(ev.Fd)
			if fd == ln {
				if _, err := acceptRaw(ep, ln); err != nil {
					return err
				}
			} else if fd == questions {
				answerRaw(ep)
			} else if n, errno := recv(fd, buf, 0); errno != 0 || n == 0 || !sendAll(fd, buf[:n]) {
				unix.Close(fd)
			}
		}
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

func acceptRaw(ep, ln int) (fd int, err error) {
	if fd, _, err = unix.Accept4(ln, unix.SOCK_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("accept4", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	return fd, watch(ep, fd, unix.EPOLLIN)
}

// answerRaw answers what can be read from the standard input, which is ready.
func answerRaw(ep int) {
	var p [64]byte
	n, err := unix.Read(questions, p[:])
	if n <= 0 || err != nil {
		unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, questions, nil)
		return
	}
	for q := range strings.FieldsSeq(string(p[:n])) {
		answer(os.Stdout, q)
	}
}

func watch(ep, fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &ev))
}

func sendAll(fd int, p []byte) bool {
	for len(p) > 0 {
		n, errno := send(fd, p, unix.MSG_NOSIGNAL)
		if errno != 0 && errno != unix.EINTR {
			return false
		}
		p = p[n:]
	}
	return true
}

// The three calls of the hot path. n is never negative.

func epollWait(ep int, events []unix.EpollEvent, msec int) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(msec), 0, 0)
	return took(r, errno)
}

func recv(fd int, p []byte, flags int) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])),
		uintptr(len(p)), uintptr(flags), 0, 0)
	return took(r, errno)
}

func send(fd int, p []byte, flags int) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])),
		uintptr(len(p)), uintptr(flags), 0, 0)
	return took(r, errno)
}

func took(r uintptr, errno unix.Errno) (int, unix.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
