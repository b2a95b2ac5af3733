package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/conn"
)

// Dial connects s, on l's goroutine, to what cfg says, and tells owner how it goes: Connecting whenever the number of
// addresses being tried has changed, unless to 0; then Connected or Failed, of [conn.StageDNS] or [conn.StageDial]. The
// error of Failed joins what each address said, and names it. Nothing is told before Dial has returned.
//
// The addresses of a name are tried as RFC 8305 has it: the families in turn, the next address after 250 ms, or at once
// when one fails. The first that answers has won. If ctx ends before that, the dial fails with its error; afterwards ctx
// means nothing. [Socket.Close] ends a dial at once, without a word to owner.
//
// Dial returns an error, and owner is told nothing, if cfg cannot work, or if s was closed or used before: net.ErrClosed.
func (s *Socket) Dial(ctx context.Context, l *Loop, owner Owner, cfg DialConfig) error {
	if ctx == nil {
		panic("loop: Dial needs a context")
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	if s.closed || s.number != 0 || s.loop != nil {
		return net.ErrClosed
	}
	d := &dialer{loop: l, socket: s, owner: owner, ctx: ctx, cfg: cfg}
	s.loop, s.owner = l, owner
	s.about = &about{host: cfg.host(), addr: cfg.Addr, dialed: true, dialer: d}
	s.slot, _ = l.slots.add(s) // for whoever closes the loop; no event is told by this slot
	l.load.Add(1)
	l.QueueLocal(d)
	return nil
}

// A dialer connects a Socket. It owns all attempts until one has won: a Socket never sees those that lose. It belongs
// to the loop, but for found.
type dialer struct {
	Link
	loop     *Loop
	socket   *Socket // nil once the dial is over
	owner    Owner
	cfg      DialConfig
	ctx      context.Context
	deadline int32 // its number, plus one

	begun   bool
	unwatch func() bool           // forgets ctx; nil before it began
	cancel  context.CancelFunc    // ends the look-up; nil if there is none
	found   atomic.Pointer[found] // stored by the look-up's goroutine

	route  route
	next   int       // the first address not tried yet
	want   bool      // it is its time
	flying []attempt // those that may still succeed
	told   int       // how many of them the owner knows of
	errs   []error   // of those that failed
}

// found is what came of the look-up.
type found struct {
	route route
	err   error
}

// An attempt is one address that is being tried.
type attempt interface {
	open() error                            // makes ready to connect
	connect() (connected bool, err error)   // begins to connect; what becomes of it, a later turn tells
	ends() (a, b netip.AddrPort, err error) // once connected: the local and the remote address
	give(s *Socket) conn.Interest           // hands the connection over, and returns what it is ready for
	address() netip.AddrPort                // zero for unix-domain sockets
	close() error                           // gives up whatever was not handed over
}

// Turn goes on with the dial. It is queued when there is an address to try, or something to tell.
func (d *dialer) Turn(now time.Time, _ *conn.Memory) bool {
	switch {
	case d.socket == nil:
		return false
	case d.ctx.Err() != nil:
		d.abandoned()
		return false
	case !d.begun:
		d.begin()
	}
	if f := d.found.Swap(nil); f != nil {
		if f.err != nil {
			d.fail(conn.StageDNS, f.err)
			return false
		}
		d.route, d.want = f.route, true
	}
	if len(d.route.to) > 0 {
		d.race(now)
	}
	return false
}

// begin finds the addresses: at once, where they are given by number, else on a goroutine.
func (d *dialer) begin() {
	d.begun = true
	d.unwatch = context.AfterFunc(d.ctx, func() { d.loop.Queue(d) })
	if d.cfg.literal() {
		r, err := d.cfg.resolve(d.ctx)
		d.found.Store(&found{r, err})
		return
	}
	ctx, cancel := context.WithCancel(d.ctx)
	d.cancel = cancel
	cfg := d.cfg // the dialer's own is gone when the dial is
	go func() {
		r, err := cfg.resolve(ctx)
		d.found.Store(&found{r, err})
		d.loop.Queue(d)
	}()
}

// race starts what is to be started, and ends the dial if nothing is left to hope for.
func (d *dialer) race(now time.Time) {
	for d.want && d.more() {
		d.want = false
		a := d.newAttempt(d.route.to[d.next])
		d.next++
		d.flying = append(d.flying, a)
		if d.start(a) {
			d.win(a)
		}
		if d.socket == nil { // it has won, or a function of the application's has closed it
			return
		}
		var due time.Time
		if d.more() {
			due = now.Add(attemptDelay)
		}
		d.loop.timers.set(d, due)
	}
	if len(d.flying) == 0 {
		d.fail(conn.StageDial, errors.Join(d.errs...))
		return
	}
	d.tell()
}

func (d *dialer) more() bool { return d.next < len(d.route.to) }

// start starts an attempt. It reports whether it has succeeded already; if it failed, the next address is due.
func (d *dialer) start(a attempt) (connected bool) {
	err := errors.New("Options.Control ended the goroutine") // runtime.Goexit: then only the deferred is run
	defer func() {
		if err != nil && d.socket != nil {
			d.lose(a, err)
		}
	}()
	if err = a.open(); err != nil {
		return false
	}
	if d.tell(); d.socket == nil {
		return false
	}
	connected, err = a.connect()
	return connected && err == nil
}

// tell tells the owner how many attempts there are, if it does not know.
func (d *dialer) tell() {
	if n := len(d.flying); n != d.told {
		d.told = n
		owner := d.owner // it may close the Socket
		owner.Connecting(n)
		d.loop.QueueLocal(owner)
	}
}

// lose takes note that an attempt failed. The next address is tried in a turn of the dialer.
func (d *dialer) lose(a attempt, err error) {
	_ = d.drop(a)
	d.errs = append(d.errs, d.failure(a.address(), err))
	d.want = true
	d.loop.QueueLocal(d)
}

// drop ends an attempt.
func (d *dialer) drop(a attempt) error {
	d.release(a)
	return a.close()
}

// release forgets an attempt.
func (d *dialer) release(a attempt) {
	for i, b := range d.flying {
		if a == b {
			d.flying = append(d.flying[:i], d.flying[i+1:]...)
			return
		}
	}
}

// win gives the Socket the connection of an attempt. What was said of it so far is told now, for it will not be said
// again.
func (d *dialer) win(a attempt) {
	local, remote, err := a.ends()
	if err != nil {
		d.lose(a, err)
		return
	}
	s, l, owner := d.socket, d.loop, d.owner
	d.release(a)
	_ = d.end()
	s.about.local = local
	s.setRemote(remote)
	events := a.give(s)
	owner.Connected()
	if events != 0 && s.number != 0 {
		owner.Ready(events)
	}
	l.QueueLocal(owner)
}

// fail ends the dial and tells the owner.
func (d *dialer) fail(stage conn.Stage, err error) {
	l, owner := d.loop, d.owner
	_ = d.stop()
	owner.Failed(stage, err)
	l.QueueLocal(owner)
}

// abandoned ends the dial because of its context. What the addresses said until then may be of interest as well.
func (d *dialer) abandoned() {
	stage := conn.StageDial
	if d.route.to == nil && !d.cfg.literal() {
		stage = conn.StageDNS
	}
	err := d.ctx.Err()
	if cause := context.Cause(d.ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	err = fmt.Errorf("dial %s %s: %w", d.cfg.Network, d.cfg.Addr, err)
	d.fail(stage, errors.Join(append([]error{err}, d.errs...)...))
}

// stop ends the dial without a winner: the Socket is closed.
func (d *dialer) stop() error {
	s, l := d.socket, d.loop
	err := d.end()
	l.timers.set(s, time.Time{})
	l.slots.remove(s.slot)
	l.load.Add(-1)
	s.closed = true
	return err
}

// end gives up all that the dialer holds. Who is still to queue it, finds it over.
func (d *dialer) end() error {
	d.socket.about.dialer = nil
	if d.unwatch != nil {
		d.unwatch()
	}
	if d.cancel != nil {
		d.cancel()
	}
	d.loop.timers.set(d, time.Time{})
	var errs []error
	for len(d.flying) > 0 {
		errs = append(errs, d.drop(d.flying[0]))
	}
	d.socket, d.owner, d.ctx, d.cfg = nil, nil, nil, DialConfig{}
	d.unwatch, d.cancel, d.route, d.errs = nil, nil, route{}, nil
	return errors.Join(errs...)
}

func (d *dialer) timer() *int32 { return &d.deadline }

// expired says that the last attempt has had its time alone.
func (d *dialer) expired() {
	d.want = true
	d.loop.QueueLocal(d)
}

// String names the task where a long turn is reported.
func (d *dialer) String() string { return "dial of " + d.cfg.Addr }

// hangUp closes a Socket that has no descriptor: it is being connected, or never was, or is no more.
func (s *Socket) hangUp() error {
	if s.about != nil && s.about.dialer != nil {
		return s.about.dialer.stop()
	}
	s.closed = true
	return nil
}

func isUnix(to netip.AddrPort) bool { return !to.IsValid() }

// networkOf and addressOf are what Options.Control is told, as by package net.
func networkOf(to netip.AddrPort) string {
	switch {
	case isUnix(to):
		return "unix"
	case to.Addr().Is4():
		return "tcp4"
	}
	return "tcp6"
}

func (d *dialer) addressOf(to netip.AddrPort) string {
	if isUnix(to) {
		return d.cfg.Addr
	}
	return to.String()
}

// failure names the address of an attempt.
func (d *dialer) failure(to netip.AddrPort, err error) error {
	e := &net.OpError{Op: "dial", Net: d.cfg.Network, Err: err}
	if isUnix(to) {
		e.Addr = &net.UnixAddr{Name: d.cfg.Addr, Net: "unix"}
		return e
	}
	e.Addr = net.TCPAddrFromAddrPort(to)
	if from := d.route.from; from.IsValid() {
		e.Source = net.TCPAddrFromAddrPort(from)
	}
	return e
}
