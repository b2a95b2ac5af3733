package result

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sample(round int, values map[string]float64) Sample {
	return Sample{Round: round, Place: 1, Values: values}
}

func example() *Run {
	return &Run{
		Name: "echo", Metrics: []Metric{{Key: "cpu", Unit: Nanoseconds, Better: Lower}, {Key: "heap", Unit: Bytes}},
		Compared: []string{"cpu"},
		Servers: []*Server{
			{Name: "a", Samples: []Sample{sample(1, Values{"cpu": 10, "heap": 7}), sample(2, Values{"cpu": 30}), sample(3, Values{"cpu": 20})}},
			{Name: "b", Samples: []Sample{sample(3, Values{"cpu": 40}), sample(2, Values{"cpu": 10}), sample(1, Values{"cpu": 10})}},
		},
	}
}

type Values = map[string]float64

func TestSummariesAreMediansAndRatiosStayWithinTheirRound(t *testing.T) {
	r := example()
	r.Summarize()
	assert.Equal(t, Spread{Median: 20, Low: 10, High: 30, N: 3}, r.Server("a").Summary["cpu"])
	assert.Equal(t, Spread{Median: 7, Low: 7, High: 7, N: 1}, r.Server("a").Summary["heap"])
	assert.NotContains(t, r.Server("b").Summary, "heap", "it was not measured")
	ratio, ok := r.Ratio("cpu", "a", "b")
	require.True(t, ok)
	assert.Equal(t, Spread{Median: 1, Low: 0.5, High: 3, N: 3}, ratio.Spread, "10/10, 30/10, 20/40, whatever order they came in")
	_, ok = r.Ratio("cpu", "a", "a")
	assert.False(t, ok)
	_, ok = r.Ratio("heap", "a", "b")
	assert.False(t, ok, "nobody asked for it")
	r.Summarize()
	assert.Len(t, r.Ratios, 2, "again is the same")
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 2.0, Median([]float64{3, 1, 2}))
	assert.Equal(t, 2.5, Median([]float64{4, 1, 3, 2}))
}

func TestAFileComesBackAsItWas(t *testing.T) {
	r := example()
	r.Summarize()
	r.Series = []Series{{Server: "a", Metric: "cpu", Part: "the slow reader", At: []float64{0, 0.5}, Values: []float64{1, 2}}}
	r.Marks = []Mark{{At: 0.25, Text: "the reader stops"}}
	r.Verdicts = []Verdict{{Promise: "bounded", Server: "a", Kept: true, Says: "128 kB", Required: true}}
	m := ThisMachine()
	m.Modules = map[string]string{"example.com/rival": "v1.2.3"}
	f := &File{Version: Version, Started: time.Unix(1, 0).UTC(), Command: []string{"echo"}, Machine: m, Runs: []*Run{r}}
	path := filepath.Join(t.TempDir(), "x.json")
	require.NoError(t, f.Save(path))
	got, err := Load(path)
	require.NoError(t, err)
	assert.Equal(t, f, got)
	left, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	assert.Equal(t, []string{path}, left, "nothing else is left")
}

func TestListsOfNumbersAreOneLine(t *testing.T) {
	s := Series{Server: "[\n1,\n2]"}
	s.Add(0.00049, 123456789)
	s.Add(1.5, -0.0000123456)
	s.Add(2, 0)
	var out bytes.Buffer
	f := &File{Version: Version, Runs: []*Run{{Series: []Series{s}}}}
	require.NoError(t, f.Write(&out))
	assert.Contains(t, out.String(), `"at": [0,1.5,2]`)
	assert.Contains(t, out.String(), `"values": [123460000,-0.000012346,0]`)
	got, err := Read(&out)
	require.NoError(t, err)
	assert.Equal(t, s, got.Runs[0].Series[0], "text that looks like a list stays as it is")
}

// Whoever reads these names must be able to rely on them.
func TestTheFormatIsWhatItWas(t *testing.T) {
	r := &Run{Name: "echo", Metrics: []Metric{{Key: "cpu", Name: "CPU/message", Unit: Nanoseconds, Better: Lower}},
		Compared: []string{"cpu"}, Servers: []*Server{{Name: "a", Samples: []Sample{sample(1, Values{"cpu": 10})}}}}
	r.Summarize()
	var out bytes.Buffer
	require.NoError(t, (&File{Version: Version, Runs: []*Run{r}}).Write(&out))
	for _, want := range []string{`"version": 1`, `"machine": {`, `"runs": [`, `"name": "echo"`, `"key": "cpu"`, `"unit": "ns"`,
		`"better": "lower"`, `"samples": [`, `"round": 1`, `"values": {`, `"cpu": 10`, `"summary": {`, `"median": 10`} {
		assert.Contains(t, out.String(), want)
	}
}

func TestReadRefusesWhatItCannotRead(t *testing.T) {
	_, err := Read(strings.NewReader("cpu 10"))
	assert.ErrorContains(t, err, "no result of bench")
	_, err = Read(strings.NewReader(`{"version": 2}`))
	assert.ErrorContains(t, err, "version 2")
	_, err = Load("/nowhere/x.json")
	assert.ErrorContains(t, err, "/nowhere/x.json")
}

func TestBrokenPromises(t *testing.T) {
	f := &File{Runs: []*Run{{Verdicts: []Verdict{
		{Promise: "bounded", Server: "net", Kept: false},
		{Promise: "bounded", Server: "galago", Kept: true, Required: true},
		{Promise: "nothing lost", Server: "galago", Kept: false, Required: true},
	}}}}
	require.Len(t, f.Failed(), 1)
	assert.Equal(t, "nothing lost", f.Failed()[0].Promise)
}

func TestThisMachineIsKnown(t *testing.T) {
	m := ThisMachine()
	assert.NotEqual(t, "?", m.Kernel)
	assert.Positive(t, m.CPUs)
	assert.Greater(t, m.Memory, uint64(64<<20))
}
