package interceptor

import (
	"math"
	"time"
)

// distance is how far t is from c.base, at most some 292 years either way. It goes by way of the time of this turn:
// that keeps a t without a monotonic reading right, although the wall clock was set since Open.
func (c *Chain) distance(t time.Time) time.Duration {
	now := c.outer.Now()
	past, ahead := now.Sub(c.base), t.Sub(now)
	sum := past + ahead
	switch {
	case past > 0 && ahead > 0 && sum < 0:
		return math.MaxInt64
	case past < 0 && ahead < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

// tellDeadline tells outer the earliest deadline of the layers, if it knows another.
func (c *Chain) tellDeadline() {
	var first *node
	for n := c.bottom; n != nil; n = n.above {
		if n.flags&isArmed != 0 && (first == nil || n.due < first.due) {
			first = n
		}
	}
	switch {
	case c.closed:
	case first == nil && c.knows:
		c.knows = false
		c.outer.SetDeadline(time.Time{})
	case first != nil && !(c.knows && c.told == first.due):
		c.knows, c.told = true, first.due
		c.outer.SetDeadline(c.base.Add(first.due))
	}
}

// Expire serves the deadlines that are due, each once, the earliest first. One that a layer sets meanwhile waits for
// another call, also if it is due already. Expire stops at the first error; then, and if a layer panics, the deadlines
// that were not served stay.
func (c *Chain) Expire(_ Link, now time.Time) (err error) {
	if c.closed || !c.knows {
		return nil
	}
	d := c.enter()
	defer c.leave(d, &err)
	// Outer knows nothing now, for it may have cleared its deadline. What is left is told anew.
	c.knows = false
	passed := now.Sub(c.base)
	for n := c.bottom; n != nil; n = n.above {
		if n.flags&isArmed != 0 && n.due <= passed {
			n.flags ^= isArmed | isServing
			c.knows = true // so that outer hears it if none is left
		}
	}
	c.tellDeadline()
	defer c.rearm()
	for n := c.nextDue(); n != nil && !c.closed; n = c.nextDue() {
		n.flags &^= isServing
		if err := n.layer.(Timed).Expire(n, now); err != nil {
			return err
		}
	}
	return nil
}

// nextDue returns the layer to be served next, nil if there is none.
func (c *Chain) nextDue() (first *node) {
	for n := c.bottom; n != nil; n = n.above {
		if n.flags&isServing != 0 && (first == nil || n.due < first.due) {
			first = n
		}
	}
	return first
}

// rearm arms what was not served.
func (c *Chain) rearm() {
	for n := c.bottom; n != nil; n = n.above {
		if n.flags&isServing != 0 {
			n.flags ^= isArmed | isServing
		}
	}
	c.tellDeadline()
}
