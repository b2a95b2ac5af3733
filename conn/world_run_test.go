package conn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

type world struct {
	dice   *dice
	driver conn.Driver
	c      *conn.Conn
	cfg    conn.Config
	mem    conn.Memory
	socket *socket
	layers []*testLayer
	now    time.Time
	dialed bool

	turn                      int
	inTurn, reading           bool
	inMethod, inCallback      bool
	inSend                    bool
	connected, ended, started bool
	closeCalled, aborted      bool
	writeEnded                bool

	accepted, outcomes int
	failedSeen         bool
	ends               []int // wire offset of each accepted send's end
	taken              int   // sends that the system has taken whole
	down               int   // wire bytes passed down
	sentBytes          int   // application bytes accepted
	upgradedAt         int   // application bytes accepted before Upgrade; -1: none
	layersFirst        int   // layers at the start

	due                    []cause
	events, eventsTold     int
	posts, ran             int
	unhold                 []func()
	got                    int
	paused                 bool
	yielded                int
	throttled, refused     bool
	eofTold, eofBad, cut   bool
	timers                 map[conn.TimerToken]time.Time
	layerFailed, lastWords bool
	truncated, streamCut   bool
	layerHeld              bool
	log                    []string
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func newWorld(data []byte) *world {
	w := &world{dice: &dice{data}, now: time.Unix(1_000_000, 0), upgradedAt: -1, yielded: -1,
		timers: map[conn.TimerToken]time.Time{}}
	w.socket = &socket{w: w, room: math.MaxInt / 2}
	d := w.dice
	w.cfg.HighWater = []int{64, 1, 1000, 40000}[d.roll(4)]
	w.cfg.LowWater = d.roll(2) * d.roll(w.cfg.HighWater+1)
	w.cfg.MaxPending = []int{128, 10, 20000}[d.roll(3)]
	w.cfg.ReadWaits = []conn.Setting{conn.Auto, conn.On, conn.Off}[d.roll(3)]
	w.dialed = d.one(3)
	if d.one(2) {
		w.cfg.Split, w.cfg.MaxFrame = frames4, maxFrame
	}
	if d.one(4) {
		w.cfg.IdleTimeout = 3 * time.Second
	}
	if w.layersFirst = d.roll(3); w.layersFirst == 2 {
		w.layersFirst = d.roll(3)
	}
	for range w.layersFirst {
		w.cfg.Layers = append(w.cfg.Layers, w.newLayer)
	}
	if d.one(3) {
		w.socket.room = d.roll(256)
	}
	w.driver.Init(w, w.socket, &w.cfg)
	w.c = w.driver.Conn()
	return w
}

func (w *world) newLayer() interceptor.Interceptor {
	l := &testLayer{w: w, bottom: len(w.layers) == 0}
	w.layers = append(w.layers, l)
	return l
}

func (w *world) topReady() bool { return w.connected && !w.ended }

// run plays until the dice run out or the connection is over, then brings it to its end.
func (w *world) run() {
	for len(w.dice.data) > 0 && !w.driver.Done() {
		w.step()
	}
	for _, f := range w.unhold {
		f()
	}
	w.unhold = nil
	if w.dice.roll(2) == 0 && w.started {
		w.socket.room = math.MaxInt / 2
		w.drained()
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
	switch w.dice.roll(16) {
	case 0:
		w.turns()
	case 1, 2:
		w.feed(1 + w.dice.roll(40))
	case 3:
		w.feed(w.dice.roll(256) * 300)
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
		if w.dice.one(3) && !w.socket.eof && w.started {
			w.note("peer ends")
			w.socket.eof, w.socket.hung, w.socket.dry = true, true, false
			w.driver.Ready(conn.Readable | conn.Hangup)
		}
	case 12:
		if w.dice.one(8) && w.started && w.socket.dead == nil {
			w.note("peer resets")
			w.socket.dead, w.socket.hung, w.socket.dry, w.socket.full = syscall.ECONNRESET, true, false, false
			w.driver.Ready(conn.Readable | conn.Writable | conn.Hangup)
		}
	case 13:
		w.suspendedTurn()
	case 14:
		if len(w.unhold) > 0 {
			w.unhold[0]()
			w.unhold = w.unhold[1:]
		}
	case 15:
		w.connect()
	}
	w.connect()
}

// connect lets the socket connect, sooner or later.
func (w *world) connect() {
	if w.started {
		return
	}
	switch w.dice.roll(4) {
	case 0, 1:
		w.started = true
		w.driver.Connected()
	case 2:
		w.events++
		w.turn++ // its cause lies between the turns
		w.expect("OnEvent connecting")
		w.turn--
		w.due[len(w.due)-1].turn = w.turn
		w.driver.Connecting(w.events)
	case 3:
		if w.dice.one(20) {
			w.started = true
			w.driver.Failed(conn.StageDial, syscall.ECONNREFUSED)
		}
	}
}

func (w *world) feed(n int) {
	if !w.started || w.socket.eof || w.socket.dead != nil || n == 0 {
		return
	}
	p := make([]byte, n)
	for i := range p {
		p[i] = pattern(w.socket.fed + i)
	}
	w.socket.fed += n
	w.socket.chunks = append(w.socket.chunks, p)
	w.socket.dry = false
	w.driver.Ready(conn.Readable)
	w.note("feed %d", n)
}

// drained reports that the system takes bytes again.
func (w *world) drained() {
	if w.socket.full && w.socket.room > 0 {
		w.socket.full = false
		w.driver.Ready(conn.Writable)
	}
}

// turns takes turns while there is reason to.
func (w *world) turns() {
	for n := 0; w.oneTurn(nil); n++ {
		check(n < 50_000, contractRest, "turn after turn, in state %v", w.c.State())
	}
}

func (w *world) oneTurn(f func()) (more bool) {
	w.begin()
	for n, ok := w.driver.Next(); ok; n, ok = w.driver.Next() {
		w.driver.Deliver(n)
	}
	if w.dice.roll(2) == 0 || w.driver.Reads() {
		w.reading = true
		w.driver.Read()
		w.reading = false
	}
	if f != nil {
		f()
	}
	return w.end()
}

func (w *world) begin() {
	posted := w.socket.posted
	w.socket.posted = nil
	for _, f := range posted {
		f()
	}
	w.turn++
	w.inTurn = true
	w.driver.Begin(w.now, &w.mem)
}

func (w *world) end() bool {
	more := w.driver.End() || len(w.socket.posted) > 0
	w.inTurn = false
	if w.layersFirst == 0 && w.upgradedAt < 0 {
		pending := w.c.Stats().Pending
		check(pending <= w.cfg.HighWater+w.cfg.MaxPending, promiseBound, "%d bytes pending", pending)
	}
	return more
}

func (w *world) suspendedTurn() {
	w.begin()
	w.end()
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
	}
	for n := 0; ; n++ {
		at := w.driver.Deadline()
		if at.IsZero() || at.After(target) {
			break
		}
		check(n < 20000, contractRest, "deadline after deadline, in state %v", w.c.State())
		if at.After(w.now) {
			w.now = at
		}
		w.turns()
	}
	w.now = target
	w.turns()
}

// call makes a method call on the Conn, in which no callback may run.
func (w *world) call(f func()) {
	check(!w.inMethod, promiseNotInside, "nested call")
	w.inMethod = true
	f()
	w.inMethod = false
}

// act does one thing that an owner may do.
func (w *world) act() {
	d := w.dice
	if len(d.data) == 0 {
		return // the dice ran out: a quiet owner
	}
	switch d.roll(16) {
	case 0, 1, 2:
		w.send(d.roll(40))
	case 3:
		w.send(d.roll(256) * 130)
	case 4:
		for range d.roll(20) {
			w.send(1 + d.roll(30))
		}
	case 5:
		w.call(w.c.Pause)
		w.paused = true
		w.note("pause")
	case 6, 7:
		w.call(w.c.Resume)
		w.paused = false
		w.note("resume")
	case 8:
		if d.one(4) {
			w.closeNow()
		}
	case 9:
		if d.one(4) {
			w.note("closewrite in %v", w.c.State())
			w.writeEnded = w.writeEnded || w.c.State() == conn.StateConnected || w.c.State() == conn.StateUpgrading
			w.call(w.c.CloseWrite)
		}
	case 10:
		if d.one(12) {
			w.note("abort")
			w.aborted = w.aborted || w.c.State() != conn.StateClosed
			w.call(func() { w.c.Abort(errors.New("enough")) })
		}
	case 11:
		w.startTimer()
	case 12:
		w.stopTimer()
	case 13:
		w.call(func() { w.c.SetIdleTimeout(time.Duration(d.roll(40)) * 100 * time.Millisecond) })
	case 14:
		w.call(w.c.Flush)
	case 15:
		w.upgrade()
	}
}

func (w *world) closeNow() {
	w.note("close in %v", w.c.State())
	w.closeCalled = true
	w.call(w.c.Close)
}

func (w *world) send(n int) {
	p := make([]byte, n)
	for i := range p {
		p[i] = pattern(w.sentBytes + i)
	}
	cutAt := w.dice.roll(n + 1)
	var t conn.SendToken
	var err error
	var writeable bool
	down, notices := w.down, len(w.due)
	w.call(func() { writeable = w.c.IsWriteable() })
	before, broke := w.c.Stats(), w.layerFailed
	w.inSend = true
	w.call(func() { t, err = w.c.Send(p[:cutAt], p[cutAt:]) })
	w.inSend = false
	for i := range p {
		p[i] = 'Z' // Send keeps nothing
	}
	if err != nil {
		w.refusedSend(err, n, writeable, broke, t, before)
		if !w.layerFailed || broke {
			check(w.down == down && len(w.due) == notices, promiseRefused, "%d bytes went down", w.down-down)
		}
		return
	}
	check(writeable, contractIsWrite, "Send of %d bytes accepted", n)
	check(w.connected && !w.ended && !w.closeCalled && !w.writeEnded, promiseRefused, "accepted in state %v", w.c.State())
	w.accepted++
	check(int(t) == w.accepted, promiseOutcome, "token %d for send %d", t, w.accepted)
	if w.c.Layers() == nil {
		w.down += n
	}
	w.sentBytes += n
	w.ends = append(w.ends, w.down)
	w.settleUpTo(len(w.socket.writeTo))
	w.note("send %d: token %d", n, t)
}

func (w *world) refusedSend(err error, n int, writeable, broke bool, t conn.SendToken, before conn.Stats) {
	w.note("send %d: %v", n, err)
	check(t == 0, promiseRefused, "token %d", t)
	check(w.c.Stats().Accepted == before.Accepted, promiseRefused, "it was counted")
	if err == conn.ErrNotWriteable {
		w.refused = true
		check(w.throttled || w.dueThrottle(), promiseThrottle, "refused, and OnThrottled is neither given nor due")
	}
	failedNow := w.layerFailed && !broke
	if err != conn.ErrTooLarge && !failedNow {
		check(!writeable, contractIsWrite, "Send of %d bytes: %v", n, err)
	}
	if failedNow {
		check(err == conn.ErrNotConnected, promiseRefused, "a layer failed: %v", err)
	}
}

// dueThrottle is true when OnThrottled may wait in the FIFO: it is checked when the run is over.
func (w *world) dueThrottle() bool { return true }

func (w *world) startTimer() {
	d := time.Duration(w.dice.roll(50)) * 100 * time.Millisecond
	var t conn.TimerToken
	w.call(func() { t = w.c.StartTimer(d) })
	s := w.c.State()
	check((t != 0) == (s == conn.StateConnected || s == conn.StateUpgrading), contractTimer, "timer %d in state %v", t, s)
	if t != 0 {
		w.timers[t] = w.now.Add(d)
	}
}

func (w *world) stopTimer() {
	t := conn.TimerToken(w.dice.roll(8))
	_, armed := w.timers[t]
	var stopped bool
	w.call(func() { stopped = w.c.StopTimer(t) })
	if w.c.State() != conn.StateClosed {
		check(stopped == armed, contractTimer, "StopTimer says %v", stopped)
	}
	delete(w.timers, t)
}

func (w *world) upgrade() {
	if w.upgradedAt >= 0 || len(w.layers) > 1 {
		return
	}
	at, opened := w.sentBytes, len(w.layers)
	var err error
	w.upgradedAt = at // the layer may speak in Open
	w.call(func() { err = w.c.Upgrade(w.newLayer) })
	if err != nil {
		w.upgradedAt = -1
		check(len(w.layers) == opened, promiseRefused, "a refused Upgrade made a layer")
		return
	}
	check(w.outcomes == w.accepted, promiseRefused, "upgraded with sends open")
	w.note("upgrade")
}

// finalChecks looks at the whole run.
func (w *world) finalChecks() {
	check(w.outcomes == w.accepted, promiseOutcome, "%d of %d sends have an outcome", w.outcomes, w.accepted)
	check(w.socket.closed, contractBackend, "the socket is still open")
	for i, l := range w.layers {
		check(l.closed == l.opened, contractLayers, "layer %d: opened %d times, closed %d times", i, l.opened, l.closed)
	}
	w.suspendedTurn() // late inputs change nothing
	check(w.mem.InUse() == 0, contractMemory, "%d bytes are still lent", w.mem.InUse())
	app := w.wireToApp()
	check(len(app) <= w.sentBytes, promiseRefused, "%d bytes on the wire, %d were accepted", len(app), w.sentBytes)
	for i, b := range app {
		check(b == pattern(i), promiseRefused, "byte %d on the wire is wrong", i)
	}
}

// wireToApp takes off what the layers put around the application's bytes.
func (w *world) wireToApp() []byte {
	wire := w.socket.writeTo
	var head []byte
	at := w.upgradedAt
	if w.layersFirst == 0 {
		if at < 0 || at > len(wire) {
			return wire
		}
		head, wire = wire[:at], wire[at:]
		return append(head[:at:at], unframe(wire)...)
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
