package loop

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A Detached is a [conn.Backend] whose Owner takes its turns on a goroutine of its own, and so may block in them. The
// goroutine lives while turns are wanted; the loop only takes note of readiness.
//
// It has two halves. That on the loop has the socket's descriptor, its slot and its deadline, and is what the loop knows
// as the owner. That in the turns reads and writes, and leaves to the other what must be done on the loop. The Owner is
// told what happened at the start of its turns, on their goroutine.
//
// Start, Queue and Post may be called by any goroutine, the others as it says there.
type Detached struct {
	Link   // of the half on the loop
	socket Socket
	loop   *Loop
	owner  Owner

	desk     *desk     // for use in turns
	open     bool      // in turns: the socket is connected, and was not closed
	shut     bool      // in turns: Close was called
	deadline time.Time // in turns: what was asked for last

	mu      sync.Mutex // guards what follows
	told    []func()   // what the owner is to be told, the oldest first
	ready   conn.Interest
	due     bool
	wanted  bool // a turn is
	running bool // there is a goroutine
	started bool
	dropped bool // it gets no more turns
	info    interceptor.Info
	errand  wishes
}

// wishes is what the turns want from the half on the loop.
type wishes struct {
	timed        bool
	deadline     time.Time
	close, reset bool
}

// A desk is what a turn borrows.
type desk struct {
	mem     conn.Memory
	scratch scratch
}

// keepDesks is how many desks a loop keeps that nobody uses.
const keepDesks = 16

// NewDetached returns a Detached for owner, whose turns do not begin before Start.
func NewDetached(l *Loop, owner Owner) *Detached { return &Detached{loop: l, owner: owner} }

var (
	_ conn.Backend = (*Detached)(nil)
	_ Owner        = (*Detached)(nil)
)

// Start lets turns begin, and asks for the first.
func (d *Detached) Start() {
	d.mu.Lock()
	d.started = true
	d.mu.Unlock()
	d.Queue()
}

// Queue asks for a turn of the owner. If it waits for one already, nothing happens; if it is in its turn, it gets
// another. Once the loop is closed, nothing happens either.
func (d *Detached) Queue() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = true
	if d.started && !d.running && !d.dropped && d.loop.hire() {
		d.running = true
		go d.run()
	}
}

// hire counts a goroutine that takes turns; it returns false if the loop is closed.
func (l *Loop) hire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.workers.Add(1)
	return true
}

// run takes turns until nobody wants one.
func (d *Detached) run() {
	k := d.loop.borrow()
	d.desk = k
	whole := false
	defer func() {
		if !whole {
			d.broke(recover()) // before giveBack, for whoever is told may make the owner give up what it borrowed of k
		}
		d.loop.giveBack(k)
		d.loop.workers.Done()
	}()
	for d.next() {
		if d.owner.Turn(time.Now(), &k.mem) {
			d.mu.Lock()
			d.wanted = true
			d.mu.Unlock()
		}
	}
	whole = true
}

// next begins a turn: it tells the owner what happened. It returns false if no turn is wanted; then another goroutine
// may be running already.
func (d *Detached) next() bool {
	d.mu.Lock()
	if !d.wanted || d.dropped {
		d.running, d.desk = false, nil
		d.mu.Unlock()
		return false
	}
	told, ready, due := d.told, d.ready, d.due
	d.wanted, d.told, d.ready, d.due = false, nil, 0, false
	d.mu.Unlock()
	for _, f := range told {
		f()
	}
	if ready != 0 {
		d.owner.Ready(ready)
	}
	if due {
		d.deadline = time.Time{}
		d.owner.Due()
	}
	return true
}

// broke ends a goroutine whose turn broke off: after runtime.Goexit another one goes on; after a panic there are no more
// turns, for what that one did is half done.
func (d *Detached) broke(value any) {
	d.mu.Lock()
	d.running, d.desk = false, nil
	d.dropped = value != nil
	d.mu.Unlock()
	if value == nil {
		d.Queue()
	} else if report := d.loop.cfg.Panicked; report != nil {
		report(d.owner, value, debug.Stack())
	}
}

// borrow and giveBack lend what one turn at a time may use.
func (l *Loop) borrow() *desk {
	l.desksMu.Lock()
	defer l.desksMu.Unlock()
	n := len(l.desks)
	if n == 0 {
		return new(desk)
	}
	k := l.desks[n-1]
	l.desks[n-1] = nil
	l.desks = l.desks[:n-1]
	return k
}

func (l *Loop) giveBack(k *desk) {
	l.desksMu.Lock()
	defer l.desksMu.Unlock()
	if len(l.desks) < keepDesks {
		l.desks = append(l.desks, k)
	} else {
		l.lent += k.mem.InUse()
	}
}

// The half on the loop.

// Open is [Socket.Open]. It must be called on the loop.
func (d *Detached) Open(a *Accepted) error {
	err := d.socket.Open(a, d)
	if err != nil {
		d.learn() // else Connected did
	}
	return err
}

// Dial is [Socket.Dial], but that any error is told to the owner.
func (d *Detached) Dial(ctx context.Context, cfg DialConfig) {
	d.mu.Lock()
	d.info = interceptor.Info{Host: cfg.host(), Addr: cfg.Addr, Dialed: true}
	d.mu.Unlock()
	ok := d.loop.Do(func() {
		if err := d.socket.Dial(ctx, d.loop, d, cfg); err != nil {
			d.Failed(conn.StageDial, err)
		}
	})
	if !ok {
		d.Failed(conn.StageDial, net.ErrClosed)
	}
}

