package conn

import "fmt"

// A Notice is a callback that waits for its turn. String names it, such as "OnSent 7".
type Notice struct{ n notice }

// String names the callback and what it tells.
func (n Notice) String() string {
	switch k := n.n; k.kind {
	case noticeSent, noticeSendFailed, noticeTimer:
		return fmt.Sprintf("%s %d", noticeNames[k.kind], k.token)
	case noticeEvent:
		return fmt.Sprintf("OnEvent %T", k.value)
	case noticeConnectFailed, noticeEOF, noticeClosed:
		if k.value != nil {
			return fmt.Sprintf("%s %v", noticeNames[k.kind], k.value)
		}
		fallthrough
	default:
		return noticeNames[n.n.kind]
	}
}

// Outcome reports which Send n settles, if it does, and whether it was sent.
func (n Notice) Outcome() (t SendToken, sent, ok bool) {
	switch n.n.kind {
	case noticeSent:
		return SendToken(n.n.token), true, true
	case noticeSendFailed:
		return SendToken(n.n.token), false, true
	}
	return 0, false, false
}

type noticeKind uint8

const (
	noticeConnected noticeKind = iota + 1
	noticeConnectFailed
	noticeEOF
	noticeThrottled
	noticeUnthrottled
	noticeSent
	noticeSendFailed
	noticeTimer
	noticeIdle
	noticeEvent
	noticeUpgraded
	noticeClosed
	noticePosted // not a callback: a function that a layer posted
	noticeSlept  // not even a notice: an input for the layers
)

var noticeNames = [...]string{
	noticeConnected:     "OnConnected",
	noticeConnectFailed: "OnConnectFailed",
	noticeEOF:           "OnEOF",
	noticeThrottled:     "OnThrottled",
	noticeUnthrottled:   "OnUnthrottled",
	noticeSent:          "OnSent",
	noticeSendFailed:    "OnSendFailed",
	noticeTimer:         "OnTimer",
	noticeIdle:          "OnIdle",
	noticeEvent:         "OnEvent",
	noticeUpgraded:      "OnEvent",
	noticeClosed:        "OnClosed",
	noticePosted:        "posted function",
	noticeSlept:         "slept",
}

// A notice is an entry of the FIFO. One entry stands for the outcomes of many sends in a row.
type notice struct {
	kind  noticeKind
	more  uint32 // so many sends behind token have the same outcome
	token uint64 // of a send or a timer
	value any    // an error, an event, or a posted function
}

// A noticeQueue is the FIFO through which everything but data reaches the handler. The oldest mark entries belong to
// this turn; later ones wait for the next.
type noticeQueue struct {
	ring *ring[notice] // nil while empty
}

func (q *noticeQueue) len() int {
	if q.ring == nil {
		return 0
	}
	return q.ring.n
}

// startTurn makes all there are now belong to this turn.
func (q *noticeQueue) startTurn() {
	if q.ring != nil {
		q.ring.mark = q.ring.n
	}
}

func (q *noticeQueue) push(m *Memory, n notice) {
	if q.ring == nil {
		q.ring = m.noticeRing()
	}
	q.ring.push(n)
}

// pushOutcomes adds the same outcome for the sends first to last.
func (q *noticeQueue) pushOutcomes(m *Memory, kind noticeKind, first, last SendToken) {
	for first <= last {
		if i := q.len() - 1; i >= 0 && i >= q.ring.mark {
			e := q.ring.at(i)
			if room := SendToken(^uint32(0) - e.more); e.kind == kind && room > 0 {
				n := min(room, last-first+1)
				e.more += uint32(n)
				first += n
				continue
			}
		}
		q.push(m, notice{kind: kind, token: uint64(first)})
		first++
	}
}

// pop takes the oldest notice of this turn off.
func (q *noticeQueue) pop(m *Memory) (n notice, ok bool) {
	if q.ring == nil || q.ring.mark == 0 {
		return notice{}, false
	}
	if e := q.ring.at(0); e.more > 0 {
		n = *e
		n.more = 0
		e.more--
		e.token++
		return n, true
	}
	q.ring.mark--
	n = q.ring.pop()
	if q.ring.n == 0 {
		m.giveNoticeRing(q.ring)
		q.ring = nil
	}
	return n, true
}

