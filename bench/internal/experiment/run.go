package experiment

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
)

// A Config says who takes part, and where.
type Config struct {
	Rivals     []rounds.Rival
	Rounds     int
	ServerCPUs proc.CPUs
	LoadCPUs   proc.CPUs
	TLS        bool
	Command    []string // of bench, that does it again

	Progress func(done, all int, doing string) // is called before each trial, and at the end; may be nil
}

// A contestant is one server, with its settings.
type contestant struct {
	trier
	name     string
	settings pressure.Settings
	trials   []pair
}

// contestants are the rivals that play the role, and the variants of galago.
func (x *Experiment) contestants(cfg Config) (all []*contestant) {
	for _, r := range cfg.Rivals {
		if !r.Plays(x.Role) {
			continue
		}
		variants := []Variant{{}}
		if r.Kind == "galago" && len(x.Variants) > 0 {
			variants = x.Variants
		}
		for _, v := range variants {
			c := &contestant{name: r.Name + v.Suffix, settings: x.Settings}
			c.trier = trier{x: x, rival: r, loads: cfg.LoadCPUs, launch: rounds.Launch{CPUs: cfg.ServerCPUs, TLS: cfg.TLS}}
			if cfg.TLS {
				c.tls = &tls.Config{InsecureSkipVerify: true} // the certificate is made when the server starts
			}
			if v.Change != nil {
				v.Change(&c.settings)
			}
			all = append(all, c)
		}
	}
	return all
}

// Run has every contestant go through the script, once in each round, in random order. If ctx ends, it returns its error.
func (x *Experiment) Run(ctx context.Context, cfg Config) (*result.Run, error) {
	run := &result.Run{Name: "backpressure", Case: x.Case, Title: x.Title, Command: cfg.Command, Started: time.Now(),
		Method: result.Method{Rounds: cfg.Rounds, Seconds: x.length().Seconds(), ServerCPUs: cfg.ServerCPUs, LoadCPUs: cfg.LoadCPUs,
			Notes: slices.Concat([]string{"each round runs the script once with every server, in random order, each in a fresh process; " +
				"the plots show the last round"}, x.Notes)}}
	release, err := proc.Pin(cfg.LoadCPUs)
	if err != nil {
		return nil, err
	}
	defer release()
	all := x.contestants(cfg)
	for _, c := range all {
		run.Servers = append(run.Servers, &result.Server{Name: c.name, About: c.rival.About(), Settings: c.shown()})
	}
	progress := func(done int, doing string) {
		if cfg.Progress != nil {
			cfg.Progress(done, cfg.Rounds*len(all), doing)
		}
	}
	for round := range cfg.Rounds {
		for place, i := range rand.Perm(len(all)) {
			c := all[i]
			progress(round*len(all)+place, fmt.Sprintf("round %d of %d: %s", round+1, cfg.Rounds, c.name))
			values, err := c.perform(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", x.Case, c.name, err)
			}
			run.Servers[i].Samples = append(run.Servers[i].Samples, result.Sample{Round: round + 1, Place: place + 1, Values: values})
			run.Servers[i].Command = c.trials[round].with.command
		}
	}
	progress(cfg.Rounds*len(all), "done")
	x.conclude(run, all, cfg)
	return run, nil
}

// shown are the settings that tell variants apart.
func (c *contestant) shown() map[string]float64 {
	if c.rival.Kind != "galago" {
		return nil
	}
	return map[string]float64{"high": float64(c.settings.High), "low": float64(c.settings.Low)}
}

// perform runs a trial, and its control if there is to be one, in random order.
func (c *contestant) perform(ctx context.Context) (values rounds.Values, err error) {
	var p pair
	tries := []func() error{func() (err error) {
		p.with, err = c.try(ctx, c.settings, true)
		return err
	}}
	if c.x.Control {
		tries = append(tries, func() (err error) {
			p.without, err = c.try(ctx, c.settings, false)
			return err
		})
	}
	rand.Shuffle(len(tries), func(i, j int) { tries[i], tries[j] = tries[j], tries[i] })
	for _, try := range tries {
		if err := try(); err != nil {
			return nil, err
		}
	}
	c.trials = append(c.trials, p)
	values = p.with.values()
	if p.without != nil {
		values["alone"] = p.without.values()["delay p99"]
		values["slowed"] = values["delay p99"] / max(values["alone"], 1)
	}
	return values, nil
}

// conclude draws what follows from the trials.
func (x *Experiment) conclude(run *result.Run, all []*contestant, cfg Config) {
	run.Metrics = x.metrics(run.Servers)
	if x.Control {
		run.Compared = []string{"delay p99"}
	}
	run.Summarize()
	trials := map[string][]pair{}
	var names []string // of whom there are verdicts
	for _, c := range all {
		name := c.name
		if x.Sweeps {
			name = c.rival.Name
		}
		if trials[name] == nil {
			names = append(names, name)
		}
		trials[name] = append(trials[name], c.trials...)
		if x.compares() {
			run.Series = append(run.Series, c.trials[len(c.trials)-1].with.series(c.name)...)
		}
	}
	for _, name := range names {
		run.Verdicts = append(run.Verdicts, x.verdicts(name, trials[name])...)
	}
	slices.SortStableFunc(run.Verdicts, func(a, b result.Verdict) int {
		return slices.Index(Promises, a.Promise) - slices.Index(Promises, b.Promise)
	})
	if x.compares() {
		run.Metrics = append(run.Metrics, seriesMetrics(run.Series)...)
		run.Limits = []result.Limit{{Metric: "t.pending", Value: float64(x.Settings.Bound()), Text: "promised at most"}}
		run.Marks = x.marks()
	}
	run.Warnings = append(rounds.SharedProcessors(cfg.ServerCPUs, cfg.LoadCPUs), busyLoad(run)...)
}

func seriesMetrics(series []result.Series) (all []result.Metric) {
	for _, m := range overTime {
		if slices.ContainsFunc(series, func(s result.Series) bool { return s.Metric == m.Key }) {
			all = append(all, m)
		}
	}
	return all
}

// marks are where steps begin.
func (x *Experiment) marks() (all []result.Mark) {
	at := time.Duration(0)
	for _, s := range x.Steps {
		all = append(all, result.Mark{At: at.Seconds(), Text: s.Text})
		at += s.For
	}
	return append(all, result.Mark{At: at.Seconds(), Text: "end"})
}

// busyLoad says where the load may have been what was slow.
func busyLoad(run *result.Run) (all []string) {
	for _, s := range run.Servers {
		if busy := s.Summary["load"].Median; busy > 0.9 {
			all = append(all, fmt.Sprintf("%s: the load was %.0f %% busy: delays may be its own", s.Name, 100*busy))
		}
	}
	return all
}
