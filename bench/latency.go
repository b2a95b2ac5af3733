package main

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var latencyWork = &workload{
	name: "latency", about: "an open loop at half load: how long answers take, with nothing left out",
	role:     serve.Echo,
	defaults: defaults{conns: 100, size: 64, rounds: 7, duration: 2 * time.Second},
	flags: func(set *settings) []cli.Flag {
		return []cli.Flag{number(&set.rate, "rate", 0, "`messages` in a second, in all; if 0, half of what the slowest of the servers "+
			"can do in a closed loop")}
	},
	check: func(set *settings) error {
		if set.rate < 0 || set.rate > 10_000_000 {
			return fmt.Errorf("-rate is %d: it must be 1 to 10000000 messages in a second, or 0", set.rate)
		}
		return nil
	},
	run: func(ctx context.Context, s *session, set *settings) error {
		rate, note := float64(set.rate), "the rate was given"
		if set.rate == 0 {
			slowest, name, err := s.slowest(ctx, set)
			if err != nil {
				return err
			}
			rate = slowest / 2
			note = fmt.Sprintf("the rate is half of what %s, the slowest, could do in a closed loop before: %.0f messages/s", name, slowest)
		}
		return s.compare(ctx, set, rounds.Spec{
			Name: "latency", Case: fmt.Sprintf("%d B, %d connections, %.0f/s", set.size, set.conns, rate),
			Title: fmt.Sprintf("latency: %d bytes, %.0f messages/s on %d connections, whether answers have come or not",
				set.size, rate, set.conns),
			Metrics:  latencyWorkMetrics,
			Compared: []string{"p99", "p50", "p99.9"},
			Notes: []string{note, "the times between messages are exponentially distributed, the same for all servers of a run; each " +
				"goes to a connection at random; latency is from when it was due, not from when it was sent; the load never sleeps"},
			Warn:    warnOfLateness,
			Measure: func(t *rounds.Target) (rounds.Values, error) { return measureLatency(t, set, rate) },
		})
	},
}

var latencyWorkMetrics = concat(latencyMetrics, []result.Metric{
	{Key: "late", Name: "sent late, p99", Unit: result.Nanoseconds, Better: result.Lower},
}, rounds.Metrics("message"), memoryMetrics, rounds.SyscallMetrics("message"), rounds.SwitchMetrics("message"))

// slowest returns how many messages the slowest server answers in a second, in a closed loop.
func (s *session) slowest(ctx context.Context, set *settings) (rate float64, name string, err error) {
	cfg := set.config()
	cfg.Rounds, cfg.Duration = 1, min(set.duration, 500*time.Millisecond)
	cfg.Progress = s.progress("latency: calibration")
	run, err := rounds.Run(ctx, cfg, rounds.Spec{
		Name: "latency", Metrics: rounds.Metrics("message"),
		Measure: func(t *rounds.Target) (rounds.Values, error) {
			return measureEcho(t, serve.Echo, 0, set.conns, 1, func(i int) []byte { return serve.Message(i, set.size) })
		},
	})
	if err != nil {
		return 0, "", fmt.Errorf("calibration: %w", err)
	}
	for _, server := range run.Servers {
		if r := server.Summary["rate"].Median; name == "" || r < rate {
			rate, name = r, server.Name
		}
	}
	return rate, name, nil
}

func measureLatency(t *rounds.Target, set *settings, rate float64) (rounds.Values, error) {
	server, err := t.Start(serve.Echo, 0)
	if err != nil {
		return nil, err
	}
	team, err := load.NewTeam(t.LoadCPUs(), set.conns, func(first, n int) (*load.Paced, error) {
		share := rate * float64(n) / float64(set.conns)
		return load.Pace(server.Addr, t.TLS(), n, share, uint64(first), func(i int) []byte { return serve.Message(first+i, set.size) })
	})
	if err != nil {
		return nil, err
	}
	defer team.Close()
	return measureTeam(t, server, team, &extra{after: func(_ rounds.Meter, values rounds.Values) error {
		var late []*hdrhistogram.Histogram
		for _, p := range team.Shards {
			late = append(late, p.Late())
		}
		values["late"] = float64(load.Merge(late).ValueAtQuantile(99))
		return nil
	}})
}

// warnOfLateness says when the load may have been what was slow.
func warnOfLateness(r *result.Run) (all []string) {
	for _, s := range r.Servers {
		if late, p99 := s.Summary["late"].Median, s.Summary["p99"].Median; late > p99/4 {
			all = append(all, fmt.Sprintf("%s: the load sent late: 1 %% of the messages by more than %.0f µs, beside a p99 of %.0f µs",
				s.Name, late/1e3, p99/1e3))
		}
	}
	return all
}
