package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit is how long a server may take until it listens, or answers a question.
const startLimit = 10 * time.Second

// A server is a process that was started for one measurement.
type server struct {
	cmd    *exec.Cmd
	addr   netip.AddrPort
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// startServer runs this program again, as a server, on one processor; if kind is NAME@PROGRAM, another one. The calling goroutine must be locked to its
// thread: the new process inherits the thread's processors, and dies with it.
func startServer(as role, kind string, cpu int) (*server, error) {
	kind, program, other := strings.Cut(kind, "@")
	if !other {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	s := &server{cmd: exec.Command(program, "serve", "-role", string(as), "-kind", kind)}
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.stdout = bufio.NewReader(stdout)
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	release, err := pin(cpu)
	if err != nil {
		return nil, err
	}
	err = s.cmd.Start()
	release()
	if err != nil {
		return nil, err
	}

	line, err := s.line()
	if err == nil {
		s.addr, err = listeningOn(line)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("server %s did not start: %w\n%s", kind, err, s.stderr.String())
	}
	return s, nil
}

// line reads a line of what the server prints. If that takes too long the server is killed.
func (s *server) line() (string, error) {
	overdue := time.AfterFunc(startLimit, func() { s.cmd.Process.Kill() })
	defer overdue.Stop()
	return s.stdout.ReadString('\n')
}

// ask asks the server for one of its numbers; see questions.
func (s *server) ask(question string) (n uint64, err error) {
	if _, err = fmt.Fprintln(s.stdin, question); err != nil {
		return 0, err
	}
	line, err := s.line()
	if err != nil {
		return 0, fmt.Errorf("the server was asked for %q: %w", question, err)
	}
	_, err = fmt.Sscanf(line, question+" %d", &n)
	return n, err
}

func listeningOn(line string) (netip.AddrPort, error) {
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("its first line is %q, not where it listens", line)
	}
	return netip.ParseAddrPort(addr)
}

func (s *server) stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// A cpuTime is what a process has used of its processors so far, all its threads together. The total is exact to the
// nanosecond, as the scheduler counts it; how it divides is known in ticks of 10 ms only.
type cpuTime struct {
	total        time.Duration
	user, system int64 // ticks
}

func (t cpuTime) minus(u cpuTime) cpuTime {
	return cpuTime{t.total - u.total, t.user - u.user, t.system - u.system}
}

// userPart returns how much of the total was not spent in the system.
func (t cpuTime) userPart() time.Duration {
	return time.Duration(float64(t.total) * float64(t.user) / float64(max(t.user+t.system, 1)))
}

// cpu returns what the server has used.
func (s *server) cpu() (t cpuTime, err error) {
	var ts unix.Timespec
	clock := int32(^s.cmd.Process.Pid<<3 | 2) // as clock_getcpuclockid(3) does
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return t, os.NewSyscallError("clock_gettime", err)
	}
	t.total = time.Duration(ts.Nano())
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return t, err
	}
	// The name, in parentheses, may hold anything; utime and stime are fields 14 and 15 of all, 12 and 13 after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return t, fmt.Errorf("/proc/PID/stat is %q", stat)
	}
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &t.user, &t.system)
	return t, err
}

// threadCPU returns what the calling thread has used.
func threadCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic("BUG: clock_gettime: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// pin binds the calling thread to one processor, until release is called.
func pin(cpu int) (release func(), err error) {
	runtime.LockOSThread()
	var old, set unix.CPUSet
	if err = unix.SchedGetaffinity(0, &old); err == nil {
		set.Set(cpu)
		err = unix.SchedSetaffinity(0, &set)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("bind to processor %d: %w", cpu, err)
	}
	return func() {
		// It cannot fail: these were the thread's processors before.
		unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	}, nil
}

// processors returns one processor for the server and one for the load. They are the same if there is only one.
func processors() (server, load int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, 0, os.NewSyscallError("sched_getaffinity", err)
	}
	var found []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			found = append(found, cpu)
		}
	}
	if len(found) == 0 {
		return 0, 0, errors.New("sched_getaffinity names no processor")
	}
	return found[0], found[min(1, len(found)-1)], nil
}
