package main

import (
	"context"
	"fmt"
	"time"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var fanoutWork = &workload{
	name: "fanout", about: "one actor writes to all connections: CPU, wake-ups and allocations per message",
	role:     serve.Fanout,
	defaults: defaults{conns: 1000, rounds: 7, duration: 2 * time.Second},
	check: func(set *settings) error {
		if len(set.loads) > 1 {
			return fmt.Errorf("-load-cpus is %v: fanout has one thread for its load, as a burst ends for all at once", set.loads)
		}
		return nil
	},
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "fanout", Case: fmt.Sprintf("1 to %d", set.conns),
			Title: fmt.Sprintf("fanout: one sender, bursts of one message of %d bytes to each of %d connections",
				len(serve.News), set.conns),
			Metrics:  fanoutMetrics,
			Compared: []string{"cpu", "rate"},
			Measure:  func(t *rounds.Target) (rounds.Values, error) { return measureFanout(t, set.conns) },
		})
	},
}

var fanoutMetrics = concat(standardMetrics("message"), []result.Metric{
	{Key: "sleeps/burst", Name: "sleeps/burst", Unit: result.Count, Better: result.Lower},
	{Key: "wakes/burst", Name: "wakes/burst", Unit: result.Count, Better: result.Lower},
	{Key: "allocations", Name: "allocations/message", Unit: result.Count, Better: result.Lower},
})

func measureFanout(t *rounds.Target, conns int) (rounds.Values, error) {
	server, err := t.Start(serve.Fanout, 0)
	if err != nil {
		return nil, err
	}
	team, err := load.NewTeam(t.LoadCPUs(), conns, func(_, n int) (*load.Audience, error) { return load.Gather(server.Addr, n) })
	if err != nil {
		return nil, err
	}
	defer team.Close()
	if _, err := team.Run(rounds.Warm(t.Duration())); err != nil {
		return nil, err
	}
	audience := team.Shards[0]
	wakes, mallocs, err := fanoutCounts(t, server)
	if err != nil {
		return nil, err
	}
	before := audience.Bursts()
	m, err := rounds.Measure(server, func() (load.Tally, error) { return team.Run(t.Duration()) })
	if err != nil {
		return nil, err
	}
	wakes2, mallocs2, err := fanoutCounts(t, server)
	if err != nil {
		return nil, err
	}
	values := m.Values()
	bursts := float64(audience.Bursts() - before)
	values["sleeps/burst"] = float64(m.Switches.Voluntary) / bursts
	values["wakes/burst"] = float64(wakes2-wakes) / bursts
	if t.Own() {
		values["allocations"] = float64(mallocs2-mallocs) / float64(m.Count)
	}
	addLatencies(values, audience.Latencies())
	rss, err := server.RSS()
	if err != nil {
		return nil, err
	}
	values["rss"] = float64(rss)
	return values, t.CountSyscalls(server, values, func() (load.Tally, error) { return team.Run(rounds.Warm(t.Duration())) })
}

// fanoutCounts returns how often loops were woken so far, and how many allocations there were.
func fanoutCounts(t *rounds.Target, server *proc.Server) (wakes, mallocs uint64, err error) {
	if wakes, err = server.Wakes(); err == nil && t.Own() {
		mallocs, err = server.Ask("mallocs")
	}
	return wakes, mallocs, err
}
