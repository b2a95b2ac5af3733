package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/galago-go/galago/conn"
)

// A portedAttempt is one address that package net tries, on a goroutine.
type portedAttempt struct {
	Link
	d      *dialer
	loop   *Loop
	to     netip.AddrPort // zero for unix-domain sockets
	cancel context.CancelFunc

	mu   sync.Mutex // guards what follows
	over bool       // nobody wants it any more
	done bool
	nc   net.Conn
	err  error
}

func (a *portedAttempt) address() netip.AddrPort { return a.to }

func (a *portedAttempt) open() error { return nil }

// connect lets a goroutine dial. The dialer may be over before that is. If its context ends, it closes its attempts, and
// says why; they need not say so, too.
func (a *portedAttempt) connect() (connected bool, err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.d.ctx))
	a.cancel = cancel
	dialer, address, options := a.dialer(), a.d.addressOf(a.to), a.d.cfg.Options
	a.loop.helpers.Add(1)
	go func() {
		defer a.loop.helpers.Done()
		defer cancel()
		nc, err := dialer.DialContext(ctx, networkOf(a.to), address)
		if err == nil {
			options.apply(nc)
		}
		a.ended(nc, err)
	}()
	return false, nil
}

// dialer sets package net up for one address.
func (a *portedAttempt) dialer() net.Dialer {
	o, from := a.d.cfg.Options, a.d.route.from // a copy: the dial may be over before Control is called
	n := net.Dialer{KeepAlive: o.noKeepAlive(), KeepAliveConfig: o.keepAlive()}
	n.SetMultipathTCP(false)
	if !isUnix(a.to) && from != (netip.AddrPort{}) {
		local := from.Addr()
		if !local.IsValid() {
			local = netip.IPv6Unspecified()
			if a.to.Addr().Is4() {
				local = netip.IPv4Unspecified()
			}
		}
		n.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, from.Port()))
	}
	control := o.Control
	if control != nil {
		control = func(network, address string, c syscall.RawConn) error {
			return a.guarded(func() error { return o.Control(network, address, c) })
		}
	}
	n.Control = o.control(control)
	return n
}

// guarded calls what is the application's, and may do anything. It gets a goroutine of its own to end: package net would
// leave the descriptor open.
func (a *portedAttempt) guarded(control func() error) error {
	err := errors.New("Options.Control ended the goroutine") // runtime.Goexit: then only the deferred is run
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if value := recover(); value != nil {
				err = fmt.Errorf("Options.Control panicked: %v", value)
				if report, stack := a.loop.cfg.Panicked, debug.Stack(); report != nil {
					a.loop.Do(func() { report(a, value, stack) })
				}
			}
		}()
		err = control()
	}()
	<-done
	return err
}

// ended is called by the goroutine.
func (a *portedAttempt) ended(nc net.Conn, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		if nc != nil {
			_ = nc.Close()
		}
		return
	}
	a.done, a.nc, a.err = true, nc, err
	a.loop.Queue(a)
}

// Turn tells the dialer.
func (a *portedAttempt) Turn(time.Time, *conn.Memory) bool {
	a.mu.Lock()
	over, done, err := a.over, a.done, a.err
	a.done = false
	a.mu.Unlock()
	switch {
	case over || !done:
	case err != nil:
		var op *net.OpError
		if errors.As(err, &op) { // the dialer names the address once more
			err = op.Err
		}
		a.d.lose(a, err)
	default:
		a.d.win(a)
	}
	return false
}

func (a *portedAttempt) ends() (local, remote netip.AddrPort, err error) {
	return addrPortOf(a.nc.LocalAddr()), addrPortOf(a.nc.RemoteAddr()), nil
}

func (a *portedAttempt) give(s *Socket) conn.Interest {
	a.mu.Lock()
	nc := a.nc
	a.over, a.nc = true, nil
	a.mu.Unlock()
	s.number = ported
	s.openPort(nc)
	return 0
}

func (a *portedAttempt) close() error {
	a.mu.Lock()
	nc := a.nc
	a.over, a.nc = true, nil
	a.mu.Unlock()
	if a.cancel != nil {
		a.cancel()
	}
	if nc != nil {
		return nc.Close()
	}
	return nil
}

// String names the task where a long turn is reported.
func (a *portedAttempt) String() string { return "attempt to connect to " + a.d.addressOf(a.to) }
