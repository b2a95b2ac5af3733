package report

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/galago-go/galago/bench/internal/result"
)

// exampleFile has a run of every kind: one that compares, with a noise control; one over time, with verdicts; a sweep.
func exampleFile() *result.File {
	f := &result.File{Version: result.Version, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: []string{"all"},
		Machine: result.Machine{CPU: "Example <CPU>", CPUs: 2, Memory: 8 << 30, Kernel: "6.1", Go: "go1.26", Arch: "amd64",
			Commit: "0123456789ab", Modules: map[string]string{"example.com/rival": "v1.2.3"}},
		Runs: []*result.Run{echoRun(), slowRun(), crowdRun(), sweepRun()}}
	for _, r := range f.Runs {
		r.Summarize()
	}
	return f
}

func samples(key string, values ...float64) (all []result.Sample) {
	for i, v := range values {
		all = append(all, result.Sample{Round: i + 1, Place: 1, Values: map[string]float64{key: v, "rate": 1e9 / v}})
	}
	return all
}

func echoRun() *result.Run {
	return &result.Run{Name: "echo", Case: "64 B, 100 connections", Title: "echo: 64 bytes, 100 connections", Command: []string{"echo", "-conns", "100"},
		Method: result.Method{Rounds: 3, Seconds: 2, WarmUp: 0.3, ServerCPUs: []int{0}, LoadCPUs: []int{1}, Notes: []string{"a note"}},
		Metrics: []result.Metric{
			{Key: "cpu", Name: "CPU/message", Unit: result.Nanoseconds, Better: result.Lower},
			{Key: "rate", Name: "messages/s", Unit: result.PerSecond, Better: result.Higher},
		},
		Compared: []string{"cpu", "rate"},
		Servers: []*result.Server{
			{Name: "raw", About: "the limit", Samples: samples("cpu", 3500, 3600, 3550)},
			{Name: "net", About: "package net", Samples: samples("cpu", 5000, 5100, 4900)},
			{Name: "mine@/tmp/a-rather-long-name", Samples: samples("cpu", 9000, 9900, 8000)},
			{Name: "galago", About: "galago", Samples: samples("cpu", 3700, 3690, 3710)},
			{Name: "galago#2", About: "galago", Samples: samples("cpu", 3600, 3800, 3700)},
		},
		Warnings: []string{"net: the load was the bottleneck"},
	}
}

// slowRun is an experiment, in which one server goes far beyond the limit.
func slowRun() *result.Run {
	r := experimentRun("slow reader", []result.Mark{{At: 0, Text: "reads all"}, {At: 0.5, Text: "reads slowly"}, {At: 1.5, Text: "reads all"}, {At: 2, Text: "end"}})
	for i, s := range []string{"net", "net-queue", "netpoll", "galago", "galago, ReadWaits off"} {
		r.Servers = append(r.Servers, &result.Server{Name: s, About: "server " + s, Samples: samples("peak", 16384*float64(i+1))})
		most := 70e3
		if s == "net-queue" {
			most = 20 << 20
		}
		r.Series = append(r.Series, wave(s, "t.pending", "", most), wave(s, "t.rss", "", 20e6), wave(s, "t.rate", "", 32<<20))
		for _, promise := range []string{"bounded", "nothing lost"} {
			kept := s != "net-queue" || promise != "bounded"
			r.Verdicts = append(r.Verdicts, result.Verdict{Promise: promise, Server: s, Kept: kept, Says: "figures of " + s, Required: i > 2})
		}
	}
	return r
}

// crowdRun is one whose series have parts, and whose last steps are narrow.
func crowdRun() *result.Run {
	r := experimentRun("one slow among 1000", []result.Mark{{At: 0, Text: "all read"}, {At: 0.5, Text: "one stops"},
		{At: 2.5, Text: "it reads again"}, {At: 3, Text: "end"}})
	for _, s := range []string{"net", "galago"} {
		r.Servers = append(r.Servers, &result.Server{Name: s, Samples: samples("peak", 4096, 4097)})
		r.Series = append(r.Series, wave(s, "t.pending", "", 68e3), wave(s, "t.rate", "the slow one", 2e5), wave(s, "t.rate", "one of the others", 2e5))
		r.Verdicts = append(r.Verdicts, result.Verdict{Promise: "nobody else slowed", Server: s, Kept: s == "galago", Says: "p99"})
	}
	return r
}

func experimentRun(name string, marks []result.Mark) *result.Run {
	return &result.Run{Name: "backpressure", Case: name, Title: name + ": a peer", Command: []string{"backpressure", "-only", "slow"},
		Method: result.Method{Rounds: 2, ServerCPUs: []int{0}, LoadCPUs: []int{1}},
		Metrics: []result.Metric{
			{Key: "peak", Name: "most pending", Unit: result.Bytes, Better: result.Lower},
			{Key: "t.pending", Name: "pending for one peer, the most", Unit: result.Bytes},
			{Key: "t.rss", Name: "memory of the process", Unit: result.Bytes},
			{Key: "t.rate", Name: "throughput", Unit: result.BytesPerSec},
		},
		Marks: marks, Limits: []result.Limit{{Metric: "t.pending", Value: 80 << 10, Text: "promised at most"}}}
}

func wave(server, metric, part string, most float64) result.Series {
	s := result.Series{Server: server, Metric: metric, Part: part}
	for i := range 100 {
		s.Add(float64(i)/50, most*(1+math.Sin(float64(i)/7))/2)
	}
	return s
}

func sweepRun() *result.Run {
	r := &result.Run{Name: "backpressure", Case: "high and low water", Title: "high and low water", Command: []string{"backpressure"},
		Method: result.Method{Rounds: 2, ServerCPUs: []int{0}, LoadCPUs: []int{1}},
		Metrics: []result.Metric{{Key: "delay p99", Name: "delay p99", Unit: result.Nanoseconds, Better: result.Lower},
			{Key: "rate", Name: "records/s", Unit: result.PerSecond}},
		Servers: []*result.Server{{Name: "net", Samples: samples("delay p99", 5e6, 6e6)}}}
	for _, high := range []float64{4096, 65536, 1 << 20} {
		for _, share := range []float64{16, 2, 1} {
			r.Servers = append(r.Servers, &result.Server{Name: fmt.Sprintf("galago %.0f/%.0f", high, high/share),
				Settings: map[string]float64{"high": high, "low": high / share}, Samples: samples("delay p99", high*50, high*55)})
		}
	}
	return r
}

func BenchmarkPage(b *testing.B) {
	f := exampleFile()
	for b.Loop() {
		if err := Write(f, discard{}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
