package conn_test

import (
	"time"

	"github.com/galago-go/galago/conn"
)

// betweenTurns looks whether all is as it must be when a turn is over.
func (w *world) betweenTurns() {
	s := w.c.State()
	if s == conn.StateClosing && !w.closing {
		w.closing = true
		w.closeLimit()
	}
	w.mayDeafen()
	if w.failedIn == w.turn {
		check(s == conn.StateClosed, contractLastWords, "a layer failed without last words: %v", s)
	}
	if w.layerFailed {
		check(s == conn.StateClosing || s == conn.StateClosed, promiseRefused, "a layer failed: %v", s)
	}
	w.checkDeadline(s)
	w.checkStats()
	if s == conn.StateConnecting || s == conn.StateClosed {
		return
	}
	want := conn.Hangup
	if !w.held() || s == conn.StateClosing {
		want |= conn.Readable
	}
	if w.pending() > 0 && w.socket.full {
		want |= conn.Writable
	}
	check(w.socket.armed == want, contractBackend, "armed for %03b, not %03b", w.socket.armed, want)
	for _, t := range w.layers {
		if t.opened > 0 && !w.layerFailed {
			check(t.held == w.held(), contractReading, "layer %d does not know that held is %v", t.index, w.held())
		}
	}
}

// mayDeafen notes that a pause or a hold meets Close: what arrives may be dropped.
func (w *world) mayDeafen() {
	if w.c.State() == conn.StateClosing && (w.paused || w.layerHolds()) {
		w.deaf = true
	}
}

// checkDeadline checks that the connection does not outstay its time, and asks for a turn in time.
func (w *world) checkDeadline(s conn.State) {
	at := w.driver.Deadline()
	if s == conn.StateClosed {
		check(at.IsZero(), promiseDeadlines, "a deadline after the end")
		return
	}
	wanted := func(t time.Time, promise, what string) {
		check(!t.After(w.now) || !at.IsZero() && !at.After(t), promise, "%s at %v, the deadline is %v", what, t, at)
	}
	if s != conn.StateConnected {
		check(w.now.Before(w.limit), promiseDeadlines, "%v outlived its deadline by %v", s, w.now.Sub(w.limit))
		wanted(w.limit, promiseDeadlines, "the end of "+s.String())
	}
	if w.driver.Pending() {
		return // a turn comes anyway, and what is due hides the rest
	}
	if s == conn.StateClosing && !w.layerFailed {
		check(at.Equal(w.nextInClosing()), contractRest, "closing, a turn is wanted at %v, not %v", at, w.nextInClosing())
	}
	for _, t := range w.timers {
		wanted(t, contractTimer, "a timer")
	}
	if w.idle > 0 && (s == conn.StateConnected || s == conn.StateUpgrading) {
		wanted(w.moved.Add(w.idle), contractIdle, "idle")
	}
	for _, t := range w.layers {
		if !t.at.IsZero() && !w.layerFailed {
			wanted(t.at, contractTimer, "Expire")
		}
	}
}

// nextInClosing is when something may happen by itself while closing: idleness means nothing then.
func (w *world) nextInClosing() time.Time {
	next := w.limit
	sooner := func(t time.Time) {
		if t.After(w.now) && t.Before(next) {
			next = t
		}
	}
	for _, t := range w.timers {
		sooner(t)
	}
	for _, t := range w.layers {
		sooner(t.at)
	}
	return next
}

func (w *world) checkStats() {
	got := w.c.Stats()
	want := conn.Stats{
		BytesRead:    got.BytesRead,
		BytesWritten: uint64(len(w.socket.wire)),
		Received:     uint64(w.received),
		Accepted:     uint64(w.accepted),
		Sent:         uint64(w.sent),
		Failed:       uint64(w.failed),
		Refused:      uint64(w.refused),
		Pending:      w.pending(),
		Throttles:    uint64(w.throttles),
		Throttled:    got.Throttled,
	}
	check(got == want, contractStats, "%+v, not %+v", got, want)
	read := w.socket.fed - w.socket.waiting()
	check(got.BytesRead == uint64(read), contractStats, "%d bytes read, not %d", got.BytesRead, read)
}

// atRest looks whether anything was left undone that could be done.
func (w *world) atRest() {
	s := w.c.State()
	check(len(w.due) == 0, contractRest, "at rest, and %v is due", w.due)
	if s == conn.StateConnecting || s == conn.StateClosed {
		return
	}
	if w.socket.dead != nil {
		check(false, contractRest, "the socket is dead, and the state is %v", s)
	}
	check(w.pending() == 0 || w.socket.full, contractRest, "%d bytes are not written", w.pending())
	k := w.socket
	end := k.eof && len(k.chunks) == 0
	switch s {
	case conn.StateConnected:
		check(!w.unwriteable || w.writeEnded || w.appPending() > w.lowWater(), promiseThrottle,
			"%d bytes are pending, and Send is refused", w.appPending())
		if !w.held() {
			check(len(k.chunks) == 0, promisePause, "%d bytes are not read", k.waiting())
			check(w.eofTold || w.topFed-w.got < w.frame(), promisePause, "%d bytes are not delivered", w.topFed-w.got)
			check(!end || w.eofTold, promiseTruncated, "the end is not told")
		}
		check(!end || w.topFed > w.got || w.eofTold, promisePause, "a pause hides the peer's end")
		check(!k.fin || !w.eofTold || !k.endRead, promiseClose, "both directions ended, and it is not over")
	case conn.StateClosing:
		check(w.pending() > 0 || k.fin, promiseClose, "all is written, and there is no FIN")
		if w.ownPending() <= w.cfg.HighWater {
			check(len(k.chunks) == 0, promiseClose, "%d bytes are not read", k.waiting())
			check(!end || !k.fin, promiseClose, "both directions ended, and it is not over")
		}
	}
}
