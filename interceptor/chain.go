package interceptor

import (
	"iter"
	"time"
)

// A Chain is a stack of layers, and is itself an Interceptor. The zero Chain is empty: it passes bytes through and is
// ready at once. It must not be copied.
//
// Open opens the layer nearest the socket; each Ready opens the next one, within the call. When the top layer is ready,
// the chain calls Ready of the Link it was opened with: once for the layers it had then, and once more for each Push
// that follows. If a layer fails while it opens, or is given what waited for it, the method of the chain that is running
// returns that error; from Wrote, Reading and Slept, which return none, it goes to Post. Of such a layer only Close is called
// any more, and nothing goes around it.
//
// What a layer passes up while the one above is not open waits there, up to 64 KiB; beyond that it is an [*EarlyError].
// What a layer passes up after its own Link.EOF is dropped. After its EOF method has returned, it is an error: the
// layer above was told that there is no more.
//
// CloseWrite is the end of what goes down: no layer is opened after it, and bytes for a layer that was told are
// dropped. A layer's own output still goes to those below that were not told.
//
// All methods belong to the connection's turns. Those of the layers' Links that pass something on are for turns too,
// except Post. Bytes up and down, deadlines and observers cost no allocation.
type Chain struct {
	outer       Link // what is around the chain. Open sets it, nothing clears it: Post reads it on any goroutine
	bottom, top *node
	base        time.Time     // when Open was called; deadlines are kept as distances from it
	told        time.Duration // the deadline that outer knows, if knows
	failure     error         // the first error of opening a layer
	cut         error         // the first error of a layer's EOF
	depth       int32         // methods of this chain on the stack
	skips       Skips         // what outer was told that all layers skip
	holds       int32         // layers that hold reading back
	opened      bool          // Open was called
	owed        bool          // failure must be returned by the outermost method
	knows       bool          // outer has a deadline of ours
	held        bool          // reading is held back, as last heard
	ended       bool          // EOF was called
	endTold     bool          // outer.EOF was called
	shut        bool          // CloseWrite was called
	closed      bool          // Close was called: everything is inert
	released    bool          // the layers were closed
}

var (
	_ Interceptor   = (*Chain)(nil)
	_ Timed         = (*Chain)(nil)
	_ WriteObserver = (*Chain)(nil)
	_ ReadObserver  = (*Chain)(nil)
	_ SleepObserver = (*Chain)(nil)
)

// Push adds a layer on top. Before Open, that is all. Later, it opens the layer as soon as the one below is ready, and
// returns the error of that if it does so at once; while the layer is not ready, Down is refused. Layers that are
// themselves a Chain, not open yet, join one by one, and leave it empty.
func (c *Chain) Push(i Interceptor) (err error) {
	if c.closed || c.shut {
		return ErrClosed
	}
	below := c.top
	first, err := c.stack(i)
	if err != nil || !c.opened || below != nil && below.flags&isReady == 0 {
		return err
	}
	d := c.enter()
	defer c.leave(d, &err)
	if first == nil { // an empty Chain is ready at once
		c.outer.Ready()
		return nil
	}
	if below != nil && below.flags&endedAbove != 0 || below == nil && c.ended {
		first.early = &early{eof: true}
	}
	return c.start(first)
}

// stack puts i on top and returns its place; or the lowest one, if i is a Chain, and nil if that is empty.
func (c *Chain) stack(i Interceptor) (first *node, err error) {
	var last *node
	if inner, ok := i.(*Chain); ok {
		if inner == nil || inner == c || inner.opened || inner.closed {
			return nil, errNotFresh
		}
		first, last = inner.bottom, inner.top
		inner.bottom, inner.top = nil, nil
	} else if i == nil {
		return nil, errNilLayer
	} else {
		first = newNode(i)
		last = first
	}
	for n := first; n != nil; n = n.above {
		n.chain = c
	}
	switch {
	case first == nil:
		return nil, nil
	case c.top == nil:
		c.bottom = first
	default:
		first.below, c.top.above = c.top, first
	}
	c.top = last
	if c.skips != 0 {
		c.tellSkips()
	}
	return first, nil
}

// All ranges over the layers, the one nearest the socket first. c may be nil.
func (c *Chain) All() iter.Seq[Interceptor] {
	return func(yield func(Interceptor) bool) {
		if c == nil {
			return
		}
		for n := c.bottom; n != nil && yield(n.layer); n = n.above {
		}
	}
}

