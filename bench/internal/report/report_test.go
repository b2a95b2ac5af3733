package report

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/galago-go/galago/bench/internal/result"
)

func TestDifferencesInWords(t *testing.T) {
	for ratio, want := range map[float64]string{0.8: "20 % less", 1.001: "the same", 1.25: "25 % more", 2.31: "2.3 times as much", 0.011: "99 % less"} {
		assert.Equal(t, want, difference(ratio))
	}
}

// ratioRun has galago at these multiples of net in its rounds, and of itself.
func ratioRun(better result.Better, galago, again []float64) *result.Run {
	r := &result.Run{Name: "echo", Metrics: []result.Metric{{Key: "x", Name: "x", Unit: result.Count, Better: better}}, Compared: []string{"x"}}
	ones := make([]float64, len(galago))
	for i := range ones {
		ones[i] = 1
	}
	r.Servers = []*result.Server{{Name: "net", Samples: samples("x", ones...)}, {Name: "galago", Samples: samples("x", galago...)}}
	if again != nil {
		r.Servers = append(r.Servers, &result.Server{Name: "galago#2", Samples: samples("x", again...)})
	}
	r.Summarize()
	return r
}

func TestWhatIsBetterIsSaidOnlyWhereTheRoundsAgree(t *testing.T) {
	for _, test := range []struct {
		name          string
		better        result.Better
		galago, again []float64
		want          outcome
	}{
		{"less", result.Lower, []float64{0.8, 0.9, 0.7}, nil, better},
		{"less, and more is better", result.Higher, []float64{0.8, 0.9, 0.7}, nil, worse},
		{"more", result.Higher, []float64{1.2, 1.1, 1.3}, nil, better},
		{"more, and less is better", result.Lower, []float64{1.2, 1.1, 1.3}, nil, worse},
		{"sometimes more", result.Lower, []float64{0.8, 0.9, 1.01}, nil, same},
		{"no more than the noise", result.Lower, []float64{0.97, 0.97, 0.97}, []float64{0.97, 1.01, 0.93}, same},
		{"more than the noise", result.Lower, []float64{0.9, 0.9, 0.9}, []float64{0.92, 0.88, 0.9}, better},
		{"one round", result.Lower, []float64{0.5}, nil, once},
	} {
		r := ratioRun(test.better, test.galago, test.again)
		c, ok := compare(r, r.Metrics[0], "net")
		require.True(t, ok, test.name)
		assert.Equal(t, test.want, c.Outcome, test.name)
	}
	_, ok := compare(ratioRun(result.Lower, []float64{1, 1}, nil), result.Metric{Key: "y", Better: result.Lower}, "net")
	assert.False(t, ok)
}

func TestTheSummaryInWords(t *testing.T) {
	f := exampleFile()
	assert.Equal(t, []string{"raw", "net", "mine@/tmp/a-rather-long-name"}, rivalsOf(f))
	assert.Equal(t, "Beside net galago is better in 1 of 1 (echo: 64 B, 100 connections).", tallyOf(f, "net").sentence())
	assert.Equal(t, "Beside raw galago is better in 0 of 1, and worse in 1 (echo: 64 B, 100 connections).", tallyOf(f, "raw").sentence())
	assert.Equal(t, "galago kept all promises that it was judged on (3 verdicts).", conduct(f, "galago"))
	assert.Equal(t, "net-queue broke “bounded” in 1 of 1 (slow reader: figures of net-queue).", conduct(f, "net-queue"))
	assert.Equal(t, []string{"broken", "kept", "kept in all 3", "broken in 1 of 3", ""},
		[]string{judgement{0, 1, nil}.Word(), judgement{1, 1, nil}.Word(), judgement{3, 3, nil}.Word(), judgement{2, 3, nil}.Word(), judgement{}.Word()})
}

