package main

import (
	"encoding/binary"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

const (
	recordSize = 1 << 10 // bytes: a number and a body that follows from it
	numberSize = 8

	// perTurn bounds the records sent in one callback: a connection shares its loop with others.
	perTurn = 128
)

// bodies holds the body of every record: that of number n begins at byte n % 256.
var bodies = func() []byte {
	b := make([]byte, 256+recordSize)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)
	}
	return b
}()

func bodyOf(number uint64) []byte {
	at := int(number % 256)
	return bodies[at : at+recordSize-numberSize]
}

// A producer is the server's side. Its callbacks come one at a time, so it needs no lock; what others may know of it
// goes through its channels.
type producer struct {
	actor.Base
	account
	tick    time.Duration
	samples chan sample
	done    chan struct{} // closed by the last callback; from then on the account may be read

	head     [numberSize]byte
	inFlight queue // when each Send was made that is not settled

	// Timers are told apart by their tokens: more goes on sending, next reports.
	more, next conn.TimerToken

	// Since the last sample:
	outcomes    int
	took, worst time.Duration // from Send to OnSent, in all and at most
}

func newProducer(tick time.Duration, high int) *producer {
	return &producer{
		account: account{bound: high + recordSize},
		tick:    tick,
		samples: make(chan sample, 8),
		done:    make(chan struct{}),
	}
}

// OnConnected begins to send, and to report.
func (p *producer) OnConnected(c *conn.Conn) {
	p.next = c.StartTimer(p.tick)
	p.fill(c)
}

// fill sends until the connection takes no more, or has had its share of the turn. Then it goes on in the next one.
func (p *producer) fill(c *conn.Conn) {
	for range perTurn {
		number := p.accepted + 1
		binary.BigEndian.PutUint64(p.head[:], number)
		token, err := c.Send(p.head[:], bodyOf(number))
		switch err {
		case nil:
			p.take(token, c.Stats().Pending)
			p.inFlight.push(time.Now())
		case conn.ErrNotWriteable:
			return // nothing was taken; OnUnthrottled goes on
		default:
			return // closing
		}
	}
	p.more = c.StartTimer(0)
}

// OnThrottled says that too much is pending: from here on Send is refused.
func (p *producer) OnThrottled(c *conn.Conn) { p.throttle(true, c.IsWriteable()) }

// OnUnthrottled says that so much was written that sending makes sense again.
func (p *producer) OnUnthrottled(c *conn.Conn) {
	p.throttle(false, c.IsWriteable())
	p.fill(c)
}

// OnSent says that the system took all bytes of a record.
func (p *producer) OnSent(_ *conn.Conn, t conn.SendToken) {
	p.settle(t, true)
	took := time.Since(p.inFlight.pop())
	p.outcomes++
	p.took += took
	p.worst = max(p.worst, took)
}

// OnSendFailed says that the connection ended first.
func (p *producer) OnSendFailed(_ *conn.Conn, t conn.SendToken) {
	p.settle(t, false)
	p.inFlight.pop()
}

// OnTimer goes on sending, or reports. It comes while the connection is throttled, too.
func (p *producer) OnTimer(c *conn.Conn, t conn.TimerToken) {
	switch t {
	case p.more:
		p.fill(c)
	case p.next:
		p.next = c.StartTimer(p.tick)
		p.report(c)
	}
}

// report gives the reader of samples another one.
func (p *producer) report(c *conn.Conn) {
	stats, now := c.Stats(), time.Now()
	s := sample{
		at: now, pending: stats.Pending, sent: p.accepted, settled: p.sent + p.failed, cycles: p.cycles,
		refused: stats.Refused, outcomes: p.outcomes, worst: p.worst,
	}
	if p.outcomes > 0 {
		s.mean = p.took / time.Duration(p.outcomes)
	} else if p.inFlight.len() > 0 {
		s.oldest = now.Sub(p.inFlight.first())
	}
	p.outcomes, p.took, p.worst = 0, 0, 0
	select {
	case p.samples <- s:
	default: // nobody reads them: a callback must not wait
	}
}

// OnConnectFailed is the only callback if there is no connection.
func (p *producer) OnConnectFailed(_ *conn.Conn, err error) { p.finish(err) }

// OnClosed is the last callback.
func (p *producer) OnClosed(_ *conn.Conn, err error) { p.finish(err) }

func (p *producer) finish(err error) {
	p.end(err)
	close(p.done)
}

// A queue holds times, the oldest first.
type queue struct {
	times []time.Time
	off   int // how many of them are gone
}

func (q *queue) len() int         { return len(q.times) - q.off }
func (q *queue) first() time.Time { return q.times[q.off] }
func (q *queue) push(t time.Time) { q.times = append(q.times, t) }

func (q *queue) pop() time.Time {
	t := q.first()
	q.off++
	if 2*q.off >= len(q.times) { // move what is left, so that the slice does not grow for ever
		q.times = q.times[:copy(q.times, q.times[q.off:])]
		q.off = 0
	}
	return t
}
