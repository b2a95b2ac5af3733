package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Syscalls are the system calls that a process made, by what they are for.
type Syscalls struct {
	Total uint64
	Wait  uint64 // epoll_wait and its like
	Read  uint64 // from descriptors
	Write uint64 // to descriptors
	Futex uint64 // a thread waits for another, or wakes it
}

// kinds are the numbers of the calls that the fields of Syscalls count, Total apart.
var kinds = [...][]int{
	append(waits, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_PPOLL, unix.SYS_IO_URING_ENTER),
	{unix.SYS_READ, unix.SYS_READV, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG},
	{unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_SENDFILE, unix.SYS_SPLICE},
	{unix.SYS_FUTEX},
}

func (s *Syscalls) fields() []*uint64 { return []*uint64{&s.Wait, &s.Read, &s.Write, &s.Futex} }

// CountSyscalls counts the server's system calls while run runs, by perf's tracepoints, which the system adds up while
// they happen. It costs each call some hundred nanoseconds, so that no other figure may be taken of the same time. The
// error says what it takes if the system refuses; it is a *SyscallsError then.
func (s *Server) CountSyscalls(run func() error) (n Syscalls, err error) {
	// While it starts no thread, none is missed and none is counted twice.
	goOn, err := s.suspend()
	if err != nil {
		return n, err
	}
	c, err := openCounters(s.PID())
	goOn()
	if err != nil {
		return n, &SyscallsError{err}
	}
	defer c.close()
	before, err := c.read()
	if err != nil {
		return n, err
	}
	if err := run(); err != nil {
		return n, err
	}
	after, err := c.read()
	if err != nil {
		return n, err
	}
	n.Total = after.Total - before.Total
	for i, f := range n.fields() {
		*f = *after.fields()[i] - *before.fields()[i]
	}
	return n, nil
}

// A SyscallsError says why system calls cannot be counted here.
type SyscallsError struct{ Err error }

func (e *SyscallsError) Error() string {
	cure := "it takes tracefs at /sys/kernel/tracing and root, or kernel.perf_event_paranoid at -1"
	return fmt.Sprintf("system calls are not counted: %v; %s", e.Err, cure)
}

func (e *SyscallsError) Unwrap() error { return e.Err }

// suspend stops all threads of the server until goOn is called.
func (s *Server) suspend() (goOn func(), err error) {
	if err := syscall.Kill(s.PID(), syscall.SIGSTOP); err != nil {
		return nil, os.NewSyscallError("kill", err)
	}
	goOn = func() { syscall.Kill(s.PID(), syscall.SIGCONT) }
	for deadline := time.Now().Add(StartLimit); ; time.Sleep(time.Millisecond) {
		stopped, err := s.stopped()
		if err == nil && stopped {
			return goOn, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("the server does not stop for SIGSTOP within %v", StartLimit)
		}
		if err != nil {
			goOn()
			return nil, err
		}
	}
}

func (s *Server) stopped() (bool, error) {
	threads, err := threadsOf(s.PID())
	if err != nil {
		return false, err
	}
	for _, tid := range threads {
		stat, err := os.ReadFile(s.file(fmt.Sprintf("task/%d/stat", tid)))
		if err != nil {
			return false, err
		}
		if !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T")) {
			return false, nil
		}
	}
	return true, nil
}

// counters are perf's events: for each thread those of each kind, and the total as the last.
type counters struct{ fds [len(kinds) + 1][]int }

// openCounters counts for all threads of a process, and those that they start.
func openCounters(pid int) (_ *counters, err error) {
	id, err := tracepoint("raw_syscalls/sys_enter")
	if err != nil {
		return nil, err
	}
	c := new(counters)
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	threads, err := threadsOf(pid)
	if err != nil {
		return nil, err
	}
	for _, tid := range threads {
		if err := c.watch(tid, id); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// watch opens all events for one thread and those that it starts. id is that of the tracepoint.
func (c *counters) watch(tid int, id uint64) error {
	for i := range c.fds {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Bits: unix.PerfBitInherit}
		attr.Size = uint32(unsafe.Sizeof(attr))
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) {
			return nil // the thread has ended
		} else if err != nil {
			return os.NewSyscallError("perf_event_open", err)
		}
		c.fds[i] = append(c.fds[i], fd)
		if i == len(kinds) {
			break // the total has no filter
		}
		if err := setFilter(fd, kinds[i]); err != nil {
			return os.NewSyscallError("ioctl(PERF_EVENT_IOC_SET_FILTER)", err)
		}
	}
	return nil
}

// setFilter lets an event count these calls only.
func setFilter(fd int, calls []int) error {
	var terms []string
	for _, nr := range calls {
		terms = append(terms, fmt.Sprintf("id == %d", nr))
	}
	filter, err := unix.BytePtrFromString(strings.Join(terms, " || "))
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PERF_EVENT_IOC_SET_FILTER, uintptr(unsafe.Pointer(filter)))
	if errno != 0 {
		return errno
	}
	return nil
}

func (c *counters) read() (n Syscalls, err error) {
	for i, f := range append(n.fields(), &n.Total) {
		for _, fd := range c.fds[i] {
			var count [8]byte
			if _, err := unix.Read(fd, count[:]); err != nil {
				return n, os.NewSyscallError("read", err)
			}
			*f += *(*uint64)(unsafe.Pointer(&count))
		}
	}
	return n, nil
}

func (c *counters) close() {
	for _, fds := range c.fds {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// tracepoint returns the number of a tracepoint.
func tracepoint(name string) (uint64, error) {
	var failed error
	for _, root := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		b, err := os.ReadFile(filepath.Join(root, "events", name, "id"))
		if err == nil {
			return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		}
		if failed == nil {
			failed = err
		}
	}
	return 0, failed
}

func threadsOf(pid int) (tids []int, err error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		tids = append(tids, tid)
	}
	return tids, nil
}
