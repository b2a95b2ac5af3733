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
	jobs   []chan func() // to the threads; nil if the caller's is the only one
}

// A Tally is what came of a run of a load.
type Tally struct {
	Took  time.Duration
	Count int           // of messages, say
	CPU   time.Duration // processor time of the load
	Busy  float64       // the share of its processors that it used
}

// NewTeam divides n connections among the processors; there must be no fewer of them. connect makes the shard of
// connections number first to first+n-1, on its thread. If there is one processor, the caller's thread is used, which
// must be bound to it.
func NewTeam[S Shard](cpus proc.CPUs, n int, connect func(first, n int) (S, error)) (t *Team[S], err error) {
	t = &Team[S]{Shards: make([]S, len(cpus))}
	if len(cpus) > 1 {
		if err := t.hire(cpus); err != nil {
			return nil, err
		}
	}
	connected := make([]bool, len(cpus))
	err = t.Each(func(i int, _ S) (err error) {
		first, end := n*i/len(cpus), n*(i+1)/len(cpus)
		t.Shards[i], err = connect(first, end-first)
		connected[i] = err == nil
		return err
	})
	if err != nil {
		t.Each(func(i int, s S) error {
			if connected[i] {
				s.Close()
			}
			return nil
		})
		t.dismiss()
		return nil, err
	}
	return t, nil
}

// hire starts a thread for each processor.
func (t *Team[S]) hire(cpus proc.CPUs) error {
	for i := range cpus {
		jobs, started := make(chan func()), make(chan error)
		go func() {
			release, err := proc.Pin(cpus[i : i+1])
			started <- err
			if err != nil {
				return
			}
			defer release()
			for job := range jobs {
				job()
			}
		}()
		if err := <-started; err != nil {
			t.dismiss()
			return err
		}
		t.jobs = append(t.jobs, jobs)
	}
	return nil
}

func (t *Team[S]) dismiss() {
	for _, jobs := range t.jobs {
		close(jobs)
	}
	t.jobs = nil
}

// Close ends all shards.
func (t *Team[S]) Close() {
	t.Each(func(_ int, s S) error {
		s.Close()
		return nil
	})
	t.dismiss()
}

// Each calls f for each shard on its thread, at the same time.
func (t *Team[S]) Each(f func(i int, s S) error) error {
	if t.jobs == nil {
		return f(0, t.Shards[0])
	}
	errs := make([]error, len(t.Shards))
	var wait sync.WaitGroup
	for i, jobs := range t.jobs {
		wait.Add(1)
		jobs <- func() {
			defer wait.Done()
			errs[i] = f(i, t.Shards[i])
		}
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