// Find returns the layer of type T that is nearest the handler. c may be nil. Layers can still be found after Close.
func Find[T Interceptor](c *Chain) (layer T, ok bool) {
	if c == nil {
		return layer, false
	}
	for n := c.top; n != nil; n = n.below {
		if layer, ok = n.layer.(T); ok {
			return layer, true
		}
	}
	return layer, false
}

// Truncated returns what the first layer that objected to the end of the stream returned from EOF, nil if none did.
// It is known when the Link around the chain is told EOF, whether the wire ended or a layer did.
func (c *Chain) Truncated() error {
	if c.cut != nil {
		return c.cut
	}
	for n := c.top; n != nil; n = n.below {
		if t, ok := n.layer.(interface{ Truncated() error }); ok { // a type that embeds a Chain
			if err := t.Truncated(); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter notes that a method of the chain begins; leave, which must be deferred, that it ends, by a panic too. The
// outermost one settles what had to wait for it. err is where the method's error is, nil if it has none.
func (c *Chain) enter() int32 {
	d := c.depth
	c.depth = d + 1
	return d
}

func (c *Chain) leave(d int32, err *error) {
	c.depth = d
	if d == 0 && (c.owed || c.closed) {
		c.settle(err)
	}
}

func (c *Chain) settle(err *error) {
	if c.owed {
		c.owed = false
		if failure := c.failure; err != nil {
			*err = failure // it came first
		} else if !c.closed {
			c.outer.Post(func() error { return failure })
		}
	}
	if c.closed && !c.released {
		c.released = true
		release(c.top)
	}
}

// fail keeps an error for the outermost method, since the caller cannot return it, or might not.
func (c *Chain) fail(err error) error {
	if c.failure == nil {
		c.failure = err
	}
	c.owed = true
	return err
}

// run runs f as a method of the chain.
func (c *Chain) run(f func() error) (err error) {
	d := c.enter()
	defer c.leave(d, &err)
	return f()
}

// Open opens the layer nearest the socket.
func (c *Chain) Open(l Link) (err error) {
	if c.closed {
		return ErrClosed
	}
	if c.opened {
		return errNotFresh
	}
	c.opened, c.outer, c.base = true, l, l.Now()
	if c.bottom == nil {
		l.Ready()
		return nil
	}
	d := c.enter()
	defer c.leave(d, &err)
	defer c.tellSkips() // most layers do not observe writing
	return c.start(c.bottom)
}

// start opens n, and then gives it what came up for it by then.
func (c *Chain) start(n *node) error {
	n.flags |= isCalled
	if err := n.layer.Open(n); err != nil {
		return c.failed(n, err)
	}
	c.tellReading(n)
	for !c.closed && n.early != nil {
		e := n.early
		n.early = nil // more may come up meanwhile, behind this
		if len(e.bytes) > 0 {
			if err := n.layer.Up(n, e.bytes); err != nil {
				return c.failed(n, err)
			}
		}
		if e.eof && !c.closed {
			n.flags |= isFlowing
			return c.eof(n)
		}
	}
	n.flags |= isFlowing
	return nil
}

// failed notes that n failed while it was started: nothing but its Close is called any more.
func (c *Chain) failed(n *node, err error) error {
	n.flags |= isFailed
	n.early = nil
	if c.failure == nil {
		c.failure = err
	}
	return err
}

// Up gives p to the layer nearest the socket.
func (c *Chain) Up(l Link, p []byte) (err error) {
	n := c.bottom
	switch {
	case c.closed:
		return ErrClosed
	case n == nil:
		return l.Up(p)
	case n.flags&skipsBytes != 0:
		return n.Up(p)
	case n.flags&isFlowing == 0:
		if c.failure != nil {
			return c.failure
		}
		return errNotOpen
	}
	d := c.enter()
	defer c.leave(d, &err)
	return n.layer.Up(n, p)
}

// EOF tells the layers from the bottom up, and then l. A layer that is not open yet is told right after it opened; one
// above a layer that ended the stream itself knows already. An error of a layer does not keep those above from being
// told; EOF returns the first one there was, as [Chain.Truncated] does.
func (c *Chain) EOF(l Link) (err error) {
	if c.closed || c.ended {
		return nil
	}
	c.ended = true
	if c.bottom == nil {
		c.endTold = true
		return l.EOF()
	}
	d := c.enter()
	defer c.leave(d, &err)
	err = c.eof(c.bottom)
	if cut := c.Truncated(); cut != nil {
		return cut
	}
	return err
}

// eof tells n, which may be nil, and those above. The error is not that of a layer, but of the Link around the chain.
func (c *Chain) eof(n *node) error {
	for ; n != nil; n = n.above {
		if n.flags&isFlowing == 0 {
			if n.early == nil {
				n.early = new(early)
			}
			n.early.eof = true
			return nil
		}
		if err := n.layer.EOF(n); err != nil && c.cut == nil {
			c.cut = err
		}
		if c.closed || n.flags&endedAbove != 0 {
			return nil
		}
		n.flags |= endedAbove
	}
	if c.endTold {
		return nil
	}
	c.endTold = true
	return c.outer.EOF()
}

// Down gives bufs to the top layer.
func (c *Chain) Down(l Link, bufs [][]byte) (err error) {
	n := c.top
	switch {
	case c.closed:
		return ErrClosed
	case c.shut:
		return nil
	case n == nil:
		return l.Down(bufs)
	}
	d := c.enter()
	defer c.leave(d, &err)
	return c.below(n, bufs)
}

// CloseWrite tells the open layers, from the top down. It stops at the first error.
func (c *Chain) CloseWrite(Link) (err error) {
	c.shut = true
	d := c.enter()
	defer c.leave(d, &err)
	for n := c.top; n != nil && !c.closed; n = n.below {
		if n.flags&(isCalled|isFailed|isShut) != isCalled {
			continue
		}
		n.flags |= isShut
		n.flags &^= skipsWrote | skipsBytes // what comes from above from now on is dropped
		if c.skips != 0 {
			c.tellSkips()
		}
		if err := n.layer.CloseWrite(n); err != nil {
			return err
		}
	}
	return nil
}

// Wrote tells the open layers that observe writing, from the bottom up.
func (c *Chain) Wrote(_ Link, written, pending int) {
	d := c.enter()
	defer c.leave(d, nil)
	for n := c.bottom; n != nil && !c.closed; n = n.above {
		if n.flags&(isCalled|isFailed|seesWriting|skipsWrote) == isCalled|seesWriting {
			n.layer.(WriteObserver).Wrote(n, written, pending)
		}
	}
}

// Reading tells the open layers that observe reading, from the bottom up. A layer that opens while reading is held
// back is told so then.
func (c *Chain) Reading(_ Link, held bool) {
	c.held = held
	d := c.enter()
	defer c.leave(d, nil)
	for n := c.bottom; n != nil; n = n.above {
		c.tellReading(n)
	}
}

// tellReading tells n whether reading is held back, if that is news to it. At first a layer takes reading to be free.
func (c *Chain) tellReading(n *node) {
	if c.closed || n.flags&(isCalled|isFailed|seesReading) != isCalled|seesReading || c.held == (n.flags&knowsHeld != 0) {
		return
	}
	n.flags ^= knowsHeld
	n.layer.(ReadObserver).Reading(n, c.held)
}

// Slept tells the open layers that observe sleep, from the bottom up.
func (c *Chain) Slept(_ Link, t time.Duration) {
	d := c.enter()
	defer c.leave(d, nil)
	for n := c.bottom; n != nil && !c.closed; n = n.above {
		if n.flags&(isCalled|isFailed|seesSleep) == isCalled|seesSleep {
			n.layer.(SleepObserver).Slept(n, t)
		}
	}
}

// Close ends the chain: no method of a layer is called any more, and no call of a layer has an effect, but Info and Now.
// Then each layer whose Open was called, also in vain, is closed, from the top down: at once, or when the outermost
// method of the chain that is running has returned or panicked.
func (c *Chain) Close() {
	c.closed = true
	if c.depth == 0 {
		c.settle(nil)
	}
}

// release closes n and those below. One that panics does not keep the others from it.
func release(n *node) {
	if n == nil {
		return
	}
	defer release(n.below)
	n.early = nil
	if n.flags&isCalled != 0 {
		n.layer.Close()
	}
}
