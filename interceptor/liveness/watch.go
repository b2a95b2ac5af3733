package liveness

import "time"

// Watchdog is the algorithm of RFC 3539, section 3.4 and Appendix A, with the names that it uses: Tw is drawn anew for each
// use of the timer; Pending says that a probe is out; NumDWA counts answers while a connection is reopened. Its states
// INITIAL and DOWN are those of a connection that is not there, which is the application's affair. One that is kept
// although it is down is okay again with the first message.
type watch struct {
	set    int64 // when the timer was set; what is heard sets it, too
	deaf   int64 // ... but not what was heard by then: while the connection was reopened
	tw     int64
	armed  int64 // the deadline that the connection was given: what is served later than that is late
	probe  probe
	numDWA int8
}

type probe uint8

const (
	noProbe probe = iota
	probeOut
	probeWanted // but bytes of ours wait, which must do
)

// heard is told of every message. One that comes after a probe that was never sent leaves none to wait for.
func (w *watch) heard() {
	if w.probe == probeWanted {
		w.probe = noProbe
	}
}

func (l *Layer) startWatch(now int64) {
	w := &l.needRare().watch
	w.armed, w.deaf = -never, -never
	l.setTimer(now)
	if l.cfg.reopen {
		l.setState(StateReopening)
		l.link.Post(l.speakWatch) // after OnConnected, in which the application may have something to say first
	}
}

// setTimer sets the timer, to a Tw of its own.
func (l *Layer) setTimer(now int64) {
	w := &l.rare.watch
	spread := uint64(2*twJitter) + 1
	w.set = now
	w.tw = after(l.cfg.timeout, int64(l.cfg.rand()%spread)-int64(twJitter))
}

// expiry is when the timer expires.
func (l *Layer) expiry() int64 {
	w := &l.rare.watch
	if sign := l.sign(); sign > max(w.set, w.deaf) && l.state() != StateReopening {
		l.setTimer(sign)
	}
	return after(w.set, w.tw)
}

// judgeWatch is the table's column "timer expires".
func (l *Layer) judgeWatch(now int64) error {
	r := l.rare
	w := &r.watch
	if l.state() == StateDown {
		if now >= r.keepUntil {
			l.down(now, l.why())
		}
		return nil
	}
	due := l.expiry()
	if now < due {
		return nil
	}
	if w.probe == noProbe {
		l.setTimer(now)
		return l.sendProbe()
	}
	// What comes now is a judgement. Whatever the timer says, nobody is late before the deadline that was asked for.
	due = max(due, l.notBefore())
	if now < due {
		return nil
	}
	if done, err := l.excuse(now, max(due, w.armed), l.cfg.timeout); done {
		return err
	}
	switch l.state() {
	case StateUp:
		l.setTimer(now)
		l.suspect(now, l.why())
	case StateSuspect:
		l.down(now, l.why())
	case StateReopening:
		if w.numDWA < 0 {
			l.down(now, l.why())
			break
		}
		w.numDWA = -1
		l.setTimer(now)
	}
	return nil
}

// nextWatch is when judgeWatch has something to do.
func (l *Layer) nextWatch(now int64) int64 {
	r := l.rare
	next := r.keepUntil
	if l.state() != StateDown {
		next = l.expiry()
		if r.watch.probe != noProbe {
			next = max(next, r.notBefore)
		}
		if next <= now { // bytes wait to be heard, or reading is held
			next = max(r.retry, now)
			if r.retry <= now || r.retry == never {
				next = after(now, l.cfg.timeout/4)
			}
		}
	}
	r.watch.armed = next
	return next
}

// sendProbe sends a probe, or notes that there was no room for one.
func (l *Layer) sendProbe() error {
	w := &l.rare.watch
	w.probe = probeOut
	if l.flags.has(pending) {
		w.probe = probeWanted
	}
	if l.mute() {
		return nil
	}
	return l.say()
}

// speakWatch sends a probe, unless one is out. The timer is set for its answer.
func (l *Layer) speakWatch() error {
	w := &l.rare.watch
	if w.probe != noProbe || l.mute() {
		return nil
	}
	now := l.now()
	l.setTimer(now)
	err := l.sendProbe()
	l.arm(now)
	return err
}

// Answered says that the message being handled answers a probe. Watchdog needs to be told of each; for the other forms
// it does nothing.
func (l *Layer) Answered() {
	if l.cfg.form != watchdog || l.link == nil {
		return
	}
	w := &l.rare.watch
	w.probe = noProbe
	if l.state() != StateReopening {
		return
	}
	if w.numDWA++; w.numDWA == 3 {
		l.setState(StateUp)
		now := l.now()
		w.deaf = now
		l.link.Raise(PeerUp{Info: l.info(now, l.heard, Silence), DownFor: time.Duration(0)})
		l.arm(now)
	}
}
