package conn

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// holder is a set of those who hold reading back. It runs when there is none.
type holder uint8

const (
	holdPause  holder = 1 << iota // the application: Pause
	holdLayer                     // a layer: Link.Hold
	holdWaits                     // Config.ReadWaits, while Send is refused as not writeable
	holdOutput                    // the layers' own output, while more than HighWater of it is unsent
	holdStart                     // one read's worth waits for OnConnected or Upgraded
)

// holders reports who holds reading back now.
func (c *Conn) holders() holder {
	if c.state == StateConnected && c.holds == 0 && c.ledger.own == 0 && !c.flags.has(flagUnwriteable) {
		return 0 // as nearly always
	}
	return c.allHolders()
}

func (c *Conn) allHolders() holder {
	h := c.holds
	switch c.state {
	case StateStarting, StateUpgrading: // the layers must get on; only what comes up at the top waits
		h &^= holdPause
		if len(c.kept()) >= readBuffer {
			h |= holdStart
		}
	case StateConnected:
		if c.flags.has(flagWaits) && c.flags.has(flagUnwriteable) && !c.flags.has(flagWriteEnded) {
			h |= holdWaits
		}
	}
	if c.ledger.own > 0 && c.ledger.own > c.cfg.highWater() {
		h |= holdOutput
	}
	return h
}

// Pause stops OnReceived at once, and reading soon after, until Resume. Bytes already read are kept. The peer's reset
// is noticed all the same, and its end, if nothing is unread. It does not count: one Resume ends any number of them.
// While a layer starts, reading goes on for it.
func (c *Conn) Pause() { c.holds |= holdPause }

// Resume ends Pause. OnReceived comes in a later turn, or later in this one, never inside Resume.
func (c *Conn) Resume() { c.holds &^= holdPause }

// read is the reading of a turn: it pulls frames, one at a time, and reads from the socket at most once.
func (c *Conn) read() {
	c.flags.clear(flagRaised)
	c.flags.set(flagReadDone)
	c.m.giving, c.m.reading = false, true
	// Deferred, so that a panic in OnReceived loses only the frame that caused it.
	defer c.keepRest()
	for c.mayRead() {
		frame, ok := c.cut()
		switch {
		case ok:
			c.give(frame)
			if c.state == StateConnected && c.flags.has(flagFilled) && !c.flags.has(flagTopEOF) && c.unread() == 0 {
				return // a second look would find nothing
			}
		case c.state == StateClosed:
			return
		case c.flags.has(flagTopEOF) && !c.flags.has(flagEOFTold) && c.delivers():
			c.endStream()
		case !c.fill():
			return
		}
	}
}

// mayRead looks at everything that stops reading, before each frame.
func (c *Conn) mayRead() bool {
	switch c.state {
	case StateConnected:
		if c.holders() != 0 {
			return false
		}
	case StateConnecting, StateClosed:
		return false
	case StateStarting:
		if !c.layered() || c.holders() != 0 {
			return false
		}
	case StateClosing:
		h := c.holders()
		if h&(holdPause|holdLayer) != 0 {
			c.deafen() // a pause meets Close: the rest is dropped, for no Resume may ever come
		}
		if h&^(holdPause|holdLayer) != 0 {
			return false
		}
	default:
		if c.holders() != 0 {
			return false
		}
	}
	return !c.flags.has(flagRaised | flagYielded)
}

// delivers reports whether frames may reach the handler in this state.
func (c *Conn) delivers() bool {
	return c.flags.has(flagConnected) && (c.state == StateConnected || c.state == StateClosing) && !c.flags.has(flagDeaf)
}

// deafen drops what is held and what will come up: it is never delivered.
func (c *Conn) deafen() {
	c.flags.set(flagDeaf | flagDry | flagEOFTold)
	c.dropInput()
}

// input is what is read and not delivered yet: in the shared buffer while the turn that read it lasts, else held.
func (c *Conn) input() []byte {
	if c.m != nil && c.m.hi > c.m.lo {
		return c.m.in[c.m.lo:c.m.hi]
	}
	return c.kept()
}

// kept is what is held in a buffer of the connection's own.
func (c *Conn) kept() []byte {
	if c.held == nil {
		return nil
	}
	return c.held.buf[c.held.off:]
}

