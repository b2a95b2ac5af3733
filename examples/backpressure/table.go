package main

import (
	"fmt"
	"io"
	"runtime/metrics"
	"time"
)

// A sample is what the producer tells of itself at a tick.
type sample struct {
	at              time.Time
	pending         int    // bytes
	sent, settled   uint64 // tokens
	cycles, refused uint64

	outcomes    int           // since the sample before; if 0,
	mean, worst time.Duration // ... these mean nothing,
	oldest      time.Duration // ... and this is how long the oldest Send waits
}

// A table prints samples, a line each.
type table struct {
	w         io.Writer
	plan      script
	high, low int
	heap      []metrics.Sample
}

func newTable(w io.Writer, plan script, high, low int) *table {
	return &table{w, plan, high, low, []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
}

func (t *table) header() {
	fmt.Fprintf(t.w, "HighWater %s, LowWater %s (:), records of %s; what is pending must never be more than %s\n",
		size(t.high), size(t.low), size(recordSize), size(t.high+recordSize))
	fmt.Fprintf(t.w, "%6s  %-5s %-34s%9s %9s %6s %7s %7s %19s %7s\n", "time", "reads", "pending of HighWater", "sent",
		"settled", "flight", "cycles", "refused", "Send to OnSent", "heap")
}

// line prints one sample.
func (t *table) line(s sample) {
	p, _ := t.plan.at(s.at)
	latency := "-"
	switch {
	case s.outcomes > 0:
		latency = fmt.Sprintf("%s, max %s", span(s.mean), span(s.worst))
	case s.oldest > 0:
		latency = "waits " + span(s.oldest)
	}
	metrics.Read(t.heap)
	fmt.Fprintf(t.w, "%5.1fs  %-5s %s %9s  %9d %9d %6d %7d %7d %19s %7s\n", s.at.Sub(t.plan.begin).Seconds(), p,
		bar(s.pending, t.high, t.low), size(s.pending), s.sent, s.settled, s.sent-s.settled, s.cycles, s.refused, latency,
		size(int(t.heap[0].Value.Uint64())))
}

// barWidth is how many characters stand for HighWater.
const barWidth = 20

// bar draws pending against high, with a mark at low. What is above high shows as "+" behind it.
func bar(pending, high, low int) string {
	b := make([]byte, barWidth+1)
	for i := range b {
		switch at := (i + 1) * high / barWidth; {
		case i == barWidth:
			b[i] = ' '
			if pending > high {
				b[i] = '+'
			}
		case pending > 0 && pending >= at:
			b[i] = '#'
		case i == low*barWidth/high:
			b[i] = ':'
		default:
			b[i] = '.'
		}
	}
	return "[" + string(b[:barWidth]) + "]" + string(b[barWidth:])
}

// size is a number of bytes, for people.
func size(n int) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// span is a duration with as many digits as matter.
func span(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// verdicts says of each promise whether it was kept, and reports whether all were.
func (t *table) verdicts(a *account, c *consumer) (kept bool) {
	kept = true
	for _, v := range []struct {
		promise string
		broken  error
		seen    string
	}{
		{"pending bytes never above HighWater + MaxPending", a.overfull,
			fmt.Sprintf("%d at most, of %d", a.peak, a.bound)},
		{"OnThrottled and OnUnthrottled alternated", a.disorder, fmt.Sprintf("%d cycles", a.cycles)},
		{"every token settled exactly once", a.unsettled, fmt.Sprintf("%d sent, %d failed", a.sent, a.failed)},
		{"all bytes arrived in order", a.arrived(c.records, c.err), fmt.Sprintf("%d records", c.records)},
	} {
		if v.broken != nil {
			kept = false
			fmt.Fprintf(t.w, "FAILED  %s: %v\n", v.promise, v.broken)
			continue
		}
		fmt.Fprintf(t.w, "ok      %s: %s\n", v.promise, v.seen)
	}
	return kept
}
