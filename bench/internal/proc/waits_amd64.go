package proc

import "golang.org/x/sys/unix"

// waits are calls that newer architectures lack.
var waits = []int{unix.SYS_EPOLL_WAIT, unix.SYS_POLL, unix.SYS_SELECT}
