package conn_test

import (
	"errors"
	"time"

	"github.com/galago-go/galago/conn"
)

// call makes a method call on the Conn, in which no callback may run.
func (w *world) call(f func()) {
	check(!w.inMethod, promiseNotInside, "nested call")
	w.inMethod = true
	f()
	w.inMethod = false
}

// A habit is what an owner does again and again.
type habit int

const (
	noHabit  habit = iota
	echoes         // answers each frame
	flushes        // in OnSent
	upgrades       // in OnSent
	sendsOn        // in OnSent
	closes         // in OnTimer
	chatty         // its layers talk all the time
	habits
)

// act does one thing that an owner may do.
func (w *world) act() {
	d := w.dice
	if len(d.data) == 0 {
		return // the dice ran out: a quiet owner
	}
	switch d.roll(19) {
	case 0, 1, 2:
		w.send(d.roll(40))
	case 3:
		w.send(d.roll(256) * 170)
	case 4:
		for range d.roll(20) {
			w.send(1 + d.roll(30))
		}
	case 5:
		w.note("pause")
		w.call(w.c.Pause)
		w.paused = true
		w.mayDeafen()
	case 6, 7:
		w.resume()
	case 8:
		if d.one(4) {
			w.closeNow()
		}
	case 9:
		if d.one(4) {
			w.closeWrite()
		}
	case 10:
		if d.one(12) {
			w.abort()
		}
	case 11:
		w.startTimer()
	case 12:
		w.stopTimer()
	case 13:
		w.setIdle(time.Duration(d.roll(40)) * 100 * time.Millisecond)
	case 14:
		w.flush()
	case 15:
		w.upgrade()
	case 16:
		w.setSplit(splitKind(d.roll(int(splitKinds))))
	case 17: // an answer and the end in one breath
		w.send(d.roll(100))
		if d.one(8) {
			w.closeNow()
		}
	case 18:
		w.hear(w.unheard)
	}
}

func (w *world) hear(sent bool) {
	w.note("hear %v", sent)
	w.driver.Hear(sent)
	w.unheard = !sent
}

func (w *world) resume() {
	w.note("resume")
	w.call(w.c.Resume)
	w.paused = false
}

func (w *world) flush() {
	s := w.socket
	w.call(w.c.Flush)
	check(w.appPending() == 0 || s.full || s.closed, contractRest, "%d bytes are not written by Flush", w.appPending())
}

func (w *world) closeNow() {
	s := w.c.State()
	w.note("close in %v", s)
	switch s {
	case conn.StateConnecting, conn.StateStarting:
		w.fatal(0, conn.StageClosed, nil)
	case conn.StateConnected, conn.StateUpgrading:
		w.writeEnded, w.upgrading = true, false
	}
	w.closeCalled = true
	w.call(w.c.Close)
	s = w.c.State()
	check(s == conn.StateClosing || s == conn.StateClosed, promiseClose, "%v after Close", s)
	w.mayDeafen()
}

func (w *world) closeWrite() {
	s := w.c.State()
	w.note("closewrite in %v", s)
	w.writeEnded = w.writeEnded || s == conn.StateConnected || s == conn.StateUpgrading
	w.call(w.c.CloseWrite)
}

var errWorldAbort = errors.New("the owner has enough")

func (w *world) abort() {
	w.note("abort")
	w.fatal(conn.CauseAbort, 0, errWorldAbort)
	w.call(func() { w.c.Abort(errWorldAbort) })
	check(w.c.State() == conn.StateClosed, contractDriver, "%v after Abort", w.c.State())
	check(w.socket.closed, contractBackend, "the socket is open after Abort")
}

func (w *world) setIdle(d time.Duration) {
	w.call(func() { w.c.SetIdleTimeout(d) })
	w.idle = d
	if w.connected {
		w.moved = w.now
	}
}

func (w *world) setSplit(k splitKind) {
	w.note("split %d", k)
	w.call(func() { w.c.SetSplit(w.splitFunc(k)) })
	w.split, w.newSplit = k, w.turn
}

