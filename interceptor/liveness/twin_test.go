package liveness_test

import (
	"fmt"
	"time"

	"github.com/galago-go/galago/interceptor/liveness"
)

// A twin is the receiving half of a layer as plain as can be: it keeps what happened, and makes of it what the rules of
// the package say, when it is asked to. It has no timers: it says when something is due, and whoever moves time must see
// to it that the layer was asked by then.
type twin struct {
	t, suspectAfter time.Duration // suspectAfter is 0 if suspicion is not told

	state     liveness.State
	heard     time.Duration // as all times, since the beginning
	from      time.Duration // silence counts from here at the earliest
	notBefore time.Duration
	excused   bool
	changed   time.Duration // when it became suspect, and then down
	cause     liveness.Cause
	keepUntil time.Duration // 0: not
	repeat    int
	ended     bool

	held     bool
	heldFrom time.Duration
	looked   bool
	lookedAt time.Duration
	unread   int
	seen     time.Duration // when more bytes were seen to wait

	pending   bool
	waitFrom  time.Duration
	moved     time.Duration // the system took bytes of ours, or the first of them began to wait
	stuckFrom time.Duration
	toldStuck bool

	told []string
}

const longAgo = -time.Hour

func newTwin(cfg liveness.Config) *twin {
	w := &twin{state: liveness.StateUp, from: longAgo, notBefore: longAgo, seen: longAgo, stuckFrom: longAgo}
	w.setTimeout(cfg.Timeout, cfg.Suspect)
	return w
}

func (w *twin) setTimeout(t time.Duration, share float64) {
	if share == 0 {
		share = 0.75
	}
	w.t, w.suspectAfter = t, 0
	if share < 1 {
		w.suspectAfter = time.Duration(float64(t) * share)
	}
}

func (w *twin) tell(now time.Duration, what string, c liveness.Cause) {
	if c != liveness.Silence {
		what += " (" + c.String() + ")"
	}
	w.told = append(w.told, fmt.Sprint(now, " ", what))
}

func (w *twin) grace() time.Duration         { return max(w.t/4, 20*ms) }
func (w *twin) tooLate(d time.Duration) bool { return d > max(w.t/8, 5*ms) }
func (w *twin) over() bool                   { return w.state == liveness.StateClosing }
func (w *twin) judges() bool                 { return !w.over() && !w.ended }
func (w *twin) systemsSigns() bool           { return w.held && w.pending }

func (w *twin) sign() time.Duration {
	if w.systemsSigns() {
		return max(w.heard, w.from, w.moved, w.seen)
	}
	return max(w.heard, w.from)
}

func (w *twin) hear(now time.Duration, closing bool) {
	w.heard, w.excused = now, false
	if w.state == liveness.StateSuspect {
		w.state = liveness.StateUp
	} else if w.state == liveness.StateDown {
		w.up(now, closing)
	}
}

func (w *twin) up(now time.Duration, closing bool) {
	if closing {
		w.state = liveness.StateClosing
		return
	}
	w.state, w.keepUntil = liveness.StateUp, 0
	w.tell(now, fmt.Sprint("PeerUp after ", now-w.changed), w.cause)
}

func (w *twin) end() {
	if !w.over() {
		w.state, w.ended = liveness.StateEnded, true
	}
}

// hold is for reading that is held back, and for when it runs again.
func (w *twin) hold(now time.Duration, held bool) {
	w.held, w.heldFrom, w.looked = held, now, false
	if !held {
		w.from, w.excused, w.stuckFrom = now, false, max(w.stuckFrom, now+w.t)
		w.restart(now)
	}
}

func (w *twin) restart(now time.Duration) {
	if w.state == liveness.StateSuspect {
		w.state = liveness.StateUp
	} else if w.state == liveness.StateDown && w.keepUntil != 0 {
		w.keepUntil = max(w.keepUntil, now+w.t)
	}
}

func (w *twin) change(now, t time.Duration, share float64) {
	w.setTimeout(t, share)
	w.from, w.notBefore, w.stuckFrom, w.excused = now, now, now+t, false
	w.restart(now)
}

