package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A CPUTime is what a process has used of its processors, all its threads together. The total is exact to the
// nanosecond, as the scheduler counts it; how it divides is known in ticks of 10 ms only.
type CPUTime struct {
	Total        time.Duration
	user, system int64 // ticks
}

// Minus returns what was used since u.
func (t CPUTime) Minus(u CPUTime) CPUTime {
	return CPUTime{t.Total - u.Total, t.user - u.user, t.system - u.system}
}

// User returns how much of the total was not spent in the system.
func (t CPUTime) User() time.Duration {
	return time.Duration(float64(t.Total) * float64(t.user) / float64(max(t.user+t.system, 1)))
}

// CPU returns what the server has used.
func (s *Server) CPU() (t CPUTime, err error) {
	var ts unix.Timespec
	clock := int32(^s.PID()<<3 | 2) // as clock_getcpuclockid(3) does
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return t, os.NewSyscallError("clock_gettime", err)
	}
	t.Total = time.Duration(ts.Nano())
	stat, err := os.ReadFile(s.file("stat"))
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

// ThreadCPU returns what the calling thread has used.
func ThreadCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic("BUG: clock_gettime: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// RSS returns how many bytes of the server are resident. Unlike /proc/PID/stat, which may lag behind by some pages for
// each processor, smaps_rollup counts.
func (s *Server) RSS() (uint64, error) {
	b, err := os.ReadFile(s.file("smaps_rollup"))
	if err != nil {
		return 0, err
	}
	for scan := bufio.NewScanner(bytes.NewReader(b)); scan.Scan(); {
		if value, ok := strings.CutPrefix(scan.Text(), "Rss:"); ok {
			var kb uint64
			_, err := fmt.Sscanf(strings.TrimSpace(value), "%d kB", &kb)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("smaps_rollup has no Rss: %q", b)
}

// Switches are context switches of all threads of a process that live.
type Switches struct {
	Voluntary uint64 // a thread slept
	Forced    uint64 // a thread had to give way
}

// Switches returns how many there were so far.
func (s *Server) Switches() (n Switches, err error) {
	if n.Voluntary, err = sumOf(s.file("task/*/status"), "voluntary_ctxt_switches:", "%d"); err != nil {
		return n, err
	}
	n.Forced, err = sumOf(s.file("task/*/status"), "nonvoluntary_ctxt_switches:", "%d")
	return n, err
}

// Wakes returns how much was written to the server's eventfds and not read. A loop of galago never reads its eventfd,
// so what is written to it stays.
func (s *Server) Wakes() (uint64, error) { return sumOf(s.file("fdinfo/*"), "eventfd-count:", "%x") }

func (s *Server) file(name string) string { return fmt.Sprintf("/proc/%d/%s", s.PID(), name) }

// sumOf adds up what lines that begin with key say, in all files that match pattern.
func sumOf(pattern, key, format string) (sum uint64, err error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return 0, err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it was closed, or the thread has ended
		}
		for scan := bufio.NewScanner(bytes.NewReader(b)); scan.Scan(); {
			if value, ok := strings.CutPrefix(scan.Text(), key); ok {
				var n uint64
				if _, err := fmt.Sscanf(strings.TrimSpace(value), format, &n); err != nil {
					return 0, fmt.Errorf("%s says %q: %w", name, scan.Text(), err)
				}
				sum += n
			}
		}
	}
	return sum, nil
}
