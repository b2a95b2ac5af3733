package conn

import (
	"math"
	"slices"
	"time"
)

// A TimerToken names one timer of one connection. They count from 1.
type TimerToken uint64

// timerSetSize is what a lent timerSet counts for in Memory.InUse.
const timerSetSize = 64

// A timerSet holds the timers of one connection, the last due first.
type timerSet struct{ list []timer }

type timer struct {
	at    int64
	token TimerToken
}

// later orders timers, the last due first; of two due at the same time, the one started first is first.
func (a timer) later(b timer) int {
	switch {
	case a.at > b.at, a.at == b.at && a.token > b.token:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// StartTimer arranges for one OnTimer, d from now. Before OnConnected and after Close there are no new timers: it
// returns 0.
func (c *Conn) StartTimer(d time.Duration) TimerToken {
	if c.state != StateConnected && c.state != StateUpgrading {
		return 0
	}
	if c.timers == nil {
		c.timers = c.m.timerSet()
	}
	last := &c.needRare().timer
	*last++
	t := timer{c.after(max(d, 0)), *last}
	i, _ := slices.BinarySearchFunc(c.timers.list, t, timer.later)
	c.timers.list = slices.Insert(c.timers.list, i, t)
	return t.token
}

// StopTimer stops a timer, and reports whether its OnTimer was still to come. After it no OnTimer with that token
// follows, even if it was due.
func (c *Conn) StopTimer(t TimerToken) bool {
	if t == 0 {
		return false
	}
	if c.timers != nil {
		for i, armed := range c.timers.list {
			if armed.token == t {
				c.timers.list = slices.Delete(c.timers.list, i, i+1)
				c.releaseTimers()
				return true
			}
		}
	}
	return c.notices.cancelTimer(t)
}

// SetIdleTimeout arranges for OnIdle after each d without a byte in or out, until Close. Zero turns it off. Set before
// OnConnected, it begins there.
func (c *Conn) SetIdleTimeout(d time.Duration) {
	if c.needRare().idle = int64(d); d <= 0 {
		c.rare.idle = -1
	}
	if c.flags.has(flagConnected) {
		c.startIdle()
	}
}

// startIdle lets the idle timeout begin now.
func (c *Conn) startIdle() {
	c.idleAt = 0
	if d := c.idleTimeout(); d > 0 && c.state != StateClosing && c.state != StateClosed {
		c.idleAt = c.after(d)
	}
}

// idleTimeout is 0 or less if there is none.
func (c *Conn) idleTimeout() time.Duration {
	if d := c.rarely().idle; d != 0 {
		return time.Duration(d)
	}
	return c.cfg.IdleTimeout
}

// ticks reports whether any deadline is set but those of starting, upgrading and closing.
func (c *Conn) ticks() bool { return c.idleAt|c.layerAt != 0 || c.timers != nil }

// expire tells what is due, after the reading of the turn.
func (c *Conn) expire() {
	if c.state == StateClosed || !c.ticks() {
		return
	}
	for c.timers != nil && c.timers.list[len(c.timers.list)-1].at <= c.now {
		last := len(c.timers.list) - 1
		c.notify(noticeTimer, uint64(c.timers.list[last].token), nil)
		c.timers.list = c.timers.list[:last]
		c.releaseTimers()
	}
	c.expireIdle()
	if due(c.layerAt, c.now) && c.layered() && !c.flags.has(flagMute) && !c.putOff() {
		c.layerAt = 0
		c.flags.clear(flagLate)
		c.expireLayers()
	}
}

// isDue reports whether expire has anything to tell.
func (c *Conn) isDue() bool {
	switch {
	case !c.ticks(), c.state == StateClosed:
		return false
	case due(c.idleAt, c.now), c.timers != nil && due(c.timers.list[len(c.timers.list)-1].at, c.now):
		return true
	}
	return due(c.layerAt, c.now) && c.layered() && !c.flags.has(flagMute)
}

func due(at, now int64) bool { return at != 0 && at <= now }

// expireIdle looks at the idle timeout. Activity only stores when it was; so the timeout moves when it fires.
func (c *Conn) expireIdle() {
	if !due(c.idleAt, c.now) {
		return
	}
	if due := max(c.readAt, c.wroteAt) + int64(c.idleTimeout()); due > c.now {
		c.idleAt = due
		return
	}
	c.startIdle()
	c.notify(noticeIdle, 0, nil)
}

// putOff reports whether the layers' deadline waits a turn, once, for bytes that lie unread: no peer is to be judged
// before it was heard.
func (c *Conn) putOff() bool {
	if c.flags.has(flagLate) || !c.wantsRead() {
		return false
	}
	c.flags.set(flagLate)
	return true
}

func (c *Conn) releaseTimers() {
	if c.timers != nil && len(c.timers.list) == 0 {
		c.m.giveTimerSet(c.timers)
		c.timers = nil
	}
}

// expireLimits ends a connection that took too long to start, to upgrade or to close. It does not wait for
// callbacks, so that it works while an actor is suspended.
func (c *Conn) expireLimits() {
	if c.limit == 0 || c.limit > c.now {
		return
	}
	switch c.state {
	case StateConnecting:
		c.failStart(StageTimeout, &timeoutError{"dialing", "StartTimeout", c.cfg.startTimeout()}, true)
	case StateStarting:
		c.failStart(StageTimeout, &timeoutError{"the layers' handshakes", "StartTimeout", c.cfg.startTimeout()}, true)
	case StateUpgrading:
		c.fail(CauseTimeout, &timeoutError{"the handshake of Upgrade", "StartTimeout", c.cfg.startTimeout()})
	case StateClosing:
		what := "draining what was sent"
		if c.flags.has(flagFIN) {
			what = "waiting for the peer's end"
		}
		c.fail(CauseTimeout, &timeoutError{what, "CloseTimeout", c.cfg.closeTimeout()})
	}
}

// deadline is when the next turn is wanted at the latest, or 0.
func (c *Conn) deadline() int64 {
	if c.state == StateClosed {
		return 0
	}
	at := c.limit
	earlier := func(t int64) {
		// What is due and was not served waits for a turn that reads: the owner is suspended, or layers must hear first.
		if t > c.now && (at == 0 || t < at) {
			at = t
		}
	}
	earlier(c.idleAt)
	earlier(c.layerAt)
	if c.timers != nil {
		earlier(c.timers.list[len(c.timers.list)-1].at)
	}
	if at == math.MaxInt64 {
		return 0
	}
	return at
}
