package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/experiment"
	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/serve"
)

// A pressed has the flags of backpressure.
type pressed struct {
	experiment.Params
	quick bool
	only  string
	highs string
}

var backpressureDefaults = defaults{conns: 1000, rounds: 2, duration: 500 * time.Millisecond}

const allHighs = "4096,16384,65536,262144,1048576"

var backpressureWork = &workload{
	name: "backpressure", about: "experiments with readers that are slow, stop, or never read, with verdicts: about two minutes",
	role:     serve.Room,
	defaults: backpressureDefaults,
	flags:    func(set *settings) []cli.Flag { return set.pressed.flags() },
	check:    func(set *settings) error { return set.pressed.check(set) },
	run:      func(ctx context.Context, s *session, set *settings) error { return s.backpressure(ctx, set) },
}

func (p *pressed) flags() []cli.Flag {
	return []cli.Flag{
		flag(&p.quick, "quick", "shorter and smaller, for a first look and for tests: half a minute"),
		text(&p.only, "only", "", "`names` of experiments, with commas between: "+strings.Join(experiment.Keys, ", ")+" (default: all)"),
		number(&p.Record, "record", 16<<10, "`bytes` of a record"),
		number(&p.Feed, "feed", 32<<20, "`bytes` in a second that are due to a reader"),
		number(&p.Slow, "slow", 8<<20, "`bytes` in a second that the slow reader reads"),
		number(&p.Tick, "tick", 4<<10, "`bytes` of a record to the crowd"),
		number(&p.Ticks, "ticks", 50, "`records` in a second to each of the crowd"),
		number(&p.Flood, "flood", 128<<20, "`bytes` in a second of a flood"),
		number(&p.High, "high", 64<<10, "HighWater of galago, in `bytes`"),
		number(&p.Low, "low", 32<<10, "LowWater of galago, in `bytes`"),
		number(&p.Buffer, "buffer", 64<<10, "`bytes` for the buffers of the system at both ends; if 0, its choice"),
		text(&p.highs, "sweep", allHighs, "`list` of values of HighWater to try, in bytes"),
		&cli.DurationFlag{Name: "sample", Destination: &p.Sampled, Value: 20 * time.Millisecond, Usage: "`time` from one sample to the next"},
	}
}

// check works out the parameters. The error names each value that cannot work.
func (p *pressed) check(set *settings) error {
	if p.quick {
		p.hurry(set)
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	between := func(name string, v, low, high int, unit string) {
		check(v >= low && v <= high, "-%s is %d: it must be %d to %d %s", name, v, low, high, unit)
	}
	between("record", p.Record, pressure.RecordMin, pressure.RecordMax, "bytes")
	between("tick", p.Tick, pressure.RecordMin, pressure.RecordMax, "bytes")
	between("ticks", p.Ticks, 1, 1000, "records in a second")
	between("feed", p.Feed, 1<<10, 1<<30, "bytes in a second")
	between("flood", p.Flood, 1<<10, 1<<30, "bytes in a second")
	check(p.Slow >= 1 && p.Slow < p.Feed, "-slow is %d: it must be 1 to %d bytes in a second, less than -feed", p.Slow, p.Feed-1)
	between("high", p.High, 1, 64<<20, "bytes")
	check(p.Low >= 0 && p.Low <= p.High, "-low is %d: it must be 0 to %d bytes, which is -high", p.Low, p.High)
	check(p.Buffer == 0 || p.Buffer >= 4<<10 && p.Buffer <= 4<<20, "-buffer is %d: it must be 4096 to 4194304 bytes, or 0", p.Buffer)
	check(p.Sampled >= 5*time.Millisecond && p.Sampled <= time.Second, "-sample is %v: it must be 5ms to 1s", p.Sampled)
	check(set.conns >= 2, "-conns is %d: a crowd is 2 or more", set.conns)
	errs = append(errs, p.sweeps(), p.known())
	p.Phase, p.Peers = set.duration, set.conns
	return errors.Join(errs...)
}

// hurry makes what was not given smaller.
func (p *pressed) hurry(set *settings) {
	d := backpressureDefaults
	if set.conns == d.conns {
		set.conns = 100
	}
	if set.rounds == d.rounds {
		set.rounds = 1
	}
	if set.duration == d.duration {
		set.duration = 200 * time.Millisecond
	}
	if p.highs == allHighs {
		p.highs = "4096,65536"
	}
}

// sweeps reads the list of -sweep.
func (p *pressed) sweeps() error {
	p.Highs = nil
	for text := range strings.SplitSeq(p.highs, ",") {
		high, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || high < 1 || high > 64<<20 {
			return fmt.Errorf("-sweep has %q: each value must be 1 to %d bytes, as in 4096,65536", text, 64<<20)
		}
		p.Highs = append(p.Highs, high)
	}
	return nil
}

func (p *pressed) known() (err error) {
	for _, key := range p.chosen() {
		if !slices.Contains(experiment.Keys, key) {
			err = errors.Join(err, fmt.Errorf("-only names %q: there are %s", key, strings.Join(experiment.Keys, ", ")))
		}
	}
	return err
}

func (p *pressed) chosen() []string {
	if p.only == "" {
		return experiment.Keys
	}
	return strings.Split(p.only, ",")
}

// backpressure runs the experiments, one after the other.
func (s *session) backpressure(ctx context.Context, set *settings) error {
	chosen := set.pressed.chosen()
	for _, x := range set.pressed.Scripts() {
		if !slices.Contains(chosen, x.Key) {
			continue
		}
		run, err := x.Run(ctx, experiment.Config{Rivals: set.rivals, Rounds: set.rounds, ServerCPUs: set.servers, LoadCPUs: set.loads,
			TLS: set.tls, Command: set.args, Progress: s.progress("backpressure, " + x.Case)})
		if err != nil {
			return err
		}
		if err := s.keep(run); err != nil {
			return err
		}
	}
	return nil
}