// cancelTimer takes the notice of timer t out, if it waits.
func (q *noticeQueue) cancelTimer(t TimerToken) bool {
	for i := range q.len() {
		if e := q.ring.at(i); e.kind == noticeTimer && e.token == uint64(t) {
			e.token = 0 // next skips it
			return true
		}
	}
	return false
}

// notify adds a callback to the FIFO. Nothing comes after the last one.
func (c *Conn) notify(kind noticeKind, token uint64, value any) {
	if c.flags.has(flagEnded) {
		return
	}
	c.notices.push(c.m, notice{kind: kind, token: token, value: value})
	c.flags.set(flagRaised)
}

// notifyOutcomes tells what became of the sends first to last.
func (c *Conn) notifyOutcomes(kind noticeKind, first, last SendToken) {
	switch {
	case first > last:
	case kind == noticeSent && c.flags.has(flagUnheard) && first == c.sent+1: // no OnSent waits to be told
		c.sent = last
	default:
		c.notices.pushOutcomes(c.m, kind, first, last)
		c.flags.set(flagRaised)
	}
}

// notifyEnd adds the last callback.
func (c *Conn) notifyEnd(kind noticeKind, err error) {
	c.notify(kind, 0, err)
	c.flags.set(flagEnded)
}

// stale reports whether what n tells no longer holds, so that it must not be told.
func (c *Conn) stale(n notice) bool {
	switch n.kind {
	case noticeConnected:
		return c.state != StateStarting
	case noticeUpgraded:
		return c.state != StateUpgrading
	case noticeUnthrottled: // it would promise that Send is accepted
		return c.state != StateConnected || c.flags.has(flagWriteEnded)
	case noticeTimer:
		return n.token == 0 || c.flags.has(flagAborted)
	case noticeIdle:
		return c.state != StateConnected && c.state != StateUpgrading
	case noticeEOF, noticeThrottled:
		return c.flags.has(flagAborted)
	}
	return false
}

// next takes the oldest notice of this turn that is still worth telling, and runs posted functions on the way.
func (c *Conn) next() (n notice, ok bool) {
	for {
		n, ok = c.notices.pop(c.m)
		switch {
		case !ok:
			return n, false
		case n.kind == noticePosted:
			c.runPosted(n.value.(func() error))
		case c.stale(n):
			if n.kind == noticeUnthrottled {
				c.flags.clear(flagEasing)
			}
		default:
			c.count(n)
			return n, true
		}
	}
}

func (c *Conn) count(n notice) {
	switch n.kind {
	case noticeSent:
		c.sent = SendToken(n.token)
	case noticeSendFailed:
		c.needRare().failed++
	}
}

// deliver makes the callback that n stands for. What a notice allows begins here.
func (c *Conn) deliver(n notice) {
	switch n.kind {
	case noticeConnected:
		c.setState(StateConnected)
		c.flags.set(flagConnected)
		c.limit = 0
		c.startIdle()
		c.h.OnConnected(c)
	case noticeConnectFailed:
		c.flags.set(flagDone)
		err, _ := n.value.(error)
		c.h.OnConnectFailed(c, err)
	case noticeEOF:
		err, _ := n.value.(error)
		c.h.OnEOF(c, err)
	case noticeThrottled:
		c.h.OnThrottled(c)
	case noticeUnthrottled:
		c.endThrottle()
		c.h.OnUnthrottled(c)
	case noticeSent:
		c.h.OnSent(c, SendToken(n.token))
	case noticeSendFailed:
		c.h.OnSendFailed(c, SendToken(n.token))
	case noticeTimer:
		c.h.OnTimer(c, TimerToken(n.token))
	case noticeIdle:
		c.h.OnIdle(c)
	case noticeEvent:
		c.h.OnEvent(c, n.value)
	case noticeUpgraded:
		c.setState(StateConnected)
		c.limit = 0
		c.maybeUnthrottle()
		c.h.OnEvent(c, n.value)
	case noticeClosed:
		c.flags.set(flagDone)
		err, _ := n.value.(error)
		c.h.OnClosed(c, err)
	default:
		panic("BUG: conn: unhandled notice " + noticeNames[n.kind])
	}
}
