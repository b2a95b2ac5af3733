package rounds

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/serve"
)

// A Target is the server that is to be measured.
type Target struct {
	Rival Rival

	cfg      *Config
	started  []*proc.Server
	command  []string
	warnings map[string]string // by subject
}

// Start starts a fresh server, which ends when the measurement does. size goes to a Source and for Frames.
func (t *Target) Start(role serve.Role, size int) (*proc.Server, error) {
	return t.StartOn(t.cfg.ServerCPUs, role, size)
}

// StartOn starts it on other processors than usual.
func (t *Target) StartOn(cpus proc.CPUs, role serve.Role, size int) (*proc.Server, error) {
	command, env, err := t.Rival.command(role, size, t.cfg.TLS)
	if err != nil {
		return nil, err
	}
	s, err := proc.Start(command, env, cpus)
	if err != nil {
		return nil, err
	}
	t.command = command
	if t.Own() && t.Rival.Program == "" {
		t.command = append([]string{"bench"}, command[1:]...)
	}
	t.started = append(t.started, s)
	if !t.Own() {
		s.Drain()
	}
	return s, nil
}

func (t *Target) stop() {
	for _, s := range t.started {
		s.Stop()
	}
	t.started = nil
}

// LoadCPUs are the processors of the load.
func (t *Target) LoadCPUs() proc.CPUs { return t.cfg.LoadCPUs }

// TLS returns the settings of clients, or nil for plain TCP. Who the server is they do not check: its certificate is
// made when it starts, and only the server is measured.
func (t *Target) TLS() *tls.Config {
	if !t.cfg.TLS {
		return nil
	}
	return &tls.Config{InsecureSkipVerify: true}
}

// Duration is how long a measurement is to take.
func (t *Target) Duration() time.Duration { return t.cfg.Duration }

// Own reports whether the server is of this program, and so answers questions.
func (t *Target) Own() bool { return t.Rival.Shell == "" }

// A Meter is what a server used in a stretch of time, and what the load saw in it.
type Meter struct {
	load.Tally
	CPU      proc.CPUTime // of the server; Tally.CPU is that of the load
	Switches proc.Switches
	Mallocs  uint64 // of a server of this program
	own      bool
}

// Measure measures the server while run runs.
func (t *Target) Measure(s *proc.Server, run func() (load.Tally, error)) (m Meter, err error) {
	m.own = t.Own()
	mallocs, err := t.mallocs(s)
	if err != nil {
		return m, err
	}
	switches, err := s.Switches()
	if err != nil {
		return m, err
	}
	before, err := s.CPU()
	if err != nil {
		return m, err
	}
	if m.Tally, err = run(); err != nil {
		return m, err
	}
	after, err := s.CPU()
	if err != nil {
		return m, err
	}
	m.CPU = after.Minus(before)
	if m.Switches, err = s.Switches(); err != nil {
		return m, err
	}
	m.Switches.Voluntary -= switches.Voluntary
	m.Switches.Forced -= switches.Forced
	m.Mallocs, err = t.mallocs(s)
	m.Mallocs -= mallocs
	if err == nil && m.Count == 0 {
		err = fmt.Errorf("nothing came back in %v", m.Took)
	}
	return m, err
}

func (t *Target) mallocs(s *proc.Server) (uint64, error) {
	if !t.Own() {
		return 0, nil
	}
	return s.Ask("mallocs")
}

// Values returns what Metrics says of each thing that was counted.
func (m Meter) Values() Values {
	n := float64(m.Count)
	user := float64(m.CPU.User())
	values := Values{
		"cpu": float64(m.CPU.Total) / n, "user": user / n, "system": (float64(m.CPU.Total) - user) / n,
		"rate":     n / m.Took.Seconds(),
		"sleeps":   float64(m.Switches.Voluntary) / n,
		"preempts": float64(m.Switches.Forced) / n,
		"server":   float64(m.CPU.Total) / float64(m.Took),
		"load":     m.Busy,
	}
	if m.own {
		values["allocations"] = float64(m.Mallocs) / n
	}
	return values
}

