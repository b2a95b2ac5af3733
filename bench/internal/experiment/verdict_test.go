package experiment

import (
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/serve"
)

func scripts() map[string]*Experiment {
	p := Params{Phase: time.Second, Peers: 100, Record: 1000, Tick: 100, Ticks: 10, Feed: 1 << 20, Slow: 1 << 18, Flood: 1 << 22,
		High: 4000, Low: 2000, Highs: []int{4000}, Sampled: 100 * time.Millisecond}
	all := map[string]*Experiment{}
	for i, x := range p.Scripts() {
		if x.Key != Keys[i] {
			panic("the keys have another order")
		}
		all[x.Key] = x
	}
	return all
}

// good is a trial in which everything went as it should.
func good(x *Experiment) *trial {
	r := &trial{x: x, settings: x.Settings, reports: true, begin: 1e9, drained: true, took: 3 * time.Millisecond, arrived: [2]int{0, 100}}
	at := r.begin
	for _, s := range append(x.Steps, Step{For: r.took}) {
		st := step{from: at, to: at + int64(s.For), bytes: [2]int{1000, int(s.For.Milliseconds())}, delays: times(10 * time.Millisecond)}
		r.steps, at = append(r.steps, st), st.to
	}
	for t := r.begin; t <= at; t += int64(100 * time.Millisecond) {
		r.seen = append(r.seen, sight{at: t, rss: 20 << 20})
		r.lines = append(r.lines, pressure.Line{At: t, Open: 1, Peak: x.Settings.Bound()})
	}
	last := r.lastLine()
	last.Accepted, last.Sent = 100, 100
	if x.Role == serve.Flood {
		r.sent = 100
	}
	return r
}

func (r *trial) lastLine() *pressure.Line { return &r.lines[len(r.lines)-1] }

func times(d time.Duration) [2]*hdrhistogram.Histogram {
	all := [2]*hdrhistogram.Histogram{pressure.Latencies(), pressure.Latencies()}
	for _, h := range all {
		h.RecordValue(int64(d))
	}
	return all
}

// judge returns the verdicts of one server by their promises.
func judge(x *Experiment, with, without *trial) map[string]result.Verdict {
	all := map[string]result.Verdict{}
	for _, v := range x.verdicts("galago", []pair{{with, without}}) {
		all[v.Promise] = v
	}
	return all
}

// control is a good trial with nobody special, if the experiment has one.
func control(x *Experiment) *trial {
	if !x.Control {
		return nil
	}
	return good(x)
}

func TestAllPromisesAreKeptWhenAllIsWell(t *testing.T) {
	for key, x := range scripts() {
		got := judge(x, good(x), control(x))
		for promise, v := range got {
			assert.True(t, v.Kept, "%s: %s: %s", key, promise, v.Says)
			assert.NotEmpty(t, v.Says)
			assert.True(t, v.Required)
		}
		assert.Contains(t, got, Bounded)
		assert.Contains(t, got, Nothing)
		assert.Equal(t, key == "crowd", got[Nobody].Kept, "in a crowd there is somebody else")
		assert.Equal(t, x.recovers(), got[Resumes].Kept)
	}
}

