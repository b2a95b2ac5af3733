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

var acceptWork = &workload{
	name: "accept", about: "connect, exchange one message, close: connections per CPU second",
	role:     serve.Echo,
	defaults: defaults{conns: 64, rounds: 7, duration: 2 * time.Second},
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "accept", Case: fmt.Sprintf("%d at a time", set.conns),
			Title:    fmt.Sprintf("accept: connect, exchange 64 bytes, close; %d clients at a time", set.conns),
			Metrics:  acceptMetrics,
			Compared: []string{"per cpu"},
			Measure:  func(t *rounds.Target) (rounds.Values, error) { return measureAccept(t, set.conns) },
		})
	},
}

var acceptMetrics = concat(
	[]result.Metric{{Key: "per cpu", Name: "connections/CPU second", Unit: result.PerSecond, Better: result.Higher}},
	standardMetrics("connection"))

func measureAccept(t *rounds.Target, conns int) (rounds.Values, error) {
	server, err := t.Start(serve.Echo, 0)
	if err != nil {
		return nil, err
	}
	team, err := load.NewTeam(t.LoadCPUs(), conns, func(first, n int) (*load.Guests, error) {
		return load.NewGuests(server.Addr, t.TLS(), first, n)
	})
	if err != nil {
		return nil, err
	}
	defer team.Close()
	return measureTeam(t, server, team, &extra{after: func(m rounds.Meter, values rounds.Values) error {
		values["per cpu"] = float64(m.Count) / m.CPU.Total.Seconds()
		return nil
	}})
}
