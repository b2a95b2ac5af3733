package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/table"
)

// A sheet is a table of the page.
type sheet struct {
	Caption string
	Corner  string
	Prose   string // the head of the column that has sentences
	Head    []string
	Rows    []row
}

type row struct {
	Head, Under string // Under is a smaller line below Head
	Cells       []cell
}

type cell struct {
	Text        string
	Under, Last string // two smaller lines below
	Class       string // of CSS: what it looks like, besides what it says
}

// verdictSheet shows all promises of all servers, over all experiments.
func verdictSheet(f *result.File) *sheet {
	promises, judged := promisesOf(f)
	if len(promises) == 0 {
		return nil
	}
	t := &sheet{Caption: "Promises kept and broken, over all experiments", Corner: "promise", Head: judged}
	for _, p := range promises {
		r := row{Head: p}
		for _, server := range judged {
			j := judge(f, p, server)
			c := cell{Text: j.Word()}
			switch {
			case j.All == 0:
				c.Text = "–"
			case j.Kept == j.All:
				c.Class = "good"
			default:
				c.Class = "bad"
			}
			r.Cells = append(r.Cells, c)
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

// meaning says what the promises of the experiments are.
var meaning = map[string]string{
	"bounded":            "what waits for a peer, and the memory for it, is no more than the settings say",
	"nobody else slowed": "while one peer does not read, the others get theirs as soon as without it",
	"nothing lost":       "each byte arrives as it was sent, and each send has exactly one outcome",
	"resumes":            "when the peer reads again, it gets as much as before, and all that was accepted",
}

// ratioSheet shows how galago compares with every rival in every run, in the main metrics.
func ratioSheet(f *result.File) *sheet {
	rivals := rivalsOf(f)
	t := &sheet{Caption: "galago beside each rival: its figure divided by theirs, in the same round; median and range", Corner: "work"}
	for _, name := range rivals {
		t.Head = append(t.Head, "× "+name)
	}
	for _, r := range f.Runs {
		for _, key := range r.Compared[:min(len(r.Compared), 1)] {
			m, _ := r.Metric(key)
			line, any := row{Head: nameOf(r), Under: m.Name + ", " + string(m.Better) + " is better"}, false
			for _, base := range rivals {
				c, ok := compare(r, m, base)
				any = any || ok
				line.Cells = append(line.Cells, c.cell(ok))
			}
			if any {
				t.Rows = append(t.Rows, line)
			}
		}
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}

func (c comparison) cell(ok bool) cell {
	if !ok {
		return cell{Text: "–"}
	}
	class := map[outcome]string{better: "good", worse: "bad", same: "even", once: "even"}[c.Outcome]
	words := c.Words + ", " + string(c.Outcome)
	if c.Outcome == same || c.Outcome == once {
		words = string(c.Outcome)
	}
	return cell{Text: fmt.Sprintf("%.2f", c.Median), Under: fmt.Sprintf("%.2f–%.2f", c.Low, c.High), Last: words, Class: class}
}

// verdictsOf shows the verdicts of one experiment, with the figures that they rest on.
func verdictsOf(r *result.Run) *sheet {
	if len(r.Verdicts) == 0 {
		return nil
	}
	t := &sheet{Caption: "Verdicts", Corner: "promise", Head: []string{"server", "verdict", "because"}, Prose: "because"}
	for _, v := range r.Verdicts {
		c := cell{Text: "kept", Class: "good"}
		if !v.Kept {
			c = cell{Text: "broken", Class: "bad"}
		}
		t.Rows = append(t.Rows, row{Head: v.Promise, Cells: []cell{{Text: v.Server}, c, {Text: v.Says, Class: "prose"}}})
	}
	return t
}

// figuresOf shows the medians of all metrics that anybody has, with their ranges: the servers in rows or in columns,
// whichever makes the table narrower.
func figuresOf(r *result.Run) *sheet {
	var shown []result.Metric
	for _, m := range r.Metrics {
		if slices.ContainsFunc(r.Servers, func(s *result.Server) bool { return s.Summary[m.Key].N > 0 }) {
			shown = append(shown, m)
		}
	}
	if len(shown) == 0 {
		return nil
	}
	t, servers := &sheet{Caption: "Figures: medians of the rounds" + rangesSaid(r)}, slices.Clone(r.Servers)
	slices.SortStableFunc(servers, func(a, b *result.Server) int { return rank(a.Name) - rank(b.Name) })
	if len(shown) < len(r.Servers) {
		t.Corner = "server"
		for _, m := range shown {
			t.Head = append(t.Head, m.Name)
		}
		for _, s := range servers {
			line := row{Head: s.Name}
			for _, m := range shown {
				line.Cells = append(line.Cells, figure(s, m))
			}
			t.Rows = append(t.Rows, line)
		}
		return t
	}
	t.Corner = "figure"
	for _, s := range servers {
		t.Head = append(t.Head, s.Name)
	}
	for _, m := range shown {
		line := row{Head: m.Name}
		if m.Better != "" {
			line.Under = string(m.Better) + " is better"
		}
		for _, s := range servers {
			line.Cells = append(line.Cells, figure(s, m))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

func rangesSaid(r *result.Run) string {
	if r.Method.Rounds > 1 {
		return ", and their range"
	}
	return ""
}

func figure(s *result.Server, m result.Metric) cell {
	x, ok := s.Summary[m.Key]
	if !ok {
		return cell{Text: "–"}
	}
	c := cell{Text: table.Show(m.Unit, x.Median)}
	if _, spread, found := strings.Cut(table.ShowSpread(m.Unit, x), " ("); found && x.Low != x.High {
		c.Under = strings.Replace(strings.TrimSuffix(spread, ")"), "-", "–", 1)
	}
	return c
}

// ratiosOf shows how galago compares in each of the compared metrics of a run; without galago, how each server does.
func ratiosOf(r *result.Run) (all []*sheet) {
	for _, key := range r.Compared {
		m, ok := r.Metric(key)
		if !ok {
			continue
		}
		t := &sheet{Caption: fmt.Sprintf("%s as a multiple of another server's in the same round; %s is better", m.Name, m.Better), Corner: "server"}
		for _, s := range r.Servers {
			t.Head = append(t.Head, "× "+s.Name)
		}
		for _, s := range r.Servers {
			if r.Server("galago") != nil && !strings.HasPrefix(s.Name, "galago") {
				continue
			}
			line := row{Head: s.Name}
			for _, base := range r.Servers {
				c := cell{Text: "–"}
				if x, ok := r.Ratio(key, s.Name, base.Name); ok {
					c = cell{Text: fmt.Sprintf("%.3f", x.Median), Under: fmt.Sprintf("%.2f–%.2f", x.Low, x.High)}
				}
				line.Cells = append(line.Cells, c)
			}
			t.Rows = append(t.Rows, line)
		}
		if len(t.Rows) > 0 && len(r.Servers) > 1 {
			all = append(all, t)
		}
	}
	return all
}
