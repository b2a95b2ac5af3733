package conn_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"syscall"
	"time"

	"github.com/galago-go/galago/conn"
)

// run plays until the dice run out or the connection is over, then brings it to its end.
func (w *world) run() {
	for len(w.dice.data) > 0 && !w.driver.Done() {
		w.step()
	}
	if w.dice.roll(2) == 0 && w.started {
		w.calm()
	}
	w.turns()
	w.message(func() {
		if w.c.State() != conn.StateClosed {
			w.closeNow()
		}
	})
	w.advance(2 * time.Minute)
	check(w.driver.Done(), promiseDeadlines, "still %v two minutes after Close", w.c.State())
	w.finalChecks()
}

func (w *world) step() {
	switch w.dice.roll(20) {
	case 0:
		w.turns()
	case 1, 2:
		w.feed(1 + w.dice.roll(40))
	case 3:
		w.feed(w.dice.roll(256) * []int{8, 40, 300}[w.dice.roll(3)])
	case 4:
		w.socket.room += w.dice.roll(256)
		w.drained()
	case 5:
		w.socket.room = math.MaxInt / 2
		w.drained()
	case 6:
		w.socket.room = w.dice.roll(100)
	case 7, 8, 9:
		w.message(w.act)
	case 10:
		w.advance(time.Duration(w.dice.roll(40)) * 100 * time.Millisecond)
	case 11:
		if w.dice.one(3) {
			w.peerEnds()
		}
	case 12:
		switch w.dice.roll(24) {
		case 21:
			w.peerResets(syscall.ETIMEDOUT)
		case 22:
			w.peerResets(syscall.ECONNRESET)
		case 23:
			w.note("writing fails")
			w.socket.writeErr = syscall.EPIPE
			w.drained()
		}
	case 13:
		w.suspendedTurn()
	case 14:
		if len(w.unhold) > 0 {
			w.unhold[0]()
			w.unhold = w.unhold[1:]
		}
	case 15:
		if w.started {
			w.driver.Ready(conn.Readable | conn.Writable&^w.blocked()) // spurious, as pollers are
			w.socket.dry = false
		}
	case 16:
		if w.dice.one(4) && w.started {
			w.calm()
		}
	case 17:
		if w.dice.rare() {
			w.stop()
		}
	case 18:
		w.trickle()
	case 19:
		w.stall()
	}
	w.connect()
}

// trickle has the system take a little, again and again.
func (w *world) trickle() {
	w.socket.room = min(w.socket.room, 100)
	for range w.dice.roll(8) {
		w.socket.room += w.dice.roll(64)
		w.drained()
		w.advance(time.Duration(w.dice.roll(10)) * 100 * time.Millisecond)
	}
}

// stall lets time pass without a turn, and much arrive meanwhile. Then comes one turn.
func (w *world) stall() {
	for range w.dice.roll(3) {
		w.feed(66_000)
	}
	w.now = w.now.Add(time.Duration(w.dice.roll(50)) * 100 * time.Millisecond)
	if w.dice.one(2) {
		w.oneTurn(w.act)
	} else {
		w.oneTurn(nil)
	}
}

// blocked is Writable while the system takes nothing: to report it then would be no lie, but a waste.
func (w *world) blocked() conn.Interest {
	if w.socket.full {
		return conn.Writable
	}
	return 0
}

// connect lets the socket connect, sooner or later.
func (w *world) connect() {
	if w.started || w.dialFailed || w.driver.Done() {
		return
	}
	switch w.dice.roll(4) {
	case 0, 1:
		w.started = true
		w.driver.Connected()
	case 2:
		w.events++
		w.inputs = append(w.inputs, input{toldConnecting, w.events})
		w.driver.Connecting(w.events)
	case 3:
		if w.dice.one(20) {
			w.dialFailed = true
			w.fatal(0, conn.StageDial, syscall.ECONNREFUSED)
			w.driver.Failed(conn.StageDial, syscall.ECONNREFUSED)
		}
	}
}

// An input is what takes its place among the notices when the next turn begins.
type input struct {
	kind kind
	n    int
}

