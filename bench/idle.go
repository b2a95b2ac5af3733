package main

import (
	"context"
	"fmt"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var idleWork = &workload{
	name: "idle", about: "memory of a connection that does nothing",
	role:     serve.Echo,
	defaults: defaults{conns: 10_000, rounds: 3},
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "idle", Case: fmt.Sprintf("%d connections", set.conns),
			Title: fmt.Sprintf("idle: memory of the server for each of %d connections, after one message of 64 bytes on each",
				set.conns),
			Metrics: idleMetrics, Compared: []string{"rest"},
			Measure: func(t *rounds.Target) (rounds.Values, error) { return measureIdle(t, set.conns) },
		})
	},
}

var idleMetrics = []result.Metric{
	{Key: "rest", Name: "RSS at rest", Unit: result.Bytes, Better: result.Lower},
	{Key: "heap", Name: "live heap", Unit: result.Bytes, Better: result.Lower},
	{Key: "once", Name: "RSS at once", Unit: result.Bytes, Better: result.Lower},
	{Key: "rss", Name: "RSS of the server", Unit: result.Bytes, Better: result.Lower},
}

// measureIdle compares a server with few connections and with many.
func measureIdle(t *rounds.Target, conns int) (rounds.Values, error) {
	server, err := t.Start(serve.Echo, 0)
	if err != nil {
		return nil, err
	}
	first, err := rest(t, server, 1) // what the first one makes the server set up is not for each of them
	if err != nil {
		return nil, err
	}
	defer first.Close()
	heap0, rss0, err := memory(t, server)
	if err != nil {
		return nil, err
	}
	idle, err := rest(t, server, conns)
	if err != nil {
		return nil, err
	}
	defer idle.Close()
	once, err := server.RSS()
	if err != nil {
		return nil, err
	}
	heap, rss, err := memory(t, server)
	if err != nil {
		return nil, err
	}
	each := func(now, before uint64) float64 { return (float64(now) - float64(before)) / float64(conns) }
	values := rounds.Values{"rest": each(rss, rss0), "once": each(once, rss0), "rss": float64(rss)}
	if t.Own() {
		values["heap"] = each(heap, heap0)
	}
	return values, nil
}

// rest opens connections and exchanges one message on each.
func rest(t *rounds.Target, server *proc.Server, conns int) (*load.Echo, error) {
	e, err := load.Connect(server.Addr, t.TLS(), conns, 1, func(i int) []byte { return serve.Message(i, 64) })
	if err != nil {
		return nil, err
	}
	if err := e.Once(); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// memory returns the live heap, if the server can tell it, and what is resident afterwards.
func memory(t *rounds.Target, server *proc.Server) (heap, rss uint64, err error) {
	if t.Own() {
		if heap, err = server.Ask("heap"); err != nil {
			return 0, 0, err
		}
	}
	rss, err = server.RSS()
	return heap, rss, err
}