// Each way in which a promise can be broken, and in the experiments in which it can be seen.
func TestEachVerdictCanFail(t *testing.T) {
	for _, test := range []struct {
		name, promise, says string
		in                  []string // keys
		harm                func(r *trial)
	}{
		{"too much pending", Bounded, "pending for one peer, of", Keys, func(r *trial) { r.lastLine().Peak = r.settings.Bound() + r.x.Slack + 1 }},
		{"too much memory", Bounded, "memory grew by 20.0 MiB", []string{"slow", "stalled", "resume", "crowd", "flood"},
			func(r *trial) { r.seen[len(r.seen)-1].rss += 20 << 20 }},
		{"a wrong byte", Nothing, "record 7 has other bytes", Keys, func(r *trial) { r.wrong = []string{"record 7 has other bytes"} }},
		{"an outcome is missing", Nothing, "1 of 100 accepted sends have no outcome", Keys, func(r *trial) { r.lastLine().Sent--; r.arrived[1]-- }},
		{"a record is missing", Nothing, "100 sends were said to be sent, 99 records arrived", []string{"slow", "resume", "crowd", "flood", "sweep"},
			func(r *trial) { r.arrived[1]-- }},
		{"a record too many", Nothing, "101 records arrived", Keys, func(r *trial) { r.arrived[1]++ }},
		{"a send failed", Nothing, "1 accepted sends failed", []string{"slow", "resume", "crowd", "flood", "sweep"},
			func(r *trial) { r.lastLine().Sent--; r.lastLine().Failed++; r.arrived[1]-- }},
		{"an echo is missing", Nothing, "of 101 records 100 came back and 0 were refused: 1 are missing", []string{"flood"}, func(r *trial) { r.sent = 101 }},
		{"it does not end", Nothing, "not all was over", Keys, func(r *trial) { r.drained = false }},
		{"nothing comes any more", Resumes, "throughput is 0 %", []string{"slow", "resume", "crowd", "flood"},
			func(r *trial) { r.steps[len(r.x.Steps)-1].bytes[1] = 0 }},
		{"less comes than before", Resumes, "throughput is 7", []string{"slow", "resume", "crowd", "flood"},
			func(r *trial) { st := &r.steps[len(r.x.Steps)-1]; st.bytes[1] = st.bytes[1] * 79 / 100 }},
		{"the rest does not come", Resumes, "the rest did not arrive in time", []string{"slow", "resume", "crowd", "flood"},
			func(r *trial) { r.drained = false }},
		{"the others wait", Nobody, "p99 of the others is 26.", []string{"crowd"}, func(r *trial) { r.steps[1].delays = times(26 * time.Millisecond) }},
		{"the others miss something", Nobody, "the others missed 3 records", []string{"crowd"}, func(r *trial) { r.skipped[0] = 3 }},
	} {
		for _, key := range test.in {
			x := scripts()[key]
			r := good(x)
			test.harm(r)
			v, ok := judge(x, r, control(x))[test.promise]
			require.True(t, ok, "%s: %s", key, test.promise)
			assert.False(t, v.Kept, "%s in %s", test.name, key)
			assert.Contains(t, v.Says, test.says, "%s in %s", test.name, key)
		}
	}
}

func TestWhatIsNotHarmful(t *testing.T) {
	x := scripts()["stalled"]
	r := good(x)
	r.lastLine().Sent, r.lastLine().Failed, r.arrived[1] = 90, 10, 80
	assert.True(t, judge(x, r, nil)[Nothing].Kept, "a peer that does not read may lose what it did not read; each send has its outcome")

	x = scripts()["flood"]
	r = good(x)
	r.sent, r.lastLine().Refused = 120, map[string]int{"not writeable": 20}
	assert.True(t, judge(x, r, nil)[Nothing].Kept, "what was refused is not lost")

	x = scripts()["crowd"]
	r = good(x)
	r.steps[1].delays = times(24 * time.Millisecond)
	assert.True(t, judge(x, r, good(x))[Nobody].Kept, "some difference is chance")
}

// The verdict on a sweep is that on the variant that came nearest to its bound.
func TestASweepIsAsGoodAsItsWorst(t *testing.T) {
	x := scripts()["sweep"]
	small, large := good(x), good(x)
	small.settings.High, large.settings.High = 100, 100_000
	small.lastLine().Peak, large.lastLine().Peak = 1101, 50_000
	v := x.verdicts("galago", []pair{{large, nil}, {small, nil}})[0]
	assert.Equal(t, Bounded, v.Promise)
	assert.False(t, v.Kept)
	assert.Contains(t, v.Says, "1101 B pending for one peer, of 1100 B")
}

func TestRivalsPromisedNothing(t *testing.T) {
	x := scripts()["slow"]
	for server, required := range map[string]bool{"galago": true, "galago, ReadWaits off": true, "galago#2": true, "net": false, "netpoll": false} {
		for _, v := range x.verdicts(server, []pair{{good(x), nil}}) {
			assert.Equal(t, required, v.Required, server)
		}
	}
}

// Of a server that reports nothing the peers know enough to judge.
func TestAServerThatReportsNothing(t *testing.T) {
	x := scripts()["flood"]
	r := good(x)
	r.reports, r.lines, r.sent = false, nil, 100
	for promise, v := range judge(x, r, nil) {
		assert.True(t, v.Kept, "%s: %s", promise, v.Says)
	}
	assert.NotContains(t, judge(x, r, nil)[Bounded].Says, "pending", "nobody knows")
	r.arrived[1] = 99
	assert.False(t, judge(x, r, nil)[Nothing].Kept)
	assert.NotContains(t, r.values(), "peak")
}
