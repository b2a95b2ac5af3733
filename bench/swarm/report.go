package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/conn"
)

// count names a total of the run.
type count int

const (
	countPairs count = iota
	countAdopted
	countWitnessed
	countUnjoined
	countUnknown
	countLate
	countSends
	countSent
	countSendFailed
	countNotWriteable
	countNotConnected
	countNotReady
	countTooLarge
	countWritten
	countWriteFailed
	countWriteDead
	countQuiet
	countBytes
	countWitnessBytes
	countDamage
	countThrottles
	countPauses
	countYields
	countTimers
	countIdles
	countEvents
	countSecured
	countResumed
	countHalves
	countTrouble
	countPanics
	countRestarts
	countEpochs
	countShutClosed
	countShutAborted
	counts
)

var countNames = [counts]string{
	countPairs:        "connections",
	countAdopted:      "  adopted",
	countWitnessed:    "  with a witness at one end",
	countUnjoined:     "  that ended before the acceptor knew them",
	countUnknown:      "acceptors that never heard who called",
	countLate:         "acceptors that heard it too late",
	countSends:        "sends accepted",
	countSent:         "  OnSent",
	countSendFailed:   "  OnSendFailed",
	countNotWriteable: "sends refused: not writeable",
	countNotConnected: "sends refused: not connected",
	countNotReady:     "sends refused: not ready",
	countTooLarge:     "sends refused: too large",
	countWritten:      "Writes with Ack: Written",
	countWriteFailed:  "Writes with Ack: WriteFailed",
	countWriteDead:    "Writes with Ack: dead letter",
	countQuiet:        "Writes without Ack",
	countBytes:        "bytes checked by galago's ends",
	countWitnessBytes: "bytes checked by witnesses",
	countDamage:       "bytes damaged on purpose",
	countThrottles:    "OnThrottled",
	countPauses:       "pauses",
	countYields:       "yields",
	countTimers:       "OnTimer",
	countIdles:        "OnIdle",
	countEvents:       "events of layers",
	countSecured:      "handshakes of TLS",
	countResumed:      "  of resumed sessions",
	countHalves:       "half-closes",
	countTrouble:      "aborts, stops, early and broken ends",
	countPanics:       "panics",
	countRestarts:     "  restarts of them",
	countEpochs:       "networks",
	countShutClosed:   "  ended in order by Shutdown",
	countShutAborted:  "  cut off by Shutdown",
}

// keptViolations bounds how many violations are kept and printed.
const keptViolations = 20

// A report collects what a run finds. Any goroutine may use it.
type report struct {
	began      time.Time
	live       io.Writer // gets each violation at once; nil: only those that are kept are printed, at the end
	totals     [counts]atomic.Uint64
	violations atomic.Uint64

	mu   sync.Mutex // guards what follows
	kept []string
	ends map[string]uint64
}

func newReport() *report { return &report{began: time.Now(), ends: make(map[string]uint64)} }

func (r *report) add(c count, n uint64) { r.totals[c].Add(n) }
func (r *report) get(c count) uint64    { return r.totals[c].Load() }

// violation notes that something is wrong.
func (r *report) violation(who, what string) {
	r.violations.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) < keptViolations {
		line := fmt.Sprintf("%8.3fs %s: %s", time.Since(r.began).Seconds(), who, what)
		r.kept = append(r.kept, line)
		if r.live != nil {
			fmt.Fprintln(r.live, "violation:", line)
		}
	}
}

// ended counts how an end came to its end.
func (r *report) ended(e *ending) {
	kind := e.who + ", " + kindOf(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[kind]++
}

func kindOf(e *ending) string {
	var closed *conn.CloseError
	var connect *conn.ConnectError
	switch {
	case e.err == nil:
		return "in order"
	case errors.As(e.err, &closed):
		return closed.Cause.String()
	case errors.As(e.err, &connect):
		return "not connected: " + connect.Stage.String()
	}
	return "broken off"
}

// refused counts a Send that was refused.
func (r *report) refused(err error) {
	switch err {
	case conn.ErrNotWriteable:
		r.add(countNotWriteable, 1)
	case conn.ErrNotConnected:
		r.add(countNotConnected, 1)
	case conn.ErrNotReady:
		r.add(countNotReady, 1)
	case conn.ErrTooLarge:
		r.add(countTooLarge, 1)
	}
}

// table prints all totals.
func (r *report) table(out io.Writer) {
	row := func(name string, n uint64) { fmt.Fprintf(out, "%-46s %14d\n", name, n) }
	for c := range counts {
		row(countNames[c], r.get(c))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(r.ends)) {
		row("ends: "+kind, r.ends[kind])
	}
	row("violations", r.violations.Load())
}

// problems lists the first violations.
func (r *report) problems() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := strings.Join(r.kept, "\n")
	if more := r.violations.Load() - uint64(len(r.kept)); more > 0 {
		list += fmt.Sprintf("\nand %d more", more)
	}
	return list
}

// progress is one line about how far the run is.
func (r *report) progress(alive int64, heap uint64) string {
	return fmt.Sprintf("%6.0fs  %d connections, %d alive ends, %d sends, %d MB checked, %d throttles, %d panics, "+
		"heap %d MiB, %d violations", time.Since(r.began).Seconds(), r.get(countPairs), alive, r.get(countSends),
		(r.get(countBytes)+r.get(countWitnessBytes))/1e6, r.get(countThrottles), r.get(countPanics), heap>>20,
		r.violations.Load())
}
