package loop

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A Socket is the [conn.Backend] of one connection on a [Loop], and a field of its [Owner]. The zero Socket holds
// nothing. It is opened, dialed or adopted once, or never, and closed once. All methods but Post are for use on the loop.
//
// It is small, for there is one in every connection. Where it has to ask the system for an address, it asks when the
// address is wanted, and at the latest when it closes.
type Socket struct {
	about    *about     // nil until it is asked
	ip       netip.Addr // the peer's, told by accept; a socket that was reset does not know it any more
	loop     *Loop      // from here on, what every turn needs
	owner    Owner
	number   int32 // the descriptor plus one; 0 if there is none, ported if package net has it
	slot     int32
	deadline int32  // its number, plus one
	ipPort   uint16 // with ip
	met      met    // what Read and Write have met
	closed   bool   // it has no descriptor any more, or never will
}

func (s *Socket) remote() netip.AddrPort { return netip.AddrPortFrom(s.ip, s.ipPort) }

func (s *Socket) setRemote(a netip.AddrPort) { s.ip, s.ipPort = a.Addr(), a.Port() }

// about is what connections may share: all that a listener on one address accepts have this in common.
type about struct {
	local  netip.AddrPort
	host   string
	addr   string // as dialed
	dialed bool
	dialer *dialer // while the socket is being connected, else nil
	ported *portedSocket
}

var _ conn.Backend = (*Socket)(nil)

// fd is the descriptor, if it is ours; it leaves this type for system calls only.
func (s *Socket) fd() int { return int(s.number) - 1 }

// Open takes over the connection of a, on a's loop, and tells owner that it is connected. It fails if it cannot be
// registered, or if the socket was closed before: then the connection is gone, and owner was told nothing.
func (s *Socket) Open(a *Accepted, owner Owner) error {
	if s.closed || s.number != 0 || a.number == 0 {
		a.giveUp()
		return net.ErrClosed
	}
	l := a.loop
	s.loop, s.owner, s.about, s.number = l, owner, a.about, a.number
	s.setRemote(a.remote)
	a.number = 0
	index, gen := l.slots.add(s)
	s.slot = index
	// Register first: what has come before is reported then, and nothing can come unseen.
	if s.number == ported {
		s.openPort(a.nc)
		a.nc = nil
	} else if err := s.register(index, gen); err != nil {
		_ = s.giveUp(false)
		return err
	}
	owner.Connected()
	l.QueueLocal(owner)
	return nil
}

// Close gives up the descriptor, the slot and the deadline; with reset, the peer sees a reset, if it is a TCP peer.
// A dial in progress is given up, with all its attempts. On a Socket that was never opened, it only keeps it from being
// opened. A second Close does nothing.
func (s *Socket) Close(reset bool) error {
	switch {
	case s.closed || s.number == 0:
		return s.hangUp()
	case s.number == ported:
		return s.giveUp(reset)
	}
	return errors.Join(s.deregister(), s.giveUp(reset))
}

// giveUp lets go of all but the registration. The number is forgotten before it can be another's.
func (s *Socket) giveUp(reset bool) error {
	l, fd, p := s.loop, s.fd(), s.port()
	l.timers.set(s, time.Time{})
	s.learn()
	s.closed = true
	s.number = 0
	l.slots.remove(s.slot)
	l.load.Add(-1)
	if p != nil {
		return p.close(reset)
	}
	return closeSocket(fd, reset)
}

// Arm does nothing: the poller reports each change of readiness, wanted or not.
func (s *Socket) Arm(conn.Interest) {}

// Post passes f on to the owner's Post. Any goroutine may call it once Open, Dial or Adopt was called, also
// after the end.
func (s *Socket) Post(f func()) { s.owner.Post(f) }

// Info says what the socket connects. It may be asked after Close.
func (s *Socket) Info() interceptor.Info {
	s.learn()
	return interceptor.Info{Local: s.about.local, Remote: s.remote(), Host: s.about.host, Addr: s.about.addr,
		Dialed: s.about.dialed}
}

// SetDeadline asks for a call of the owner's Due at t, or soon if t has passed. It replaces what was asked before; the
// zero time takes it away. Closing the socket does, too.
func (s *Socket) SetDeadline(t time.Time) {
	if s.deadline == 0 && t.IsZero() {
		return // there is none, as for most
	}
	if s.loop != nil && !s.closed {
		s.loop.timers.set(s, t)
	}
}

func (s *Socket) timer() *int32 { return &s.deadline }

func (s *Socket) expired() { s.loop.due(s.owner) }
