package liveness

import (
	"fmt"
	"time"
)

// Status is what a [Layer] knows now.
type Status struct {
	State       State
	Timeout     time.Duration // the T that counts, or Tw
	PeerTimeout time.Duration // the peer's T; 0 if it is not known
	LastHeard   time.Time
	// LastSpoke is when the system took bytes of ours last; while bytes wait, it may be when the first of them was given
	// to it.
	LastSpoke time.Time
	Held      bool // reading is held back: nothing can be heard
	Stalled   bool // bytes of ours wait, and the system takes none: since it was time to speak, or for most of T
}

// Status returns what is known now. It does not allocate.
func (l *Layer) Status() Status {
	l.catchUp()
	s := Status{State: l.state(), Timeout: l.limit(), Held: l.flags.has(held), Stalled: l.flags.has(stalled)}
	if l.link != nil {
		s.LastHeard, s.LastSpoke = l.time(l.heard), l.time(l.spoke)
	}
	if l.cfg.form == framed && s.State != StateWaiting {
		s.PeerTimeout = time.Duration(l.peer)
	}
	return s
}

// SetTimeout changes T, or Tw; a framed peer is told. Silence counts from now on.
func (l *Layer) SetTimeout(d time.Duration) error {
	l.catchUp()
	f := l.cfg.form
	if err := checkTimeout(f, d); err != nil || d == 0 {
		return fmt.Errorf("liveness: SetTimeout: %v is no timeout for %s: it must be %s", d, formNames[f], timeoutRange(f))
	}
	s := l.own()
	s.wanted = int64(d)
	switch {
	case l.link == nil:
		s.setTimeout(s.wanted)
		return nil
	case f == framed && l.state() != StateWaiting:
		l.reconcile()
	default:
		s.setTimeout(s.wanted)
	}
	l.restart()
	var err error
	if f == framed && !l.flags.has(shut) {
		l.queued()
		err = l.link.Down([][]byte{timingsFrame(s.wanted, s.minSpeak)})
	}
	l.arm(l.now())
	return err
}

func timeoutRange(f form) string {
	if f == watchdog {
		return "6 s to 100 years"
	}
	return "10 ms to 100 years, or Never"
}

// own makes cfg this layer's alone.
func (l *Layer) own() *settings {
	if !l.flags.has(ownCopy) {
		l.flags.set(ownCopy)
		s := *l.cfg
		l.cfg = &s
	}
	return l.cfg
}

// restart lets silence count from now on.
func (l *Layer) restart() {
	now := l.now()
	r := l.needRare()
	r.from, r.notBefore, r.stuckFrom, r.retry = now, now, after(now, l.cfg.timeout), never
	l.flags.clear(excused)
	switch l.state() {
	case StateSuspect:
		l.setState(StateUp)
	case StateDown:
		if r.keepUntil != never {
			r.keepUntil = max(r.keepUntil, after(now, l.cfg.timeout))
		}
	}
}

// Heard is a proof of life from elsewhere: a datagram, another connection, a lease.
func (l *Layer) Heard() {
	if l.link == nil {
		return
	}
	l.catchUp()
	l.hear(l.now())
}

// SetProbe gives this connection a probe of its own: for protocols whose answers come in order, it can note that one
// more is due. Nil takes the probe away, but for Watchdog, where it does nothing.
func (l *Layer) SetProbe(probe func(dst []byte) []byte) {
	if probe == nil && l.cfg.form == watchdog || l.cfg.form == framed {
		return
	}
	l.own().probe = probe
	if l.link != nil {
		l.arm(l.now())
	}
}
