package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var mixedWork = &workload{
	name: "mixed", about: "some busy connections among many idle ones: what the idle ones cost the busy ones",
	role:     serve.Echo,
	defaults: defaults{conns: 100, size: 64, rounds: 7, duration: 2 * time.Second},
	flags: func(set *settings) []cli.Flag {
		return []cli.Flag{number(&set.idle, "idle", 10_000, "`number` of idle connections")}
	},
	check: func(set *settings) error {
		if set.idle < 1 || set.idle+set.conns > 20_000 {
			return fmt.Errorf("-idle is %d: it must be 1 to %d, for with -conns there are 20000 at most", set.idle, 20_000-set.conns)
		}
		return nil
	},
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "mixed", Case: fmt.Sprintf("%d busy, %d idle", set.conns, set.idle),
			Title: fmt.Sprintf("mixed: echo of %d bytes on %d connections, with %d idle ones beside them and without",
				set.size, set.conns, set.idle),
			Metrics: concat([]result.Metric{
				{Key: "with/without", Name: "CPU with idle/without", Unit: result.Times, Better: result.Lower},
				{Key: "alone", Name: "CPU/message without", Unit: result.Nanoseconds, Better: result.Lower},
			}, standardMetrics("message")),
			Compared: []string{"cpu"},
			Notes: []string{"in each round a server is measured twice, in random order and in two processes: with idle connections, " +
				"of which each has had one answer, and without; all figures but two are those with"},
			Measure: func(t *rounds.Target) (rounds.Values, error) { return measureMixed(t, set) },
		})
	},
}

func measureMixed(t *rounds.Target, set *settings) (with rounds.Values, err error) {
	var without rounds.Values
	measures := []func() error{
		func() (err error) { with, err = measureBusy(t, set, set.idle); return err },
		func() (err error) { without, err = measureBusy(t, set, 0); return err },
	}
	for _, i := range rand.Perm(len(measures)) {
		if err := measures[i](); err != nil {
			return nil, err
		}
	}
	with["alone"] = without["cpu"]
	with["with/without"] = with["cpu"] / without["cpu"]
	return with, nil
}

// measureBusy measures a fresh server with so many idle connections.
func measureBusy(t *rounds.Target, set *settings, idle int) (rounds.Values, error) {
	server, err := t.Start(serve.Echo, 0)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	if idle > 0 {
		others, err := rest(t, server, idle)
		if err != nil {
			return nil, err
		}
		defer others.Close()
	}
	team, err := connectEcho(t, server, set.conns, 1, func(i int) []byte { return serve.Message(i, set.size) })
	if err != nil {
		return nil, err
	}
	defer team.Close()
	return measureLoop(t, server, team)
}