// Adopt is [Socket.Adopt], but that any error is told to the owner, and nc is closed then; also if the loop is closed.
func (d *Detached) Adopt(nc net.Conn) {
	a := &adoption{d: d, nc: nc}
	if !a.want() || !d.loop.post(a) {
		a.abandon()
		d.Failed(conn.StageDial, net.ErrClosed)
	}
}

// An adoption brings a connection to the loop of the Detached that adopts it.
type adoption struct {
	Link
	d  *Detached
	nc net.Conn // nil once its turn has come
}

// Turn adopts the connection.
func (a *adoption) Turn(time.Time, *conn.Memory) bool {
	nc, d := a.nc, a.d
	a.nc = nil
	if nc == nil { // a method of it ended the goroutine
		return false
	}
	if err := d.socket.Adopt(nc, d.loop, d); err != nil {
		_ = nc.Close()
		d.learn()
		d.Failed(conn.StageDial, err)
	}
	return false
}

func (a *adoption) abandon() {
	if a.nc != nil {
		_ = a.nc.Close()
	}
}

// String names the task where a long turn is reported.
func (a *adoption) String() string { return "adoption for " + a.d.String() }

// Turn does, on the loop, what the turns wished.
func (d *Detached) Turn(time.Time, *conn.Memory) bool {
	d.mu.Lock()
	w := d.errand
	d.errand = wishes{}
	d.mu.Unlock()
	if w.timed {
		d.socket.SetDeadline(w.deadline)
	}
	if w.close {
		_ = d.socket.Close(w.reset)
	}
	return false
}

// Connecting, Connected, Failed, Ready, Due and Slept are told by the loop.

// Connecting takes note.
func (d *Detached) Connecting(inflight int) { d.note(func() { d.owner.Connecting(inflight) }) }

// Connected takes note.
func (d *Detached) Connected() {
	d.learn()
	d.note(func() {
		d.open = !d.shut // it may have been closed while it was being connected
		d.owner.Connected()
	})
}

// learn lets the turns know, from here on, what the socket knows.
func (d *Detached) learn() {
	info := d.socket.Info()
	d.mu.Lock()
	d.info = info
	d.mu.Unlock()
}

// Failed takes note.
func (d *Detached) Failed(stage conn.Stage, err error) {
	d.note(func() { d.owner.Failed(stage, err) })
}

func (d *Detached) note(f func()) {
	d.mu.Lock()
	d.told = append(d.told, f)
	d.mu.Unlock()
	d.Queue()
}

// Ready takes note.
func (d *Detached) Ready(i conn.Interest) {
	d.mu.Lock()
	d.ready |= i
	d.mu.Unlock()
	d.Queue()
}

// Due takes note.
func (d *Detached) Due() {
	d.mu.Lock()
	d.due = true
	d.mu.Unlock()
	d.Queue()
}

// Slept takes note. Whether the owner wants a turn it says in one.
func (d *Detached) Slept(t time.Duration) bool {
	d.note(func() { d.owner.Slept(t) })
	return false
}

// String names the owner.
func (d *Detached) String() string {
	return d.owner.String()
}

// The half in the turns.

// Read is [Socket.Read].
func (d *Detached) Read(p []byte) (int, error) {
	if !d.open {
		return 0, net.ErrClosed
	}
	return d.socket.Read(p)
}

// Write is [Socket.Write].
func (d *Detached) Write(bufs [][]byte) (int, error) {
	if !d.open {
		return 0, net.ErrClosed
	}
	if d.socket.number == ported {
		return d.socket.writePort(bufs)
	}
	return d.socket.writeWith(&d.desk.scratch, bufs)
}

// Unread is [Socket.Unread].
func (d *Detached) Unread() (int, error) {
	if !d.open {
		return 0, net.ErrClosed
	}
	if d.socket.number == ported {
		return d.socket.unreadPort()
	}
	return d.socket.unreadWith(&d.desk.scratch)
}

// Arm does nothing, as that of [Socket].
func (d *Detached) Arm(conn.Interest) {}

// CloseWrite is [Socket.CloseWrite].
func (d *Detached) CloseWrite() error {
	if !d.open {
		return net.ErrClosed
	}
	return d.socket.CloseWrite()
}

// Close is [Socket.Close], soon: nothing is read or written any more.
func (d *Detached) Close(reset bool) error {
	d.open, d.shut = false, true
	d.wish(func(w *wishes) { w.close, w.reset = true, reset })
	return nil
}

// SetDeadline is [Socket.SetDeadline].
func (d *Detached) SetDeadline(t time.Time) {
	if t.Equal(d.deadline) {
		return
	}
	d.deadline = t
	d.wish(func(w *wishes) { w.timed, w.deadline = true, t })
}

func (d *Detached) wish(f func(*wishes)) {
	d.mu.Lock()
	f(&d.errand)
	d.mu.Unlock()
	d.loop.Queue(d)
}

// Post passes f on to the owner's Post. Any goroutine may call it.
func (d *Detached) Post(f func()) { d.owner.Post(f) }

// Info is [Socket.Info].
func (d *Detached) Info() interceptor.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}
