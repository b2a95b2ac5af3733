//go:build unix

package loop

import "syscall"

func setSocketOption(fd uintptr, name, value int) error {
	return syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, name, value)
}
