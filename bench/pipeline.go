package main

import (
	"context"
	"fmt"
	"time"

	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

var pipelineWork = &workload{
	name: "pipeline", about: "several frames in flight on each connection: what it takes to answer each by itself",
	role:      serve.Frames,
	defaults:  defaults{conns: 100, size: 64, depth: 16, rounds: 7, duration: 2 * time.Second},
	leastSize: serve.FramePrefix + 1,
	run: func(ctx context.Context, s *session, set *settings) error {
		return s.compare(ctx, set, rounds.Spec{
			Name: "pipeline", Case: fmt.Sprintf("%d B, depth %d, %d connections", set.size, set.depth, set.conns),
			Title: fmt.Sprintf("pipeline: frames of %d bytes, %d of them in flight on each of %d connections",
				set.size, set.depth, set.conns),
			Metrics:  standardMetrics("message"),
			Compared: []string{"rate", "cpu"},
			Notes: []string{"raw does not look at frames; net writes once for each; net-bufio and netpoll when no whole one is " +
				"left to read; galago calls Send once for each"},
			Measure: func(t *rounds.Target) (rounds.Values, error) {
				message := func(i int) []byte { return serve.Frame(i, set.size) }
				return measureEcho(t, serve.Frames, set.size, set.conns, set.depth, message)
			},
		})
	},
}
