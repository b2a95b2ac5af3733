package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUs are processors, by the system's numbers.
type CPUs []int

// Available returns the processors that this program may use.
func Available() (CPUs, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	var found CPUs
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			found = append(found, cpu)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("sched_getaffinity names no processor")
	}
	return found, nil
}

// ParseCPUs reads a list such as "0,2-3". Every one of them must be in available.
func ParseCPUs(list string, available CPUs) (CPUs, error) {
	var cpus CPUs
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(low)
		to := from
		if err == nil && isRange {
			to, err = strconv.Atoi(high)
		}
		if err != nil || to < from {
			return nil, fmt.Errorf("%q is no list of processors: write it as in 0,2-3", list)
		}
		for cpu := from; cpu <= to; cpu++ {
			if !slices.Contains(available, cpu) {
				return nil, fmt.Errorf("processor %d is not there: this program may use %v", cpu, available)
			}
			if !slices.Contains(cpus, cpu) {
				cpus = append(cpus, cpu)
			}
		}
	}
	return cpus, nil
}

func (c CPUs) String() string {
	var s []string
	for _, cpu := range c {
		s = append(s, strconv.Itoa(cpu))
	}
	return strings.Join(s, ",")
}

// Pin binds the calling goroutine to its thread, and that to some processors, until release is called.
func Pin(cpus CPUs) (release func(), err error) {
	runtime.LockOSThread()
	var old, set unix.CPUSet
	if err = unix.SchedGetaffinity(0, &old); err == nil {
		for _, cpu := range cpus {
			set.Set(cpu)
		}
		err = unix.SchedSetaffinity(0, &set)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("bind to processors %v: %w", cpus, err)
	}
	return func() {
		// It cannot fail: these were the thread's processors before.
		unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	}, nil
}
