package conn

import (
	"time"
)

// A Driver is the shell's side of a connection. A turn is: Begin; Next and Deliver until Next has no more; Read; the
// owner's messages, if there are any; End. While the owner is suspended, a turn is Begin and End alone.
//
// All methods belong to the goroutine that takes the turns.
type Driver struct{ c Conn }

// Init readies a zero Driver. It calls neither h nor b.
func (d *Driver) Init(h Handler, b Backend, cfg *Config) {
	d.c = Conn{h: h, b: b, cfg: cfg, split: cfg.Split}
}

// Conn returns the owner's side.
func (d *Driver) Conn() *Conn { return &d.c }

// Hear says whether anybody listens to OnSent, which is so at first. If not, a Send that the system took is counted at
// once, and there is neither a notice nor a turn for it; OnSendFailed comes all the same. It holds for outcomes to come,
// but those that wait for an OnSent are not overtaken.
func (d *Driver) Hear(sent bool) {
	if sent {
		d.c.flags.clear(flagUnheard)
	} else {
		d.c.flags.set(flagUnheard)
	}
}

// Connecting notes, between turns, that so many addresses are being tried.
func (d *Driver) Connecting(inflight int) {
	d.c.input1(notice{kind: noticeEvent, value: Connecting{inflight}})
}

// Connected notes, between turns, that the socket is connected.
func (d *Driver) Connected() { d.c.flags.set(flagSocketJoined) }

// Failed notes, between turns, that the socket never will be connected.
func (d *Driver) Failed(stage Stage, err error) {
	d.c.input1(notice{kind: noticeConnectFailed, token: uint64(stage), value: err})
}

// Ready notes, between turns, that the socket is ready.
func (d *Driver) Ready(i Interest) {
	if i&(Readable|Hangup) != 0 {
		d.c.flags.set(flagReadable)
	}
	if i&Writable != 0 {
		d.c.flags.set(flagWritable)
	}
	if i&Hangup != 0 {
		d.c.flags.set(flagHangup | flagLook)
	}
}

// Slept notes, between turns, that the machine slept for so long, in which the clock of Begin stood still. It reports
// whether a turn is wanted for that: there are layers to tell.
func (d *Driver) Slept(t time.Duration) (more bool) {
	if d.c.chain == nil || d.c.state == StateClosed {
		return false
	}
	d.c.input1(notice{kind: noticeSlept, value: t})
	return true
}

// input1 notes one input that has data.
func (c *Conn) input1(n notice) {
	if c.inputs == nil {
		c.inputs = new([]notice)
	}
	*c.inputs = append(*c.inputs, n)
}

// Begin starts a turn at now. Inputs become notices; the notices there are now belong to this turn, later ones to the
// next. The turn borrows m, which must not be nil; now is not the zero Time. A second Begin in the same turn makes all
// there are now belong to it.
func (d *Driver) Begin(now time.Time, m *Memory) {
	c := &d.c
	if m == nil {
		panic("conn: a turn needs a Memory") // without one, the connection takes itself to be between turns
	}
	c.m = m
	m.ends = m.ends[:0] // there is something if a turn broke off, and never came to its end
	if c.born.IsZero() {
		c.born = now
		c.limit = c.after(c.cfg.startTimeout())
	}
	if t := int64(now.Sub(c.born)); t >= c.now {
		c.now = t
	} else { // time does not run backwards
		now = c.time(c.now)
	}
	m.now = now
	c.flags.clear(turnFlags)
	if c.inputs != nil || c.flags.has(flagSocketJoined) {
		c.takeInputs()
	}
	c.notices.startTurn()
}

func (c *Conn) takeInputs() {
	if inputs := c.inputs; inputs != nil {
		c.inputs = nil
		for _, n := range *inputs {
			switch {
			case n.kind == noticeConnectFailed:
				if c.state == StateConnecting {
					err, _ := n.value.(error)
					c.failStart(Stage(n.token), err, false)
				}
			case n.kind == noticeSlept:
				t, _ := n.value.(time.Duration)
				c.layersSlept(t)
			case c.state != StateClosed:
				c.notify(n.kind, n.token, n.value)
			}
		}
	}
	if c.flags.has(flagSocketJoined) {
		c.flags.clear(flagSocketJoined)
		if c.state == StateConnecting {
			c.start()
		}
	}
}

// start opens the layers, now that there is a socket. It may be readable and writeable already, for what came before
// it was registered is not reported.
func (c *Conn) start() {
	c.setState(StateStarting)
	c.flags.set(flagReadable | flagWritable)
	if c.cfg.ReadWaits == On || c.cfg.ReadWaits == Auto && !c.b.Info().Dialed {
		c.flags.set(flagWaits)
	}
	if len(c.cfg.Layers) == 0 {
		c.notify(noticeConnected, 0, nil)
		return
	}
	c.openLayers()
}

// Next takes the oldest notice of this turn.
func (d *Driver) Next() (n Notice, ok bool) {
	inner, ok := d.c.next()
	return Notice{inner}, ok
}

// Deliver makes the callback that n stands for.
func (d *Driver) Deliver(n Notice) { d.c.deliver(n.n) }

// Reads reports whether Read has anything to do in this turn. It may be left out if not.
func (d *Driver) Reads() bool {
	c := &d.c
	return c.wantsRead() || c.isDue() || !c.informed()
}

// Read reads within the turn's budget, delivers frame by frame, and expires what is due.
func (d *Driver) Read() {
	d.c.tellReading()
	d.c.read()
	d.c.expire()
}

