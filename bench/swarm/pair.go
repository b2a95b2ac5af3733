package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/galago-go/galago/conn"
)

// damage is a byte that a layer changed on purpose.
type damage struct {
	at  int64 // where in the stream
	xor byte
}

// A pair is one connection, as both its ends see it. It lives until both have ended.
type pair struct {
	id      uint64
	began   time.Time
	layered bool       // a layer may end it before the acceptor knows who called
	mu      sync.Mutex // guards what follows
	ends    [2]*ending // 0: who dialed; 1: who accepted
	galago  [2]*side   // those of them that are actors, once they have ended
	joined  [2]bool
	damages [2][]damage // to each direction's stream, by the layers of its sender
	acks    int         // Writes that wait for an answer
	done    bool        // it was judged
	freed   bool        // its place was given to another
}

// An ending is what one end knows when all is over.
type ending struct {
	who      string // "galago" or "witness"
	at       time.Time
	err      error // as OnClosed or OnConnectFailed were told; of a witness: why it did not end in order
	failed   bool  // OnConnectFailed
	may      cause // what may have ended it, of its own doing
	dropped  bool  // it may have dropped input: a pause met its Close
	framing  framing
	expands  bool // a layer makes more of the bytes
	stats    conn.Stats
	hasStats bool
	portable bool // its loop is on package net
	panicked bool // it did, at least once
	plan     plan

	own      int64  // bytes accepted of the owner's sends
	partial  bool   // the last chunk is not whole
	sends    uint64 // of the owner, accepted
	received receiver
	acks     ackCount
}

// An ackCount is what became of the Writes with Ack of one end.
type ackCount struct {
	asked, written, refused, dead uint64
	sum                           uint64 // of the serial numbers of those that were written
}

// cause is a set of things that an end did to itself.
type cause uint16

const (
	mayAbort cause = 1 << iota
	mayHandler
	mayLayer
	mayTimeout
	mayShutdown
	mayEarly // Close or Abort before it was connected
)

// String says how it ended.
func (e *ending) String() string {
	if e == nil {
		return "nobody"
	}
	return fmt.Sprintf("%s %s: %v (may %b, dropped %v, partial %v, expands %v, panicked %v, plan %+v)",
		framingNames[e.framing], e.who, e.err, e.may, e.dropped, e.partial, e.expands, e.panicked, e.plan)
}

// orderly reports whether both directions ended with FIN, whatever else is to be said of the peer's stream.
func (e *ending) orderly() bool {
	var ce *conn.CloseError
	return !e.failed && (e.err == nil || errors.As(e.err, &ce) && ce.Cause == conn.CauseTruncated)
}

// judge returns what is wrong with a connection that is over. ends[1] is nil if nobody accepted it, or never heard who
// called. If sudden, it may have been ended in order before that: by a layer, or
// because the listener was closed.
func judge(ends [2]*ending, sudden bool) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	sides := [2]string{"dialer", "acceptor"}
	for i, e := range ends {
		if e == nil {
			continue
		}
		if why := unjustified(e, ends[1-i]); why != "" {
			bad("%s: %s", sides[i], why)
		}
		if a := e.acks; a.asked != a.written+a.refused+a.dead {
			bad("%s: %d Writes with Ack, but %d written, %d failed, %d dead letters",
				sides[i], a.asked, a.written, a.refused, a.dead)
		}
	}
	if ends[0] == nil || ends[1] == nil {
		if e := ends[0]; e != nil && e.orderly() && !sudden {
			bad("dialer: ended in order, but nobody accepted it")
		}
		return problems
	}
	for i := range ends {
		for _, p := range compare(ends[i], ends[1-i]) {
			bad("%s to %s: %s", sides[i], sides[1-i], p)
		}
	}
	return problems
}

