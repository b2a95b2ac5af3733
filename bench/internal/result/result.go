// Package result is what a run of bench comes to, in memory and as JSON: machine, method, every single measurement, and
// what follows from them.
//
// The JSON is meant to be read by other programs. Within a [Version] fields are added and never change or go. A value
// that was not measured is absent. Times are in nanoseconds, sizes in bytes, points in time in seconds since the start
// of their run, unless the [Metric] says otherwise.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"time"
)

// Version is the version of the format that this package writes, and the only one that it reads.
const Version = 1

// A File is all that one call of bench measured.
type File struct {
	Version int       `json:"version"`
	Started time.Time `json:"started"`
	Command []string  `json:"command"` // the arguments of bench
	Machine Machine   `json:"machine"`
	Runs    []*Run    `json:"runs"`
}

// A Run compares servers at one work with one set of parameters, or is one experiment. It has samples, series or both.
type Run struct {
	Name    string    `json:"name"`           // of the sub-command: "echo"
	Case    string    `json:"case,omitempty"` // its parameters in a few words: "64 B, 100 connections"
	Title   string    `json:"title"`          // what is measured, in a sentence
	Command []string  `json:"command"`        // the arguments with which bench does it again
	Started time.Time `json:"started"`
	Method  Method    `json:"method"`

	Metrics  []Metric  `json:"metrics"`            // what Values and Series are, in the order in which they are shown
	Compared []string  `json:"compared,omitempty"` // keys of the metrics that there are Ratios of, the main one first
	Servers  []*Server `json:"servers"`
	Ratios   []Ratio   `json:"ratios,omitempty"`

	Series   []Series  `json:"series,omitempty"` // of one round
	Limits   []Limit   `json:"limits,omitempty"`
	Marks    []Mark    `json:"marks,omitempty"`
	Verdicts []Verdict `json:"verdicts,omitempty"`

	Warnings []string `json:"warnings,omitempty"` // why figures of this run may mislead
}

// A Method says how it was measured.
type Method struct {
	Rounds     int      `json:"rounds,omitempty"`
	Seconds    float64  `json:"seconds,omitempty"` // of one measurement; 0 if it takes as long as it takes
	WarmUp     float64  `json:"warm_up,omitempty"` // seconds before it
	ServerCPUs []int    `json:"server_cpus"`
	LoadCPUs   []int    `json:"load_cpus"`
	Syscalls   string   `json:"syscalls,omitempty"` // how system calls were counted, or why they were not
	Notes      []string `json:"notes,omitempty"`    // what else one has to know to read the figures
}

// A Metric is one thing that was measured.
type Metric struct {
	Key    string `json:"key"`  // in Values
	Name   string `json:"name"` // for people: "CPU/message"
	Unit   Unit   `json:"unit"`
	Better Better `json:"better,omitempty"`
}

// A Unit says what a number counts, and so how it is shown.
type Unit string

const (
	Nanoseconds Unit = "ns"
	Bytes       Unit = "bytes"
	PerSecond   Unit = "1/s"
	BytesPerSec Unit = "bytes/s"
	Count       Unit = "count" // may be a fraction: calls per message
	Whole       Unit = "whole" // a number of things
	Share       Unit = "share" // of 1
	Times       Unit = "times" // one figure by another
)

// Better says which of two values is better; if empty, neither is.
type Better string

const (
	Lower  Better = "lower"
	Higher Better = "higher"
)

// A Server is one of those compared.
type Server struct {
	Name    string   `json:"name"` // unique in its run
	About   string   `json:"about,omitempty"`
	Command []string `json:"command,omitempty"` // that started it
	// Settings are those that differ between the servers of a run, as in {"high": 65536}.
	Settings map[string]float64 `json:"settings,omitempty"`
	Samples  []Sample           `json:"samples,omitempty"`
	Summary  map[string]Spread  `json:"summary,omitempty"` // of Samples, by the key of the metric; see Run.Summarize
}

// A Sample is one measurement of one server.
type Sample struct {
	Round  int                `json:"round"` // from 1
	Place  int                `json:"place"` // in the order of its round, from 1
	Values map[string]float64 `json:"values"`
}

// A Spread sums up what several rounds gave.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	N      int     `json:"n"` // rounds
}

// A Ratio is Server's value by Base's, taken within each round.
type Ratio struct {
	Metric string `json:"metric"`
	Server string `json:"server"`
	Base   string `json:"base"`
	Spread
}

// A Series is how one metric of one server went over time.
type Series struct {
	Server string    `json:"server"`
	Metric string    `json:"metric"`         // key
	Part   string    `json:"part,omitempty"` // of what, if there are several: "the slow reader"
	At     []float64 `json:"at"`             // seconds, rising
	Values []float64 `json:"values"`         // as many
}

// Add adds a value, to five digits, at a time, to the millisecond.
func (s *Series) Add(at, value float64) {
	s.At, s.Values = append(s.At, math.Round(at*1e3)/1e3), append(s.Values, digits(value))
}

// digits returns x to five digits.
func digits(x float64) float64 {
	if x == 0 {
		return 0
	}
	by := math.Pow(10, 4-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*by) / by
}

// A Limit is what a metric of a Series should not exceed.
type Limit struct {
	Metric string  `json:"metric"` // key
	Value  float64 `json:"value"`
	Text   string  `json:"text"` // where it comes from: "promised"
}

// A Mark is something that happens in an experiment, at the same time for all servers, and lasts until the next one: "the
// reader stops".
type Mark struct {
	At   float64 `json:"at"` // seconds
	Text string  `json:"text"`
}

// A Verdict says whether a server kept a promise.
type Verdict struct {
	Promise string `json:"promise"`
	Server  string `json:"server"`
	Kept    bool   `json:"kept"`
	Says    string `json:"says"` // the figures that it rests on
	// Required says that a broken promise is a failure of the run. Rivals promised nothing.
	Required bool `json:"required"`
}

// Metric returns the metric with this key.
func (r *Run) Metric(key string) (Metric, bool) {
	for _, m := range r.Metrics {
		if m.Key == key {
			return m, true
		}
	}
	return Metric{}, false
}

// Server returns the server with this name, or nil.
func (r *Run) Server(name string) *Server {
	for _, s := range r.Servers {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Failed returns the required promises that were broken.
func (f *File) Failed() (broken []Verdict) {
	for _, r := range f.Runs {
		for _, v := range r.Verdicts {
			if v.Required && !v.Kept {
				broken = append(broken, v)
			}
		}
	}
	return broken
}

// Write writes f as JSON, in which a list of numbers is on one line.
func (f *File) Write(w io.Writer) error {
	b, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	b = numbers.ReplaceAllFunc(b, func(list []byte) []byte { return blanks.ReplaceAll(list, nil) })
	_, err = w.Write(append(b, '\n'))
	return err
}

var (
	numbers = regexp.MustCompile(`\[\n[-+.\deE,\s]+\]`)
	blanks  = regexp.MustCompile(`\s+`)
)

// Save writes f to a file, which is whole or not there.
func (f *File) Save(path string) (err error) {
	tmp, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if err := errors.Join(f.Write(tmp), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Read reads what Write wrote.
func Read(r io.Reader) (*File, error) {
	f := new(File)
	if err := json.NewDecoder(r).Decode(f); err != nil {
		return nil, fmt.Errorf("this is no result of bench: %w", err)
	}
	if f.Version != Version {
		return nil, fmt.Errorf("this result of bench has version %d: this program reads version %d", f.Version, Version)
	}
	return f, nil
}

// Load reads a file that Save wrote.
func Load(path string) (*File, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	f, err := Read(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}
