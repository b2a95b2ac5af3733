package experiment

import (
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

// refused begins the keys of the metrics that count refusals, by the reason.
const refused = "refused: "

// rate returns the bytes per second that came in a step.
func (st step) rate(special bool) float64 {
	n := st.bytes[0]
	if special {
		n = st.bytes[1]
	}
	return float64(n) / (float64(st.to-st.from) / 1e9)
}

// values are what a trial comes to, by the keys of metrics.
func (r *trial) values() rounds.Values {
	x, trouble := r.x, r.x.trouble()
	v := rounds.Values{
		"arrived": float64(r.arrived[0] + r.arrived[1]), "drain": float64(r.took),
		"server": float64(r.cpu) / float64(r.steps[len(x.Steps)-1].to-r.begin), "load": r.busy,
	}
	if special := x.Peers == x.Special; special {
		v["rate"] = r.steps[trouble].rate(true)
		if x.compares() {
			v["rate before"] = r.steps[0].rate(true)
		}
		if x.recovers() {
			v["rate after"] = r.steps[len(x.Steps)-1].rate(true)
		}
		addTimes(v, "delay ", r.steps[trouble].delays[1])
		if n := r.steps[trouble].bytes[1]; x.Role == serve.Pump && n > 0 {
			v["cpu/MiB"] = float64(r.cpu) / float64(n) * (1 << 20)
		}
	} else {
		addTimes(v, "delay ", r.steps[trouble].delays[0])
	}
	v["rss"], v["growth"] = r.memory()
	if r.reports {
		r.addReported(v)
	}
	return v
}

func addTimes(v rounds.Values, prefix string, h *hdrhistogram.Histogram) {
	if h.TotalCount() == 0 {
		return
	}
	v[prefix+"p50"] = float64(h.ValueAtQuantile(50))
	v[prefix+"p99"] = float64(h.ValueAtQuantile(99))
	v[prefix+"max"] = float64(h.Max())
}

// addReported adds what the server said.
func (r *trial) addReported(v rounds.Values) {
	last, st := r.last(), r.steps[r.x.trouble()]
	v["peak"] = float64(last.Peak)
	v["accepted"], v["sent"], v["failed"] = float64(last.Accepted), float64(last.Sent), float64(last.Failed)
	v["cycles"], v["longest"] = float64(last.Cycles), float64(last.Longest)
	if last.Cycles > 0 {
		v["cycle"] = float64(last.Halted) / float64(last.Cycles)
	}
	total := 0
	for why, n := range last.Refused {
		v[refused+why] = float64(n)
		total += n
	}
	v["refused"] = float64(total)
	before, after := r.lineAt(st.from), r.lineAt(st.to)
	v["waiting"] = float64(after.Halted-before.Halted) / float64(st.to-st.from)
	v["cycles/s"] = float64(after.Cycles-before.Cycles) / (float64(st.to-st.from) / 1e9)
	times := pressure.Latencies()
	for _, line := range r.lines {
		if line.At > st.from && line.At <= st.to+int64(r.settings.Report) {
			line.Merge(times)
		}
	}
	addTimes(v, "sent ", times)
}

// lineAt returns the last line at or before a time, or an empty one.
func (r *trial) lineAt(at int64) (line pressure.Line) {
	i, found := slices.BinarySearchFunc(r.lines, at, func(l pressure.Line, at int64) int { return int(l.At - at) })
	if found {
		i++
	}
	if i > 0 {
		line = r.lines[i-1]
	}
	return line
}

// memory returns the most memory that the process had in the trouble or after it, and by how much that was more than
// before.
func (r *trial) memory() (most, growth float64) {
	var before uint64
	st := r.steps[r.x.trouble()]
	for _, s := range r.seen {
		if s.at <= st.from {
			before = max(before, s.rss)
		} else {
			most = max(most, float64(s.rss))
		}
	}
	if before == 0 {
		return most, 0
	}
	return most, max(0, most-float64(before))
}

// metrics are those of an experiment, given what was measured.
func (x *Experiment) metrics(servers []*result.Server) (all []result.Metric) {
	for _, m := range x.known() {
		if anybody(servers, m.Key) {
			all = append(all, m)
		}
	}
	var reasons []string
	for _, s := range servers {
		for _, sample := range s.Samples {
			for key := range sample.Values {
				if strings.HasPrefix(key, refused) && !slices.Contains(reasons, key) {
					reasons = append(reasons, key)
				}
			}
		}
	}
	slices.Sort(reasons)
	for _, key := range reasons {
		all = append(all, result.Metric{Key: key, Name: key, Unit: result.Whole})
	}
	return all
}

func anybody(servers []*result.Server, key string) bool {
	return slices.ContainsFunc(servers, func(s *result.Server) bool {
		return slices.ContainsFunc(s.Samples, func(sample result.Sample) bool {
			_, ok := sample.Values[key]
			return ok
		})
	})
}

// known are the metrics that there may be.
func (x *Experiment) known() []result.Metric {
	whom := ""
	if x.Peers != x.Special {
		whom = " of the others"
	}
	first := []result.Metric{
		{Key: "peak", Name: "most pending", Unit: result.Bytes, Better: result.Lower},
		{Key: "growth", Name: "memory grew by", Unit: result.Bytes, Better: result.Lower},
		{Key: "delay p99", Name: "delay p99" + whom, Unit: result.Nanoseconds, Better: result.Lower},
	}
	if x.Role == serve.Pump {
		return []result.Metric{first[2], first[0],
			{Key: "cycles/s", Name: "throttle cycles/s", Unit: result.PerSecond, Better: result.Lower},
			{Key: "cpu/MiB", Name: "CPU/MiB", Unit: result.Nanoseconds, Better: result.Lower},
			{Key: "rate", Name: "throughput", Unit: result.BytesPerSec},
			{Key: "delay p50", Name: "delay p50", Unit: result.Nanoseconds, Better: result.Lower},
			{Key: "sent p99", Name: "Send to OnSent p99", Unit: result.Nanoseconds, Better: result.Lower},
			{Key: "cycle", Name: "a cycle takes", Unit: result.Nanoseconds},
			{Key: "waiting", Name: "time throttled", Unit: result.Share},
			{Key: "server", Name: "server busy", Unit: result.Share}}
	}
	if x.Control {
		first = append([]result.Metric{{Key: "slowed", Name: "p99 with/without", Unit: result.Times, Better: result.Lower},
			{Key: "alone", Name: "p99 without", Unit: result.Nanoseconds, Better: result.Lower}}, first...)
	}
	return append(first, []result.Metric{
		{Key: "delay p50", Name: "delay p50" + whom, Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "delay max", Name: "longest delay" + whom, Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "rate before", Name: "throughput before", Unit: result.BytesPerSec},
		{Key: "rate", Name: "throughput meanwhile", Unit: result.BytesPerSec},
		{Key: "rate after", Name: "throughput after", Unit: result.BytesPerSec},
		{Key: "sent p50", Name: "Send to OnSent p50", Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "sent p99", Name: "Send to OnSent p99", Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "sent max", Name: "Send to OnSent, longest", Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "cycles", Name: "throttle cycles", Unit: result.Whole},
		{Key: "cycles/s", Name: "cycles/s", Unit: result.PerSecond},
		{Key: "cycle", Name: "a cycle takes", Unit: result.Nanoseconds},
		{Key: "longest", Name: "longest cycle", Unit: result.Nanoseconds},
		{Key: "waiting", Name: "time throttled", Unit: result.Share},
		{Key: "accepted", Name: "sends accepted", Unit: result.Whole},
		{Key: "sent", Name: "sends sent", Unit: result.Whole},
		{Key: "failed", Name: "sends failed", Unit: result.Whole},
		{Key: "arrived", Name: "records arrived", Unit: result.Whole},
		{Key: "refused", Name: "sends refused", Unit: result.Whole},
		{Key: "drain", Name: "end took", Unit: result.Nanoseconds, Better: result.Lower},
		{Key: "rss", Name: "RSS, most", Unit: result.Bytes, Better: result.Lower},
		{Key: "server", Name: "server busy", Unit: result.Share},
		{Key: "load", Name: "load busy", Unit: result.Share},
	}...)
}

// seconds is a time of pressure.Now, in seconds from the beginning of the script.
func (r *trial) seconds(at int64) float64 { return float64(at-r.begin) / float64(time.Second) }
