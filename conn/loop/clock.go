package loop

import "time"

// A clock is what a loop knows of the time. Reading the system's clock before each turn is a seventh of what a short turn
// costs; so after a turn that an event led to, the loop only glances at the processor's counter of cycles, and reads the
// clock if that has moved on. In between the time is known to within slack.
type clock struct {
	polled  time.Time     // when the last poll returned
	elapsed time.Duration // from then to the last reading
	now     time.Time     // of the last reading: polled plus elapsed
	ahead   time.Time     // if there were glances since: later than it is
	cycle   int64         // the counter at the last reading
	glances uint8         // since the last reading; nothing long has happened in them
	exact   bool          // no glances, please
}

const (
	// Fewer cycles than this take less than slack on any processor that has such a counter.
	glanceCycles = 1 << 16
	slack        = 100 * time.Microsecond

	maxGlances = 16 // so that a counter that stands still does no harm

	// minGlanceWarning is the shortest Config.StallWarning for which glances will do: one turn is blamed for the time
	// since the last reading.
	minGlanceWarning = time.Millisecond
)

// tick reads the time when a poll has returned.
func (c *clock) tick() {
	c.polled = time.Now()
	c.now, c.elapsed = c.polled, 0
	c.mark()
}

// read reads the time, and returns how long ago it was read before.
func (c *clock) read() time.Duration {
	before := c.elapsed
	c.elapsed = time.Since(c.polled)
	c.now = c.polled.Add(c.elapsed)
	c.mark()
	return c.elapsed - before
}

func (c *clock) mark() {
	c.glances = 0
	if hasCycles {
		c.cycle = cycles()
	}
}

// glance reports whether the time is still about what it was when it was last read.
func (c *clock) glance() bool {
	if !hasCycles || c.exact || c.glances == maxGlances || uint64(cycles()-c.cycle) >= glanceCycles {
		return false
	}
	if c.glances++; c.glances == 1 {
		c.ahead = c.now.Add(slack)
	}
	return true
}

// forTurn returns the time for a turn of somebody who has a deadline soon, by ahead, or has none.
//
// Who has none gets a time that is a little late rather than early: it may set one, and no deadline may come early. Who
// has one gets the exact time.
func (c *clock) forTurn(soon bool) time.Time {
	switch {
	case c.glances == 0:
		return c.now
	case soon:
		c.read()
		return c.now
	}
	return c.ahead
}
