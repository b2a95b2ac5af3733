package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "?"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// A table says how samples are printed: a row for each rival, with a column for each thing measured, and its ratios to
// those rivals that ratios are wanted to.
type table[T any] struct {
	columns []column[T]
	ratioOf func(T) float64
	bases   []string                                 // those rivals; if nil, raw and net
	warn    func(w io.Writer, rival string, all []T) // may be nil
}

// A column shows one number of the samples: their median, unless sum says otherwise.
type column[T any] struct {
	head  string
	value func(T) float64
	show  func(float64) string
	sum   func([]float64) float64
}

// print prints medians. A ratio is taken within a round, for only what ran side by side may be compared.
func (t table[T]) print(w io.Writer, rivals []string, samples [][]T) error {
	bases := t.bases
	if bases == nil {
		bases = []string{"raw", "net"}
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(out, "server\t")
	for _, c := range t.columns {
		fmt.Fprintf(out, "%s\t", c.head)
	}
	for _, b := range bases {
		if slices.Contains(rivals, b) {
			fmt.Fprintf(out, "x %s\t(range)\t", b)
		}
	}
	fmt.Fprintln(out)
	for i, name := range rivals {
		fmt.Fprintf(out, "%s\t", name)
		for _, c := range t.columns {
			sum := c.sum
			if sum == nil {
				sum = median
			}
			fmt.Fprintf(out, "%s\t", c.show(sum(each(samples[i], c.value))))
		}
		for _, b := range bases {
			if k := slices.Index(rivals, b); k >= 0 {
				t.ratios(out, samples[i], samples[k])
			}
		}
		fmt.Fprintln(out)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for i, name := range rivals {
		if t.warn != nil {
			t.warn(w, name, samples[i])
		}
	}
	return nil
}

func (t table[T]) ratios(w io.Writer, all, base []T) {
	var r []float64
	for i := range all {
		r = append(r, t.ratioOf(all[i])/t.ratioOf(base[i]))
	}
	fmt.Fprintf(w, "%.3f\t(%.2f-%.2f)\t", median(r), slices.Min(r), slices.Max(r))
}

func each[T any](all []T, f func(T) float64) []float64 {
	var v []float64
	for _, s := range all {
		v = append(v, f(s))
	}
	return v
}

// median returns the middle of v, which must not be empty.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func lowest(v []float64) float64  { return slices.Min(v) }
func highest(v []float64) float64 { return slices.Max(v) }

// micros prints nanoseconds as microseconds.
func micros(ns float64) string  { return fmt.Sprintf("%.2f µs", ns/float64(time.Microsecond)) }
func whole(x float64) string    { return fmt.Sprintf("%.0f", x) }
func exact(x float64) string    { return fmt.Sprintf("%.2f", x) }
func percent(x float64) string  { return fmt.Sprintf("%.0f %%", 100*x) }
func byteSize(x float64) string { return fmt.Sprintf("%.0f B", x) }