// queue is for bytes of ours that begin to wait, wrote for what the system takes of them.
func (w *twin) queue(now time.Duration) {
	if !w.pending {
		w.pending, w.moved, w.waitFrom = true, now, now
	}
}

func (w *twin) wrote(now time.Duration, left int, closing bool) {
	if !w.pending {
		return
	}
	w.moved, w.toldStuck, w.pending = now, false, left > 0
	w.revive(now, closing)
}

// revive is for a sign of the system.
func (w *twin) revive(now time.Duration, closing bool) {
	if w.state == liveness.StateSuspect && w.held {
		w.state = liveness.StateUp
	} else if w.state == liveness.StateDown && w.cause == liveness.WriteStalled {
		w.up(now, closing)
	}
}

func (w *twin) pardon(now time.Duration) {
	until := now + w.grace()
	w.notBefore, w.stuckFrom = max(w.notBefore, until), max(w.stuckFrom, until)
	if w.keepUntil != 0 {
		w.keepUntil = max(w.keepUntil, until)
	}
}

// due is the latest time at which the layer must have been asked; 0 if nothing is due.
func (w *twin) due() time.Duration {
	at := w.duePeer()
	switch {
	case w.over() || w.held && !w.pending:
		return 0
	case w.held && at != 0: // how often it looks is its own affair, up to a point; the first look shows nothing
		return max(at, max(w.heldFrom, w.waitFrom)+w.t, w.lookedAt) + w.t/4 + 1
	}
	if q := w.dueQueue(); q != 0 && (at == 0 || q < at) {
		at = q
	}
	return at
}

func (w *twin) duePeer() time.Duration {
	switch {
	case !w.judges():
		return 0
	case w.state == liveness.StateDown:
		return w.keepUntil
	case w.state == liveness.StateUp && w.suspectAfter > 0:
		return max(w.sign()+w.suspectAfter, w.notBefore)
	}
	return max(w.sign()+w.t, w.notBefore)
}

func (w *twin) dueQueue() time.Duration {
	if !w.pending || w.toldStuck || w.held || w.state != liveness.StateUp && !w.ended {
		return 0
	}
	return max(w.moved+w.t, w.stuckFrom)
}

// look does what is due at now, however late that is. unread is how many bytes wait in the system.
func (w *twin) look(now time.Duration, unread int, closing bool) {
	switch {
	case w.over():
		return
	case closing && !w.ended:
		w.state = liveness.StateClosing
		return
	case w.held && !w.pending && !w.ended:
		return
	case w.held && !w.ended:
		first := !w.looked
		if !first && unread > w.unread {
			w.seen = now
			w.revive(now, closing)
		}
		w.looked, w.lookedAt, w.unread = true, now, unread
		if first {
			return
		}
	}
	w.lookAtPeer(now)
	if at := w.dueQueue(); at != 0 && at <= now {
		if w.tooLate(now - at) {
			w.stuckFrom = now + w.grace()
		} else {
			w.toldStuck = true
			w.tell(now, "PeerSuspect", liveness.WriteStalled)
		}
	}
}

func (w *twin) lookAtPeer(now time.Duration) {
	why := liveness.Silence
	if w.held {
		why = liveness.WriteStalled
	}
	for at := w.duePeer(); at != 0 && at <= now; at = w.duePeer() {
		mayBeSuspect := w.state == liveness.StateUp && w.suspectAfter > 0
		switch {
		case w.tooLate(now-at) && !w.excused:
			w.excused = true
			w.pardon(now)
			if mayBeSuspect {
				w.suspect(now, liveness.LocalStall)
			}
			return
		case mayBeSuspect:
			w.suspect(now, why)
		default:
			w.down(now, why)
			return
		}
	}
}

func (w *twin) suspect(now time.Duration, c liveness.Cause) {
	w.state, w.changed, w.cause = liveness.StateSuspect, now, c
	w.tell(now, "PeerSuspect", c)
}

func (w *twin) down(now time.Duration, c liveness.Cause) {
	what := "PeerDown"
	if w.repeat++; w.state == liveness.StateDown {
		what += fmt.Sprint(" ", w.repeat)
	} else {
		w.repeat, w.changed = 0, now
	}
	w.state, w.cause, w.keepUntil = liveness.StateDown, c, 0
	w.tell(now, what, c)
}