// Metrics are those of Meter, for what is counted: a message, a connection, a MiB.
func Metrics(of string) []result.Metric {
	return []result.Metric{
		{Key: "cpu", Name: "CPU/" + of, Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "user", Name: "user", Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "system", Name: "system", Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "rate", Name: plural(of) + "/s", Unit: result.PerSecond, Better: result.Higher},
		{Key: "server", Name: "server busy", Unit: result.Share},
		{Key: "load", Name: "load busy", Unit: result.Share},
	}
}

func plural(of string) string {
	if of == "MiB" {
		return of
	}
	return of + "s"
}

// SwitchMetrics are the context switches in a Meter.
func SwitchMetrics(of string) []result.Metric {
	return []result.Metric{
		{Key: "sleeps", Name: "sleeps/" + of, Unit: result.Count, Better: result.Lower},
		{Key: "preempts", Name: "preempted/" + of, Unit: result.Count, Better: result.Lower},
	}
}

// AllocationMetrics are those of the memory that servers of this program allocate.
func AllocationMetrics(of string) []result.Metric {
	return []result.Metric{{Key: "allocations", Name: "allocations/" + of, Unit: result.Count, Better: result.Lower}}
}

// CountSyscalls adds the system calls of the server for each thing counted, while run runs, to values. It must be apart
// from other measurements. Where the system does not let them be counted, there is a warning and no value.
func (t *Target) CountSyscalls(s *proc.Server, values Values, run func() (load.Tally, error)) error {
	var tally load.Tally
	n, err := s.CountSyscalls(func() (err error) {
		tally, err = run()
		return err
	})
	if refused := new(proc.SyscallsError); errors.As(err, &refused) {
		t.warnings["syscalls"] = err.Error()
		return nil
	} else if err != nil {
		return err
	}
	count := float64(max(1, tally.Count))
	values["syscalls"] = float64(n.Total) / count
	values["waits"] = float64(n.Wait) / count
	values["reads"] = float64(n.Read) / count
	values["writes"] = float64(n.Write) / count
	values["futexes"] = float64(n.Futex) / count
	return nil
}

// SyscallMetrics are those of CountSyscalls.
func SyscallMetrics(of string) []result.Metric {
	return []result.Metric{
		{Key: "syscalls", Name: "system calls/" + of, Unit: result.Count, Better: result.Lower},
		{Key: "waits", Name: "of them to wait", Unit: result.Count, Better: result.Lower},
		{Key: "reads", Name: "to read", Unit: result.Count, Better: result.Lower},
		{Key: "writes", Name: "to write", Unit: result.Count, Better: result.Lower},
		{Key: "futexes", Name: "futex", Unit: result.Count, Better: result.Lower},
	}
}

func syscallsMethod(targets []*Target) string {
	for _, t := range targets {
		if w, ok := t.warnings["syscalls"]; ok {
			return w
		}
	}
	return counted + " by the system (perf's raw_syscalls), in a short run after the one that is timed"
}

const counted = "system calls are counted"

func sharedProcessors(cfg Config) (all []string) {
	for _, cpu := range cfg.ServerCPUs {
		if slices.Contains(cfg.LoadCPUs, cpu) {
			all = append(all, fmt.Sprintf("server and load share processor %d", cpu))
		}
	}
	return all
}

// warnOfBottleneck says when the load held a server up.
func warnOfBottleneck(run *result.Run) (all []string) {
	for _, s := range run.Servers {
		load, server := s.Summary["load"].Median, s.Summary["server"].Median/float64(len(run.Method.ServerCPUs))
		if load > 0.95 && server < 0.9 {
			all = append(all, fmt.Sprintf("%s: the load was the bottleneck (%.0f %% busy, the server %.0f %%): then the server "+
				"sleeps and wakes more often than it need have", s.Name, 100*load, 100*server))
		}
	}
	return all
}
