package loop

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/conn"
)

// Config sets up a [Loop]. The zero Config is ready to use. Its functions are called on the loop, but for Panicked
// where the turn was one of a [Detached]: then on the goroutine of that. They must neither block nor panic.
type Config struct {
	// Stalled is told of a turn that held the loop up for longer than StallWarning; if that is zero, of none.
	StallWarning time.Duration
	Stalled      func(t Task, d time.Duration)
	// Panicked is told of a panic that came out of t. t gets no more turns; its socket, if it has one, is still open
	// and may be closed by Panicked.
	Panicked func(t Task, value any, stack []byte)
	// Portable makes the loop use package net for all sockets, and not the system's poller: on Linux for comparison, on
	// other systems always.
	Portable bool

	sys     *system                      // the system calls; if nil, the real ones
	boot    func() (time.Duration, bool) // if nil, bootTime
	noParks bool                         // wait in the poller itself, as if the runtime had refused it
}

// A Loop runs tasks and the sockets of their owners on one goroutine. All its methods may be called by any goroutine,
// unless they say otherwise.
type Loop struct {
	cfg    Config
	waiter waiter // the poller, or the sleeper of a portable loop
	poller poller // if the loop is not portable
	mem    conn.Memory

	sleeps sleepWatch

	// The state of a round lies here and not on the stack, for runtime.Goexit may take the goroutine away in any turn.
	// A new one then goes on.
	runq   queue
	slots  slots
	timers timers
	clock
	current Task  // whose turn it is, nil if nobody's
	at      Owner // who is being told of an event or a deadline, nil if nobody
	over    bool
	direct  bool   // nobody was queued when the last poll returned, and its events are being told
	ran     int    // turns since the last poll
	spare   []Task // the memory of the inbox before this one

	load   atomic.Int64 // connections dealt to this loop or opened on it
	posted atomic.Bool  // the inbox holds something; changes with mu held

	mu      sync.Mutex // guards what follows
	inbox   []Task
	asleep  bool // about to park, or parked, and nobody woke it yet
	closing bool
	doors   map[int32]door
	doorIDs int32
	stats   Stats

	desksMu sync.Mutex // guards what follows
	desks   []*desk    // that no Detached uses now
	lent    int        // bytes of blocks that connections have of desks that were not kept

	wakers   sync.WaitGroup // wakes that are under way; none begins once closing
	workers  sync.WaitGroup // goroutines of Detached; none begins once closing
	helpers  sync.WaitGroup // goroutines of sockets of package net; none begins once those are closed
	done     chan struct{}  // closed when the goroutine is gone
	closed   sync.Once
	closeErr error
}

// Stats counts what a [Loop] did.
type Stats struct {
	Parks uint64 // times it went to sleep
	Wakes uint64 // times a goroutine had to wake it: never more than Parks
}

const (
	maxTurns = 256 // between two polls

	// From the last poll on; a turn in progress may exceed it.
	maxSpan  = 50 * time.Microsecond // once all that were queued after that poll had their turn
	maxRound = time.Millisecond      // in any case
)

// A waiter finds out what has happened, and sleeps when nothing has. A portable loop has nothing to find out: whatever
// happens is posted.
type waiter interface {
	open(l *Loop) error
	poll()            // look, and do not wait
	park(next int64)  // look, and wait for an event, a wake or the time next if there is nothing
	dispatch(l *Loop) // tell what the last look found
	wake()            // by any goroutine: end the park of the loop, now or next time
	close() error
}