// take takes n bytes off the input. They stay valid until the reading of this turn is over.
func (c *Conn) take(n int) {
	switch {
	case c.m.hi > c.m.lo:
		c.m.lo += n
	case c.held != nil:
		c.held.off += n
	}
}

func (c *Conn) dropInput() {
	c.take(len(c.input()))
}

// cut takes the next frame off the input, before it is delivered: a strategy that resumes after a panic must not meet
// it again.
func (c *Conn) cut() (frame []byte, ok bool) {
	if !c.delivers() || c.flags.has(flagDry) {
		return nil, false
	}
	if c.split == nil {
		p := c.input()
		c.take(len(p))
		return p, len(p) > 0
	}
	for {
		p := c.input()
		if len(p) == 0 && !c.flags.has(flagTopEOF) {
			return nil, false
		}
		n, token, err := c.split(p, c.flags.has(flagTopEOF))
		if err == nil && token != nil && uint(n-1) < uint(len(p)) && len(token) <= c.cfg.maxFrame() {
			c.take(n) // as nearly always
			if c.rare != nil {
				c.rare.idleCuts = 0
			}
			return token, true
		}
		if err == nil {
			err = c.checkCut(n, len(p), token)
		}
		if errors.Is(err, bufio.ErrFinalToken) {
			c.flags.set(flagTopEOF | flagDry) // the framing says that the stream ends here
			c.dropInput()
			return token, token != nil
		}
		if err != nil {
			c.fail(CauseFrame, err)
			return nil, false
		}
		c.take(n)
		switch {
		case token != nil && n == 0:
			c.needRare().idleCuts++
			return token, true
		case token != nil:
			if c.rare != nil {
				c.rare.idleCuts = 0
			}
			return token, true
		case n == 0:
			c.flags.set(flagDry)
			return nil, false
		}
	}
}

// maxIdleCuts bounds how many tokens in a row a split function may cut without taking a byte, as in package bufio.
const maxIdleCuts = 100

// frameSlack is what a prefix or delimiter may add to a frame of MaxFrame bytes.
const frameSlack = 64

// checkCut looks at what Split answered: it advanced by n of size bytes and cut token.
func (c *Conn) checkCut(n, size int, token []byte) error {
	limit := c.cfg.maxFrame()
	switch {
	case n < 0:
		return fmt.Errorf("Config.Split advanced by %d: %w", n, bufio.ErrNegativeAdvance)
	case n > size:
		return fmt.Errorf("Config.Split advanced by %d of %d bytes: %w", n, size, bufio.ErrAdvanceTooFar)
	case len(token) > limit:
		return fmt.Errorf("a frame of %d bytes is longer than Config.MaxFrame, %d: raise it, or see whether both sides "+
			"frame alike: %w", len(token), limit, bufio.ErrTooLong)
	case token == nil && n == 0 && size > limit+frameSlack:
		return fmt.Errorf("%d bytes make no frame, Config.MaxFrame is %d: raise it, or see whether both sides frame alike: %w",
			size, limit, bufio.ErrTooLong)
	case token != nil && n == 0 && c.rarely().idleCuts >= maxIdleCuts:
		return fmt.Errorf("Config.Split cut %d tokens without taking a byte: %w", maxIdleCuts, io.ErrNoProgress)
	}
	return nil
}

// give delivers one frame.
func (c *Conn) give(frame []byte) {
	c.received++
	c.m.giving = true
	err := c.h.OnReceived(c, frame)
	c.m.giving = false
	switch {
	case err == nil:
	case err == Yield || errors.Is(err, Yield):
		c.flags.set(flagYielded)
	case c.state == StateClosing:
		// Send's ErrNotConnected, most likely. It must not turn an orderly close into a reset.
		c.deafen()
	default:
		c.fail(CauseHandler, err)
	}
}

// fill reads from the socket, once in a turn, and reports whether there may be something new to cut.
func (c *Conn) fill() bool {
	if c.flags.has(flagFilled|flagPeerEnded|flagBroken) || !c.flags.has(flagReadable) {
		return false
	}
	c.flags.set(flagFilled)
	p := c.space()
	n, err := c.b.Read(p)
	if n < len(p) && !c.flags.has(flagHangup) || err == ErrWouldBlock {
		c.flags.clear(flagReadable)
	}
	switch {
	case n > 0:
		c.bytesRead += uint64(n)
		c.readAt = c.now
		if c.flags.has(flagHangup) {
			c.flags.set(flagLook) // what comes next may be the end, and reading may be held from here on
		}
		c.took(p[:n])
		return true
	case err == io.EOF:
		c.peerEnd()
		return true
	case err != nil && err != ErrWouldBlock:
		c.fail(CauseRead, err)
	}
	return false
}

