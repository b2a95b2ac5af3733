package main

import (
	"context"
	"fmt"
	"time"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/proc"
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
			Metrics:  standardMetrics("message"),
			Compared: []string{"cpu"},
			Measure: func(t *rounds.Target) (rounds.Values, error) {
				message := func(i int) []byte { return serve.Message(i, set.size) }
				return measureEcho(t, serve.Echo, 0, set.conns, 1, message)
			},
		})
	},
}

// measureEcho starts a server, lets it run warm, and measures it in a closed loop.
func measureEcho(t *rounds.Target, role serve.Role, size, conns, depth int, message func(i int) []byte) (rounds.Values, error) {
	server, err := t.Start(role, size)
	if err != nil {
		return nil, err
	}
	team, err := connectEcho(t, server, conns, depth, message)
	if err != nil {
		return nil, err
	}
	defer team.Close()
	return measureLoop(t, server, team)
}

func connectEcho(t *rounds.Target, server *proc.Server, conns, depth int, message func(i int) []byte) (*load.Team[*load.Echo], error) {
	return load.NewTeam(t.LoadCPUs(), conns, func(first, n int) (*load.Echo, error) {
		return load.Connect(server.Addr, t.TLS(), n, depth, func(i int) []byte { return message(first + i) })
	})
}

// measureLoop measures a server with a team of clients that have sent nothing yet.
func measureLoop(t *rounds.Target, server *proc.Server, team *load.Team[*load.Echo]) (rounds.Values, error) {
	if err := team.Each(func(_ int, e *load.Echo) error { return e.Start() }); err != nil {
		return nil, err
	}
	return measureTeam(t, server, team, nil)
}