// send sends n bytes, in two parts or in many, by Send or Write, and compares the answer with what it must be.
func (w *world) send(n int) {
	p := patterned(w.sentBytes, n)
	d := w.dice
	cutAt := d.roll(n + 1)
	bufs := [][]byte{p[:cutAt], p[cutAt:]}
	if n < 2000 && d.one(16) {
		bufs = nil
		for i := range p {
			bufs = append(bufs, p[i:i+1])
		}
	}
	var writeable bool
	w.call(func() { writeable = w.c.IsWriteable() })
	check(writeable == (w.refusal(0) == nil), contractIsWrite, "it says %v, Send would answer %v", writeable, w.refusal(0))
	want, broke := w.refusal(n), w.layerFailed
	before, down, due, wire := w.c.Stats(), w.down, len(w.due), len(w.socket.wire)
	app := w.appPending()
	w.flight = &flight{n: n, layered: w.c.Layers() != nil}
	var t conn.SendToken
	var err error
	if d.one(8) {
		w.call(func() {
			var m int
			m, err = w.c.Write(p)
			check(m == n && err == nil || m == 0 && err != nil, promiseRefused, "Write of %d bytes: %d, %v", n, m, err)
		})
		if err == nil {
			t = conn.SendToken(w.c.Stats().Accepted)
		}
	} else {
		w.call(func() { t, err = w.c.Send(bufs...) })
	}
	for i := range p {
		p[i] = 'Z' // Send keeps nothing
	}
	if w.layersFirst == 0 && w.upgradedAt < 0 {
		check(w.c.Stats().Pending <= w.cfg.HighWater+w.cfg.MaxPending, promiseBound, "%d bytes pending", w.c.Stats().Pending)
	}
	w.note("send %d: token %d, %v", n, t, err)
	switch {
	case want != nil:
		check(err == want, promiseRefused, "Send of %d bytes answers %v, not %v", n, err, want)
		check(t == 0, promiseRefused, "token %d", t)
		check(!w.flight.landed && w.down == down && len(w.due) == due && len(w.socket.wire) == wire, promiseRefused,
			"it had an effect")
		if want == conn.ErrNotWriteable {
			w.refused++
			before.Refused++
		}
		check(w.c.Stats() == before, promiseRefused, "%+v, before it %+v", w.c.Stats(), before)
	case w.layerFailed && !broke && w.flight.layered && err != nil:
		check(err == conn.ErrNotConnected && t == 0, promiseRefused, "a layer failed: token %d, %v", t, err)
		check(w.c.State() == conn.StateClosed, promiseRefused, "a layer failed: %v", w.c.State())
		check(!w.flight.landed && len(w.socket.wire) == wire, promiseRefused, "a layer failed, but bytes are written")
	default:
		check(err == nil, promiseThrottle, "Send of %d bytes answers %v", n, err)
		w.land()
		w.settle()
		w.crossed()
		high := app+w.down-down > w.cfg.HighWater
		check(len(w.socket.wire) == wire || high || n >= 16<<10 && !w.flight.layered, contractDriver,
			"Send of %d bytes writes, %d were pending", n, app)
		check(!high || w.pending() == 0 || w.socket.full || w.socket.closed || w.ownPending() > 0, contractDriver,
			"Send of %d bytes does not write, %d were pending", n, app)
		check(w.connected && !w.ended && !w.closeCalled && !w.writeEnded, promiseRefused, "accepted in %v", w.c.State())
		check(int(t) == w.accepted, promiseOutcome, "token %d for send %d", t, w.accepted)
	}
	w.flight = nil
}

// late does what an owner may try after the end. Nothing comes of it.
func (w *world) late() {
	due := len(w.due)
	for range 3 {
		w.send(5)
	}
	w.call(func() {
		w.c.Close()
		w.c.CloseWrite()
		w.c.Abort(errWorldAbort)
		w.c.Pause()
		w.c.Resume()
		w.c.Flush()
		w.c.SetSplit(nil)
		w.c.SetIdleTimeout(time.Second)
	})
	check(w.c.StartTimer(0) == 0, contractTimer, "a timer after the end")
	check(w.c.Upgrade(w.newLayer) != nil, promiseRefused, "an upgrade after the end")
	check(len(w.due) == due && w.c.State() == conn.StateClosed, promiseEnds, "something came after the end")
}

func (w *world) startTimer() {
	d := time.Duration(w.dice.roll(50)) * 100 * time.Millisecond
	var t conn.TimerToken
	w.call(func() { t = w.c.StartTimer(d) })
	s := w.c.State()
	check((t != 0) == (s == conn.StateConnected || s == conn.StateUpgrading), contractTimer, "timer %d in state %v", t, s)
	if t != 0 {
		w.timer++
		check(t == w.timer, contractTimer, "token %d for timer %d", t, w.timer)
		w.timers[t] = w.now.Add(d)
		if w.timers[t].Equal(w.born) {
			w.timers[t] = w.born.Add(1) // the first instant counts as no time at all
		}
	}
}

func (w *world) stopTimer() {
	t := conn.TimerToken(w.dice.roll(8))
	_, armed := w.timers[t]
	_, firing := w.firing[t]
	var stopped bool
	w.call(func() { stopped = w.c.StopTimer(t) })
	if w.c.State() != conn.StateClosed {
		check(stopped == (armed || firing), contractTimer, "StopTimer says %v", stopped)
	}
	delete(w.timers, t)
	delete(w.firing, t)
}

func (w *world) upgrade() {
	if w.upgradedAt >= 0 || len(w.layers) > 1 {
		if s := w.c.State(); s != conn.StateConnected {
			check(w.c.Upgrade(w.newLayer) != nil && w.c.State() == s, promiseRefused, "a second Upgrade in %v", s)
		}
		return
	}
	at, opened, s := w.sentBytes, len(w.layers), w.c.State()
	unread, unsent, failed := w.topFed-w.got, w.accepted-w.outcomes, w.layerFailed
	atEnd := w.endKnown > 0
	w.upgradedAt, w.upgrading = at, true // the layer may speak in Open
	var err error
	w.call(func() { err = w.c.Upgrade(w.newLayer) })
	if err != nil {
		w.upgradedAt, w.upgrading = -1, false
		var e *conn.UpgradeError
		check(errors.As(err, &e), promiseRefused, "err is %T", err)
		check(len(w.layers) == opened && w.c.State() == s, promiseRefused, "a refused Upgrade had an effect")
		if e.Err == nil {
			check(e.Unsent == unsent && e.Unread == unread, promiseRefused, "%v: unread %d, unsent %d", e, unread, unsent)
		}
		return
	}
	w.note("upgrade")
	check(s == conn.StateConnected && !w.writeEnded && !failed && !atEnd && unread == 0 && unsent == 0, promiseRefused,
		"upgraded in %v with %d unread, %d unsent", s, unread, unsent)
	w.startLimit()
}