// space is where the next Read puts its bytes: behind what is held, so that a frame is always in one piece. Few held
// bytes are moved to the front of the shared buffer; behind many the held buffer grows, by what really arrives.
func (c *Conn) space() []byte {
	m := c.m
	if m.read == nil {
		m.read = make([]byte, readBuffer)
	}
	m.in, m.lo, m.hi = m.read, 0, 0
	if c.shown() || c.flags.has(flagDeaf|flagWireDeaf) {
		return m.read
	}
	if c.held == nil {
		return m.read
	}
	if c.unhold() {
		return m.read[m.hi:]
	}
	c.growHeld(readBuffer / 2)
	buf := c.held.buf
	return buf[len(buf):cap(buf)][:readBuffer/2]
}

// unhold moves what is held to the front of the shared buffer that input is in, unless it is too much.
func (c *Conn) unhold() bool {
	kept := c.kept()
	if len(kept) > readBuffer/2 {
		return false
	}
	c.m.lo, c.m.hi = 0, copy(c.m.in, kept)
	c.releaseHeld()
	return true
}

// took puts the bytes just read where they belong.
func (c *Conn) took(p []byte) {
	switch {
	case c.flags.has(flagWireDeaf):
	case c.shown():
		c.layerUp(p)
	case c.flags.has(flagDeaf | flagTopEOF):
	default:
		c.flags.clear(flagDry)
		if h := c.held; h != nil && h.off < len(h.buf) {
			h.buf = h.buf[:len(h.buf)+len(p)]
		} else {
			c.m.hi += len(p)
		}
	}
}

// collect keeps bytes that came up at the top of the layers.
func (c *Conn) collect(p []byte) {
	if c.flags.has(flagDeaf|flagTopEOF) || c.state == StateClosed || len(p) == 0 {
		return
	}
	c.flags.clear(flagDry)
	if c.leave(p) {
		return
	}
	if m := c.m; m != nil && m.hi > m.lo { // what was left there comes first
		c.holdRest(m.hi - m.lo + len(p))
	}
	c.growHeld(len(p))
	c.held.buf = append(c.held.buf, p...)
}

// leave leaves p where it was read, if the layers passed it up as it is, or where a layer made it: nothing is held before
// it, and it follows what was left there before. It reports whether it could. As without layers, the reading of the turn
// delivers from there.
func (c *Conn) leave(p []byte) bool {
	m := c.m
	if m == nil || !m.reading || c.held != nil {
		return false
	}
	buf := m.read
	lo := begin(buf, p)
	if lo < 0 {
		buf = m.made
		lo = begin(buf, p)
	}
	switch {
	case lo < 0:
		return false
	case m.lo == m.hi:
		m.in, m.lo = buf, lo
	case m.hi != lo || &m.in[0] != &buf[0]:
		return false
	}
	m.hi = lo + len(p)
	return true
}

// begin returns where in buf p begins; -1 if p, which is not empty, is no part of it.
func begin(buf, p []byte) int {
	lo := cap(buf) - cap(p) // if it is
	if lo < 0 || lo+len(p) > len(buf) || &buf[lo] != &p[0] {
		return -1
	}
	return lo
}

// Room lends what is free of the shared buffer, behind what was made in this turn; or behind what is held, if that is so
// little that it can be moved there.
func (l *link) Room() []byte {
	c, m := (*Conn)(l), l.m
	if m == nil || !m.reading || m.giving || c.flags.has(flagDeaf|flagTopEOF) {
		return nil
	}
	if m.made == nil {
		m.made = make([]byte, madeBuffer)
	}
	switch {
	case c.held != nil:
		if m.in = m.made; !c.unhold() {
			return nil
		}
		return m.made[m.hi:]
	case len(m.in) > 0 && &m.in[0] == &m.made[0]:
		return m.made[m.hi:]
	case m.lo == m.hi:
		return m.made
	}
	return nil
}

