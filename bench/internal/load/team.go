package load

import (
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/galago-go/galago/bench/internal/proc"
)

// A Shard is that part of a load that one thread generates.
type Shard interface {
	Run(d time.Duration) (took time.Duration, count int, err error)
	Close()
}

// A Team generates a load on several processors, with a thread and a shard on each.
type Team[S Shard] struct {
	Shards []S
	cpus   proc.CPUs
}

// A Tally is what came of a run of a load.
type Tally struct {
	Took  time.Duration
	Count int           // of messages, say
	CPU   time.Duration // processor time of the load
	Busy  float64       // the share of its processors that it used
}

// NewTeam divides n connections among the processors; there must be no fewer of them. connect makes the shard of
// connections number first to first+n-1. The caller's thread must be bound to cpus.
func NewTeam[S Shard](cpus proc.CPUs, n int, connect func(first, n int) (S, error)) (*Team[S], error) {
	t := &Team[S]{cpus: cpus}
	for i := range cpus {
		first, end := n*i/len(cpus), n*(i+1)/len(cpus)
		s, err := connect(first, end-first)
		if err != nil {
			t.Close()
			return nil, err
		}
		t.Shards = append(t.Shards, s)
	}
	return t, nil
}

// Close ends all shards.
func (t *Team[S]) Close() {
	for _, s := range t.Shards {
		s.Close()
	}
}

// Each calls f for each shard on its processor, at the same time.
func (t *Team[S]) Each(f func(i int, s S) error) error {
	if len(t.Shards) == 1 {
		return f(0, t.Shards[0])
	}
	errs := make([]error, len(t.Shards))
	var wait sync.WaitGroup
	for i, s := range t.Shards {
		wait.Go(func() {
			release, err := proc.Pin(t.cpus[i : i+1])
			if err != nil {
				errs[i] = err
				return
			}
			defer release()
			errs[i] = f(i, s)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Run runs all shards for d.
func (t *Team[S]) Run(d time.Duration) (all Tally, err error) {
	parts := make([]Tally, len(t.Shards))
	err = t.Each(func(i int, s S) (err error) {
		p := &parts[i]
		before := proc.ThreadCPU()
		p.Took, p.Count, err = s.Run(d)
		p.CPU = proc.ThreadCPU() - before
		return err
	})
	for _, p := range parts {
		all.Took = max(all.Took, p.Took)
		all.Count += p.Count
		all.CPU += p.CPU
	}
	all.Busy = float64(all.CPU) / float64(all.Took) / float64(len(parts))
	return all, err
}

// Merge adds histograms up.
func Merge(parts []*hdrhistogram.Histogram) *hdrhistogram.Histogram {
	all := NewLatencies()
	for _, h := range parts {
		all.Merge(h)
	}
	return all
}
