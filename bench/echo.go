package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var echoWork = &workload{
	name: "echo", about: "one message in flight on each connection: CPU per message, beside the rivals",
	role:     serve.Echo,
	defaults: defaults{conns: 100, size: 64, rounds: 7, duration: 2 * time.Second},
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "echo", Case: fmt.Sprintf("%d B, %d connections", set.size, set.conns),
			Title:    fmt.Sprintf("echo: %d bytes, %d connections with one message in flight each", set.size, set.conns),
			Metrics:  echoMetrics,
			Compared: []string{"cpu"},
			Measure: func(t *rounds.Target) (rounds.Values, error) {
				message := func(i int) []byte { return serve.Message(i, set.size) }
				return measureEcho(t, serve.Echo, 0, set.conns, 1, message)
			},
		})
	},
}

var echoMetrics = standardMetrics("message")

// standardMetrics are those of most workloads, for what is counted: a message, a connection.
func standardMetrics(of string) []result.Metric {
	return concat(rounds.Metrics(of), latencyMetrics, memoryMetrics, rounds.SyscallMetrics(of), rounds.SwitchMetrics(of))
}

var latencyMetrics = []result.Metric{
	{Key: "p50", Name: "p50", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "p99", Name: "p99", Unit: result.Nanoseconds, Better: result.Lower},
	{Key: "p99.9", Name: "p99.9", Unit: result.Nanoseconds, Better: result.Lower},
}

var memoryMetrics = []result.Metric{{Key: "rss", Name: "RSS", Unit: result.Bytes, Better: result.Lower}}

func concat(parts ...[]result.Metric) (all []result.Metric) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// measureEcho starts a server, lets it run warm, and measures it in a closed loop.
func measureEcho(t *rounds.Target, role serve.Role, size, conns, depth int, message func(i int) []byte) (rounds.Values, error) {
	server, err := t.Start(role, size)
	if err != nil {
		return nil, err
	}
	team, err := connectEcho(server.Addr, t.LoadCPUs(), conns, depth, message)
	if err != nil {
		return nil, err
	}
	defer team.Close()
	return measureLoop(t, server, team)
}

func connectEcho(to netip.AddrPort, cpus proc.CPUs, conns, depth int, message func(i int) []byte) (*load.Team[*load.Echo], error) {
	return load.NewTeam(cpus, conns, func(first, n int) (*load.Echo, error) {
		return load.Connect(to, n, depth, func(i int) []byte { return message(first + i) })
	})
}

// measureLoop measures a server with a team of clients that have sent nothing yet.
func measureLoop(t *rounds.Target, server *proc.Server, team *load.Team[*load.Echo]) (rounds.Values, error) {
	if err := team.Each(func(_ int, e *load.Echo) error { return e.Start() }); err != nil {
		return nil, err
	}
	if _, err := team.Run(rounds.Warm(t.Duration())); err != nil {
		return nil, err
	}
	m, err := rounds.Measure(server, func() (load.Tally, error) { return team.Run(t.Duration()) })
	if err != nil {
		return nil, err
	}
	values := m.Values()
	var parts []*hdrhistogram.Histogram
	for _, e := range team.Shards {
		parts = append(parts, e.Latencies())
	}
	addLatencies(values, load.Merge(parts))
	rss, err := server.RSS()
	if err != nil {
		return nil, err
	}
	values["rss"] = float64(rss)
	return values, t.CountSyscalls(server, values, func() (load.Tally, error) { return team.Run(rounds.Warm(t.Duration())) })
}

func addLatencies(values rounds.Values, h *hdrhistogram.Histogram) {
	values["p50"] = float64(h.ValueAtQuantile(50))
	values["p99"] = float64(h.ValueAtQuantile(99))
	values["p99.9"] = float64(h.ValueAtQuantile(99.9))
}