// New starts a loop. It must be closed.
func New(cfg Config) (*Loop, error) {
	l := &Loop{cfg: cfg, done: make(chan struct{})}
	l.exact = cfg.StallWarning > 0 && cfg.StallWarning < minGlanceWarning
	l.tick()
	l.timers.base = l.now
	l.sleeps.init(cfg.boot, time.Duration(l.now.UnixNano()))
	if l.waiter = l.systemWaiter(); l.portable() {
		l.waiter = new(sleeper)
	}
	if err := l.waiter.open(l); err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

// Close ends the loop: it waits for the turns in progress, and then gives up all descriptors that are left, without a
// word to their owners. Tasks that are queued are dropped. It must not be called on the loop. A second Close waits as
// well, and returns the same.
func (l *Loop) Close() error {
	l.closed.Do(func() {
		l.mu.Lock()
		l.closing = true
		l.mu.Unlock()
		l.waiter.wake()
		<-l.done
		l.wakers.Wait()
		l.workers.Wait()
		l.closeErr = errors.Join(l.abandon(), l.waiter.close())
		l.helpers.Wait()
	})
	return l.closeErr
}

// portable reports whether the loop leaves sockets to package net.
func (l *Loop) portable() bool { return l.cfg.Portable || l.systemWaiter() == nil }

// abandon gives up what is left when the goroutine is gone.
func (l *Loop) abandon() error {
	l.mu.Lock()
	tasks := l.inbox
	doors := l.doors
	l.inbox, l.doors = nil, nil
	l.mu.Unlock()
	for l.runq.n > 0 {
		tasks = append(tasks, l.runq.pop())
	}
	for _, t := range tasks {
		if d, ok := t.(interface{ abandon() }); ok {
			d.abandon()
		}
	}
	var errs []error
	for _, a := range doors {
		errs = append(errs, a.close())
	}
	for i := range l.slots.used {
		if s := l.slots.at(i).socket; s != nil {
			if d, ok := s.owner.(*Detached); ok {
				d.Turn(l.now, nil) // its last turn may have wished for an end in order
			}
			errs = append(errs, s.Close(true))
		}
	}
	return errors.Join(errs...)
}

// Queue arranges for a turn of t. If it waits for one already, nothing happens; if it is in its turn, it gets another.
// Once the loop is closed, nothing happens either.
func (l *Loop) Queue(t Task) {
	if t.link().want() {
		l.post(t)
	}
}

// QueueLocal is Queue for use on the loop, without its lock.
func (l *Loop) QueueLocal(t Task) {
	if t.link().want() {
		l.runq.push(t)
	}
}

// post puts t into the inbox and wakes the loop if it sleeps. The sleeper looks at the inbox and says that it sleeps
// under the same lock, so one of the two sees the other.
func (l *Loop) post(t Task) bool {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return false
	}
	l.inbox = append(l.inbox, t)
	l.posted.Store(true)
	wake := l.asleep
	if wake {
		l.asleep = false
		l.stats.Wakes++
		l.wakers.Add(1)
	}
	l.mu.Unlock()
	if wake {
		l.waiter.wake()
		l.wakers.Done()
	}
	return true
}

// Do runs f on the loop, soon. It returns false, and f will not run, if the loop is closed. If it is closed later, f
// may never run.
func (l *Loop) Do(f func()) bool {
	d := &errand{f: f}
	return d.want() && l.post(d)
}

// An errand is a function as a task.
type errand struct {
	Link
	f func()
}

// Turn runs the function.
func (d *errand) Turn(time.Time, *conn.Memory) bool {
	f := d.f
	d.f = nil
	if f != nil { // it is nil if f ended the goroutine
		f()
	}
	return false
}

// String names the task where a long turn is reported.
func (d *errand) String() string { return "a function given to the loop" }

// Load returns how many connections the loop has, those that are on their way to it included.
func (l *Loop) Load() int { return int(l.load.Load()) }

// Least returns the loop with the fewest connections, the first of them after number from.
func Least(loops []*Loop, from int) *Loop {
	var least *Loop
	for i := range loops {
		l := loops[(from+i)%len(loops)]
		if least == nil || l.Load() < least.Load() {
			least = l
		}
	}
	return least
}

// Stats returns the loop's counts.
func (l *Loop) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Now returns the time as the loop has last read it: that of this turn, or a moment before. It may be called on the loop
// only.
func (l *Loop) Now() time.Time { return l.now }

// InUse returns how many bytes of blocks connections have borrowed and not given back. It may be asked once the loop is
// closed.
func (l *Loop) InUse() int {
	l.desksMu.Lock()
	defer l.desksMu.Unlock()
	n := l.mem.InUse() + l.lent
	for _, k := range l.desks {
		n += k.mem.InUse()
	}
	return n
}

// run is the loop's goroutine.
func (l *Loop) run() {
	defer func() {
		if !l.over { // runtime.Goexit, in a turn: t.FailNow, say
			go l.run()
		}
	}()
	for l.rounds() {
	}
	l.over = true
	close(l.done)
}

// rounds goes on until the loop is closed, or something panics.
func (l *Loop) rounds() (more bool) {
	defer l.caught()
	more = true
	for {
		l.direct = l.runq.n == 0
		l.waiter.dispatch(l) // also what a broken round had left
		l.direct = false
		l.timers.expire(int64(l.now.Sub(l.timers.base)))
		l.turns()
		if !l.wait() {
			return false
		}
	}
}

