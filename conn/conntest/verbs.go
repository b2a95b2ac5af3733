package conntest

import (
	"io"
	"math"
	"syscall"
	"time"

	"github.com/galago-go/galago/conn"
)

// everything is the room of a system that takes all there is.
const everything = -1

// Do runs f as the owner's messages of a turn: after the notices and the reading, before the write. After the last
// callback there are no more turns, and f runs at once.
func (r *Rig) Do(f func(*conn.Conn)) {
	if r.d.Done() {
		f(r.d.Conn())
		return
	}
	r.messages = append(r.messages, f)
	r.verb()
}

// Advance lets d pass. On the way it stops at each deadline of the connection and takes the turns that are due there.
func (r *Rig) Advance(d time.Duration) {
	end := r.now.Add(d)
	for !r.manual && !r.d.Done() {
		at := r.d.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(r.now) {
			r.now = at
		} else if r.suspended {
			break // what is due waits until the owner goes on
		}
		r.Settle()
	}
	r.now = end
}

// Stall lets d pass without a turn, as when the loop is held up. One late turn follows, with all that is due.
func (r *Rig) Stall(d time.Duration) {
	r.now = r.now.Add(d)
	r.verb()
}

// Slept tells the connection that the machine has slept for d. The time of the Rig, as that of a system, did not move.
func (r *Rig) Slept(d time.Duration) { r.input(func() { r.d.Slept(d) }) }

// Feed lets the peer send. Each p is one arrival: one Read gets no more than it, and several if the connection reads
// less at a time. An empty p is readiness without data.
func (r *Rig) Feed(p ...string) {
	for _, s := range p {
		r.b.in = append(r.b.in, arrival{data: []byte(s)})
	}
	r.verb()
}

// FeedEOF lets the peer end. The connection reads what was fed before, then io.EOF.
func (r *Rig) FeedEOF() { r.FeedError(io.EOF) }

// FeedError lets reading fail with err, after what was fed before. Writing goes on.
func (r *Rig) FeedError(err error) {
	if r.b.end == nil {
		r.b.end = err
	}
	r.verb()
}

// Reset lets the peer reset the connection: reading, after what was fed before, and writing fail with
// syscall.ECONNRESET.
func (r *Rig) Reset() {
	r.b.end, r.b.endReported = syscall.ECONNRESET, false
	r.b.fails, r.b.room = syscall.ECONNRESET, 0
	r.verb()
}

// Allow lets the system take n bytes more. At first it takes all there is; the first Allow begins to count, so that
// Allow(0) makes the socket full. A negative n, or math.MaxInt, has it take everything again.
func (r *Rig) Allow(n int) {
	switch {
	case n < 0 || n == math.MaxInt:
		r.b.room = everything
	case r.b.room == everything:
		r.b.room = n
	default:
		r.b.room += n
	}
	r.verb()
}

// FailWrite lets writing fail with err from the next write on. If the system counts bytes (see Allow), that write
// first takes what is still allowed, and returns both their number and err.
func (r *Rig) FailWrite(err error) {
	r.b.fails = err
	r.verb()
}

// Suspend holds the owner up, as supervision does after a panic: notices, data and messages wait, until Suspend(false),
// which takes a turn in any case. Each verb takes one turn meanwhile, which only enforces what does not wait for
// callbacks.
func (r *Rig) Suspend(on bool) {
	r.suspended = on
	if !on && !r.manual {
		r.turn()
	}
	r.verb()
}

// Connecting tells a Dialed connection how many addresses are being tried.
func (r *Rig) Connecting(inflight int) { r.input(func() { r.d.Connecting(inflight) }) }

// Connected tells a Dialed connection that its socket is connected.
func (r *Rig) Connected() {
	r.b.connected = true
	r.input(r.d.Connected)
}

// Fail tells a Dialed connection that it never will be connected.
func (r *Rig) Fail(stage conn.Stage, err error) { r.input(func() { r.d.Failed(stage, err) }) }

// Wire returns what was written since the last call.
func (r *Rig) Wire() string {
	s := string(r.b.wire)
	r.b.wire = r.b.wire[:0]
	return s
}

// Reads returns how many times the socket was read, Writes how many times it was written, also in vain.
func (r *Rig) Reads() int { return r.b.reads }

// Writes returns how many times the socket was written; see Reads.
func (r *Rig) Writes() int { return r.b.writes }

// Unread returns how many bytes were fed and not read yet.
func (r *Rig) Unread() int { return r.b.waiting() }

// FIN reports whether the connection has ended its direction.
func (r *Rig) FIN() bool { return r.b.fin }

// Closed reports whether the socket was given up, and whether with a reset.
func (r *Rig) Closed() (closed, reset bool) { return r.b.closed, r.b.reset }

// Arms returns the calls of Backend.Arm so far.
func (r *Rig) Arms() []conn.Interest { return r.b.arms }

// Turns returns how many turns were taken.
func (r *Rig) Turns() int { return r.turns }

// Now returns the time of the Rig.
func (r *Rig) Now() time.Time { return r.now }

// Deadline returns when the connection wants a turn at the latest; zero means never.
func (r *Rig) Deadline() time.Time { return r.d.Deadline() }

// Done reports whether the last callback was made.
func (r *Rig) Done() bool { return r.d.Done() }

// Conn returns the connection. Its methods belong into callbacks and Do; but State, Stats and addresses may be asked
// at any time.
func (r *Rig) Conn() *conn.Conn { return r.d.Conn() }

// Driver returns the shell's side. Inputs may be given to it at any time between two turns; whoever takes turns with
// it should do so on a Manual Rig, and gives up part of what the Rig checks.
func (r *Rig) Driver() *conn.Driver { return &r.d }

// Memory returns what the connection borrows from. InUse of it is 0 once all its connections are over.
func (r *Rig) Memory() *conn.Memory { return r.m }
