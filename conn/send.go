package conn

import "github.com/galago-go/galago/interceptor"

// directSize is from how many bytes on a Send with nothing queued is written straight from the caller's memory:
// copying as much costs about as much as the system call that a joint write would save.
const directSize = 16 << 10

// Send accepts bufs, in order, as one unit: all of it or nothing. Like an [io.Writer] it keeps nothing of bufs. The
// error is always a [SendError]. OnSent or OnSendFailed tells the outcome, for an empty Send too.
//
// What is accepted is written at the end of the turn, or as soon as more than Config.HighWater bytes are pending.
// Called outside a turn, Send answers ErrNotReady.
func (c *Conn) Send(bufs ...[]byte) (SendToken, error) {
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	if err := c.refusal(total); err != 0 {
		if err == ErrNotWriteable {
			c.needRare().refused++
		}
		return 0, err
	}
	switch {
	case total == 0: // its place among the others is all there is to it
		c.accepted++
		c.open()
	case c.shown():
		return c.sendDown(bufs)
	case total >= directSize && c.queue.pending == 0 && len(bufs) <= maxBufs && c.flags.has(flagWritable):
		c.sendDirect(bufs, total)
	default:
		c.accepted++
		c.queue.pushAll(c.m, bufs, total)
		c.open()
	}
	c.crossing()
	return c.accepted, nil
}

// refusal says why n bytes cannot be accepted now, or 0. It changes nothing.
func (c *Conn) refusal(n int) SendError {
	switch {
	case c.state == StateStarting, c.state == StateUpgrading && !c.flags.has(flagWriteEnded):
		return ErrNotReady
	case c.state != StateConnected || c.flags.has(flagWriteEnded|flagBroken):
		return ErrNotConnected
	case c.m == nil:
		return ErrNotReady
	case n > c.cfg.maxPending():
		return ErrTooLarge
	case c.flags.has(flagUnwriteable):
		return ErrNotWriteable
	}
	return 0
}

// open notes in the ledger that the last token ends where the queue ends; if nothing is before it, it is settled.
func (c *Conn) open() {
	if c.queue.pending == 0 {
		c.ledger.settled = c.accepted
		c.notifyOutcomes(noticeSent, c.accepted, c.accepted)
		return
	}
	c.ledger.open(c.m, c.accepted, c.queue.end())
}

// sendDown accepts bufs through the layers. Its end is where the wire bytes end that the layers made of it.
func (c *Conn) sendDown(bufs [][]byte) (SendToken, error) {
	err := c.passDown(c.m.argScratch(bufs))
	clear(c.m.args)
	if err != nil {
		// Part of it may be queued, so nothing more must reach the wire: no last words.
		c.fail(CauseLayer, err)
	}
	if c.state == StateClosed {
		return 0, ErrNotConnected
	}
	c.accepted++
	c.open()
	c.crossing()
	return c.accepted, nil
}

// passDown passes a Send through the layers. A layer may panic, and the memory is not this connection's alone.
func (c *Conn) passDown(bufs [][]byte) error {
	m := c.m
	m.sending = true
	defer func() { m.sending = false }()
	return c.chain.Down(c.link(), bufs)
}

// sendDirect writes bufs from the caller's memory and queues what the system did not take.
func (c *Conn) sendDirect(bufs [][]byte, total int) {
	c.accepted++
	c.ledger.open(c.m, c.accepted, c.queue.end()+uint64(total)) // before the first byte is written
	args := c.m.argScratch(bufs)
	n, err := c.b.Write(args)
	clear(args)
	taken := n
	for _, b := range bufs {
		k := min(n, len(b))
		n -= k
		c.queueRest(b[k:])
	}
	c.queue.skip(taken)
	c.wrote(taken, total, err, c.queue.out-uint64(taken))
}

func (c *Conn) queueRest(b []byte) {
	if len(b) > 0 {
		c.queue.push(c.m, b)
	}
}

// Write is Send as an [io.Writer] has it: it takes all of p or nothing.
func (c *Conn) Write(p []byte) (int, error) {
	if _, err := c.Send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// IsWriteable reports whether a Send of up to Config.MaxPending bytes would be accepted. It costs a few comparisons.
func (c *Conn) IsWriteable() bool { return c.refusal(0) == 0 }

// Flush writes now what would be written at the end of the turn. Outcomes come in a later turn all the same.
func (c *Conn) Flush() {
	if c.m != nil {
		c.flush()
	}
}

// flush writes the queue, once, unless the socket is known to be full.
func (c *Conn) flush() {
	if c.queue.pending == 0 || !c.flags.has(flagWritable) || c.state == StateConnecting || c.state == StateClosed {
		return
	}
	bufs, total := c.queue.bufs(c.m.iov[:0])
	from := c.queue.out
	n, err := c.b.Write(bufs)
	if len(bufs) == 1 { // as nearly always, and cheaper than clear
		bufs[0] = nil
	} else {
		clear(bufs)
	}
	c.m.iov = bufs[:0]
	c.queue.wrote(c.m, n)
	c.wrote(n, total, err, from)
}

// wrote does the accounts after the system took n of total bytes: settle first, for it did take them, whatever
// happened then.
func (c *Conn) wrote(n, total int, err error, from uint64) {
	if n < total {
		c.flags.clear(flagWritable)
		if c.chain != nil {
			c.block(n)
		}
	}
	if n > 0 {
		c.wroteAt = c.now
		first, last := c.ledger.wrote(c.m, from, c.queue.out)
		c.notifyOutcomes(noticeSent, first, last)
		c.maybeUnthrottle()
		c.progress()
	}
	if err != nil && err != ErrWouldBlock {
		c.fail(CauseWrite, err)
		return
	}
	if n > 0 && c.chain != nil && c.skips&interceptor.SkipWrote == 0 && !c.flags.has(flagMute) {
		c.chain.Wrote(c.link(), n, c.queue.pending)
	}
}