// End writes once and reports whether there is reason for another turn.
func (d *Driver) End() (more bool) {
	c := &d.c
	if c.plain() && c.informed() {
		c.flush()
		if c.rests() {
			c.m = nil
			return false
		}
	} else {
		c.ledger.endTurn(c.m) // first, for code of layers may panic
		c.giveUp()
		c.watch()
		c.goodbye()
		c.flush()
	}
	if !c.plain() || !c.informed() {
		c.expireLimits()
		c.step()
		c.tellReading()
		c.release()
	}
	c.arm()
	c.ledger.endTurn(c.m)
	c.m = nil
	return c.wantsTurn()
}

// plain reports whether the connection is merely open. If it is informed, too, the end of a turn has nothing to see to
// but the write. Most turns are such.
func (c *Conn) plain() bool {
	return c.state == StateConnected && !c.flags.has(flagLook|flagPeerEnded|
		flagTopEOF|flagWriteEnded|flagGoodbye|flagWireDeaf|flagBroken|flagMute)
}

// informed reports whether the layers, if there are some, know whether reading is held.
func (c *Conn) informed() bool { return c.chain == nil || c.heldTold() }

//go:noinline // so that informed is inlined: most connections have no layers
func (c *Conn) heldTold() bool { return (c.holders() != 0) == c.flags.has(flagHeldTold) }

// rests reports whether a plain connection wants nothing but the peer's next bytes, as it has said before.
func (c *Conn) rests() bool {
	return c.flags&(flagReadable|flagWritable|flagUnwriteable) == flagWritable && c.armed == Hangup|Readable &&
		c.holds == 0 && c.queue.pending == 0 && c.notices.ring == nil && c.inputs == nil && c.held == nil &&
		!(c.ticks() && c.isDue()) && c.plain() && c.informed()
}

// Turn is a whole turn in one call; f, which may be nil, stands for the owner's messages. As in Begin, m must not be nil.
func (d *Driver) Turn(now time.Time, m *Memory, f func(*Conn)) (more bool) {
	d.Begin(now, m)
	for n, ok := d.Next(); ok; n, ok = d.Next() {
		d.Deliver(n)
	}
	d.Read()
	if f != nil {
		f(&d.c)
	}
	return d.End()
}

// Abort is [Conn.Abort] with another cause. It belongs into a turn.
func (d *Driver) Abort(cause Cause, err error) { d.c.fail(cause, err) }

// Pending reports whether a turn is wanted now, as End does.
func (d *Driver) Pending() bool { return d.c.wantsTurn() }

// Deadline is when a turn is wanted at the latest; zero means never. Ask after End. Activity does not change it.
func (d *Driver) Deadline() time.Time {
	c := &d.c
	if c.told = 0; c.state != StateConnected || c.ticks() {
		c.told = c.deadline()
	}
	if c.told == 0 {
		return time.Time{}
	}
	return c.time(c.told)
}

// Due notes, between turns, that the last Deadline has come, so that it must be asked again.
func (d *Driver) Due() { d.c.told = -1 }

// Moved reports whether Deadline must be asked: it would return something else than the last time, or has come. After
// most turns of an open connection there is no need to set what is set.
func (d *Driver) Moved() bool {
	c := &d.c
	return c.state != StateConnected || c.told|c.idleAt|c.layerAt != 0 && c.deadline() != c.told || c.timers != nil
}

// Done reports whether the last callback was made; then the Driver may be forgotten.
func (d *Driver) Done() bool { return d.c.flags.has(flagDone) }

// wantsTurn reports whether anything can be done without waiting for the system, the clock or the owner. The first turn
// is wanted at once: StartTimeout runs from there. What fell due after the reading of a turn waits for the next one.
func (c *Conn) wantsTurn() bool {
	return c.born.IsZero() || c.notices.len() > 0 || c.inputs != nil || c.flags.has(flagSocketJoined|flagLook) ||
		c.wantsWrite() || c.wantsRead() || c.isDue()
}

func (c *Conn) wantsWrite() bool {
	return c.queue.pending > 0 && c.flags.has(flagWritable) && c.state != StateConnecting && c.state != StateClosed
}

// wantsRead reports whether reading would find something: in the socket, or in what is held.
func (c *Conn) wantsRead() bool {
	switch c.state {
	case StateConnecting, StateClosed:
		return false
	case StateStarting:
		if !c.layered() {
			return false
		}
	}
	if !(c.flags.has(flagReadable) && !c.flags.has(flagPeerEnded) || c.mayCut()) {
		return false
	}
	h := c.holders()
	if c.state == StateClosing {
		h &^= holdPause | holdLayer
	}
	return h == 0
}

// mayCut reports whether a frame, or the end of the stream, may be told without reading on.
func (c *Conn) mayCut() bool {
	if !c.delivers() {
		return false
	}
	return c.unread() > 0 && !c.flags.has(flagDry) || c.flags.has(flagTopEOF) && !c.flags.has(flagEOFTold)
}

// release gives back, when the connection is over and no callback or layer is on the stack, all that it held.
func (c *Conn) release() {
	if c.state != StateClosed || c.flags.has(flagReleased) {
		return
	}
	c.flags.set(flagReleased)
	c.releaseHeld()
	if c.timers != nil {
		c.timers.list = c.timers.list[:0]
		c.releaseTimers()
	}
	if c.chain != nil {
		c.chain.Close()
	}
}

// arm tells the shell what the connection waits for, when that has changed.
func (c *Conn) arm() {
	if c.state == StateConnecting || c.state == StateClosed {
		return
	}
	want := Hangup
	if c.holders() == 0 || c.state == StateClosing {
		want |= Readable
	}
	if c.queue.pending > 0 && !c.flags.has(flagWritable) {
		want |= Writable
	}
	if want != c.armed {
		c.armed = want
		c.b.Arm(want)
	}
}
