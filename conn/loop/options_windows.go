package loop

import "syscall"

func setSocketOption(fd uintptr, name, value int) error {
	return syscall.SetsockoptInt(syscall.Handle(fd), syscall.SOL_SOCKET, name, value)
}
