// Package pressure is what servers and load of the experiments with back-pressure agree on: records of which every byte
// is known, a clock, settings, and the lines in which a server reports what it holds and what became of its sends.
//
// A server prints a [Line] as JSON on its standard output, again and again. An [Account] counts for it: each connection
// has a [Ledger] there, which is told of every send and every outcome, and finds what is missing or comes twice.
package pressure

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a peer may tell a server, each a byte.
const (
	Begin = 'g' // to a room, a source: begin to send
	End   = 'q' // to these: send no more, and close each connection when what was accepted is written
)

// Settings are how a server is to behave. Sizes are in bytes.
type Settings struct {
	Record    int           `json:"record"`               // of a record
	Every     time.Duration `json:"every,omitempty"`      // between two records of a room, in nanoseconds
	High      int           `json:"high"`                 // galago's HighWater
	Low       int           `json:"low"`                  // galago's LowWater
	Buffer    int           `json:"buffer,omitempty"`     // for sending, in the system; if 0, the system's choice
	ReadsOn   bool          `json:"reads_on,omitempty"`   // galago's ReadWaits is off
	CloseTime time.Duration `json:"close_time,omitempty"` // after End, how long a peer may take nothing
	Report    time.Duration `json:"report"`               // from one line to the next
}

// Bound is what galago promises to hold for one connection at most, with these settings.
func (s Settings) Bound() int { return s.High + s.Record }

// String is the settings as JSON, as Parse reads them.
func (s Settings) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(b)
}

// Parse reads settings, and refuses what cannot work.
func Parse(text string) (s Settings, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("%q are no settings of an experiment: %w", text, err)
	}
	switch {
	case s.Record < RecordMin || s.Record > RecordMax:
		err = fmt.Errorf("record is %d: it must be %d to %d bytes", s.Record, RecordMin, RecordMax)
	case s.Low > s.High:
		err = fmt.Errorf("low is %d: it must be no more than high, %d", s.Low, s.High)
	case min(s.High, s.Low, s.Buffer) < 0 || min(s.Every, s.CloseTime) < 0:
		err = errors.New("a size or time is below 0")
	case s.Report < time.Millisecond:
		err = fmt.Errorf("report is %v: it must be 1ms or more", s.Report)
	}
	return s, err
}

// Now returns nanoseconds on the system's monotonic clock, which is the same for all processes.
func Now() int64 { return began + int64(time.Since(start)) }

// began is the system's clock at start; time.Since costs less than to ask the system each time.
var start, began = func() (time.Time, int64) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("BUG: clock_gettime: " + err.Error())
	}
	return time.Now(), ts.Nano()
}()

// Bounds of the size of a record.
const (
	RecordMin = 32
	RecordMax = 64 << 10
	head      = 16 // of a record: its number and when it was due, 8 bytes each, big-endian
)

// Fill makes p record number n, from 1, which was due at a time of Now.
func Fill(p []byte, n uint64, due int64) {
	binary.BigEndian.PutUint64(p, n)
	binary.BigEndian.PutUint64(p[8:], uint64(due))
	copy(p[head:], body(n))
}

// ReadHead returns the number of the record that begins with p, and when it was due.
func ReadHead(p []byte) (n uint64, due int64) {
	return binary.BigEndian.Uint64(p), int64(binary.BigEndian.Uint64(p[8:]))
}

// Intact reports whether p is what Fill makes for its number and time.
func Intact(p []byte) bool {
	n, _ := ReadHead(p)
	return string(p[head:]) == string(body(n)[:len(p)-head])
}

// body returns what follows the head of record number n: another piece of the noise for each.
func body(n uint64) []byte { return noise[n%variants:] }

const variants = 4093 // a prime: no power of two that got lost goes unnoticed

var noise = func() []byte {
	p, r := make([]byte, variants+RecordMax), rand.New(rand.NewPCG(1, 2))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}()
