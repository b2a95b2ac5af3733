package loop

import "syscall"

// met is what the system calls of a socket have met so far: the peer's end, an error. It is a byte, for there is one in
// every connection. No error of a socket on Linux has a higher number than 127.
type met uint8

const metEnd met = 1 << 7

func (m met) errno() syscall.Errno { return syscall.Errno(m &^ metEnd) }

// fail keeps the error.
func (m *met) fail(errno syscall.Errno) {
	if errno >= syscall.Errno(metEnd) {
		errno = syscall.EIO
	}
	*m = *m&metEnd | met(errno)
}
