package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var stormWork = &workload{
	name: "storm", about: "a storm of TLS handshakes: how long answers take on connections that are open",
	role:     serve.Echo,
	needsTLS: true,
	defaults: defaults{conns: 20, size: 64, rounds: 7, duration: 2 * time.Second},
	flags: func(set *settings) []cli.Flag {
		return []cli.Flag{
			number(&set.rate, "rate", 1000, "`messages` in a second, in all, on the connections that are open"),
			number(&set.storm, "storm", 20, "`number` of clients that begin a handshake at the same time"),
		}
	},
	check: func(set *settings) error {
		var errs []error
		if set.rate < 1 || set.rate > 10_000_000 {
			errs = append(errs, fmt.Errorf("-rate is %d: it must be 1 to 10000000 messages in a second", set.rate))
		}
		if set.storm < len(set.loads) || set.storm > 10_000 {
			errs = append(errs, fmt.Errorf("-storm is %d: it must be 1 for each processor of the load at least, and 10000 at most", set.storm))
		}
		return errors.Join(errs...)
	},
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "storm", Case: fmt.Sprintf("%d at a time, %d connections, %d/s", set.storm, set.conns, set.rate),
			Title: fmt.Sprintf("storm: %d bytes, %d messages/s on %d connections, while %d clients at a time begin handshakes, "+
				"and while none does", set.size, set.rate, set.conns, set.storm),
			Metrics:  stormMetrics,
			Compared: []string{"with/without", "p99", "per cpu"},
			Notes: []string{"each measurement is two of the same process, in random order: with a storm and without; a client of the " +
				"storm sends the same ClientHello again and again, and resets the connection when the server's first flight has " +
				"come: the server has then done all its public-key work; all figures but two are those with the storm",
				"messages are sent as in latency: at times of their own, and measured from then on"},
			Warn:    warnOfLateness,
			Measure: func(t *rounds.Target) (rounds.Values, error) { return measureStorm(t, set) },
		})
	},
}

var stormMetrics = concat([]result.Metric{
	{Key: "with/without", Name: "p99 with storm/without", Unit: result.Times, Better: result.Lower},
	{Key: "alone", Name: "p99 without", Unit: result.Nanoseconds, Better: result.Lower},
}, latencyMetrics, []result.Metric{
	{Key: "late", Name: "sent late, p99", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "per cpu", Name: "handshakes/CPU second", Unit: result.PerSecond, Better: result.Higher},
}, memoryMetrics)

func measureStorm(t *rounds.Target, set *settings) (with rounds.Values, err error) {
	server, err := t.Start(serve.Echo, 0)
	if err != nil {
		return nil, err
	}
	team, err := load.NewTeam(t.LoadCPUs(), set.conns, func(first, n int) (*load.Paced, error) {
		share := float64(set.rate) * float64(n) / float64(set.conns)
		return load.Pace(server.Addr, t.TLS(), n, share, uint64(first), func(i int) []byte { return serve.Message(first+i, set.size) })
	})
	if err != nil {
		return nil, err
	}
	defer team.Close()
	var without rounds.Values
	measures := []func() error{
		func() (err error) { with, err = measureInStorm(t, server, team, set.storm); return err },
		func() (err error) { without, err = measureInStorm(t, server, team, 0); return err },
	}
	for _, i := range rand.Perm(len(measures)) {
		if err := measures[i](); err != nil {
			return nil, err
		}
	}
	with["alone"] = without["p99"]
	with["with/without"] = with["p99"] / without["p99"]
	return with, nil
}

// measureInStorm measures answers while n clients begin handshakes.
func measureInStorm(t *rounds.Target, server *proc.Server, team *load.Team[*load.Paced], n int) (rounds.Values, error) {
	storms := make([]*load.Storm, len(team.Shards))
	err := team.Each(func(i int, p *load.Paced) (err error) {
		p.Beside = nil
		if n > 0 {
			storms[i], err = load.NewStorm(server.Addr, t.TLS(), n*(i+1)/len(storms)-n*i/len(storms))
		}
		if storms[i] != nil {
			p.Beside = storms[i].Step
		}
		return err
	})
	defer func() {
		for i, s := range storms {
			if s != nil {
				team.Shards[i].Beside = nil
				s.Close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	served := func() (all int) {
		for _, s := range storms {
			if s != nil {
				all += s.Served()
			}
		}
		return all
	}
	before := 0
	var late []*hdrhistogram.Histogram
	values, err := measureTeam(t, server, team, &extra{
		before: func() error { before = served(); return nil },
		after: func(m rounds.Meter, values rounds.Values) error {
			values["per cpu"] = float64(served()-before) / m.CPU.Total.Seconds()
			for _, p := range team.Shards {
				late = append(late, p.Late())
			}
			values["late"] = float64(load.Merge(late).ValueAtQuantile(99))
			return nil
		},
	})
	return values, err
}
