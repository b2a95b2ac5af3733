package main

import (
	"fmt"
	"io"
	"time"
)

// A sample is one measurement of the processor time of one server.
type sample struct {
	count int // of what was measured: messages, say
	took  time.Duration
	cpu   cpuTime       // of the server
	load  time.Duration // processor time of the load
}

// per returns the server's processor time for one of what was counted, in nanoseconds.
func (s sample) per() float64        { return float64(s.cpu.total) / float64(s.count) }
func (s sample) user() float64       { return float64(s.cpu.userPart()) / float64(s.count) }
func (s sample) system() float64     { return s.per() - s.user() }
func (s sample) rate() float64       { return float64(s.count) / s.took.Seconds() }
func (s sample) serverBusy() float64 { return float64(s.cpu.total) / float64(s.took) }
func (s sample) loadBusy() float64   { return float64(s.load) / float64(s.took) }

// perSecond returns how many of what was counted a second of the server's processor time is good for.
func (s sample) perSecond() float64 { return float64(s.count) / s.cpu.total.Seconds() }

// metered measures the server's processor time while run runs. run returns how long it took, and how many of what is
// counted it saw.
func (s *server) metered(run func() (took time.Duration, count int, err error)) (sample, error) {
	loadBefore := threadCPU()
	before, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	took, count, err := run()
	if err != nil {
		return sample{}, err
	}
	after, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	if count == 0 {
		return sample{}, fmt.Errorf("nothing came back in %v", took)
	}
	return sample{count, took, after.minus(before), threadCPU() - loadBefore}, nil
}

// warm is for how long a server runs before it is measured for d.
func warm(d time.Duration) time.Duration { return d/8 + 50*time.Millisecond }

// warnOfLoad says when the load held a server up: then the server slept and woke more often than it need have.
func warnOfLoad(w io.Writer, name string, all []sample) {
	load, server := median(each(all, sample.loadBusy)), median(each(all, sample.serverBusy))
	if load > 0.95 && server < 0.9 {
		fmt.Fprintf(w, "WARNING: %s: the load was the bottleneck (%s busy, the server %s)\n",
			name, percent(load), percent(server))
	}
}
