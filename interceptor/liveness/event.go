package liveness

import (
	"errors"
	"fmt"
	"time"
)

// Cause says what a [Layer] goes by when it tells of a peer.
type Cause uint8

const (
	// Silence: nothing was heard for so long.
	Silence Cause = iota
	// WriteStalled: bytes of ours wait, and for so long the system took none of them. If reading is held meanwhile, nothing
	// can be heard either, and the peer may be down; else it speaks, but does not read.
	WriteStalled
	// LocalStall: nothing was heard for so long, but this side was stopped meanwhile, or too busy. The peer is given more
	// time.
	LocalStall
)

// String names the cause.
func (c Cause) String() string {
	switch c {
	case Silence:
		return "silence"
	case WriteStalled:
		return "writing stalled"
	case LocalStall:
		return "local stall"
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// Info is what the events have in common. They are notices: by the time they are told, the world may have moved on;
// Layer.Status says what holds now.
type Info struct {
	Silent    time.Duration // since LastHeard
	Timeout   time.Duration // T, or Tw
	LastHeard time.Time
	Cause     Cause
	Layer     *Layer
}

// PeerSuspect says that most of T is over: a good moment to prepare for PeerDown. With WriteStalled, that the peer has read
// nothing for T although it speaks; then it comes once, until it reads again.
type PeerSuspect struct{ Info }

// PeerDown says that nothing was heard for T. The handler decides, in OnEvent, what becomes of the connection: by Keep or
// KeepFor, or by Close or Abort of the connection itself. If it decides nothing, Config.OnDown does.
type PeerDown struct {
	Info
	Repeat int // 0, then 1, 2, ... after each KeepFor

	id uint32
}

// PeerUp says that a peer that was down has spoken. For Watchdog it also comes after PeerSuspect, as the RFC's failback,
// and after the third answer with Config.Reopen. What proved life may reach OnReceived before.
type PeerUp struct {
	Info                  // of the silence that is over
	DownFor time.Duration // since the first PeerDown, or that PeerSuspect; 0 with Config.Reopen
}

// PeerTimings is what a framed peer wants. It comes before OnConnected, and whenever that changes.
type PeerTimings struct {
	Timeout  time.Duration // its T; Never: it has no limit
	MinSpeak time.Duration
}

// String describes the event in a line.
func (e PeerSuspect) String() string { return "peer suspect: " + e.describe() }

// String describes the event in a line.
func (e PeerDown) String() string {
	if e.Repeat > 0 {
		return fmt.Sprintf("peer still down (%d): %s", e.Repeat, e.describe())
	}
	return "peer down: " + e.describe()
}

// String describes the event in a line.
func (e PeerUp) String() string { return fmt.Sprintf("peer up: it was down for %v", e.DownFor) }

// String describes the event in a line.
func (e PeerTimings) String() string {
	if e.Timeout == Never {
		return "peer timings: no timeout"
	}
	return fmt.Sprintf("peer timings: timeout %v, speaks at most every %v", e.Timeout, e.MinSpeak)
}

func (i Info) describe() string {
	s := fmt.Sprintf("silent for %v, timeout %v", i.Silent, i.Timeout)
	if i.Cause != Silence {
		s += " (" + i.Cause.String() + ")"
	}
	return s
}

// Keep decides to stay connected, and to hear nothing more until PeerUp. Once another event about the peer was raised, it
// does nothing.
func (e PeerDown) Keep() { e.decide(Keep()) }

// KeepFor decides to stay connected for now: PeerDown comes again, with one more Repeat, if the peer is still silent
// after d. A d of less than 10 ms counts as 10 ms.
func (e PeerDown) KeepFor(d time.Duration) { e.decide(KeepFor(d)) }

func (e PeerDown) decide(v Verdict) {
	if e.Layer != nil { // a test of a handler may make events of its own
		e.Layer.decide(e.id, v)
	}
}

// Err returns a [*DownError], for Conn.Abort.
func (e PeerDown) Err() error { return &DownError{e.Silent, e.Timeout, e.Cause} }

// ErrPeerDown is matched by the error of a connection that was ended because its peer was down.
var ErrPeerDown = errors.New("liveness: the peer is down")

// A DownError says how a peer was found to be down. It matches [ErrPeerDown].
type DownError struct {
	Silent, Limit time.Duration // for how long it was, and for how long it might be
	Cause         Cause
}

// Error says for how long the peer was silent.
func (e *DownError) Error() string {
	return ErrPeerDown.Error() + ": " + Info{Silent: e.Silent, Timeout: e.Limit, Cause: e.Cause}.describe()
}

// Is reports whether target is ErrPeerDown.
func (e *DownError) Is(target error) bool { return target == ErrPeerDown }

// Timeout returns true.
func (e *DownError) Timeout() bool { return true }
