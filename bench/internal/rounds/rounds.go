// Package rounds compares servers: it measures each of them once in every round, in random order, so that what the
// machine does besides hits all alike, and sums up what came of it.
package rounds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
)

// A Config says who is compared, how often and where.
type Config struct {
	Rivals     []Rival
	Rounds     int
	Duration   time.Duration // of one measurement; 0 if it takes as long as it takes
	ServerCPUs proc.CPUs
	LoadCPUs   proc.CPUs
	TLS        bool

	Progress func(done, all int, doing string) // is called before each measurement, and at the end
}

// A Spec is what is measured, and how.
type Spec struct {
	Name, Case, Title string
	Command           []string // of bench, that does it again
	Metrics           []result.Metric
	Compared          []string // keys of those that ratios are taken of, the main one first
	Notes             []string

	// Warn says why figures may mislead. If nil, it warns of a load that was the bottleneck.
	Warn func(*result.Run) []string

	// Measure measures one server once. It is called on a thread that is bound to the processors of the load.
	Measure func(*Target) (Values, error)
}

// Values are what was measured, by the keys of the metrics.
type Values = map[string]float64

// Run measures all rivals. If ctx ends, it returns its error.
func Run(ctx context.Context, cfg Config, spec Spec) (*result.Run, error) {
	run := &result.Run{
		Name: spec.Name, Case: spec.Case, Title: spec.Title, Command: spec.Command, Started: time.Now(),
		Metrics: spec.Metrics, Compared: spec.Compared,
		Method: result.Method{
			Rounds: cfg.Rounds, Seconds: cfg.Duration.Seconds(), ServerCPUs: cfg.ServerCPUs, LoadCPUs: cfg.LoadCPUs,
			Notes: append([]string{"each round measures every server once, in random order, each in a fresh process"}, spec.Notes...),
		},
	}
	release, err := proc.Pin(cfg.LoadCPUs)
	if err != nil {
		return nil, err
	}
	defer release()
	targets := make([]*Target, len(cfg.Rivals))
	for i, r := range cfg.Rivals {
		targets[i] = &Target{Rival: r, cfg: &cfg, warnings: map[string]string{}}
		run.Servers = append(run.Servers, &result.Server{Name: r.Name, About: r.about()})
	}
	for round := range cfg.Rounds {
		for place, i := range rand.Perm(len(targets)) {
			t := targets[i]
			cfg.progress(round*len(targets)+place, fmt.Sprintf("round %d of %d: %s", round+1, cfg.Rounds, t.Rival.Name))
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			values, err := spec.Measure(t)
			t.stop()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.Rival.Name, err)
			}
			run.Servers[i].Command = t.command
			run.Servers[i].Samples = append(run.Servers[i].Samples, result.Sample{Round: round + 1, Place: place + 1, Values: values})
		}
	}
	cfg.progress(cfg.Rounds*len(targets), "done")
	run.Method.WarmUp = Warm(cfg.Duration).Seconds()
	if cfg.Duration == 0 {
		run.Method.WarmUp = 0
	}
	run.Method.Syscalls = syscallsMethod(targets)
	run.Summarize()
	warn := spec.Warn
	if warn == nil {
		warn = warnOfBottleneck
	}
	run.Warnings = append(sharedProcessors(cfg), warn(run)...)
	if !strings.HasPrefix(run.Method.Syscalls, counted) {
		run.Warnings = append(run.Warnings, run.Method.Syscalls)
	}
	return run, nil
}

func (cfg *Config) progress(done int, doing string) {
	if cfg.Progress != nil {
		cfg.Progress(done, cfg.Rounds*len(cfg.Rivals), doing)
	}
}

// Warm is for how long a server runs before it is measured for d.
func Warm(d time.Duration) time.Duration { return d/8 + 50*time.Millisecond }
