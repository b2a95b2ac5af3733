package result

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// A Machine is where it was measured, and what.
type Machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`   // that this program may use
	Memory uint64 `json:"memory"` // bytes
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Arch   string `json:"arch"`
	Commit string `json:"commit,omitempty"` // of galago; "+changes" follows if the tree had any
	// Modules are the versions of the rivals that are libraries.
	Modules map[string]string `json:"modules,omitempty"`
}

// ThisMachine asks the system; what it does not tell is "?". modules are those whose versions matter.
func ThisMachine(modules ...string) Machine {
	m := Machine{
		CPU: lineOf("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), Kernel: kernel(),
		Go: runtime.Version(), Arch: runtime.GOARCH, Commit: commit(), Modules: map[string]string{},
	}
	fmt.Sscanf(lineOf("/proc/meminfo", "MemTotal"), "%d", &m.Memory)
	m.Memory <<= 10
	info, _ := debug.ReadBuildInfo()
	for _, name := range modules {
		for _, dep := range info.Deps {
			if dep.Path == name {
				m.Modules[name] = dep.Version
			}
		}
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, Linux %s, %s, %d processors", m.Go, m.Kernel, m.CPU, m.CPUs)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(b))
}

// lineOf returns what follows key and a colon in a file of such lines.
func lineOf(path, key string) string {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if k, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

// commit asks git, for go run does not record it in the program.
func commit() string {
	head, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(head))
	if changes, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output(); err == nil && len(changes) > 0 {
		id += "+changes"
	}
	return id
}
