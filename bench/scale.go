package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var scaleWork = &workload{
	name: "scale", about: "CPU-bound work on one processor and on more: how much more is done",
	role:     serve.Work,
	defaults: defaults{conns: 16, rounds: 5, duration: 2 * time.Second},
	flags: func(set *settings) []cli.Flag {
		return []cli.Flag{&cli.DurationFlag{Name: "work", Destination: &set.work, Value: time.Millisecond,
			Usage: "`time` that a message is to keep a processor busy"}}
	},
	check: func(set *settings) error {
		if set.work < time.Microsecond || set.work > 100*time.Millisecond {
			return fmt.Errorf("-work is %v: it must be 1µs to 100ms", set.work)
		}
		return set.severalProcessors()
	},
	run: func(ctx context.Context, s *session, set *settings) error {
		steps, err := calibrate(set.work)
		if err != nil {
			return err
		}
		return s.compare(ctx, set, rounds.Spec{
			Name: "scale", Case: fmt.Sprintf("%d processors, %v, %d connections", len(set.servers), set.work, set.conns),
			Title: fmt.Sprintf("scale: messages that take %v of work, on %d connections; the server on processor %v, then on %v",
				set.work, set.conns, set.servers[:1], set.servers),
			Metrics:  scaleMetrics,
			Compared: []string{"speedup", "rate"},
			Notes: []string{fmt.Sprintf("the work is %d times SHA-256 of 32 bytes, which took %v on this machine before it began", steps, set.work),
				"the load has to share a processor with the server if there is no other: the work is large beside what the load does for " +
					"a message, and what it uses is said; so much the server cannot have"},
			Measure: func(t *rounds.Target) (rounds.Values, error) { return measureScale(t, set, steps) },
		})
	},
}

var scaleMetrics = []result.Metric{
	{Key: "speedup", Name: "speed-up", Unit: result.Times, Better: result.Higher},
	{Key: "rate", Name: "messages/s", Unit: result.PerSecond, Better: result.Higher},
	{Key: "one", Name: "on one processor", Unit: result.PerSecond, Better: result.Higher},
	{Key: "cpu", Name: "CPU/message", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "server", Name: "server busy", Unit: result.Share},
	{Key: "load", Name: "load busy", Unit: result.Share},
	{Key: "p50", Name: "p50", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "p99", Name: "p99", Unit: result.Nanoseconds, Better: result.Lower},
}

// severalProcessors chooses those of the server, if nobody has: the first two.
func (set *settings) severalProcessors() error {
	available, err := proc.Available()
	if err != nil {
		return err
	}
	if set.serverCPUs == "" && len(available) > 1 {
		set.servers = available[:2]
		if set.loadCPUs == "" && len(available) > 2 {
			set.loads = available[2:3]
		}
	}
	if len(set.servers) < 2 {
		return errors.New("-server-cpus: scale compares one processor with several: name two or more")
	}
	return nil
}

// calibrate returns how many steps of serve.DoWork take d.
func calibrate(d time.Duration) (steps int, err error) {
	runtime.LockOSThread() // whose time it is
	defer runtime.UnlockOSThread()
	const probe = 20_000
	best := time.Duration(1 << 62)
	for range 10 {
		before := proc.ThreadCPU()
		serve.DoWork(serve.WorkMessage(probe))
		best = min(best, proc.ThreadCPU()-before)
	}
	steps = int(int64(d) * probe / int64(best))
	if steps < 1 {
		return 0, fmt.Errorf("-work is %v: that is less than one step of work takes, %v", d, best/probe)
	}
	return steps, nil
}

// measureScale measures a server on its first processor, and on all of them, in random order.
func measureScale(t *rounds.Target, set *settings, steps int) (many rounds.Values, err error) {
	var one rounds.Values
	measures := []func() error{
		func() (err error) { one, err = measureWork(t, set, set.servers[:1], steps); return err },
		func() (err error) { many, err = measureWork(t, set, set.servers, steps); return err },
	}
	for _, i := range rand.Perm(len(measures)) {
		if err := measures[i](); err != nil {
			return nil, err
		}
	}
	many["one"] = one["rate"]
	many["speedup"] = many["rate"] / one["rate"]
	return many, nil
}

func measureWork(t *rounds.Target, set *settings, cpus proc.CPUs, steps int) (rounds.Values, error) {
	server, err := t.StartOn(cpus, serve.Work, 0)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	team, err := connectEcho(t, server, set.conns, 1, func(int) []byte { return serve.WorkMessage(steps) })
	if err != nil {
		return nil, err
	}
	defer team.Close()
	return measureLoop(t, server, team)
}