// holdRest moves what is not delivered from the shared buffer to one of the connection's own that has room for n bytes.
func (c *Conn) holdRest(n int) {
	m := c.m
	c.releaseHeld()
	c.held = m.heldBytes(n)
	c.held.buf = append(c.held.buf, m.in[m.lo:m.hi]...)
	m.lo, m.hi = 0, 0
}

// growHeld makes room for n more bytes behind what is held.
func (c *Conn) growHeld(n int) {
	if c.held == nil {
		c.held = c.m.heldBytes(n)
		return
	}
	h := c.held
	if cap(h.buf)-len(h.buf) >= n {
		return
	}
	rest := h.buf[h.off:]
	grown := append(c.m.buffer(max(len(rest)+n, min(2*len(rest), len(rest)+c.cfg.maxFrame()))), rest...)
	if c.m.giving {
		c.m.forgetBuffer(h.buf) // a frame of it is in the handler's hands
	} else {
		c.m.giveBuffer(h.buf)
	}
	h.buf, h.off = grown, 0
}

// keepRest ends the reading: bytes that were not delivered move from the shared buffer to one of the connection's
// own; an empty one is given back.
func (c *Conn) keepRest() {
	rest := c.input()
	switch m := c.m; {
	case len(rest) == 0 || c.state == StateClosed:
		c.releaseHeld()
	case m.hi > m.lo:
		c.holdRest(len(rest))
	}
	c.m.lo, c.m.hi, c.m.reading = 0, 0, false
}

func (c *Conn) releaseHeld() {
	if c.held != nil {
		c.m.giveHeldBytes(c.held)
		c.held = nil
	}
}

// unread is how many bytes are read and not delivered.
func (c *Conn) unread() int { return len(c.input()) }

// peerEnd notes that the peer sends no more. What it sent is delivered first.
func (c *Conn) peerEnd() {
	c.flags.set(flagPeerEnded)
	c.flags.clear(flagReadable)
	switch {
	case c.flags.has(flagWireDeaf):
		c.flags.set(flagTopEOF | flagEOFTold)
	case c.layered():
		c.layerEOF()
	default:
		c.flags.set(flagTopEOF)
		c.flags.clear(flagDry)
	}
}

// endStream tells that no more frames come, and whether the stream broke off inside one.
func (c *Conn) endStream() {
	c.flags.set(flagEOFTold)
	var err error
	if n := len(c.input()); n > 0 {
		err = fmt.Errorf("the stream broke off inside a frame, after %d bytes of it: %w", n, io.ErrUnexpectedEOF)
		c.truncate(err)
		c.dropInput()
	} else if c.layered() {
		err = c.chain.Truncated()
	}
	c.notify(noticeEOF, 0, err)
}

// truncate notes that the stream was cut short. Only an orderly end reports it: any other has its own cause.
func (c *Conn) truncate(err error) {
	if c.rarely().reason == nil {
		c.needRare().reason = &CloseError{CauseTruncated, err}
	}
}

// watch asks for the peer's reset or end while nothing is read: a pause must not hide them.
func (c *Conn) watch() {
	if c.flags.has(flagLook) {
		c.flags.clear(flagLook)
		c.look()
	}
	if c.flags.has(flagTopEOF) && !c.flags.has(flagEOFTold) && c.holders() != 0 && c.delivers() && c.unread() == 0 {
		c.endStream()
	}
}

// endWaits reports whether the peer's end is not told yet: a layer that is not ready holds reading, so it may be at work
// on what would make it ready. Reading finds the end when it lets go.
func (c *Conn) endWaits() bool {
	return c.holds&holdLayer != 0 && (c.state == StateStarting || c.state == StateUpgrading) && !c.flags.has(flagReady)
}

// look asks what reading would meet, unless reading finds out by itself.
func (c *Conn) look() {
	if c.state == StateConnecting || c.state == StateClosed {
		return
	}
	held, ended := c.holders() != 0, c.flags.has(flagPeerEnded)
	if !held && !ended && c.flags.has(flagReadable) {
		c.flags.set(flagLook) // for a pause may come before reading finds out
		if c.flags.has(flagReadDone) {
			return
		}
	}
	switch n, err := c.b.Unread(); {
	case err == io.EOF && held && n <= 0 && !ended && !c.endWaits():
		c.peerEnd()
	case err != nil && err != io.EOF && err != ErrWouldBlock:
		c.fail(CauseRead, err)
	}
}
