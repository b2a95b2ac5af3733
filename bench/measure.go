package main

import (
	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
)

// An extra is what one workload measures besides.
type extra struct {
	before func() error                            // after the warm-up; may be nil
	after  func(rounds.Meter, rounds.Values) error // adds values
}

// measureTeam lets a load run warm, measures the server under it, and then counts system calls. x may be nil.
func measureTeam[S load.Shard](t *rounds.Target, server *proc.Server, team *load.Team[S], x *extra) (rounds.Values, error) {
	if _, err := team.Run(rounds.Warm(t.Duration())); err != nil {
		return nil, err
	}
	if x != nil && x.before != nil {
		if err := x.before(); err != nil {
			return nil, err
		}
	}
	m, err := t.Measure(server, func() (load.Tally, error) { return team.Run(t.Duration()) })
	if err != nil {
		return nil, err
	}
	values := m.Values()
	addLatencies(team, values)
	if x != nil {
		if err := x.after(m, values); err != nil {
			return nil, err
		}
	}
	rss, err := server.RSS()
	if err != nil {
		return nil, err
	}
	values["rss"] = float64(rss)
	return values, t.CountSyscalls(server, values, func() (load.Tally, error) { return team.Run(rounds.Warm(t.Duration())) })
}

// addLatencies adds those of the last run, if the load knows them.
func addLatencies[S load.Shard](team *load.Team[S], values rounds.Values) {
	var parts []*hdrhistogram.Histogram
	for _, shard := range team.Shards {
		timed, ok := any(shard).(interface {
			Latencies() *hdrhistogram.Histogram
		})
		if !ok {
			return
		}
		parts = append(parts, timed.Latencies())
	}
	h := load.Merge(parts)
	values["p50"] = float64(h.ValueAtQuantile(50))
	values["p99"] = float64(h.ValueAtQuantile(99))
	values["p99.9"] = float64(h.ValueAtQuantile(99.9))
	values["max"] = float64(h.Max())
}

var latencyMetrics = []result.Metric{
	{Key: "p50", Name: "p50", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "p99", Name: "p99", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "p99.9", Name: "p99.9", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "max", Name: "longest", Unit: result.Nanoseconds, Better: result.Lower},
}

var memoryMetrics = []result.Metric{{Key: "rss", Name: "RSS", Unit: result.Bytes, Better: result.Lower}}

// standardMetrics are those of most workloads, for what is counted: a message, a connection.
func standardMetrics(of string) []result.Metric {
	return concat(rounds.Metrics(of), latencyMetrics, memoryMetrics, rounds.SyscallMetrics(of), rounds.SwitchMetrics(of),
		rounds.AllocationMetrics(of))
}

func concat(parts ...[]result.Metric) (all []result.Metric) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