func TestTicksAreRoundNumbers(t *testing.T) {
	for most, want := range map[float64][]float64{0: {0, 0.2, 0.4, 0.6, 0.8, 1}, 9: {0, 2, 4, 6, 8, 10}, 144: {0, 50, 100, 150}, 0.03: {0, 0.01, 0.02, 0.03}} {
		all, end := ticks(most, 5)
		var got []float64
		for _, tick := range all {
			got = append(got, tick.Value)
		}
		assert.InDeltaSlice(t, want, got, 1e-9, "up to %v", most)
		assert.Equal(t, got[len(got)-1], end)
	}
	all := logTicks(4096, 1<<20, 4, short)
	assert.Equal(t, []string{"4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB"}, labels(all))
	assert.Equal(t, []string{"100 B", "1.5 KiB"}, []string{short(100), short(1536)})
}

func labels(ticks []plot.Tick) (all []string) {
	for _, tick := range ticks {
		all = append(all, tick.Label)
	}
	return all
}

func TestMeasuresSuitWhatIsMeasured(t *testing.T) {
	for _, test := range []struct {
		unit result.Unit
		most float64
		want string
	}{
		{result.Nanoseconds, 1e6, "µs"}, {result.Nanoseconds, 1e9, "ms"}, {result.Nanoseconds, 3e9, "s"},
		{result.Bytes, 100, "bytes"}, {result.Bytes, 1e6, "KiB"}, {result.Bytes, 1e8, "MiB"},
		{result.BytesPerSec, 1e6, "KiB/s"}, {result.BytesPerSec, 1e8, "MiB/s"}, {result.Share, 1, "%"},
		{result.PerSecond, 10, "per second"}, {result.PerSecond, 1e7, "millions per second"}, {result.Times, 2, "times"}, {result.Count, 2, ""},
	} {
		assert.Equal(t, test.want, measureOf(test.unit, test.most).unit)
	}
}

func TestAChartEndsWhereSomethingCanBeSeen(t *testing.T) {
	limits := []result.Limit{{Value: 100}}
	for _, test := range []struct {
		values  []float64
		limits  []result.Limit
		top     float64
		clipped bool
	}{
		{nil, nil, 1, false},
		{[]float64{1, 50}, nil, 50, false},
		{[]float64{1, 50}, limits, 105, false},
		{[]float64{1, 250}, limits, 250, false},
		{[]float64{1, 10_000}, limits, 180, true},
		{append(make([]float64, 98), 10, 1000), nil, 1000, false}, // of zeros nobody knows what is usual
	} {
		top, clipped := topOf(test.values, test.limits)
		assert.InDelta(t, test.top, top, 1e-9)
		assert.Equal(t, test.clipped, clipped)
	}
	spike := []float64{100}
	for range 99 {
		spike = append([]float64{10}, spike...)
	}
	top, clipped := topOf(spike, nil)
	assert.InDelta(t, 16, top, 1e-9, "one value of a hundred does not make the others a line on the floor")
	assert.True(t, clipped)
}

func TestChartsOverTime(t *testing.T) {
	all := chartsOf(slowRun())
	require.Len(t, all, 3)
	ch := all[0]
	assert.Equal(t, "backpressure-slow-reader-pending", ch.id)
	assert.Equal(t, "Pending for one peer, the most (KiB)", ch.title)
	require.Len(t, ch.lines, 5)
	assert.Equal(t, "galago", ch.lines[0].name, "it is drawn on top")
	assert.Equal(t, "net-queue, up to 20.0 MiB", ch.lines[3].name, "who leaves the chart is said to")
	assert.Contains(t, ch.says, "net-queue at most 20.0 MiB")
	assert.Equal(t, []limit{{80, "promised at most: 80.0 KiB"}}, ch.limits)
	assert.Len(t, ch.bands, 4)
	assert.InDelta(t, 70e3/1024, highest(ch.lines[0].points), 1)
	var titles []string
	for _, ch := range chartsOf(crowdRun()) {
		titles = append(titles, ch.title)
	}
	assert.Equal(t, []string{"Pending for one peer, the most (KiB)", "Throughput, the slow one (KiB/s)", "Throughput, one of the others (KiB/s)"}, titles)
}

