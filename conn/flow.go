package conn

import "time"

// Back-pressure. Three facts, each changed in one place: flagUnwriteable (Send refuses, and OnThrottled is queued or
// given) by startThrottle and endThrottle; flagEasing (OnUnthrottled is queued) by maybeUnthrottle; flagWritable (the
// socket is not known to be full) by what Write and Driver.Ready said.

// throttle counts how often and how long Send was refused.
type throttle struct {
	count        uint64
	since, total int64 // nanoseconds
}

// pendingApp is how many queued bytes come from the application, in the form that the layers gave them.
func (c *Conn) pendingApp() int { return c.queue.pending - c.ledger.own }

// crossing writes when more than HighWater is pending, and throttles if it stays so. It makes no callback.
func (c *Conn) crossing() {
	high := c.cfg.highWater()
	if c.pendingApp() <= high {
		return
	}
	c.flush()
	if c.state == StateConnected && c.pendingApp() > high {
		c.startThrottle()
	}
}

// startThrottle refuses sends from now on: what a notice forbids begins with its cause.
func (c *Conn) startThrottle() {
	c.flags.set(flagUnwriteable) // it was not: a refused Send does not get here
	t := &c.needRare().throttle
	t.count++
	t.since = c.now
	c.notify(noticeThrottled, 0, nil)
}

// maybeUnthrottle queues OnUnthrottled once no more than LowWater is pending.
func (c *Conn) maybeUnthrottle() {
	if c.flags.has(flagUnwriteable) && !c.flags.has(flagEasing) && c.state == StateConnected &&
		c.pendingApp() <= c.cfg.lowWater() {
		c.flags.set(flagEasing)
		c.notify(noticeUnthrottled, 0, nil)
	}
}

// endThrottle accepts sends again: what a notice allows begins when it is told. Earlier, another message could fill
// the queue before the handler hears.
func (c *Conn) endThrottle() {
	t := &c.needRare().throttle
	t.total += c.now - t.since
	c.flags.clear(flagUnwriteable | flagEasing)
}

func (c *Conn) throttledFor() time.Duration {
	t := c.rarely().throttle
	if c.flags.has(flagUnwriteable) {
		t.total += c.now - t.since
	}
	return time.Duration(t.total)
}
