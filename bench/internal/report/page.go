package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/table"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// A view is what the page shows.
type view struct {
	Title, When string
	Style       template.CSS
	Failed      []result.Verdict
	Judged      bool
	Conduct     []string
	Verdicts    *sheet
	Promises    []fact
	Tallies     []string
	Ratios      *sheet
	Parts       []part
	Machine     []fact
	CPUs        string // what their number means
	Command     string
}

// A fact has a name.
type fact struct{ Name, Value string }

// A part is one run.
type part struct {
	ID, Name, Title, Command string
	Warnings, Notes          []string
	Charts                   []template.HTML
	Verdicts                 *sheet
	Ratios                   []*sheet
	Figures                  *sheet
	Method, Servers          []fact
}

// Write writes the report of f as a page of HTML that needs nothing else.
func Write(f *result.File, w io.Writer) error {
	v := view{Title: titleOfFile(f), When: f.Started.UTC().Format("2006-01-02 15:04 UTC"), Style: sheetStyle(),
		Failed: f.Failed(), Verdicts: verdictSheet(f), Ratios: ratioSheet(f), Machine: machine(f), CPUs: whatCPUsMean(f),
		Command: CommandLine(result.WithoutFiles(f.Command))}
	promises, judged := promisesOf(f)
	for _, p := range promises {
		v.Promises = append(v.Promises, fact{p, meaning[p]})
	}
	v.Judged = len(judged) > 0
	for _, server := range judged {
		v.Conduct = append(v.Conduct, conduct(f, server))
	}
	for _, rival := range rivalsOf(f) {
		v.Tallies = append(v.Tallies, tallyOf(f, rival).sentence())
	}
	for _, r := range f.Runs {
		p, err := partOf(r)
		if err != nil {
			return err
		}
		v.Parts = append(v.Parts, p)
	}
	return pageTemplate.Execute(w, v)
}

// Save writes the report to a file, which is whole or not there.
func Save(f *result.File, path string) (err error) {
	tmp, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	if err := Write(f, tmp); err != nil {
		tmp.Close()
		os.Remove(tmp.Name())
		return err
	}
	if err := tmp.Close(); err != nil {
		os.Remove(tmp.Name())
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// SavePNG writes every plot of the report into a directory, which is made if it is not there, and returns their names.
func SavePNG(f *result.File, dir string) (names []string, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	for _, r := range f.Runs {
		for _, ch := range chartsOf(r) {
			name, err := ch.png(dir)
			if err != nil {
				return names, err
			}
			names = append(names, name)
		}
	}
	return names, nil
}

func partOf(r *result.Run) (p part, err error) {
	p = part{ID: runID(r), Name: nameOf(r), Title: r.Title, Command: CommandLine(r.Command), Warnings: r.Warnings, Notes: r.Method.Notes,
		Verdicts: verdictsOf(r), Ratios: ratiosOf(r), Figures: figuresOf(r), Method: methodOf(r)}
	for _, ch := range chartsOf(r) {
		svg, err := ch.svg()
		if err != nil {
			return p, err
		}
		p.Charts = append(p.Charts, svg)
	}
	for _, s := range r.Servers {
		p.Servers = append(p.Servers, fact{s.Name, s.About})
	}
	return p, nil
}

func titleOfFile(f *result.File) string {
	if len(f.Command) > 0 && f.Command[0] != "all" {
		return "galago bench: " + f.Command[0]
	}
	return "galago bench"
}

func methodOf(r *result.Run) (all []fact) {
	add := func(name, format string, args ...any) { all = append(all, fact{name, fmt.Sprintf(format, args...)}) }
	if r.Method.Rounds > 0 {
		add("rounds", "%d", r.Method.Rounds)
	}
	if r.Method.Seconds > 0 {
		add("one measurement", "%.3g s", r.Method.Seconds)
	}
	if r.Method.WarmUp > 0 {
		add("warm-up", "%.3g s", r.Method.WarmUp)
	}
	add("server on processor", "%s", list(r.Method.ServerCPUs))
	add("load on processor", "%s", list(r.Method.LoadCPUs))
	if r.Method.Syscalls != "" {
		add("system calls", "%s", r.Method.Syscalls)
	}
	add("begun", "%s", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	return all
}

func list(numbers []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ", "), "[]")
}

func machine(f *result.File) (all []fact) {
	m := f.Machine
	all = []fact{
		{"processor", fmt.Sprintf("%s (%s), %d of them", m.CPU, m.Arch, m.CPUs)},
		{"memory", table.Show(result.Bytes, float64(m.Memory))},
		{"system", "Linux " + m.Kernel},
		{"Go", m.Go},
		{"galago", orUnknown(m.Commit)},
	}
	var modules []string
	for name := range m.Modules {
		modules = append(modules, name)
	}
	slices.Sort(modules)
	for _, name := range modules {
		all = append(all, fact{name, m.Modules[name]})
	}
	return append(all, fact{"command", CommandLine(result.WithoutFiles(f.Command))})
}

func orUnknown(commit string) string {
	if commit == "" {
		return "unknown commit"
	}
	return "commit " + commit
}

// whatCPUsMean says what can, and cannot, be concluded from a machine with so many processors.
func whatCPUsMean(f *result.File) string {
	switch n := f.Machine.CPUs; {
	case n == 1:
		return "This machine has one processor, which server and load share: the load slows the server down, and figures of time " +
			"say little. Memory, bounds and outcomes are what they are."
	case n == 2:
		return "This machine has two processors: one is for the server, the other for the load. So figures are those of a server on one " +
			"processor. Whatever else the system has to do falls to one of the two, and much of what it does for a connection over " +
			"the loopback is done by the one that sends. Server and load share caches and memory. Compare ratios within a " +
			"round, and not times with those of another machine."
	default:
		return fmt.Sprintf("This machine has %d processors. The server runs on those that are named with each work, the load on others. "+
			"They share caches and memory. Compare ratios within a round, and not times with those of another machine.", n)
	}
}

// CommandLine writes arguments of bench as one would type them.
func CommandLine(args []string) string {
	s := "go run -C bench ."
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>(){}*?#~`!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		s += " " + a
	}
	return s
}

// sheetStyle is the style of the page, with the colours.
func sheetStyle() template.CSS {
	var light, dark strings.Builder
	for _, c := range colours {
		fmt.Fprintf(&light, "--%s:%s;", c.name, c.light)
		fmt.Fprintf(&dark, "--%s:%s;", c.name, c.dark)
	}
	return template.CSS(strings.NewReplacer("/*LIGHT*/", light.String(), "/*DARK*/", dark.String()).Replace(pageStyle))
}