func highest(points plotter.XYs) (most float64) {
	for _, p := range points {
		most = max(most, p.Y)
	}
	return most
}

func TestChartsOfRangesAndSweeps(t *testing.T) {
	f := exampleFile()
	all := chartsOf(f.Runs[0])
	require.Len(t, all, 2)
	assert.Equal(t, "CPU/message (µs), lower is better", all[0].title)
	assert.Equal(t, span{"net", strokes["net"], 4.9, 5, 5.1, "5.00 µs"}, all[0].ranges[1])
	sweep := chartsOf(f.Runs[3])
	require.Len(t, sweep, 1)
	var names []string
	for _, l := range sweep[0].lines {
		names = append(names, l.name)
	}
	assert.Equal(t, []string{"low = 1/16 of it", "low = half of it", "low = high", "net"}, names)
	assert.Empty(t, chartsOf(&result.Run{}), "of nothing there is nothing to be seen")
}

func TestEachServerIsDrawnInItsOwnWay(t *testing.T) {
	all := strokesOf([]string{"galago", "net", "net-queue", "netpoll", "raw", "a", "b", "c"})
	seen := map[string]string{}
	for name, s := range all {
		look := s.colour.name + string(rune(len(s.dashes)))
		assert.Empty(t, seen[look], "%s and %s", name, seen[look])
		seen[look] = name
	}
}

func TestColoursAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range colours {
		assert.False(t, seen[c.light], c.name)
		seen[c.light] = true
		assert.Regexp(t, "^#[0-9a-f]{6}$", c.light)
		assert.Regexp(t, "^#[0-9a-f]{6}$", c.dark)
		assert.NotEqual(t, "#000000", c.light, "SVG leaves black out, so it could not be named")
	}
	assert.Equal(t, [3]uint8{0xd5, 0x5e, 0x00}, [3]uint8{orange.rgb().R, orange.rgb().G, orange.rgb().B})
}

func TestTheSVGHasNamesForColoursAndNoFonts(t *testing.T) {
	svg, err := chartsOf(slowRun())[0].svg()
	require.NoError(t, err)
	assert.Contains(t, svg, "var(--c-blue)")
	assert.NotRegexp(t, "#[0-9a-fA-F]{6}", svg)
	assert.NotContains(t, svg, "font-family")
	assert.Contains(t, svg, "font-weight:bold")
	assert.Contains(t, svg, `role="img"`)
}

func TestThePageNeedsNothingElse(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Write(exampleFile(), &out))
	page := out.String()
	assert.NotRegexp(t, `(?i)<(script|link|img|iframe)|@import|url\(|https?://[^w]`, strings.ReplaceAll(page, "http://www.w3.org/", ""))
	assert.Contains(t, page, "default-src 'none'")
	assert.Contains(t, page, "Example &lt;CPU&gt; (amd64), 2 of them", "what others wrote is escaped")
	assert.Contains(t, page, "two processors")
	assert.Contains(t, page, "commit 0123456789ab")
	assert.Contains(t, page, "net: the load was the bottleneck")
	assert.Contains(t, page, "go run -C bench . echo -conns 100")
	assert.NotContains(t, page, "did not keep")
	assert.NotContains(t, page, "ZgotmplZ", "the template trusts all that is meant to be trusted")
}

func TestABrokenPromiseComesFirst(t *testing.T) {
	f := exampleFile()
	f.Runs[1].Verdicts = append(f.Runs[1].Verdicts, result.Verdict{Promise: "resumes", Server: "galago", Says: "nothing came", Required: true})
	var out bytes.Buffer
	require.NoError(t, Write(f, &out))
	failed := strings.Index(out.String(), "galago did not keep a promise, “resumes”: nothing came")
	require.Positive(t, failed)
	assert.Less(t, failed, strings.Index(out.String(), "<table"))
}

