package loop

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is the system calls whose failures matter, as values, so that a test can make them fail. Each makes its call
// once. None blocks but wait.
type system struct {
	poll     func(ep int, events []unix.EpollEvent, aloud bool) (int, syscall.Errno)
	wait     func(ep int, events []unix.EpollEvent, ms int) (int, syscall.Errno)
	control  func(ep, op, fd int, ev *unix.EpollEvent) error
	recv     func(fd int, p []byte, flags int) (int, syscall.Errno)
	send     func(fd int, p []byte) (int, syscall.Errno)
	sendmsg  func(fd int, m *unix.Msghdr, size int) (int, syscall.Errno)
	accept   func(fd int) (int, netip.AddrPort, error)
	wake     func(fd int) error
	hurry    func(f *os.File) error // which is no system call
	setTimer func(fd int, d time.Duration) syscall.Errno
	socket   func(family, kind, protocol int) (int, error)
	connect  func(fd int, to unix.Sockaddr) error
	sockErr  func(fd int) (int, error) // SO_ERROR
	peer     func(fd int) (unix.Sockaddr, error)
}

var realSystem = system{
	poll:     poll,
	wait:     wait,
	control:  unix.EpollCtl,
	recv:     recv,
	send:     send,
	sendmsg:  sendmsg,
	accept:   accept,
	wake:     wake,
	hurry:    hurry,
	setTimer: setTimer,
	socket:   unix.Socket,
	connect:  unix.Connect,
	sockErr:  sockErr,
	peer:     unix.Getpeername,
}

// rawSize is up to how many bytes are copied without telling the scheduler. Telling it costs more than a small copy,
// and calls that cannot block need no other reason; but a large copy would keep the processor from others.
const rawSize = 64 << 10

const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// poll looks for events and does not wait. If aloud, the scheduler is told of the call.
func poll(ep int, events []unix.EpollEvent, aloud bool) (int, syscall.Errno) {
	if aloud {
		return wait(ep, events, 0)
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	return int(n), errno
}

func wait(ep int, events []unix.EpollEvent, ms int) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(ms), 0, 0)
	return int(n), errno
}

func recv(fd int, p []byte, flags int) (int, syscall.Errno) {
	var n uintptr
	var errno syscall.Errno
	if len(p) <= rawSize {
		n, _, errno = syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	} else {
		n, _, errno = syscall.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	}
	return int(n), errno
}

func send(fd int, p []byte) (int, syscall.Errno) {
	var n uintptr
	var errno syscall.Errno
	if len(p) <= rawSize {
		n, _, errno = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), sendFlags, 0, 0)
	} else {
		n, _, errno = syscall.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)), sendFlags, 0, 0)
	}
	return int(n), errno
}

// sendmsg and not writev, for writev takes no flags: where a descriptor is in blocking mode, it would block.
func sendmsg(fd int, m *unix.Msghdr, size int) (int, syscall.Errno) {
	var n uintptr
	var errno syscall.Errno
	if size <= rawSize {
		n, _, errno = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), sendFlags)
	} else {
		n, _, errno = syscall.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), sendFlags)
	}
	return int(n), errno
}

// accept does not use unix.Accept4, which asks the system for the protocol of each connection, and allocates its address.
func accept(fd int) (int, netip.AddrPort, error) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(n), rawAddrPort(&sa), nil
}

// rawAddrPort is addrPort for an address as the system has it.
func rawAddrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return addrPort(&unix.SockaddrInet4{Addr: in.Addr, Port: hostOrder(in.Port)})
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return addrPort(&unix.SockaddrInet6{Addr: in.Addr, Port: hostOrder(in.Port), ZoneId: in.Scope_id})
	}
	return netip.AddrPort{}
}

// hostOrder is a port that was read as if it were not in the order of the network.
func hostOrder(port uint16) int {
	return int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, port)))
}

func sockErr(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) }

// wake adds to the counter of an eventfd, which nobody reads: each write is a new edge.
func wake(fd int) error {
	_, err := unix.Write(fd, one)
	return err
}

// hurry ends a wait for f to become readable.
func hurry(f *os.File) error { return f.SetReadDeadline(longAgo) }

// setTimer lets a timerfd fire once, d from now; d is more than 0.
func setTimer(fd int, d time.Duration) syscall.Errno {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	_, _, errno := syscall.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(fd), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	return errno
}

var longAgo = time.Unix(1, 0)

var one = binary.NativeEndian.AppendUint64(nil, 1)