func (w *world) begin() {
	w.turn++
	w.part = partBefore
	w.arrive()
	posts := w.socket.posted
	w.socket.posted = nil
	for _, p := range posts {
		if p.id != 0 {
			w.inputs = append(w.inputs, input{toldPosted, p.id})
		}
		p.f()
	}
	for _, in := range w.inputs {
		w.expect(in.kind, in.n)
	}
	w.inputs = nil
	if w.turn == 1 {
		w.born = w.now
		w.startLimit()
	}
	w.inTurn, w.expired, w.panicked = true, false, false
	w.ownAtTurn = w.ownTotal
	now := w.now
	if w.seen.Equal(now) && w.dice.one(32) {
		now = now.Add(-time.Second) // a clock may do that; the connection's time does not
	}
	w.seen = w.now
	was := w.c.State()
	w.driver.Begin(now, &w.mem)
	if was == conn.StateConnecting && w.c.State() == conn.StateStarting && w.layersFirst == 0 {
		w.expect(toldConnected, 0)
	}
}

// end ends the turn, and looks whether all is as it must be between two turns.
func (w *world) end() bool {
	w.part = partWatch
	more := w.driver.End()
	check(w.driver.Pending() == more, contractDriver, "End says %v, Pending %v", more, !more)
	w.inTurn = false
	w.betweenTurns()
	return more || len(w.socket.posted) > 0 || w.arrives()
}

func (w *world) suspendedTurn() {
	w.begin()
	w.end()
}

func (w *world) oneTurn(f func()) (more bool) {
	w.begin()
	if w.notices() && w.reading() {
		w.part = partMessages
		if f != nil {
			f()
		}
	}
	return w.end()
}

// notices delivers what belongs to this turn, and reports whether the turn goes on.
func (w *world) notices() bool {
	for {
		w.part = partNotices
		n, ok := w.driver.Next()
		if !ok {
			w.allTold()
			return true
		}
		w.look()
		w.busy("a notice")
		w.callbacks = 0
		if !w.guarded(func() { w.driver.Deliver(n) }) && !w.goesOn() {
			return false
		}
		check(w.callbacks == 1, contractDriver, "Deliver of %v makes %d callbacks", n, w.callbacks)
	}
}

// reading is the reading of a turn; it may be left out where the Driver says so.
func (w *world) reading() bool {
	w.part = partReading
	needed := w.driver.Reads()
	if !needed && w.dice.roll(2) == 0 {
		return true
	}
	was := w.quiet
	w.quiet = w.quiet || !needed
	defer func() { w.quiet = was }()
	if !w.guarded(w.driver.Read) {
		return w.goesOn()
	}
	w.expire()
	w.readTurn = w.turn
	return true
}

// A handlerPanic is what the handler panics with.
type handlerPanic struct{}

// guarded runs f, and reports whether it came to its end without a panic of the handler.
func (w *world) guarded(f func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(handlerPanic); !ours {
				panic(p)
			}
			w.note("  panic")
			w.panicked = w.panicked || w.part == partReading
		}
	}()
	f()
	return true
}

var errPanic = syscall.EDOM

// goesOn is what supervision decides after a panic: go on with the turn, end it here, or end the connection.
func (w *world) goesOn() bool {
	switch w.dice.roll(3) {
	case 0:
		return true
	case 1:
		return false
	}
	w.fatal(conn.CauseHandler, 0, errPanic)
	w.part = partMessages
	w.driver.Abort(conn.CauseHandler, errPanic)
	return false
}

// stop is what stopping the owner does: abort, and deliver what is due at once.
func (w *world) stop() {
	w.note("stop")
	w.begin()
	w.part = partMessages
	w.abort()
	for n := 0; !w.driver.Done(); n++ {
		check(n < 1000, contractDriver, "Begin after Begin, and no end")
		w.begin()
		w.notices()
	}
	w.end()
}

// turns takes turns while there is reason to.
func (w *world) turns() {
	for n := 0; w.oneTurn(nil); n++ {
		check(n < 50_000, contractRest, "turn after turn, in state %v", w.c.State())
	}
	w.atRest()
	if at := w.driver.Deadline(); !at.IsZero() && !at.After(w.now) {
		return
	}
	if w.dice.roll(2) == 0 {
		w.quiet = true
		w.oneTurn(nil)
		w.quiet = false
	}
}

func (w *world) message(f func()) {
	w.oneTurn(f)
	if w.dice.roll(3) != 0 {
		w.turns()
	}
}

