package interceptor

import (
	"fmt"
	"time"
)

// A node is a layer's place in its chain, and its Link. It takes 64 bytes.
type node struct {
	chain        *Chain
	layer        Interceptor
	above, below *node
	early        *early        // what came up for this layer before it was open; nil if nothing did
	due          time.Duration // its deadline, counted from chain.base, if armed or serving
	flags        flags
}

// early is what waits for a layer that is not open. eof comes after bytes.
type early struct {
	bytes []byte
	eof   bool
}

type flags uint32

const (
	isCalled    flags = 1 << iota // Open was called, so Close must be
	isFailed                      // Open failed: only Close is called
	isFlowing                     // what comes up goes straight to it
	isReady                       // the one above may open
	isShut                        // CloseWrite was called: nothing comes from above
	endedItself                   // it called EOF: what it passes up is dropped
	endedAbove                    // the layer above was told EOF
	isHolding                     // it holds reading back
	isArmed                       // it has a deadline
	isServing                     // its deadline has come, and Expire was not called yet
	isTimed                       // it is a Timed
	seesWriting                   // it is a WriteObserver
	seesReading                   // it is a ReadObserver
	seesSleep                     // it is a SleepObserver
	knowsHeld                     // it was told that reading is held back
	skipsWrote                    // it need not see Wrote
	skipsBytes                    // bytes go past it
)

var (
	_ Link   = (*node)(nil)
	_ Lender = (*node)(nil)
	_ Meter  = (*node)(nil)
)

func newNode(i Interceptor) *node {
	n := &node{layer: i}
	if _, ok := i.(Timed); ok {
		n.flags |= isTimed
	}
	if _, ok := i.(WriteObserver); ok {
		n.flags |= seesWriting
	}
	if _, ok := i.(ReadObserver); ok {
		n.flags |= seesReading
	}
	if _, ok := i.(SleepObserver); ok {
		n.flags |= seesSleep
	}
	return n
}

// Up passes p to the layer above, or out of the chain.
func (n *node) Up(p []byte) error {
	c := n.chain
	a := n.above
	for a != nil && a.flags&skipsBytes != 0 {
		n, a = a, a.above
	}
	switch {
	case c.closed:
		return ErrClosed
	case c.depth == 0: // a method that the chain does not know, such as one that the handler called
		return c.run(func() error { return n.Up(p) })
	case n.flags&(endedItself|endedAbove) != 0:
		return n.passedEnd()
	case a == nil:
		return c.outer.Up(p)
	case a.flags&isFlowing == 0:
		return n.keep(a, p)
	default:
		return a.layer.Up(a, p)
	}
}

// passedEnd is for bytes that come after the end. To drop them after an end that the layer did not choose would hide
// a hole in the stream.
func (n *node) passedEnd() error {
	if n.flags&endedItself != 0 {
		return nil
	}
	return n.chain.fail(fmt.Errorf("interceptor: %T passed bytes up after EOF", n.layer))
}

// keep keeps a copy of p until a is open.
func (n *node) keep(a *node, p []byte) error {
	c := n.chain
	if a.flags&isFailed != 0 {
		return c.failure
	}
	if c.shut && a.flags&isCalled == 0 {
		return nil // it will not be opened any more
	}
	if a.early == nil {
		a.early = new(early)
	}
	if len(a.early.bytes)+len(p) > maxEarly {
		return c.fail(&EarlyError{Layer: fmt.Sprintf("%T", n.layer), Max: maxEarly})
	}
	a.early.bytes = append(a.early.bytes, p...)
	return nil
}

// Down passes bufs to the layer below, or out of the chain.
func (n *node) Down(bufs [][]byte) error {
	c := n.chain
	switch {
	case c.closed:
		return ErrClosed
	case c.depth == 0: // as in Up
		return c.run(func() error { return n.Down(bufs) })
	}
	return c.below(n.below, bufs)
}

// below gives bufs to n, or past it. Below the lowest is what is outside.
func (c *Chain) below(n *node, bufs [][]byte) error {
	for n != nil && n.flags&skipsBytes != 0 {
		n = n.below
	}
	if n == nil {
		return c.outer.Down(bufs)
	}
	return n.take(bufs)
}

// take gives n bytes from above.
func (n *node) take(bufs [][]byte) error {
	switch {
	case n.flags&(isReady|isShut) == isReady:
		return n.layer.Down(n, bufs)
	case n.flags&isShut != 0:
		return nil // it was promised that no more comes; the connection is closing
	case n.chain.failure != nil:
		return n.chain.failure
	default:
		return fmt.Errorf("interceptor: %T is not ready", n.layer)
	}
}