func TestPagesOfLittle(t *testing.T) {
	for _, f := range []*result.File{{}, {Runs: []*result.Run{{Name: "echo"}}},
		{Runs: []*result.Run{{Name: "echo", Servers: []*result.Server{{Name: "net"}}, Metrics: echoRun().Metrics, Compared: []string{"cpu", "gone"}}}}} {
		assert.NoError(t, Write(f, discard{}))
	}
}

func TestCommandsAreQuoted(t *testing.T) {
	assert.Equal(t, `go run -C bench . echo -rival 'a=b c' 'it'\''s' ''`, CommandLine([]string{"echo", "-rival", "a=b c", "it's", ""}))
}

func TestSaveIsWholeOrNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.html")
	require.NoError(t, Save(exampleFile(), path))
	left, err := filepath.Glob(filepath.Dir(path) + "/*")
	require.NoError(t, err)
	assert.Equal(t, []string{path}, left)
	assert.ErrorContains(t, Save(exampleFile(), "/nowhere/x.html"), "/nowhere/x.html")
}

func TestPNGsAreThePlots(t *testing.T) {
	f, dir := exampleFile(), filepath.Join(t.TempDir(), "plots")
	names, err := SavePNG(f, dir)
	require.NoError(t, err)
	require.Len(t, names, 2+3+3+1)
	for _, name := range names {
		in, err := os.Open(name)
		require.NoError(t, err)
		info, err := in.Stat()
		require.NoError(t, err)
		assert.Less(t, info.Size(), int64(60<<10), "%s is small enough for a README", name)
		img, err := png.Decode(in)
		require.NoError(t, err, name)
		require.NoError(t, in.Close())
		assert.Greater(t, img.Bounds().Dx(), 900, name)
		seen := map[[3]uint32]bool{}
		for x := range img.Bounds().Dx() {
			r, g, b, a := img.At(x, img.Bounds().Dy()/2).RGBA()
			assert.EqualValues(t, 0xffff, a, "it is not transparent, as it may be shown on dark")
			seen[[3]uint32{r, g, b}] = true
		}
		assert.Greater(t, len(seen), 2, "%s is empty", name)
	}
	_, err = SavePNG(f, filepath.Join(names[0], "x"))
	assert.Error(t, err)
}

func TestALongTitleFits(t *testing.T) {
	short, long := &chart{title: "Short (ms)"}, &chart{title: "Age of the newest record at the reader, the oldest of the others (ms)"}
	assert.Equal(t, titleSize, short.titleStyle(chartWidth).Font.Size)
	assert.Greater(t, widthOf(bold(style(titleSize, ink)), long.title), vg.Length(chartWidth))
	assert.InDelta(t, chartWidth, widthOf(long.titleStyle(chartWidth), long.title).Points(), 1)
}

// However many colours there are, 256 remain, each near to what it was; black and white are kept.
func TestFewColours(t *testing.T) {
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		img.Set(i%64, i/64, color.RGBA{uint8(4 * (i % 64)), uint8(4 * (i / 64)), 0, 0xff})
	}
	img.Set(0, 0, color.White)
	small := fewColours(img)
	assert.LessOrEqual(t, len(small.Palette), 256)
	for i := range 64 * 64 {
		r, g, b, _ := img.At(i%64, i/64).RGBA()
		sr, sg, sb, _ := small.At(i%64, i/64).RGBA()
		for _, d := range []float64{float64(r) - float64(sr), float64(g) - float64(sg), float64(b) - float64(sb)} {
			require.Less(t, math.Abs(d)/0xffff, 0.13)
		}
	}
	assert.Equal(t, color.RGBA{0xff, 0xff, 0xff, 0xff}, small.At(0, 0))
	assert.Equal(t, color.RGBA{0, 0, 0, 0xff}, small.At(1, 0), "nearly black")
}
