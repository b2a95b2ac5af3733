// Package table prints results for the terminal.
package table

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/galago-go/galago/bench/internal/result"
)

// Head prints what was measured, how and on what machine.
func Head(w io.Writer, r *result.Run, m result.Machine) {
	fmt.Fprintln(w, r.Title)
	fmt.Fprintf(w, "%d rounds in random order", r.Method.Rounds)
	if r.Method.Seconds > 0 {
		d := time.Duration(r.Method.Seconds * float64(time.Second))
		fmt.Fprintf(w, ", %v for each server in each round", d)
	}
	fmt.Fprintf(w, "; medians\nserver on processor %s, load on processor %s\n%s\n\n",
		numbers(r.Method.ServerCPUs), numbers(r.Method.LoadCPUs), m)
}

func numbers(n []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ","), "[]") }

// Print prints a run: medians, then ratios, then warnings.
func Print(w io.Writer, r *result.Run) error {
	if err := medians(w, r); err != nil {
		return err
	}
	for _, key := range r.Compared {
		if err := ratios(w, r, key); err != nil {
			return err
		}
	}
	if err := verdicts(w, r); err != nil {
		return err
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "\nWARNING: %s\n", warning)
	}
	return nil
}

// width is how many characters a row has at most; a table with more columns is continued below.
const width = 130

// medians prints a row for each server, and a column for each metric that anybody has a value of. The first one has its
// range.
func medians(w io.Writer, r *result.Run) error {
	var columns [][]string
	for i, m := range r.Metrics {
		column, known := []string{m.Name}, false
		for _, s := range r.Servers {
			x, ok := s.Summary[m.Key]
			switch {
			case !ok:
				column = append(column, "-")
			case i == 0:
				column = append(column, ShowSpread(m.Unit, x))
			default:
				column = append(column, Show(m.Unit, x.Median))
			}
			known = known || ok
		}
		if known {
			columns = append(columns, column)
		}
	}
	names := []string{"server"}
	for _, s := range r.Servers {
		names = append(names, s.Name)
	}
	for len(columns) > 0 {
		n, used := 0, widest(names)
		for n < len(columns) && (n == 0 || used+2+widest(columns[n]) <= width) {
			used += 2 + widest(columns[n])
			n++
		}
		if err := grid(w, append([][]string{names}, columns[:n]...)); err != nil {
			return err
		}
		if columns = columns[n:]; len(columns) > 0 {
			fmt.Fprintln(w)
		}
	}
	return nil
}

func widest(column []string) (n int) {
	for _, s := range column {
		n = max(n, utf8.RuneCountInString(s))
	}
	return n
}

// grid prints columns side by side.
func grid(w io.Writer, columns [][]string) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for row := range columns[0] {
		for _, c := range columns {
			fmt.Fprintf(out, "%s\t", c[row])
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}

// ratios prints how galago compares with each other server; without galago, how each does.
func ratios(w io.Writer, r *result.Run, key string) error {
	m, ok := r.Metric(key)
	if !ok || len(r.Servers) < 2 {
		return nil
	}
	rows := slices.DeleteFunc(slices.Clone(r.Servers), func(s *result.Server) bool { return !strings.HasPrefix(s.Name, "galago") })
	if len(rows) == 0 {
		rows = r.Servers
	}
	columns := [][]string{{"server"}}
	for _, s := range rows {
		columns[0] = append(columns[0], s.Name)
	}
	for _, base := range r.Servers {
		column := []string{"x " + base.Name}
		for _, s := range rows {
			cell := "-"
			if x, ok := r.Ratio(key, s.Name, base.Name); ok {
				cell = fmt.Sprintf("%.3f (%.2f-%.2f)", x.Median, x.Low, x.High)
			}
			column = append(column, cell)
		}
		if base != rows[0] || len(rows) > 1 {
			columns = append(columns, column)
		}
	}
	fmt.Fprintf(w, "\n%s, as a multiple of another server's in the same round: median (range); %s is better\n", m.Name, m.Better)
	return grid(w, columns)
}