// EOF tells those above, once. An objection of theirs is no failure of this layer: the Link around the chain gets it
// from Truncated.
func (n *node) EOF() (err error) {
	c := n.chain
	if c.closed {
		return ErrClosed
	}
	if n.flags&(endedItself|endedAbove) != 0 {
		return nil
	}
	n.flags |= endedItself | endedAbove
	d := c.enter()
	defer c.leave(d, &err)
	return c.eof(n.above)
}

// Ready opens the layer above, or tells outer.
func (n *node) Ready() {
	c := n.chain
	if c.closed || n.flags&(isReady|isFailed) != 0 {
		return
	}
	n.flags |= isReady
	d := c.enter()
	defer c.leave(d, nil)
	if n.above == nil {
		c.outer.Ready()
	} else if !c.shut {
		if err := c.start(n.above); err != nil {
			c.fail(err)
		}
	}
}

// Raise raises ev outside.
func (n *node) Raise(ev any) {
	if c := n.chain; !c.closed {
		c.outer.Raise(ev)
	}
}

// Post may be called on any goroutine: it reads only what never changes once a layer has its Link.
func (n *node) Post(f func() error) {
	c := n.chain
	c.outer.Post(func() error {
		if c.closed {
			return nil
		}
		return c.run(f)
	})
}

// Hold holds for this layer; outer is held while any layer holds.
func (n *node) Hold() {
	c := n.chain
	if c.closed || n.flags&isHolding != 0 {
		return
	}
	n.flags |= isHolding
	if c.holds++; c.holds == 1 {
		c.outer.Hold()
	}
}

// Release ends this layer's hold.
func (n *node) Release() {
	c := n.chain
	if c.closed || n.flags&isHolding == 0 {
		return
	}
	n.flags &^= isHolding
	if c.holds--; c.holds == 0 {
		c.outer.Release()
	}
}

// End ends what is outside.
func (n *node) End(err error) {
	if c := n.chain; !c.closed {
		c.outer.End(err)
	}
}

// Closing asks outside.
func (n *node) Closing() bool { return n.chain.closed || n.chain.outer.Closing() }

// Unread asks outside.
func (n *node) Unread() int {
	if n.chain.closed {
		return -1
	}
	return n.chain.outer.Unread()
}

// Room asks outside, if this is the top layer: those above might ask for the same memory.
func (n *node) Room() []byte {
	c := n.chain
	if c.closed || n.above != nil {
		return nil
	}
	if l, ok := c.outer.(Lender); ok {
		return l.Room()
	}
	return nil
}

// Skip leaves methods of this layer out.
func (n *node) Skip(s Skips) bool {
	c := n.chain
	n.flags &^= skipsWrote | skipsBytes
	_, ok := n.Traffic()
	if ok = ok && !c.closed && n.flags&(isFlowing|isReady|isShut|isFailed) == isFlowing|isReady; ok {
		if s&SkipWrote != 0 {
			n.flags |= skipsWrote
		}
		if s&SkipBytes != 0 {
			n.flags |= skipsBytes
		}
	}
	c.tellSkips()
	return ok
}

// Traffic asks outside, if the bytes there are those of this layer.
func (n *node) Traffic() (t Traffic, ok bool) {
	for b := n.below; b != nil; b = b.below {
		if b.flags&skipsBytes == 0 {
			return t, false
		}
	}
	if m, ok := n.chain.outer.(Meter); ok {
		return m.Traffic()
	}
	return t, false
}

// tellSkips tells outer what all layers skip, when that has changed: it may leave the chain out.
func (c *Chain) tellSkips() {
	all := SkipWrote | SkipBytes
	for n := c.bottom; n != nil; n = n.above {
		if n.flags&(skipsWrote|seesWriting) == seesWriting {
			all &^= SkipWrote
		}
		if n.flags&skipsBytes == 0 {
			all &^= SkipBytes
		}
	}
	if all == c.skips {
		return
	}
	c.skips = 0
	if m, ok := c.outer.(Meter); ok && m.Skip(all) {
		c.skips = all
	}
}

// Info asks outside.
func (n *node) Info() Info { return n.chain.outer.Info() }

// Now asks outside.
func (n *node) Now() time.Time { return n.chain.outer.Now() }

// SetDeadline replaces this layer's deadline. It means nothing to a layer that is no Timed.
func (n *node) SetDeadline(t time.Time) {
	c := n.chain
	if n.flags&isTimed == 0 {
		return
	}
	n.flags &^= isArmed | isServing
	if !t.IsZero() {
		n.due = c.distance(t)
		n.flags |= isArmed
	}
	c.tellDeadline()
}
