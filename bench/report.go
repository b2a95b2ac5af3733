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

// describe says what is going to be measured, on what machine.
func describe(w io.Writer, cfg *echoConfig, server, load int) {
	fmt.Fprintf(w, "echo: %d bytes, %d connections with one message in flight each\n", cfg.size, cfg.conns)
	fmt.Fprintf(w, "%d rounds in random order, %v for each server in each round\n", cfg.rounds, cfg.duration)
	fmt.Fprintf(w, "server on processor %d with GOMAXPROCS=1, load on processor %d\n", server, load)
	if server == load {
		fmt.Fprintln(w, "WARNING: there is only one processor: server and load share it")
	}
	fmt.Fprintf(w, "%s, Linux %s, %s\n\n", runtime.Version(), firstLine("/proc/sys/kernel/osrelease"), cpuModel())
}

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

// report prints medians, and the ratios to those rivals that ratios are wanted to. A ratio is taken within a round,
// for only what ran side by side may be compared.
func report(w io.Writer, cfg *echoConfig, samples [][]sample) error {
	bases := []string{"raw", "net"}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "server\tCPU/message\tuser\tsystem\tlowest\thighest\tmessages/s\tserver busy\tload busy\t")
	for _, b := range bases {
		if slices.Contains(cfg.rivals, b) {
			fmt.Fprintf(t, "x %s\t(range)\t", b)
		}
	}
	fmt.Fprintln(t)
	for i, name := range cfg.rivals {
		row(t, name, samples[i])
		for _, b := range bases {
			if k := slices.Index(cfg.rivals, b); k >= 0 {
				ratios(t, samples[i], samples[k])
			}
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, name := range cfg.rivals {
		warn(w, name, samples[i])
	}
	return nil
}

func row(w io.Writer, name string, all []sample) {
	costs := each(all, sample.perMessage)
	user := each(all, func(s sample) float64 { return float64(s.cpu.user) / float64(s.messages) })
	system := each(all, func(s sample) float64 { return float64(s.cpu.system) / float64(s.messages) })
	rate := each(all, func(s sample) float64 { return float64(s.messages) / s.took.Seconds() })
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.0f\t%.0f %%\t%.0f %%\t", name, micros(median(costs)), micros(median(user)),
		micros(median(system)), micros(slices.Min(costs)), micros(slices.Max(costs)), median(rate),
		median(each(all, serverBusy)), median(each(all, loadBusy)))
}

func ratios(w io.Writer, all, base []sample) {
	var r []float64
	for i := range all {
		r = append(r, all[i].perMessage()/base[i].perMessage())
	}
	fmt.Fprintf(w, "%.3f\t(%.2f-%.2f)\t", median(r), slices.Min(r), slices.Max(r))
}

// warn says when the load held a server up: then the server slept and woke more often than it need have.
func warn(w io.Writer, name string, all []sample) {
	if load, server := median(each(all, loadBusy)), median(each(all, serverBusy)); load > 95 && server < 90 {
		fmt.Fprintf(w, "WARNING: %s: the load was the bottleneck (%.0f %% busy, the server %.0f %%)\n", name, load, server)
	}
}

func serverBusy(s sample) float64 { return 100 * float64(s.cpu.total()) / float64(s.took) }
func loadBusy(s sample) float64   { return 100 * float64(s.load) / float64(s.took) }

func each(all []sample, f func(sample) float64) []float64 {
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

// micros prints nanoseconds as microseconds.
func micros(ns float64) string {
	return fmt.Sprintf("%.2f µs", ns/float64(time.Microsecond))
}