// advance lets time pass, with a turn at each deadline; now and then with one late turn only.
func (w *world) advance(d time.Duration) {
	target := w.now.Add(d)
	w.turns()
	if w.dice.one(4) {
		w.now = target
		w.turns()
	}
	for n := 0; ; n++ {
		at := w.driver.Deadline()
		if at.IsZero() || at.After(target) {
			break
		}
		check(n < 20000, contractRest, "deadline after deadline, in state %v", w.c.State())
		check(at.After(w.now), contractRest, "a deadline is not served")
		w.now = at
		w.turns()
	}
	w.now = target
	w.turns()
	for t, at := range w.timers {
		check(at.After(w.now) || w.socket.closed, contractTimer, "timer %d is late by %v", t, w.now.Sub(at))
	}
	for _, t := range w.layers {
		check(t.at.IsZero() || t.at.After(w.now) || w.layerFailed || w.socket.closed, contractTimer,
			"Expire is late by %v", w.now.Sub(t.at))
	}
}

// calm lets the system take all and everybody release reading, and looks whether nothing is left.
func (w *world) calm() {
	w.note("calm")
	w.socket.room = math.MaxInt / 2
	w.drained()
	for _, f := range w.unhold {
		f()
	}
	w.unhold = nil
	w.oneTurn(func() { w.resume() })
	w.turns()
	w.socket.room = math.MaxInt / 2
	if w.socket.full {
		return // a callback has used up the room
	}
	if w.c.State() != conn.StateConnected || len(w.socket.posted) > 0 {
		return
	}
	check(w.pending() == 0, contractRest, "%d bytes are pending, and the system takes all", w.pending())
	check(w.outcomes == w.accepted, promiseOutcome, "%d of %d sends have an outcome", w.outcomes, w.accepted)
	check(!w.throttled || w.writeEnded, promiseThrottle, "throttled, and nothing is pending")
	if len(w.timers) == 0 && (w.topFed == w.got || w.eofTold) {
		check(w.mem.InUse() == 0, contractMemory, "%d bytes are lent to an idle connection", w.mem.InUse())
	}
}

// finalChecks looks at the whole run.
func (w *world) finalChecks() {
	check(w.ended, promiseEnds, "over, without a last callback")
	check(w.outcomes == w.accepted, promiseOutcome, "%d of %d sends have an outcome", w.outcomes, w.accepted)
	check(w.socket.closed, contractBackend, "the socket is still open")
	check(w.mem.InUse() == 0, contractMemory, "%d bytes are still lent", w.mem.InUse())
	for i, l := range w.layers {
		check(l.closed == l.opened, contractLayers, "layer %d: opened %d times, closed %d times", i, l.opened, l.closed)
	}
	for range 2 { // late inputs change nothing
		w.driver.Ready(conn.Readable | conn.Writable | conn.Hangup)
		w.driver.Connecting(1)
		w.driver.Connected()
		w.driver.Failed(conn.StageDNS, syscall.EINVAL)
		w.oneTurn(func() { w.late() })
	}
	check(w.mem.InUse() == 0, contractMemory, "%d bytes are still lent", w.mem.InUse())
	app := w.wireToApp()
	check(len(app) <= w.sentBytes, promiseRefused, "%d bytes on the wire, %d were accepted", len(app), w.sentBytes)
	for i, b := range app {
		check(b == pattern(i), promiseRefused, "byte %d on the wire is wrong", i)
	}
}

// wireToApp takes off what the layers put around the application's bytes.
func (w *world) wireToApp() []byte {
	wire := w.socket.wire
	at := w.upgradedAt
	if w.layersFirst == 0 {
		if at < 0 || at > len(wire) {
			return wire
		}
		return append(wire[:at:at], unframe(wire[at:])...)
	}
	app := unframe(wire)
	if w.layersFirst == 2 {
		return unframe(app)
	}
	if at < 0 || at > len(app) {
		return app
	}
	return append(app[:at:at], unframe(app[at:])...)
}

// unframe undoes testLayer.pass; the last frame may be cut off.
func unframe(wire []byte) (app []byte) {
	for len(wire) >= 3 {
		mark, n := wire[0], int(binary.BigEndian.Uint16(wire[1:]))
		body := wire[3:]
		body = body[:min(n, len(body))]
		if mark == sendMark {
			app = append(app, body...)
		} else {
			check(mark == ownMark && len(bytes.Trim(body, "!")) == 0, promiseRefused, "the wire is out of step")
		}
		wire = wire[3+len(body):]
	}
	return app
}
