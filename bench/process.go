package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit is how long a server may take until it listens.
const startLimit = 10 * time.Second

// A server is a process that was started for one measurement.
type server struct {
	cmd    *exec.Cmd
	addr   netip.AddrPort
	stderr bytes.Buffer
}

// startServer runs this program again, as a server, on one processor. The calling goroutine must be locked to its
// thread: the new process inherits the thread's processors, and dies with it.
func startServer(kind string, cpu int) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.Command(self, "serve", "-kind", kind)}
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
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

	overdue := time.AfterFunc(startLimit, func() { s.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	overdue.Stop()
	if err == nil {
		s.addr, err = listeningOn(line)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("server %s did not start: %w\n%s", kind, err, s.stderr.String())
	}
	return s, nil
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

// A cpuTime is what a process or thread has used of its processors so far.
type cpuTime struct{ user, system time.Duration }

func (t cpuTime) total() time.Duration    { return t.user + t.system }
func (t cpuTime) minus(u cpuTime) cpuTime { return cpuTime{t.user - u.user, t.system - u.system} }

// cpu returns what the server has used, all its threads together. The sum is exact to the nanosecond, as the
// scheduler counts it; how it divides is known in ticks of 10 ms only.
func (s *server) cpu() (cpuTime, error) {
	var ts unix.Timespec
	clock := int32(^s.cmd.Process.Pid<<3 | 2) // as clock_getcpuclockid(3) does
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return cpuTime{}, os.NewSyscallError("clock_gettime", err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return cpuTime{}, err
	}
	// The name, in parentheses, may hold anything; utime and stime are fields 14 and 15 of all, 12 and 13 after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return cpuTime{}, fmt.Errorf("/proc/PID/stat is %q", stat)
	}
	var user, system float64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return cpuTime{}, err
	}
	total := time.Duration(ts.Nano())
	if user+system == 0 {
		return cpuTime{user: total}, nil
	}
	u := time.Duration(float64(total) * user / (user + system))
	return cpuTime{u, total - u}, nil
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
