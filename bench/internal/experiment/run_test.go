package experiment

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
)

func TestWhoTakesPart(t *testing.T) {
	rivals := []rounds.Rival{{Name: "net", Kind: "net"}, {Name: "net-queue", Kind: "net-queue"}, {Name: "galago", Kind: "galago"},
		{Name: "mine", Shell: "mine"}}
	names := func(key string) (all []string) {
		for _, c := range scripts()[key].contestants(Config{Rivals: rivals}) {
			all = append(all, c.name)
		}
		return all
	}
	assert.Equal(t, []string{"net", "net-queue", "galago"}, names("slow"), "anybody's server echoes, and does nothing else")
	assert.Equal(t, []string{"net", "net-queue", "galago", "galago, ReadWaits off", "mine"}, names("flood"))
	assert.Equal(t, []string{"net", "galago 4000 B/250 B", "galago 4000 B/2000 B", "galago 4000 B/4000 B"}, names("sweep"),
		"a queue without a bound cannot be filled")
}

func TestVariantsDifferInTheirSettings(t *testing.T) {
	all := scripts()["flood"].contestants(Config{Rivals: []rounds.Rival{{Name: "galago", Kind: "galago"}}})
	assert.False(t, all[0].settings.ReadsOn)
	assert.True(t, all[1].settings.ReadsOn)
	assert.Equal(t, map[string]float64{"high": 4000, "low": 2000}, all[0].shown())
}

func TestMarksAreWhereStepsBegin(t *testing.T) {
	assert.Equal(t, []result.Mark{{At: 0, Text: "reads"}, {At: 1, Text: "stops"}, {At: 2, Text: "reads again"}, {At: 4, Text: "end"}},
		scripts()["resume"].marks())
}

func TestValuesOfATrial(t *testing.T) {
	x := scripts()["slow"]
	r := good(x)
	// From second 1 to 3 of the script is the trouble.
	h := pressure.Latencies()
	require.NoError(t, h.RecordValue(int64(40*time.Millisecond)))
	a := pressure.NewAccount(0)
	l := a.Open()
	l.Accepted(1, 10)
	l.Settled(1, true, 0)
	line, err := a.Line()
	require.NoError(t, err)
	for i := range r.lines {
		at := r.lines[i].At - r.begin
		if at > 1e9 {
			r.lines[i].Cycles, r.lines[i].Halted, r.lines[i].Refused = 4, 2e8, map[string]int{"not writeable": 5, "too large": 1}
		}
		if at == 2e9 {
			r.lines[i].Times = line.Times
		}
		if at == 25e8 {
			r.seen[i].rss += 1 << 20
		}
	}
	v := r.values()
	for key, want := range map[string]float64{
		"peak": 5000, "growth": 1 << 20, "rss": 21 << 20, "rate before": 1000, "rate": 1000, "rate after": 1000, "arrived": 100,
		"accepted": 100, "sent": 100, "failed": 0, "cycles": 4, "cycle": 5e7, "cycles/s": 2, "waiting": 0.1, "refused": 6,
		"refused: not writeable": 5, "refused: too large": 1, "drain": 3e6,
	} {
		assert.InDelta(t, want, v[key], 1e-6, key)
	}
	assert.InEpsilon(t, 10e6, v["delay p99"], 0.01)
	assert.Positive(t, v["sent p99"])

	metrics := x.metrics([]*result.Server{{Samples: []result.Sample{{Values: v}}}})
	keys := map[string]bool{}
	for _, m := range metrics {
		assert.False(t, keys[m.Key], "%s twice", m.Key)
		keys[m.Key] = true
	}
	for key := range v {
		assert.True(t, keys[key], "%s is measured and not shown", key)
	}
}

func TestSeriesOfATrial(t *testing.T) {
	x := scripts()["slow"]
	r := good(x)
	for i := range r.lines {
		r.lines[i].Most, r.lines[i].Halted = i, int64(i)*5e7
		r.lines[i].Refused = map[string]int{"not writeable": 10 * i}
		r.seen[i].bytes[1], r.seen[i].age[1] = 1000*i, 7
	}
	got := map[string]result.Series{}
	for _, s := range r.series("galago") {
		assert.Equal(t, "galago", s.Server)
		require.Equal(t, len(s.At), len(s.Values))
		assert.IsIncreasing(t, s.At)
		got[s.Metric] = s
	}
	assert.Equal(t, []float64{1, 2, 3}, got["t.pending"].Values[:3])
	assert.InDelta(t, 0.5, got["t.waiting"].Values[0], 1e-9, "50 ms of 100")
	assert.InDelta(t, 100, got["t.refused"].Values[0], 1e-9, "10 in 100 ms")
	assert.InDelta(t, 10_000, got["t.rate"].Values[0], 1e-9, "1000 bytes in 100 ms")
	assert.Equal(t, 7.0, got["t.age"].Values[0])
	assert.InEpsilon(t, 20<<20, got["t.rss"].Values[0], 1e-4)
	assert.InDelta(t, 0.1, got["t.rss"].At[0], 1e-9)
	assert.NotContains(t, got, "t.sent", "no times were told")
	assert.Len(t, seriesMetrics(r.series("galago")), 6)

	parts := map[string]bool{}
	for _, s := range good(scripts()["crowd"]).series("galago") {
		parts[s.Part] = true
	}
	assert.Equal(t, map[string]bool{"": true, "the slow one": true, "one of the others": true, "the oldest of the others": true}, parts)
}

func TestABusyLoadIsSaid(t *testing.T) {
	run := &result.Run{Servers: []*result.Server{{Name: "net", Summary: map[string]result.Spread{"load": {Median: 0.95}}}, {Name: "galago"}}}
	require.Len(t, busyLoad(run), 1)
	assert.Contains(t, busyLoad(run)[0], "net: the load was 95 % busy")
}
