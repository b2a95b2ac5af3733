package rounds

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/serve"
)

func config(t *testing.T, rounds int, rivals ...string) Config {
	available, err := proc.Available()
	require.NoError(t, err)
	cfg := Config{Rounds: rounds, Duration: time.Second, ServerCPUs: available[:1], LoadCPUs: available[len(available)-1:]}
	for _, name := range rivals {
		cfg.Rivals = append(cfg.Rivals, Rival{Name: name, Kind: "net"})
	}
	return cfg
}

var spec = Spec{Name: "test", Metrics: []result.Metric{{Key: "cpu", Name: "CPU", Unit: result.Nanoseconds}}, Compared: []string{"cpu"}}

func TestEachRoundMeasuresEverybodyOnceInAnOrderOfItsOwn(t *testing.T) {
	cfg := config(t, 40, "a", "b", "c")
	var order string
	orders := map[string]int{}
	var seen []int
	cfg.Progress = func(done, all int, _ string) {
		assert.Equal(t, 120, all)
		seen = append(seen, done)
	}
	s := spec
	s.Measure = func(t *Target) (Values, error) {
		if order += t.Rival.Name; len(order) == 3 {
			orders[order]++
			order = ""
		}
		return Values{"cpu": map[string]float64{"a": 1, "b": 2, "c": 4}[t.Rival.Name]}, nil
	}
	run, err := Run(t.Context(), cfg, s)
	require.NoError(t, err)
	assert.Greater(t, len(orders), 2, "of six orders: %v", orders)
	for o := range orders {
		assert.Contains(t, []string{"abc", "acb", "bac", "bca", "cab", "cba"}, o)
	}
	assert.Len(t, seen, 121)
	assert.IsIncreasing(t, seen)
	for _, server := range run.Servers {
		assert.Len(t, server.Samples, 40)
	}
	ratio, ok := run.Ratio("cpu", "c", "b")
	require.True(t, ok)
	assert.Equal(t, result.Spread{Median: 2, Low: 2, High: 2, N: 40}, ratio.Spread)
	assert.Equal(t, 0.175, run.Method.WarmUp)
}

func TestAFailureSaysWhose(t *testing.T) {
	s := spec
	s.Measure = func(*Target) (Values, error) { return nil, errors.New("it broke") }
	_, err := Run(t.Context(), config(t, 1, "a"), s)
	assert.EqualError(t, err, "a: it broke")
}

func TestNothingIsMeasuredAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, measured := spec, 0
	s.Measure = func(*Target) (Values, error) { measured++; cancel(); return Values{}, nil }
	_, err := Run(ctx, config(t, 3, "a", "b"), s)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, measured)
}

func TestWarnings(t *testing.T) {
	cfg := config(t, 1, "busy", "fine")
	cfg.LoadCPUs = cfg.ServerCPUs
	s := spec
	s.Metrics = Metrics("message")
	s.Measure = func(t *Target) (Values, error) {
		t.warnings["syscalls"] = "system calls cannot be counted"
		return Values{"load": map[string]float64{"busy": 0.99, "fine": 0.9}[t.Rival.Name], "server": 0.5}, nil
	}
	run, err := Run(t.Context(), cfg, s)
	require.NoError(t, err)
	require.Len(t, run.Warnings, 3)
	assert.Contains(t, run.Warnings[0], "share processor")
	assert.Contains(t, run.Warnings[1], "busy: the load was the bottleneck")
	assert.Equal(t, "system calls cannot be counted", run.Warnings[2])
	assert.Equal(t, "system calls cannot be counted", run.Method.Syscalls)
}

func TestRivalsByName(t *testing.T) {
	all, err := Rivals("net,raw,net@/old,net,net", []string{"mine=./mine -x a,b"}, serve.Echo)
	require.NoError(t, err)
	assert.Equal(t, []Rival{
		{Name: "net", Kind: "net"}, {Name: "raw", Kind: "raw"}, {Name: "net@/old", Kind: "net", Program: "/old"},
		{Name: "net#2", Kind: "net"}, {Name: "net#3", Kind: "net"}, {Name: "mine", Shell: "./mine -x a,b"},
	}, all)
	_, err = Rivals("raw", nil, serve.Work)
	assert.ErrorContains(t, err, `"raw"`, "it does not play this role")
	assert.ErrorContains(t, err, "net, netpoll, galago")
}

func TestACommandIsToldItsRoleAndAnAddress(t *testing.T) {
	command, env, err := Rival{Shell: "./mine -x"}.command(serve.Source, 100, false)
	require.NoError(t, err)
	require.Len(t, command, 3)
	assert.Equal(t, []string{"/bin/sh", "-c"}, command[:2])
	assert.Regexp(t, `^exec \./mine -x -addr 127\.0\.0\.1:[1-9]\d*$`, command[2])
	assert.Equal(t, []string{"BENCH_ROLE=source", "BENCH_SIZE=100"}, env)
	command, _, err = Rival{Kind: "net", Program: "/old"}.command(serve.Echo, 0, true)
	require.NoError(t, err)
	assert.Equal(t, []string{"/old", "serve", "-role", "echo", "-kind", "net", "-tls"}, command)
}
