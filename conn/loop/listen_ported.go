package loop

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/galago-go/galago/conn"
)

// A portedAcceptor accepts from a listener of package net, on a goroutine of its own. Its turn only says that there is
// room again.
type portedAcceptor struct {
	Link
	loop *Loop
	ln   *Listener
	nl   net.Listener
	room chan struct{} // holds one Release that came while it waited for room
	quit context.Context
	end  context.CancelFunc

	next     int // the loop to try first when dealing
	failures int // in a row
	told     bool

	mu sync.Mutex // keeps whoever closes the loop waiting until the door is known to itself
	id int32
}

// openPorted listens by package net.
func (ln *Listener) openPorted(ctx context.Context, network, addr string) error {
	o := &ln.cfg.Options
	lc := net.ListenConfig{Control: o.control(o.Control), KeepAlive: o.noKeepAlive(), KeepAliveConfig: o.keepAlive()}
	lc.SetMultipathTCP(false)
	nl, err := lc.Listen(ctx, network, addr)
	if err != nil {
		return err
	}
	a := &portedAcceptor{ln: ln, loop: Least(ln.loops, 0), nl: nl, room: make(chan struct{}, 1)}
	a.quit, a.end = context.WithCancel(context.Background())
	ln.addr, ln.door = nl.Addr(), a
	a.mu.Lock()
	id, ok := a.loop.addDoor(a, 1)
	a.id = id
	a.mu.Unlock()
	if !ok {
		a.end()
		return errors.Join(&net.OpError{Op: "listen", Net: network, Addr: ln.addr, Err: net.ErrClosed}, nl.Close())
	}
	go a.run()
	return nil
}

func (a *portedAcceptor) home() *Loop { return a.loop }

// Turn says that there is room.
func (a *portedAcceptor) Turn(time.Time, *conn.Memory) bool {
	select {
	case a.room <- struct{}{}:
	default:
	}
	return false
}

// close may be called by any goroutine.
func (a *portedAcceptor) close() error {
	a.end()
	err := a.nl.Close()
	a.mu.Lock()
	id := a.id
	a.mu.Unlock()
	a.loop.removeDoor(id)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// run accepts until the listener is closed. The loop waits for its end, for it has a place among the loop's doors.
func (a *portedAcceptor) run() {
	defer a.loop.helpers.Done()
	for {
		for !a.ln.admit() {
			select {
			case <-a.room:
			case <-a.quit.Done():
				return
			}
		}
		nc, err := a.nl.Accept()
		switch {
		case err == nil:
			a.failures, a.told = 0, false
			a.deal(nc)
		case a.quit.Err() != nil:
			return
		default:
			a.failed(err)
		}
	}
}

// failed goes on at once if the error was one client's, but not for ever; else it rests.
func (a *portedAcceptor) failed(err error) {
	if a.failures++; transient(err) && a.failures < acceptsPerTurn {
		return
	}
	a.failures = 0
	a.ln.rests.Add(1)
	if resting := a.ln.cfg.Resting; !a.told && resting != nil {
		a.told = true
		a.loop.Do(func() { resting(err) })
	}
	select {
	case <-time.After(restTime):
	case <-a.quit.Done():
	}
}

// transient reports whether accepting failed for one client only.
func transient(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EINTR, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPERM,
		syscall.ETIMEDOUT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// deal gives a connection to the loop that has the fewest.
func (a *portedAcceptor) deal(nc net.Conn) {
	a.ln.cfg.Options.apply(nc)
	l := a.ln.choose(&a.next)
	Accepted{ln: a.ln, loop: l, about: new(about), remote: addrPortOf(nc.RemoteAddr()), number: ported, nc: nc}.send()
}

// String names the task where a long turn is reported.
func (a *portedAcceptor) String() string { return "listener at " + a.ln.addr.String() }
