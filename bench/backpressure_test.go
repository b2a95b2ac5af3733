package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/experiment"
	"github.com/galago-go/galago/bench/internal/result"
)

// pressureRun runs experiments, and returns the exit code with what came of it.
func pressureRun(t *testing.T, args ...string) (code int, f *result.File, out, errs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "result.json")
	var o, e bytes.Buffer
	code = call(t, append([]string{"backpressure", "-quick", "-json", file}, args...), &o, &e)
	if code < 2 {
		f, _ = result.Load(file)
	}
	return code, f, o.String(), e.String()
}

func verdictOn(t *testing.T, run *result.Run, promise, server string) result.Verdict {
	t.Helper()
	for _, v := range run.Verdicts {
		if v.Promise == promise && v.Server == server {
			return v
		}
	}
	require.Fail(t, "no verdict", "%s on %s in %s", promise, server, run.Case)
	return result.Verdict{}
}

// All experiments with all rivals. What does not depend on the time that a busy machine has for it must be as it is the
// first time; the rest may take another run.
func TestBackpressureJudgesEveryRival(t *testing.T) {
	kept := false
	for try := 0; try < 3 && !kept; try++ {
		code, f, out, errs := pressureRun(t, "-rivals", "net,net-queue,netpoll,galago")
		require.NotNil(t, f, errs)
		require.Len(t, f.Runs, len(experiment.Keys), errs)
		kept = code == 0
		assert.Equal(t, kept, len(f.Failed()) == 0)
		for _, run := range f.Runs {
			for _, v := range run.Verdicts {
				if strings.HasPrefix(v.Server, "galago") && (v.Promise == experiment.Bounded || v.Promise == experiment.Nothing) {
					assert.True(t, v.Kept, "%s: %s: %s: %s", run.Case, v.Server, v.Promise, v.Says)
				}
				assert.Contains(t, out, v.Says)
			}
			wantSeries(t, run)
		}
		slow, crowd, flood := f.Runs[0], f.Runs[3], f.Runs[4]
		assert.False(t, verdictOn(t, slow, experiment.Bounded, "net-queue").Kept, "a queue without a bound has none")
		assert.True(t, verdictOn(t, slow, experiment.Bounded, "net").Kept)
		assert.False(t, verdictOn(t, crowd, experiment.Nobody, "net").Kept, "who waits for one lets the others wait")
		assert.False(t, verdictOn(t, crowd, experiment.Nobody, "netpoll").Kept)
		assert.False(t, verdictOn(t, flood, experiment.Bounded, "netpoll").Kept, "it reads ahead without a bound")
		assert.Positive(t, value(t, slow, "galago", "refused: not writeable"))
		assert.Positive(t, value(t, slow, "galago", "cycles"))
		assert.Positive(t, value(t, slow, "galago", "sent p99"))
		assert.Positive(t, value(t, flood, "galago, ReadWaits off", "refused"))
		assert.Zero(t, value(t, flood, "galago", "refused"), "with ReadWaits nothing is")
	}
	assert.True(t, kept, "three runs, and never all promises were kept")
}

// wantSeries checks that every server of an experiment over time is in every series that there is of galago.
func wantSeries(t *testing.T, run *result.Run) {
	t.Helper()
	if run.Case == "high and low water" {
		assert.Empty(t, run.Series)
		assert.NotEmpty(t, run.Servers[len(run.Servers)-1].Settings)
		return
	}
	assert.NotEmpty(t, run.Marks)
	assert.NotEmpty(t, run.Limits)
	for _, key := range []string{"t.pending", "t.rss", "t.rate", "t.age", "t.waiting", "t.sent", "t.refused"} {
		_, ok := run.Metric(key)
		require.True(t, ok, "%s in %s", key, run.Case)
		for _, s := range run.Servers {
			found := false
			for _, series := range run.Series {
				if series.Server == s.Name && series.Metric == key {
					found = len(series.At) > 5
				}
			}
			assert.True(t, found, "%s of %s in %s", key, s.Name, run.Case)
		}
	}
}

// A server that breaks a promise is found out, and that is a failure.
func TestAFaultyServerIsFoundOut(t *testing.T) {
	for _, test := range []struct{ fault, only, promise, says string }{
		{"hoards", "resume", experiment.Bounded, "pending for one peer"},
		{"waits", "crowd", experiment.Nobody, "p99 of the others"},
		{"loses", "resume", experiment.Nothing, "records arrived"},
		{"garbles", "resume", experiment.Nothing, "other bytes"},
		{"forgets", "resume", experiment.Nothing, "an outcome for send 51"},
		{"repeats", "resume", experiment.Nothing, "an outcome for send 50"},
		{"sticks", "resume", experiment.Resumes, "throughput is"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			t.Parallel()
			code, f, out, errs := pressureRun(t, "-only", test.only, "-rivals", "galago-"+test.fault, "-conns", "20", "-tick", "16384")
			assert.Equal(t, 1, code)
			require.NotNil(t, f, errs)
			v := verdictOn(t, f.Runs[0], test.promise, "galago-"+test.fault)
			assert.False(t, v.Kept, out)
			assert.Contains(t, v.Says, test.says)
			assert.Contains(t, errs, "galago-"+test.fault+" did not keep a promise, "+test.promise)
		})
	}
}

// One that was never told to be bounded may be as it likes.
func TestABrokenPromiseOfARivalIsNoFailure(t *testing.T) {
	code, f, _, errs := pressureRun(t, "-only", "resume", "-rivals", "net-queue")
	assert.Equal(t, 0, code, errs)
	assert.False(t, verdictOn(t, f.Runs[0], experiment.Bounded, "net-queue").Kept)
}

func TestAServerThatDies(t *testing.T) {
	code, _, _, errs := pressureRun(t, "-only", "resume", "-rivals", "galago-dies")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "galago-dies")
	assert.Contains(t, errs, "no more", "what it said is told")
}

func TestAServerThatDoesNotEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes as long as the patience of an experiment")
	}
	code, f, _, errs := pressureRun(t, "-only", "resume", "-rivals", "galago-stays")
	assert.Equal(t, 1, code)
	require.NotNil(t, f, errs)
	assert.Contains(t, verdictOn(t, f.Runs[0], experiment.Nothing, "galago-stays").Says, "not all was over")
}

// Anybody's echo server can be flooded.
func TestAFloodOfAnybodysServer(t *testing.T) {
	code, f, out, errs := pressureRun(t, "-only", "flood,slow", "-rivals", "net", "-rival", "example="+buildExample(t))
	require.Equal(t, 0, code, errs)
	assert.Nil(t, f.Runs[0].Server("example"), "a reader wants more than an echo")
	assert.NotEmpty(t, rowOf(out, "example"))
	assert.True(t, verdictOn(t, f.Runs[1], experiment.Nothing, "example").Kept)
	assert.NotContains(t, f.Runs[1].Server("example").Summary, "peak", "it reports nothing")
}
