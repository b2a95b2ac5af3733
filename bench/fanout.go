package main

import (
	"context"
	"fmt"
	"time"

	"github.com/galago-go/galago/bench/internal/load"
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
})

func measureFanout(t *rounds.Target, conns int) (rounds.Values, error) {
	server, err := t.Start(serve.Fanout, 0)
	if err != nil {
		return nil, err
	}
	team, err := load.NewTeam(t.LoadCPUs(), conns, func(_, n int) (*load.Audience, error) { return load.Gather(server.Addr, t.TLS(), n) })
	if err != nil {
		return nil, err
	}
	defer team.Close()
	audience := team.Shards[0]
	var bursts int
	var wakes uint64
	return measureTeam(t, server, team, &extra{
		before: func() (err error) {
			bursts = audience.Bursts()
			wakes, err = server.Wakes()
			return err
		},
		after: func(m rounds.Meter, values rounds.Values) error {
			now, err := server.Wakes()
			n := float64(audience.Bursts() - bursts)
			values["sleeps/burst"] = float64(m.Switches.Voluntary) / n
			values["wakes/burst"] = float64(now-wakes) / n
			return err
		},
	})
}
