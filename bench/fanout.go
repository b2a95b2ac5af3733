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
	defaults: defaults{conns: 1000, depth: 1, rounds: 7, duration: 2 * time.Second},
	depthIs:  "messages to each connection in a burst",
	check: func(set *settings) error {
		if set.depth > 255 {
			return fmt.Errorf("-depth is %d: a burst has 255 messages to each connection at most", set.depth)
		}
		if len(set.loads) > 1 {
			return fmt.Errorf("-load-cpus is %v: fanout has one thread for its load, as a burst ends for all at once", set.loads)
		}
		return nil
	},
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "fanout", Case: fmt.Sprintf("1 to %d, %d in a burst", set.conns, set.depth),
			Title: fmt.Sprintf("fanout: one sender, bursts of %d messages of %d bytes to each of %d connections",
				set.depth, len(serve.News), set.conns),
			Metrics:  fanoutMetrics,
			Compared: []string{"cpu", "rate"},
			Notes:    []string{"a burst is asked for when everybody has all of the one before; raw writes all messages for a connection at once"},
			Measure:  func(t *rounds.Target) (rounds.Values, error) { return measureFanout(t, set) },
		})
	},
}

var fanoutMetrics = concat(standardMetrics("message"), []result.Metric{
	{Key: "sleeps/burst", Name: "sleeps/burst", Unit: result.Count, Better: result.Lower},
	{Key: "wakes/burst", Name: "wakes/burst", Unit: result.Count, Better: result.Lower},
})

func measureFanout(t *rounds.Target, set *settings) (rounds.Values, error) {
	server, err := t.Start(serve.Fanout, 0)
	if err != nil {
		return nil, err
	}
	team, err := load.NewTeam(t.LoadCPUs(), set.conns, func(_, n int) (*load.Audience, error) {
		return load.Gather(server.Addr, t.TLS(), n, set.depth)
	})
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
