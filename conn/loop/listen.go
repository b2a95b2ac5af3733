package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/conn"
)

// ListenConfig sets up a [Listener].
type ListenConfig struct {
	Options  Options
	MaxConns int // at this number accepting waits until Release; if zero, there is no limit
	// Accept gets each connection, on the goroutine of the loop that it was dealt to. a is valid during the call only,
	// and what was not opened by its end is rejected. If it was, with success or without, Accept's side must call
	// [Listener.Release] once, when it is done with the connection.
	Accept func(a *Accepted)
	// Resting is told that the system has no descriptors or memory for another connection, so that accepting rests for
	// 100 ms, and again and again until it has: it is told once. It is called on the loop that accepts; it may be nil.
	Resting func(err error)
}

// A Listener accepts connections on one loop and deals them out to all: each goes to the loop with the fewest. One
// place that accepts makes the limit exact. Its methods may be called by any goroutine, also on a loop.
type Listener struct {
	cfg   ListenConfig
	loops []*Loop
	addr  net.Addr
	about *about // shared by the connections; nil if each has to ask for its local address
	door  door

	live   atomic.Int64 // connections accepted and not released; only the acceptor adds
	full   atomic.Bool  // the acceptor waits for a Release
	closed atomic.Bool
	rests  atomic.Int64
	close  sync.Once
	err    error
}

const (
	acceptsPerTurn = 16
	restTime       = 100 * time.Millisecond // without descriptors or memory
)

// A door is what accepts, as a task of one loop: it is queued when there is room again.
type door interface {
	Task
	home() *Loop
	close() error // by any goroutine
}

// Listen listens at addr: network is "tcp", "tcp4", "tcp6" or "unix". ctx bounds the resolving of addr. When it
// returns, clients can connect.
func Listen(ctx context.Context, loops []*Loop, network, addr string, cfg ListenConfig) (*Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	if err := cfg.validate(loops); err != nil {
		return nil, err
	}
	ln := &Listener{cfg: cfg, loops: append([]*Loop(nil), loops...)}
	open := ln.open
	if loops[0].portable() {
		open = ln.openPorted
	}
	if err := open(ctx, network, addr); err != nil {
		return nil, err
	}
	return ln, nil
}

func (c *ListenConfig) validate(loops []*Loop) error {
	errs := []error{c.Options.Validate()}
	if len(loops) == 0 {
		errs = append(errs, errors.New("loop: no loops to deal connections out to"))
	}
	if c.MaxConns < 0 {
		errs = append(errs, fmt.Errorf("loop: ListenConfig.MaxConns is %d: it must be 0 (for no limit) or a number of connections",
			c.MaxConns))
	}
	if c.Accept == nil {
		errs = append(errs, errors.New("loop: ListenConfig.Accept is nil: it must take connections"))
	}
	return errors.Join(errs...)
}

// Addr returns the address that ln listens at.
func (ln *Listener) Addr() net.Addr { return ln.addr }

// Len returns how many connections were accepted and not released.
func (ln *Listener) Len() int { return int(ln.live.Load()) }

// Rests returns how often accepting had to rest.
func (ln *Listener) Rests() int { return int(ln.rests.Load()) }

// Release makes room for another connection: once for each that was opened, when its owner is done with it.
func (ln *Listener) Release() {
	ln.live.Add(-1)
	if ln.full.Load() && ln.full.CompareAndSwap(true, false) {
		ln.door.home().Queue(ln.door)
	}
}

// admit reports whether there is room for one more. If not, Release queues the acceptor.
func (ln *Listener) admit() bool { return ln.room() || ln.roomAfterAll() }

func (ln *Listener) room() bool { return ln.cfg.MaxConns == 0 || ln.Len() < ln.cfg.MaxConns }

// roomAfterAll asks for word of the next Release, unless there was one since room was asked. First the flag, then the
// look; Release does it the other way round, so one of the two sees the other.
func (ln *Listener) roomAfterAll() bool {
	ln.full.Store(true)
	return ln.room() && ln.full.CompareAndSwap(true, false)
}

