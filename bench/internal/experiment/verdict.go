package experiment

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/serve"
	"github.com/galago-go/galago/bench/internal/table"
)

// The promises, as they are called in verdicts.
const (
	Bounded = "bounded"
	Nobody  = "nobody else slowed"
	Nothing = "nothing lost"
	Resumes = "resumes"
)

// Promises are all of them, in the order in which they are shown.
var Promises = []string{Bounded, Nobody, Nothing, Resumes}

const (
	memorySlack = 16 << 20             // bytes by which a process may grow, for its collector and the like
	delaySlack  = 5 * time.Millisecond // by which the p99 of the others may grow, besides delayTimes
	delayTimes  = 2.0
	backAgain   = 0.8 // of the throughput before
)

// A pair is a trial with its control, which is nil if the experiment has none.
type pair struct{ with, without *trial }

// verdicts says which promises one server kept, in all its trials.
func (x *Experiment) verdicts(server string, trials []pair) (all []result.Verdict) {
	add := func(promise string, kept bool, says []string) {
		all = append(all, result.Verdict{Promise: promise, Server: server, Kept: kept, Says: strings.Join(says, "; "),
			Required: strings.HasPrefix(server, "galago")})
	}
	kept, says := x.bounded(trials)
	add(Bounded, kept, says)
	if x.Control {
		kept, says = x.nobodySlowed(trials)
		add(Nobody, kept, says)
	}
	kept, says = x.nothingLost(trials)
	add(Nothing, kept, says)
	if x.recovers() {
		kept, says = x.resumes(trials)
		add(Resumes, kept, says)
	}
	return all
}

// bounded: what is held for one peer, and what memory the process takes for it, is no more than the settings promise.
func (x *Experiment) bounded(trials []pair) (kept bool, says []string) {
	var worst, growth float64 // worst is the share of a limit that was used
	peak, limit := 0, 0
	for _, t := range trials {
		r := t.with
		_, grown := r.memory()
		growth = max(growth, grown)
		if bound := r.settings.Bound() + x.Slack; float64(r.last().Peak)/float64(bound) >= worst {
			worst, peak, limit = float64(r.last().Peak)/float64(bound), r.last().Peak, bound
		}
	}
	allowed := float64(limit*max(1, x.Special) + memorySlack)
	if trials[0].with.reports {
		says = append(says, fmt.Sprintf("at most %s pending for one peer, of %s", show(result.Bytes, float64(peak)), show(result.Bytes, float64(limit))))
	}
	if x.compares() {
		says = append(says, fmt.Sprintf("memory grew by %s, of %s", show(result.Bytes, growth), show(result.Bytes, allowed)))
	}
	return worst <= 1 && growth <= allowed, says
}

// nobodySlowed: while one peer does not read, the others get what is due as soon as without it.
func (x *Experiment) nobodySlowed(trials []pair) (kept bool, says []string) {
	var with, without []float64
	missed := 0
	for _, t := range trials {
		with, without = append(with, t.with.values()["delay p99"]), append(without, t.without.values()["delay p99"])
		missed += t.with.skipped[0]
	}
	w, wo := result.Median(with), result.Median(without)
	says = []string{fmt.Sprintf("p99 of the others is %s, without the slow one %s", show(result.Nanoseconds, w), show(result.Nanoseconds, wo))}
	if missed > 0 {
		says = append(says, fmt.Sprintf("the others missed %d records", missed))
	}
	return w <= delayTimes*wo+float64(delaySlack) && missed == 0, says
}

// nothingLost: every byte is what it should be, every send has one outcome, and what was sent has arrived.
func (x *Experiment) nothingLost(trials []pair) (kept bool, says []string) {
	arrived := 0
	for _, t := range trials {
		for _, r := range []*trial{t.with, t.without} {
			if r != nil {
				says = append(says, r.lost()...)
				arrived += r.arrived[0] + r.arrived[1]
			}
		}
	}
	says = slices.Compact(says)
	if len(says) > 0 {
		return false, says[:min(len(says), 4)]
	}
	what := "all that was accepted"
	if x.Abandons {
		what = "each send has one outcome; the peer was given up " + show(result.Nanoseconds, float64(trials[0].with.took)) + " after the end"
		return true, []string{what, fmt.Sprintf("%d records arrived, each byte as it was sent", arrived)}
	}
	return true, []string{fmt.Sprintf("%d records arrived, %s, each byte as it was sent", arrived, what)}
}

// lost says what a trial lost.
func (r *trial) lost() (says []string) {
	says = append(says, r.wrong...)
	last, arrived := r.last(), r.arrived[0]+r.arrived[1]
	say := func(format string, args ...any) { says = append(says, fmt.Sprintf(format, args...)) }
	if !r.drained {
		say("not all was over %v after the end", r.took.Round(time.Millisecond))
	}
	if r.reports {
		if n := last.Accepted - last.Sent - last.Failed; n != 0 {
			say("%d of %d accepted sends have no outcome", n, last.Accepted)
		}
		if arrived > last.Sent || arrived < last.Sent && !r.x.Abandons {
			say("%d sends were said to be sent, %d records arrived", last.Sent, arrived)
		}
		if last.Failed > 0 && !r.x.Abandons {
			say("%d accepted sends failed", last.Failed)
		}
	}
	if missing := r.sent - arrived - count(last.Refused); r.x.Role == serve.Flood && missing != 0 {
		say("of %d records %d came back and %d were refused: %d are missing", r.sent, arrived, count(last.Refused), missing)
	}
	return says
}

// resumes: when the peer reads again, it gets as much as before, and the rest arrives.
func (x *Experiment) resumes(trials []pair) (kept bool, says []string) {
	kept = true
	worst, took := 0.0, time.Duration(0)
	for i, t := range trials {
		before, after := t.with.steps[0].rate(true), t.with.steps[len(x.Steps)-1].rate(true)
		share := after / max(before, 1)
		if i == 0 || share < worst {
			worst = share
		}
		kept = kept && share >= backAgain && t.with.drained
		took = max(took, t.with.took)
		if !t.with.drained {
			says = append(says, "the rest did not arrive in time")
		}
	}
	says = append([]string{fmt.Sprintf("throughput is %.0f %% of that before", 100*worst)}, slices.Compact(says)...)
	if kept {
		says = append(says, "the rest arrived within "+show(result.Nanoseconds, float64(took)))
	}
	return kept, says
}

func show(u result.Unit, v float64) string { return table.Show(u, v) }