// turns gives turns until nobody wants one, or it is time to poll. Whoever is found by a poll waits behind those that
// are queued, so there is no hurry while these have their turn; but those that come again must not be before it.
func (l *Loop) turns() {
	queued := 0
	if l.ran == 0 {
		queued = l.runq.n
	} // else those that are queued were not found by the poll, or had a turn since
	for n := 0; l.runq.n > 0 && l.ran < maxTurns && (l.elapsed < maxSpan || n < queued && l.elapsed < maxRound); n++ {
		if t := l.runq.pop(); t.link().begin() {
			more := l.turn(t, l.forTurn(true))
			l.blame(t, l.read())
			l.after(t, more)
		}
	}
}

// turn gives t, which has begun, its turn.
func (l *Loop) turn(t Task, now time.Time) (more bool) {
	l.ran++
	l.current = t
	more = t.Turn(now, &l.mem)
	l.current = nil
	return more
}

// after sees to it that whoever wants a turn, after one of t, is queued.
func (l *Loop) after(t Task, more bool) {
	if l.posted.Load() { // before t, so that a busy task cannot keep newcomers waiting
		l.takeInbox()
	}
	if t.link().end(more) {
		l.runq.push(t)
	}
}

// wait polls, asleep if there is nothing to do, and takes what was posted. It returns false if the loop is closed.
func (l *Loop) wait() bool {
	l.slots.recycle()
	l.ran = 0
	if l.runq.n > 0 || l.posted.Load() {
		l.waiter.poll()
	} else {
		l.waiter.park(l.timers.next())
	}
	closing := l.takeInbox()
	l.tick()
	if d := l.sleeps.look(l.now.Sub(l.timers.base), time.Duration(l.now.UnixNano())); d > 0 {
		l.slept(d)
	}
	return !closing
}

// sleep is asked by the waiter when it found nothing and would park. If it returns true, whoever posts wakes the loop.
func (l *Loop) sleep() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.inbox) > 0 || l.closing {
		return false
	}
	l.asleep = true
	l.stats.Parks++
	return true
}

func (l *Loop) takeInbox() (closing bool) {
	l.mu.Lock()
	l.asleep = false
	tasks := l.inbox
	l.inbox, l.spare = l.spare[:0], nil
	l.posted.Store(false)
	closing = l.closing
	l.mu.Unlock()
	for _, t := range tasks {
		l.runq.push(t)
	}
	clear(tasks)
	if cap(tasks) <= keepQueue {
		l.spare = tasks[:0] // only this goroutine reads it
	}
	return closing
}

// blame reports a turn of t that took d, if that is too long.
func (l *Loop) blame(t Task, d time.Duration) {
	if l.cfg.StallWarning > 0 && d > l.cfg.StallWarning && l.cfg.Stalled != nil {
		l.cfg.Stalled(t, d)
	}
}

// ready tells the owner of s of events. If nobody waits it has its turn at once, while it lies in the cache; else it is
// queued.
func (l *Loop) ready(s *Socket, i conn.Interest) {
	o := s.owner
	l.at = o
	o.Ready(i)
	l.at = nil
	if l.direct && l.elapsed < maxRound && o.link().enter() {
		more := l.turn(o, l.forTurn(l.timers.soon(s, l.ahead)))
		if !l.glance() {
			l.blame(o, l.read())
		}
		l.after(o, more)
		return
	}
	l.QueueLocal(o)
}

// due tells o that its deadline has come, and queues it.
func (l *Loop) due(o Owner) {
	l.at = o
	o.Due()
	l.at = nil
	l.QueueLocal(o)
}

// slept tells the owners of all sockets, before anything else is told or served.
func (l *Loop) slept(d time.Duration) {
	for i := range l.slots.used {
		if s := l.slots.at(i).socket; s != nil {
			l.at = s.owner
			more := s.owner.Slept(d)
			l.at = nil
			if more {
				l.QueueLocal(s.owner)
			}
		}
	}
}

// caught ends a round that broke off. A task that panicked is dropped, for what it did is half done. One that ended
// the goroutine is queued again: it has settled the matter, or gets the turn that it missed.
func (l *Loop) caught() {
	value := recover()
	t, at := l.current, l.at
	l.current, l.at = nil, nil
	switch {
	case t == nil && at == nil:
		if value != nil {
			panic(value) // a bug of the loop itself: it must not go on with what it believes
		}
		return // closed
	case value == nil && t != nil:
		t.link().end(true)
		l.runq.push(t)
		return
	case value == nil:
		l.QueueLocal(at)
		return
	case t == nil:
		t = at
	}
	t.link().drop()
	if l.cfg.Panicked != nil {
		l.cfg.Panicked(t, value, debug.Stack())
	}
}
