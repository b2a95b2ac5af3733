package table

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/result"
)

func run() *result.Run {
	r := &result.Run{
		Title: "echo: 64 bytes",
		Metrics: []result.Metric{
			{Key: "cpu", Name: "CPU/message", Unit: result.Nanoseconds, Better: result.Lower},
			{Key: "rate", Name: "messages/s", Unit: result.PerSecond, Better: result.Higher},
			{Key: "heap", Name: "heap", Unit: result.Bytes},
			{Key: "never", Name: "never", Unit: result.Count},
		},
		Compared: []string{"cpu"}, Warnings: []string{"it was loud"},
	}
	for name, cpu := range map[string]float64{"net": 4000, "galago": 3000} {
		s := &result.Server{Name: name}
		for round := range 3 {
			s.Samples = append(s.Samples, result.Sample{Round: round + 1, Values: map[string]float64{"cpu": cpu + 10*float64(round), "rate": 1e9 / cpu}})
		}
		r.Servers = append(r.Servers, s)
	}
	r.Server("net").Samples[0].Values["heap"] = 66000
	r.Summarize()
	return r
}

func TestATable(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Print(&out, run()))
	got := out.String()
	assert.Regexp(t, `(?m)^ +net +4\.01 µs \(4\.00-4\.02\) +250000 +64.5 KiB$`, got)
	assert.Regexp(t, `(?m)^ +galago +3\.01 µs \(3\.00-3\.02\) +333333 +-$`, got)
	assert.NotContains(t, got, "never", "nobody has it")
	assert.Regexp(t, `(?m)^CPU/message, .* lower is better$`, got)
	assert.Regexp(t, `(?m)^ +galago +0\.751 \(0\.75-0\.75\)$`, got)
	assert.NotContains(t, got, "x galago", "it needs no comparison with itself")
	assert.Contains(t, got, "WARNING: it was loud")
}

func TestWithoutGalagoEverybodyIsCompared(t *testing.T) {
	r := run()
	r.Server("galago").Name = "netpoll"
	r.Summarize()
	var out strings.Builder
	require.NoError(t, Print(&out, r))
	assert.Contains(t, out.String(), "x net")
	assert.Contains(t, out.String(), "x netpoll")
}

func TestAWideTableIsContinuedBelow(t *testing.T) {
	r := run()
	for i := range 20 {
		key := strings.Repeat("k", i+1)
		r.Metrics = append(r.Metrics, result.Metric{Key: key, Name: "some metric " + key, Unit: result.Count})
		r.Server("net").Samples[0].Values[key] = 1
	}
	r.Summarize()
	var out strings.Builder
	require.NoError(t, Print(&out, r))
	for line := range strings.Lines(out.String()) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), width+10, line)
	}
	assert.Greater(t, strings.Count(out.String(), "server "), 3)
	for _, m := range r.Metrics[4:] {
		assert.Contains(t, out.String(), m.Name)
	}
}

func TestEveryUnitIsShown(t *testing.T) {
	for unit, want := range map[result.Unit]string{
		result.Nanoseconds: "1.50 µs", result.Bytes: "1500 B", result.PerSecond: "1500", result.BytesPerSec: "0.0 MiB/s",
		result.Count: "1500.00", result.Share: "150000 %", result.Times: "1500.000", result.Whole: "1500",
	} {
		assert.Equal(t, want, Show(unit, 1500))
	}
	for x, want := range map[float64]string{0: "0 B", 20 << 10: "20.0 KiB", 2 << 20: "2.0 MiB"} {
		assert.Equal(t, want, Show(result.Bytes, x))
	}
	for x, want := range map[float64]string{0: "0 µs", 9.99e6: "9990.00 µs", 10e6: "10.0 ms", 20e9: "20.0 s"} {
		assert.Equal(t, want, Show(result.Nanoseconds, x))
	}
	assert.Equal(t, "32 MiB/s", Show(result.BytesPerSec, 32<<20))
	assert.Equal(t, "12.0 ms (9.0-15.0)", ShowSpread(result.Nanoseconds, result.Spread{Median: 12e6, Low: 9e6, High: 15e6}), "one unit for all")
}

func TestVerdictsAreShownWithTheirFigures(t *testing.T) {
	r := run()
	r.Verdicts = []result.Verdict{{Promise: "bounded", Server: "net", Says: "much"}, {Promise: "nothing lost", Server: "galago", Kept: true, Says: "all came"}}
	var out strings.Builder
	require.NoError(t, Print(&out, r))
	assert.Contains(t, out.String(), "\nbounded       net     BROKEN  much\nnothing lost  galago  kept    all came\n")
}
