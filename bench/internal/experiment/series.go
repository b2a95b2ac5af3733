package experiment

import (
	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/serve"
)

// The metrics of series.
var (
	overTime = []result.Metric{
		{Key: "t.pending", Name: "pending for one peer, the most", Unit: result.Bytes},
		{Key: "t.rss", Name: "memory of the process", Unit: result.Bytes},
		{Key: "t.rate", Name: "throughput", Unit: result.BytesPerSec},
		{Key: "t.age", Name: "age of the newest record at the reader", Unit: result.Nanoseconds},
		{Key: "t.sent", Name: "Send to OnSent, p99", Unit: result.Nanoseconds},
		{Key: "t.waiting", Name: "time throttled", Unit: result.Share},
		{Key: "t.refused", Name: "refused", Unit: result.PerSecond},
	}
)

// series are how things went over time.
func (r *trial) series(server string) (all []result.Series) {
	add := func(s result.Series) {
		if len(s.At) > 0 {
			s.Server = server
			all = append(all, s)
		}
	}
	add(r.fromSights("t.rss", "", 0, func(_, s sight) float64 { return float64(s.rss) }))
	if r.x.Peers == r.x.Special {
		add(r.rates("", 1, 1))
		if r.x.Role != serve.Pump {
			add(r.fromSights("t.age", "", 0, func(_, s sight) float64 { return float64(s.age[1]) }))
		}
	} else {
		add(r.rates("the slow one", 1, r.x.Special))
		add(r.rates("one of the others", 0, r.x.Peers-r.x.Special))
		add(r.fromSights("t.age", "the oldest of the others", 0, func(_, s sight) float64 { return float64(s.age[0]) }))
	}
	add(r.fromLines("t.pending", func(_, l pressure.Line) (float64, bool) { return float64(l.Most), true }))
	add(r.fromLines("t.waiting", func(before, l pressure.Line) (float64, bool) {
		return min(1, max(0, float64(l.Halted-before.Halted)/float64(l.At-before.At))), true
	}))
	add(r.fromLines("t.refused", func(before, l pressure.Line) (float64, bool) {
		return float64(count(l.Refused)-count(before.Refused)) / (float64(l.At-before.At) / 1e9), true
	}))
	add(r.fromLines("t.sent", func(_, l pressure.Line) (float64, bool) {
		h := pressure.Latencies()
		if l.Merge(h) != nil || h.TotalCount() == 0 {
			return 0, false
		}
		return float64(h.ValueAtQuantile(99)), true
	}))
	return all
}

func count(refused map[string]int) (n int) {
	for _, k := range refused {
		n += k
	}
	return n
}

// rates is the throughput of one of n peers, in the time of five records at least: fewer would show when they came, and
// not how many.
func (r *trial) rates(part string, group, n int) result.Series {
	return r.fromSights("t.rate", part, 5*int64(r.settings.Every), func(before, s sight) float64 {
		return float64(s.bytes[group]-before.bytes[group]) / float64(n) / (float64(s.at-before.at) / 1e9)
	})
}

// fromSights makes a value of each sight, and of the last one so long before it.
func (r *trial) fromSights(metric, part string, span int64, f func(before, s sight) float64) result.Series {
	out, first := result.Series{Metric: metric, Part: part}, 0
	for i, s := range r.seen {
		if i == 0 || !r.within(s.at) {
			continue
		}
		for first+1 < i && r.seen[first+1].at <= s.at-span {
			first++
		}
		out.Add(r.seconds(s.at), f(r.seen[first], s))
	}
	return out
}

func (r *trial) fromLines(metric string, f func(before, l pressure.Line) (float64, bool)) result.Series {
	out := result.Series{Metric: metric}
	for i, l := range r.lines {
		if i == 0 || !r.within(l.At) {
			continue
		}
		if v, ok := f(r.lines[i-1], l); ok {
			out.Add(r.seconds(l.At), v)
		}
	}
	return out
}

// within reports whether a time belongs to the script or what came after it.
func (r *trial) within(at int64) bool { return at >= r.begin && at <= r.steps[len(r.steps)-1].to }