// unjustified says why e should not have ended as it did, or nothing.
func unjustified(e, peer *ending) string {
	if e.err == nil {
		return ""
	}
	if errors.Is(e.err, errTwist) {
		return fmt.Sprintf("ended with %v: the bytes below a layer were wrong", e.err)
	}
	peerBroke := peer == nil || !peer.orderly() // then there may be a reset, or an end too soon
	if e.failed {
		return unjustifiedFailure(e, peerBroke)
	}
	var ce *conn.CloseError
	if !errors.As(e.err, &ce) {
		if e.who == "witness" {
			if peerBroke || e.may != 0 {
				return ""
			}
			return fmt.Sprintf("ended with %v, though the peer ended in order", e.err)
		}
		return fmt.Sprintf("ended with %v", e.err)
	}
	ok := false
	switch ce.Cause {
	case conn.CauseRead, conn.CauseWrite:
		ok = peerBroke
	case conn.CauseLayer:
		ok = e.may&mayLayer != 0
	case conn.CauseHandler:
		ok = e.may&mayHandler != 0
	case conn.CauseAbort:
		ok = e.may&(mayAbort|mayShutdown) != 0
	case conn.CauseTimeout:
		ok = e.may&mayTimeout != 0
	case conn.CauseTruncated:
		ok = peerBroke || peer.partial
	}
	if !ok {
		return fmt.Sprintf("ended with %v, for which there is no reason", e.err)
	}
	return ""
}

func unjustifiedFailure(e *ending, peerBroke bool) string {
	var ce *conn.ConnectError
	if !errors.As(e.err, &ce) {
		return "" // told says so
	}
	ok := false
	switch ce.Stage {
	case conn.StageHandshake:
		ok = peerBroke || e.may&mayLayer != 0
	case conn.StageClosed:
		ok = e.may&(mayEarly|mayAbort|mayShutdown|mayHandler) != 0
	case conn.StageDial:
		ok = e.may&mayShutdown != 0
	case conn.StageTimeout:
		ok = e.may&mayTimeout != 0
	}
	if !ok {
		return fmt.Sprintf("never connected, for which there is no reason: %v", e.err)
	}
	return ""
}

// compare looks at one direction: what from sent, and what to received.
func compare(from, to *ending) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	r := &to.received
	got := r.ownBytes()
	if got > from.own {
		bad("%d bytes of sends arrived, %d were accepted", got, from.own)
	}
	unsure := from.portable && !from.orderly() // it does not know what became of its last Write
	if from.hasStats && to.hasStats && to.stats.BytesRead > from.stats.BytesWritten && !unsure {
		bad("%d bytes were read, %d written", to.stats.BytesRead, from.stats.BytesWritten)
	}
	if r.count[fromAcked] > from.acks.asked {
		bad("%d Writes with Ack arrived, %d were made", r.count[fromAcked], from.acks.asked)
	}
	if !from.orderly() || !to.orderly() || to.dropped {
		return problems
	}
	// Both directions ended in order: all that was accepted must be there.
	var ce *conn.CloseError
	truncated := errors.As(to.err, &ce)
	switch {
	case from.partial && to.framing != raw: // what is there of a frame is not delivered
		if to.who == "galago" && !truncated {
			bad("the stream broke off inside a frame, and OnClosed was told nothing")
		}
		if most := int64(headLen + maxFraming + r.stream.max); got < from.own-most {
			bad("%d bytes of sends arrived, and %d were accepted, with a part of a frame", got, from.own)
		}
	case got != from.own:
		bad("%d bytes of sends arrived, %d were accepted, and both ends ended in order", got, from.own)
	}
	if n := r.count[fromAcked]; n != from.acks.written || r.sums[fromAcked] != from.acks.sum {
		bad("%d Writes with Ack arrived, %d were said to be written (or not the same)", n, from.acks.written)
	}
	if from.hasStats {
		if n, all := r.count[fromQuiet], from.stats.Accepted-from.sends-from.acks.written; n != all {
			bad("%d Writes without Ack arrived, %d were accepted", n, all)
		}
		if to.hasStats && to.stats.BytesRead != from.stats.BytesWritten {
			bad("%d bytes were read, %d written", to.stats.BytesRead, from.stats.BytesWritten)
		}
	}
	return problems
}
