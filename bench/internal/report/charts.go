package report

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/table"
)

// chartsOf are the charts of a run: over time, if it has series; else what its first metrics came to, and how they depend
// on settings, if these differ.
func chartsOf(r *result.Run) (all []*chart) {
	for _, m := range r.Metrics {
		for _, part := range partsOf(r, m.Key) {
			all = append(all, timeChart(r, m, part))
		}
	}
	if len(all) > 0 {
		return all
	}
	if sweep := sweepCharts(r); len(sweep) > 0 {
		return sweep
	}
	return rangeCharts(r)
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// slug makes a name for files and anchors.
func slug(parts ...string) string {
	return strings.Trim(notWord.ReplaceAllString(strings.ToLower(strings.Join(parts, "-")), "-"), "-")
}

func runID(r *result.Run) string { return slug(r.Name, r.Case) }

// partsOf are the parts of the series of a metric, in their order.
func partsOf(r *result.Run, metric string) (all []string) {
	for _, s := range r.Series {
		if s.Metric == metric && !slices.Contains(all, s.Part) {
			all = append(all, s.Part)
		}
	}
	return all
}

// names are those of servers, galago's first, so that they are drawn on top.
func names(r *result.Run) (all []string) {
	for _, s := range r.Servers {
		all = append(all, s.Name)
	}
	slices.SortStableFunc(all, func(a, b string) int { return rank(a) - rank(b) })
	return all
}

func rank(name string) int {
	if strings.HasPrefix(name, "galago") {
		return 0
	}
	return 1
}

// timeHeight is that of charts over time, in points.
const timeHeight = 258

// timeChart shows how a metric went, or that of a part.
func timeChart(r *result.Run, m result.Metric, part string) *chart {
	ch := &chart{id: slug(runID(r), strings.TrimPrefix(m.Key, "t."), part), height: timeHeight}
	var limits []result.Limit
	for _, l := range r.Limits {
		if l.Metric == m.Key {
			limits = append(limits, l)
		}
	}
	values, end := extent(r, m.Key, part)
	top, clipped := topOf(values, limits)
	in := measureOf(m.Unit, top)
	ch.title = titleOf(m, part, in)
	ch.x.label, ch.x.max = "seconds", end
	ch.x.ticks, _ = ticks(end, 8)
	ch.x.ticks = slices.DeleteFunc(ch.x.ticks, func(t plot.Tick) bool { return t.Value > end })
	ch.y.ticks, ch.y.max = ticks(top/in.by, 5)
	ch.bands = bandsOf(r, end)
	for _, l := range limits {
		ch.limits = append(ch.limits, limit{l.Value / in.by, l.Text + ": " + table.Show(m.Unit, l.Value)})
	}
	strokes := strokesOf(names(r))
	var says []string
	for _, name := range names(r) {
		s := seriesOf(r, name, m.Key, part)
		if s == nil {
			continue
		}
		l := line{name: name, stroke: strokes[name]}
		highest := 0.0
		for i, v := range s.Values {
			l.points = append(l.points, plotter.XY{X: s.At[i], Y: v / in.by})
			highest = max(highest, v)
		}
		if clipped && highest > ch.y.max*in.by {
			l.name += ", up to " + table.Show(m.Unit, highest)
		}
		ch.lines = append(ch.lines, l)
		says = append(says, fmt.Sprintf("%s at most %s", name, table.Show(m.Unit, highest)))
	}
	ch.says = fmt.Sprintf("%s over %.3g seconds. %s.", m.Name, end, strings.Join(says, "; "))
	return ch
}

func titleOf(m result.Metric, part string, in measure) string {
	title := strings.ToUpper(m.Name[:1]) + m.Name[1:]
	if part != "" {
		title += ", " + part
	}
	if in.unit != "" {
		title += " (" + in.unit + ")"
	}
	return title
}

func seriesOf(r *result.Run, server, metric, part string) *result.Series {
	for i := range r.Series {
		if s := &r.Series[i]; s.Server == server && s.Metric == metric && s.Part == part {
			return s
		}
	}
	return nil
}

// extent is all values of a metric's series, sorted, and the last time of all series.
func extent(r *result.Run, metric, part string) (values []float64, end float64) {
	for _, s := range r.Series {
		if len(s.At) > 0 {
			end = max(end, s.At[len(s.At)-1])
		}
		if s.Metric == metric && s.Part == part {
			values = append(values, s.Values...)
		}
	}
	for _, m := range r.Marks {
		end = max(end, m.At)
	}
	slices.Sort(values)
	return values, end
}

// topOf is how high a chart goes. Where a line goes far beyond a limit, or a few values beyond all others, it ends a
// little above these, so that they can be seen.
func topOf(sorted []float64, limits []result.Limit) (top float64, clipped bool) {
	if len(sorted) == 0 {
		return 1, false
	}
	most := sorted[len(sorted)-1]
	for _, l := range limits {
		if most > 3*l.Value {
			return 1.8 * l.Value, true
		}
		top = max(top, 1.05*l.Value)
	}
	if usual := sorted[len(sorted)*95/100]; most > 4*usual && usual > 0 {
		return max(top, 1.6*usual), true
	}
	return max(top, most), false
}

func bandsOf(r *result.Run, end float64) (all []stretch) {
	for i, m := range r.Marks {
		to := end
		if i+1 < len(r.Marks) {
			to = r.Marks[i+1].At
		}
		all = append(all, stretch{m.At, to, m.Text})
	}
	return all
}

// rangeCharts show the metrics that are compared, or else the first one: a row for each server.
func rangeCharts(r *result.Run) (all []*chart) {
	keys := r.Compared
	if len(keys) == 0 && len(r.Metrics) > 0 {
		keys = []string{r.Metrics[0].Key}
	}
	for _, key := range keys[:min(len(keys), 2)] {
		if m, ok := r.Metric(key); ok {
			all = append(all, rangeChart(r, m))
		}
	}
	return all
}

func rangeChart(r *result.Run, m result.Metric) *chart {
	ch := &chart{id: slug(runID(r), m.Key)}
	most := 0.0
	for _, s := range r.Servers {
		most = max(most, s.Summary[m.Key].High)
	}
	in := measureOf(m.Unit, most)
	ch.title = titleOf(m, "", in)
	if m.Better != "" {
		ch.title += ", " + string(m.Better) + " is better"
	}
	ch.x.ticks, ch.x.max = ticks(most/in.by, 6)
	strokes := strokesOf(names(r))
	var says []string
	for i, s := range r.Servers {
		ch.y.ticks = append(ch.y.ticks, plot.Tick{Value: float64(len(r.Servers) - 1 - i), Label: s.Name})
		x, ok := s.Summary[m.Key]
		text := "not measured"
		if ok {
			text = table.Show(m.Unit, x.Median)
			says = append(says, fmt.Sprintf("%s %s", s.Name, table.ShowSpread(m.Unit, x)))
		}
		ch.ranges = append(ch.ranges, span{s.Name, strokes[s.Name], x.Low / in.by, x.Median / in.by, x.High / in.by, text})
	}
	ch.y.min, ch.y.max = -0.6, float64(len(r.Servers))-0.4
	ch.height = vg.Length(50 + 19*len(r.Servers))
	ch.says = strings.Join(says, "; ") + "."
	return ch
}

// sweepCharts show how metrics depend on the high and low water of galago.
func sweepCharts(r *result.Run) (all []*chart) {
	lines := sweepLines(r)
	if len(lines) == 0 {
		return nil
	}
	for _, key := range []string{"cycles/s", "delay p99", "peak", "cpu/MiB"} {
		if m, ok := r.Metric(key); ok {
			all = append(all, sweepChart(r, m, lines))
		}
	}
	return all
}

// A sweepLine has the variants whose low water is the same share of high water.
type sweepLine struct {
	share   float64
	servers []*result.Server
}

func sweepLines(r *result.Run) (all []*sweepLine) {
	for _, s := range r.Servers {
		high, low := s.Settings["high"], s.Settings["low"]
		if high == 0 {
			continue
		}
		share := low / high
		i := slices.IndexFunc(all, func(l *sweepLine) bool { return math.Abs(l.share-share) < 0.01 })
		if i < 0 {
			i = len(all)
			all = append(all, &sweepLine{share: share})
		}
		all[i].servers = append(all[i].servers, s)
	}
	return all
}

func (l *sweepLine) name() string {
	switch {
	case l.share > 0.99:
		return "low = high"
	case l.share > 0.49 && l.share < 0.51:
		return "low = half of it"
	}
	return fmt.Sprintf("low = 1/%.0f of it", 1/l.share)
}

var sweepStrokes = []stroke{{blue, nil, 2}, {indigo, []vg.Length{7, 2}, 1.7}, {red, []vg.Length{3, 2}, 1.7}}

func sweepChart(r *result.Run, m result.Metric, lines []*sweepLine) *chart {
	ch := &chart{id: slug(runID(r), m.Key), height: timeHeight}
	low, high, most := math.Inf(1), 0.0, 0.0
	for _, s := range r.Servers {
		if h := s.Settings["high"]; h > 0 {
			low, high = min(low, h), max(high, h)
		}
		most = max(most, s.Summary[m.Key].Median)
	}
	in := measureOf(m.Unit, most)
	ch.title = titleOf(m, "", in)
	ch.x = axis{label: "high water", min: low / 1.4, max: high * 1.2, log: true, ticks: logTicks(low, high, 4, short)}
	ch.y.ticks, ch.y.max = ticks(most/in.by, 5)
	var says []string
	for i, l := range lines {
		drawn := line{name: l.name(), stroke: sweepStrokes[i%len(sweepStrokes)]}
		for _, s := range l.servers {
			v := s.Summary[m.Key].Median
			drawn.points = append(drawn.points, plotter.XY{X: s.Settings["high"], Y: v / in.by})
			says = append(says, s.Name+": "+table.Show(m.Unit, v))
		}
		ch.lines = append(ch.lines, drawn)
	}
	strokes := strokesOf(names(r))
	for _, s := range r.Servers {
		if x, ok := s.Summary[m.Key]; ok && s.Settings["high"] == 0 {
			y := x.Median / in.by
			ch.lines = append(ch.lines, line{s.Name, strokes[s.Name], plotter.XYs{{X: low, Y: y}, {X: high, Y: y}}})
			says = append(says, s.Name+": "+table.Show(m.Unit, x.Median))
		}
	}
	ch.says = strings.Join(says, "; ") + "."
	return ch
}
