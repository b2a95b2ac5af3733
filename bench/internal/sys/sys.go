// Package sys has the system calls of the hot paths, of the load as well as of the server raw, made without telling Go's
// scheduler. So they suit threads that nobody waits for: those of the load, and a server with one goroutine.
package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watch adds fd to the epoll instance ep.
func Watch(ep, fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &ev))
}

// EpollWait waits for msec milliseconds, or for ever if that is negative. n is never negative.
func EpollWait(ep int, events []unix.EpollEvent, msec int) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(msec), 0, 0)
	return took(r, errno)
}

// Recv reads into p, which must not be empty. n is never negative.
func Recv(fd int, p []byte, flags int) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])),
		uintptr(len(p)), uintptr(flags), 0, 0)
	return took(r, errno)
}

// Send writes p, which must not be empty. n is never negative.
func Send(fd int, p []byte, flags int) (n int, errno unix.Errno) {
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
