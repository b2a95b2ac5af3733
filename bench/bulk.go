package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var bulkWork = &workload{
	name: "bulk", about: "bytes one way, as fast as they go: CPU per MiB, in each direction",
	role:     serve.Sink,
	defaults: defaults{conns: 4, size: 16 << 10, rounds: 5, duration: 2 * time.Second},
	flags: func(set *settings) []cli.Flag {
		return []cli.Flag{text(&set.direction, "direction", "both", "in: to the server, `out`: from it; or both, one after the other")}
	},
	check: func(set *settings) error {
		if set.size > load.MaxPiece {
			return fmt.Errorf("-size is %d: bulk writes %d bytes at once at most", set.size, load.MaxPiece)
		}
		if !slices.Contains([]string{"in", "out", "both"}, set.direction) {
			return fmt.Errorf("-direction is %q: it must be in, out or both", set.direction)
		}
		return nil
	},
	run: func(ctx context.Context, s *session, set *settings) error {
		for _, direction := range []string{"in", "out"} {
			title := map[string]string{"in": "to the server", "out": "from the server"}[direction]
			if set.direction != direction && set.direction != "both" {
				continue
			}
			err := s.compare(ctx, set, rounds.Spec{
				Name: "bulk", Case: fmt.Sprintf("%s, %d B, %d connections", direction, set.size, set.conns),
				Title:    fmt.Sprintf("bulk: bytes %s on %d connections, written in pieces of %d bytes", title, set.conns, set.size),
				Metrics:  concat(rounds.Metrics("MiB"), memoryMetrics, rounds.SyscallMetrics("MiB"), rounds.SwitchMetrics("MiB")),
				Compared: []string{"cpu", "rate"},
				Measure:  func(t *rounds.Target) (rounds.Values, error) { return measureBulk(t, direction, set) },
			})
			if err != nil {
				return err
			}
		}
		return nil
	},
}

func measureBulk(t *rounds.Target, direction string, set *settings) (rounds.Values, error) {
	role := serve.Sink
	if direction == "out" {
		role = serve.Source
	}
	server, err := t.Start(role, set.size)
	if err != nil {
		return nil, err
	}
	team, err := load.NewTeam(t.LoadCPUs(), set.conns, func(_, n int) (*load.Bulk, error) {
		if direction == "out" {
			return load.Outward(server.Addr, t.TLS(), n)
		}
		return load.Inward(server.Addr, t.TLS(), n, set.size)
	})
	if err != nil {
		return nil, err
	}
	defer team.Close()
	return measureTeam(t, server, team, nil)
}
