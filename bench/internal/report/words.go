package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/galago-go/galago/bench/internal/result"
)

// An outcome is how one server compares with another.
type outcome string

const (
	better outcome = "better"
	worse  outcome = "worse"
	same   outcome = "no clear difference"
	once   outcome = "one round says little"
)

// A comparison is galago beside another server, in one metric of one run.
type comparison struct {
	result.Ratio
	Metric  result.Metric
	Outcome outcome
	Words   string // "18 % less"
}

// noiseOf is the range of a server against itself, if the run has one measured twice.
func noiseOf(r *result.Run, metric string) (low, high float64, ok bool) {
	for _, x := range r.Ratios {
		if x.Metric == metric && strings.HasPrefix(x.Server, x.Base+"#") {
			return x.Low, x.High, true
		}
	}
	return 1, 1, false
}

// compare says how galago compares with base. There is no clear difference if the rounds do not agree on which of them is
// better, or if it is no larger than that of a server against itself.
func compare(r *result.Run, m result.Metric, base string) (c comparison, ok bool) {
	x, ok := r.Ratio(m.Key, "galago", base)
	if !ok || m.Better == "" {
		return c, false
	}
	c = comparison{Ratio: x, Metric: m, Words: difference(x.Median)}
	low, high, _ := noiseOf(r, m.Key)
	switch {
	case x.N < 2:
		c.Outcome = once
	case x.Low <= 1 && x.High >= 1, x.Median >= low && x.Median <= high:
		c.Outcome = same
	case x.Median < 1 == (m.Better == result.Lower):
		c.Outcome = better
	default:
		c.Outcome = worse
	}
	return c, true
}

// difference says in words what a ratio means.
func difference(ratio float64) string {
	percent := math.Round(100 * math.Abs(ratio-1))
	switch {
	case percent == 0:
		return "the same"
	case ratio >= 1.995:
		return fmt.Sprintf("%.1f times as much", ratio)
	case ratio > 1:
		return fmt.Sprintf("%.0f %% more", percent)
	}
	return fmt.Sprintf("%.0f %% less", percent)
}

// rivalsOf are the servers that galago is compared with anywhere, in the order in which they come.
func rivalsOf(f *result.File) (all []string) {
	for _, r := range f.Runs {
		if len(r.Ratios) == 0 || r.Server("galago") == nil {
			continue
		}
		for _, s := range r.Servers {
			if s.Name != "galago" && !strings.Contains(s.Name, "#") && !slices.Contains(all, s.Name) {
				all = append(all, s.Name)
			}
		}
	}
	return all
}

// A tally counts comparisons with one rival.
type tally struct {
	rival               string
	better, same, worse []string // what was compared
}

// tallyOf counts how the main metrics of all runs compare with a rival.
func tallyOf(f *result.File, rival string) (t tally) {
	t.rival = rival
	for _, r := range f.Runs {
		if len(r.Compared) == 0 {
			continue
		}
		m, _ := r.Metric(r.Compared[0])
		c, ok := compare(r, m, rival)
		if !ok {
			continue
		}
		name := nameOf(r)
		switch c.Outcome {
		case better:
			t.better = append(t.better, name)
		case worse:
			t.worse = append(t.worse, name)
		default:
			t.same = append(t.same, name)
		}
	}
	return t
}

func nameOf(r *result.Run) string {
	if r.Case == "" {
		return r.Name
	}
	return r.Name + ": " + r.Case
}

// sentence says it in words.
func (t tally) sentence() string {
	all := len(t.better) + len(t.same) + len(t.worse)
	s := fmt.Sprintf("Beside %s galago is better in %d of %d", t.rival, len(t.better), all)
	if n := len(t.better); n > 0 && n <= 2 {
		s += " (" + strings.Join(t.better, "; ") + ")"
	}
	if n := len(t.same); n > 0 {
		s += fmt.Sprintf(", without a clear difference in %d (%s)", n, strings.Join(t.same, "; "))
	}
	if n := len(t.worse); n > 0 {
		s += fmt.Sprintf(", and worse in %d (%s)", n, strings.Join(t.worse, "; "))
	}
	return s + "."
}

// promisesOf are the promises that there are verdicts on, and judged are the servers, in the order in which they come.
func promisesOf(f *result.File) (promises, judged []string) {
	for _, r := range f.Runs {
		for _, v := range r.Verdicts {
			if !slices.Contains(promises, v.Promise) {
				promises = append(promises, v.Promise)
			}
			if !slices.Contains(judged, v.Server) {
				judged = append(judged, v.Server)
			}
		}
	}
	slices.SortStableFunc(judged, func(a, b string) int { return rank(a) - rank(b) })
	return promises, judged
}

// A judgement is on one promise of one server, in all experiments.
type judgement struct {
	Kept, All int
	Broken    []string // "slow reader: at most 23.9 MiB pending"
}

func judge(f *result.File, promise, server string) (j judgement) {
	for _, r := range f.Runs {
		for _, v := range r.Verdicts {
			if v.Promise != promise || v.Server != server {
				continue
			}
			j.All++
			if v.Kept {
				j.Kept++
			} else {
				j.Broken = append(j.Broken, r.Case+": "+v.Says)
			}
		}
	}
	return j
}

// Word says it in a word or two.
func (j judgement) Word() string {
	switch {
	case j.All == 0:
		return ""
	case j.Kept == j.All && j.All == 1:
		return "kept"
	case j.Kept == j.All:
		return fmt.Sprintf("kept in all %d", j.All)
	case j.Kept == 0 && j.All == 1:
		return "broken"
	}
	return fmt.Sprintf("broken in %d of %d", j.All-j.Kept, j.All)
}

// conduct says in a sentence which promises a server kept.
func conduct(f *result.File, server string) string {
	promises, _ := promisesOf(f)
	var broken []string
	all := 0
	for _, p := range promises {
		j := judge(f, p, server)
		all += j.All
		if n := len(j.Broken); n > 0 {
			broken = append(broken, fmt.Sprintf("“%s” in %d of %d (%s)", p, n, j.All, j.Broken[n-1]))
		}
	}
	if len(broken) == 0 {
		return fmt.Sprintf("%s kept all promises that it was judged on (%d verdicts).", server, all)
	}
	return fmt.Sprintf("%s broke %s.", server, strings.Join(broken, ", and "))
}