// Close stops accepting: when it returns, new clients are refused. Connections that Accept has not got yet end;
// the others live on. A second Close returns the same.
func (ln *Listener) Close() error {
	ln.close.Do(func() {
		ln.closed.Store(true)
		ln.err = ln.door.close()
	})
	return ln.err
}

// An Accepted is a connection that nobody owns yet. It is for use on its loop, within [ListenConfig.Accept].
type Accepted struct {
	ln     *Listener
	loop   *Loop
	about  *about
	remote netip.AddrPort
	number int32 // the descriptor plus one; 0 if it was opened or rejected, ported if it is nc
	nc     net.Conn
}

func (a *Accepted) fd() int { return int(a.number) - 1 }

// Listener returns who accepted the connection.
func (a *Accepted) Listener() *Listener { return a.ln }

// Loop returns the loop that the connection is dealt to.
func (a *Accepted) Loop() *Loop { return a.loop }

// Remote returns who connected; it is zero for unix-domain sockets.
func (a *Accepted) Remote() netip.AddrPort { return a.remote }

// Reject closes the connection, and makes room for another. It does nothing if it was opened or rejected before.
func (a *Accepted) Reject() {
	if a.giveUp() {
		a.ln.Release()
	}
}

// giveUp closes the connection, if that is still to be done here. It does so in order: a reset might reach a client
// that is still about to connect, and look like a refusal.
func (a *Accepted) giveUp() bool {
	if a.number == 0 {
		return false
	}
	fd, nc := a.fd(), a.nc
	a.number, a.nc = 0, nil
	a.loop.load.Add(-1)
	if nc != nil {
		_ = nc.Close()
	} else {
		_ = closeSocket(fd, false)
	}
	return true
}

// hand gives a to the application, on a's loop. t is whose turn it is.
func (ln *Listener) hand(t Task, a *Accepted) {
	defer func() {
		a.Reject() // also if Accept panicked, or ended the goroutine
		if value := recover(); value != nil && a.loop.cfg.Panicked != nil {
			a.loop.cfg.Panicked(t, value, debug.Stack()) // and t goes on: others wait to be accepted
		}
	}()
	if !ln.closed.Load() {
		ln.cfg.Accept(a)
	}
}

// A handover brings a connection to another loop than the one that accepted it.
type handover struct {
	Link
	Accepted
}

// Turn gives the connection to the application.
func (h *handover) Turn(time.Time, *conn.Memory) bool {
	if h.number != 0 { // it is 0 if Accept ended the goroutine
		h.ln.hand(h, &h.Accepted)
	}
	return false
}

func (h *handover) abandon() { h.Reject() }

// String names the task where a long turn is reported.
func (h *handover) String() string { return "connection accepted at " + h.ln.addr.String() }

// choose counts a connection, and returns the loop that has the fewest. next is where to begin to look.
func (ln *Listener) choose(next *int) *Loop {
	l := Least(ln.loops, *next)
	*next = (*next + 1) % len(ln.loops)
	ln.live.Add(1)
	l.load.Add(1)
	return l
}

// send brings a to its loop.
func (a Accepted) send() {
	h := &handover{Accepted: a}
	if !h.want() || !a.loop.post(h) {
		h.Reject()
	}
}

// Doors are the listening sockets of a loop. Unlike the others they are opened and closed by any goroutine, also on a
// loop, and so they have a table of their own, with a lock. Ids are never used again.

// addDoor returns false if the loop is closed. Else the loop waits, when it is, for so many goroutines of the door.
func (l *Loop) addDoor(d door, goroutines int) (id int32, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return 0, false
	}
	if l.doors == nil {
		l.doors = make(map[int32]door)
	}
	l.helpers.Add(goroutines)
	l.doorIDs++
	l.doors[l.doorIDs] = d
	return l.doorIDs, true
}

// door returns nil if there is none of this id, or no more.
func (l *Loop) door(id int32) door {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doors[id]
}

func (l *Loop) removeDoor(id int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.doors, id)
}
