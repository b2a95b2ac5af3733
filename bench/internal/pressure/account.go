package pressure

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Line is what a server reports, as one line of JSON. Counts are since it started, of all its connections together.
type Line struct {
	At       int64 `json:"at"`       // of Now
	Open     int   `json:"open"`     // connections
	Pending  int   `json:"pending"`  // bytes that are held for all peers now
	Most     int   `json:"most"`     // the most of these that is held for one peer
	Peak     int   `json:"peak"`     // the most that was ever held for one peer
	Accepted int   `json:"accepted"` // sends
	Sent     int   `json:"sent"`     // accepted sends that the system took whole
	Failed   int   `json:"failed"`   // accepted sends that it did not

	Refused map[string]int `json:"refused,omitempty"` // sends, by the reason
	Cycles  int            `json:"cycles,omitempty"`  // times that sending had to wait, or will have
	Halted  int64          `json:"halted,omitempty"`  // nanoseconds of waiting, the present included, the sum of all connections
	Longest int64          `json:"longest,omitempty"` // nanoseconds of the longest wait that is over

	// Times has how long sends took from Send to OnSent, in nanoseconds: those that were sent since the last line, as a
	// HdrHistogram in its compressed format, version 2, in base64.
	Times string `json:"times,omitempty"`

	Wrong []string `json:"wrong,omitempty"` // outcomes that are missing, or that should not be
}

// Latencies is a histogram for times of sends, in nanoseconds.
func Latencies() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Minute.Nanoseconds(), 3) }

// An Account is what a server knows of its sends. Any goroutine may use it.
type Account struct {
	mu       sync.Mutex
	line     Line
	times    *hdrhistogram.Histogram
	spare    *hdrhistogram.Histogram // empty
	open     map[*Ledger]bool
	halted   map[*Ledger]int64 // since when
	longHalt int64             // nanoseconds; what is shorter is no halt

	// Unread may be set before the account is used: it returns how many bytes the server has read ahead for its peers.
	Unread func() (all, most int)
}

// NewAccount makes an account in which waits of less than brief are none.
func NewAccount(brief time.Duration) *Account {
	return &Account{times: Latencies(), spare: Latencies(), open: map[*Ledger]bool{}, halted: map[*Ledger]int64{},
		longHalt: int64(brief), line: Line{Refused: map[string]int{}}}
}

// Brief is how long a call of Write may take that is not said to have waited.
const Brief = time.Millisecond

// A Ledger has the sends of one connection.
type Ledger struct {
	a     *Account
	open  []send // from done on: not settled, the oldest first
	done  int
	held  int    // bytes
	count uint64 // of Start
}

type send struct {
	token uint64
	at    int64 // of Now
}

// Open notes a new connection.
func (a *Account) Open() *Ledger {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line.Open++
	l := &Ledger{a: a}
	a.open[l] = true
	return l
}

// Accepted notes a send with a token, after which so many bytes are held for the peer.
func (l *Ledger) Accepted(token uint64, held int) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.accept(token, held)
}

// Settled notes the outcome of the oldest send, which must have this token, after which so many bytes are held.
func (l *Ledger) Settled(token uint64, sent bool, held int) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.settle(token, sent, held)
}

// Start is Accepted for servers that have no tokens, and hold whatever is not settled: a send of n bytes.
func (l *Ledger) Start(n int) (token uint64) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.count++
	l.accept(l.count, l.held+n)
	return l.count
}

// Finish is Settled for them.
func (l *Ledger) Finish(token uint64, n int, sent bool) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.settle(token, sent, l.held-n)
}

func (l *Ledger) accept(token uint64, held int) {
	l.a.line.Accepted++
	l.open = append(l.open, send{token, Now()})
	l.holds(held)
}

func (l *Ledger) settle(token uint64, sent bool, held int) {
	l.holds(held)
	if l.done == len(l.open) || l.open[l.done].token != token {
		l.a.wrong("an outcome for send %d, which is not the oldest without one", token)
		return
	}
	if sent {
		l.a.line.Sent++
		l.a.times.RecordValue(min(Now()-l.open[l.done].at, l.a.times.HighestTrackableValue()))
	} else {
		l.a.line.Failed++
	}
	if l.done++; 2*l.done >= len(l.open) { // move what is left, so that the slice does not grow for ever
		l.open = l.open[:copy(l.open, l.open[l.done:])]
		l.done = 0
	}
}

// Refused notes that a send was not accepted.
func (l *Ledger) Refused(why string) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.a.line.Refused[why]++
}

// Halt notes that sends have to wait from now on, until Go.
func (l *Ledger) Halt() {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.a.halted[l] = Now()
}

// Go ends a Halt.
func (l *Ledger) Go() {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.resume()
}

// Close notes the end of a connection. Every send must have had its outcome.
func (l *Ledger) Close() {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.holds(0)
	l.resume()
	l.a.line.Open--
	delete(l.a.open, l)
	if n := len(l.open) - l.done; n > 0 {
		l.a.wrong("%d sends of a connection without an outcome", n)
	}
}

func (l *Ledger) holds(n int) {
	l.a.line.Pending += n - l.held
	l.held = n
	l.a.line.Peak = max(l.a.line.Peak, n)
}

func (l *Ledger) resume() {
	since, ok := l.a.halted[l]
	if !ok {
		return
	}
	delete(l.a.halted, l)
	if took := Now() - since; took >= l.a.longHalt {
		l.a.line.Cycles++
		l.a.line.Halted += took
		l.a.line.Longest = max(l.a.line.Longest, took)
	}
}

// wrong notes what should not be; a few say it all.
func (a *Account) wrong(format string, args ...any) {
	if len(a.line.Wrong) < 10 {
		a.line.Wrong = append(a.line.Wrong, fmt.Sprintf(format, args...))
	}
}

// Line returns what is to be reported now, and begins to collect times anew. One goroutine at a time may ask.
func (a *Account) Line() (Line, error) {
	a.mu.Lock()
	line := a.line
	for l := range a.open {
		line.Most = max(line.Most, l.held)
	}
	if a.Unread != nil {
		all, most := a.Unread()
		a.line.Peak = max(a.line.Peak, most)
		line.Peak, line.Pending, line.Most = a.line.Peak, line.Pending+all, max(line.Most, most)
	}
	line.At = Now()
	line.Refused, line.Wrong = maps.Clone(a.line.Refused), slices.Clone(a.line.Wrong)
	for _, since := range a.halted {
		if took := line.At - since; took >= a.longHalt {
			line.Cycles++
			line.Halted += took
		}
	}
	times := a.times
	a.times, a.spare = a.spare, times
	a.mu.Unlock()

	// The spare is this goroutine's alone, until it asks for a line again.
	if times.TotalCount() == 0 {
		return line, nil
	}
	text, err := times.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	times.Reset()
	line.Times = string(text)
	return line, err
}

// Report writes a line each time that so long has passed. It ends with an error only.
func (a *Account) Report(w io.Writer, every time.Duration) error {
	out := json.NewEncoder(w)
	for range time.Tick(every) {
		line, err := a.Line()
		if err != nil {
			return err
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// Merge adds the times of a line to h.
func (line Line) Merge(h *hdrhistogram.Histogram) error {
	if len(line.Times) == 0 {
		return nil
	}
	times, err := hdrhistogram.Decode([]byte(line.Times))
	if err != nil {
		return fmt.Errorf("times of a server: %w", err)
	}
	h.Merge(times)
	return nil
}
