package liveness

import (
	"time"

	"github.com/galago-go/galago/interceptor"
)

// The receiving half: what was heard, and what is thought of the peer.

// hear notes a proof of life.
func (l *Layer) hear(now int64) {
	if l.cfg.form == framed {
		l.settleFlood(now)
	} else {
		l.mode = 0
	}
	was := l.heard
	l.heard = now
	l.flags.clear(excused)
	switch l.state() {
	case StateSuspect:
		l.clear(now, was)
	case StateDown:
		l.up(now, was)
	}
	if l.cfg.form == watchdog {
		l.rare.watch.heard()
	}
}

// clear takes suspicion back. Nothing is told, but by Watchdog. The deadline is that of T, which may be too late for the
// next suspicion.
func (l *Layer) clear(now, was int64) {
	l.setState(StateUp)
	if l.cfg.form == watchdog {
		l.up(now, was)
		return
	}
	l.arm(now)
}

// up tells that the peer is there again, having been silent since was.
func (l *Layer) up(now, was int64) {
	if l.link.Closing() {
		l.setState(StateClosing)
		return
	}
	l.setState(StateUp)
	r := l.rare
	r.keepUntil = never
	l.link.Raise(PeerUp{l.info(now, was, r.cause), time.Duration(now - r.downAt)})
	l.arm(now)
}

func (l *Layer) info(now, heard int64, c Cause) Info {
	return Info{Silent: time.Duration(now - heard), Timeout: l.limit(), LastHeard: l.time(heard), Cause: c, Layer: l}
}

func (l *Layer) limit() time.Duration { return time.Duration(l.cfg.timeout) }

// judge looks at what is due.
func (l *Layer) judge(now int64) error {
	switch l.state() {
	case StateWaiting, StateClosing:
		return nil
	case StateEnded:
		l.judgeQueue(now)
		return nil
	}
	if l.link.Closing() {
		l.setState(StateClosing)
		return nil
	}
	if l.flags.has(held) {
		if !l.flags.has(pending) {
			return nil // nothing can be heard, and nothing shows whether anybody is there
		}
		if first := l.look(now); first {
			return nil
		}
	}
	if l.cfg.form == watchdog {
		return l.judgeWatch(now)
	}
	if err := l.judgePeer(now); err != nil {
		return err
	}
	l.judgeQueue(now)
	return nil
}

// sign is when there was a sign of life last. While reading is held and bytes of ours wait, the system's signs must do.
func (l *Layer) sign() int64 {
	s := l.heard
	if r := l.rare; r != nil {
		s = max(s, r.from)
		if l.flags&(held|pending) == held|pending {
			s = max(s, l.spoke, r.sign)
		}
	}
	return s
}

// look looks for signs while reading is held and bytes of ours wait: more bytes that wait unread. The first look sees no
// more than how many there are.
func (l *Layer) look(now int64) (first bool) {
	r := l.needRare()
	n := l.link.Unread()
	first = !r.looked
	if !first && n > r.unread {
		r.sign = now
		l.moved(now)
	}
	r.looked, r.lookedAt, r.unread = true, now, n
	return first
}

// moved is for a sign of life that is none while reading goes on, for there the application's word counts, not the
// system's.
func (l *Layer) moved(now int64) {
	switch s := l.state(); {
	case s == StateSuspect && l.flags.has(held):
		l.clear(now, l.heard)
	case s == StateDown && l.rare.cause == WriteStalled:
		l.up(now, l.heard)
	}
}

// Reading notes whether anything can be heard. When it can be again, a full T begins.
func (l *Layer) Reading(_ interceptor.Link, heldBack bool) {
	l.catchUp()
	r := l.needRare()
	if heldBack {
		l.flags.set(held)
		r.looked, r.lookedAt = false, l.now()
		l.standAside()
		return
	}
	l.flags.clear(held | excused)
	r.from = l.now()
	r.stuckFrom = max(r.stuckFrom, after(r.from, l.cfg.timeout))
	switch l.state() {
	case StateSuspect:
		l.clear(r.from, l.heard)
	case StateDown:
		if r.keepUntil != never {
			r.keepUntil = max(r.keepUntil, after(r.from, l.cfg.timeout))
		}
	case StateEnded:
		l.arm(r.from)
	}
	l.standAside()
}

// judgePeer follows silence from Up to Suspect to Down.
func (l *Layer) judgePeer(now int64) error {
	t := l.cfg.timeout
	if t == never {
		return nil
	}
	sign := l.sign()
	if l.state() == StateUp {
		due := max(after(sign, min(l.cfg.suspect, t)), l.notBefore())
		if now < due {
			return nil
		}
		if done, err := l.excuse(now, due, t); done {
			return err
		}
		if l.cfg.suspect != never {
			l.suspect(now, l.why())
		}
	}
	due := max(after(sign, t), l.notBefore())
	if l.state() == StateDown {
		due = l.rare.keepUntil
	}
	if now < due {
		return nil
	}
	if done, err := l.excuse(now, due, t); done {
		return err
	}
	l.down(now, l.why())
	return nil
}

func (l *Layer) notBefore() int64 {
	if l.rare == nil {
		return -never
	}
	return l.rare.notBefore
}

// why is the cause of what is due.
func (l *Layer) why() Cause {
	if l.flags.has(held) {
		return WriteStalled
	}
	return Silence
}

// excuse reports whether what is due must wait, since it may be our own fault: bytes wait that nobody has read yet; or we
// are late, for we were stopped, or busy, and the peer may have been, too. The latter is excused once in each silence.
func (l *Layer) excuse(now, due, t int64) (done bool, err error) {
	if !l.flags.has(held) && now < after(due, grace(t)) && l.link.Unread() > 0 {
		l.needRare().retry = after(now, min(max(t/64, ms), grace(t)))
		return true, nil
	}
	if now-due <= max(t/8, 5*ms) || l.flags.has(excused) {
		return false, nil
	}
	l.flags.set(excused)
	l.pardon(now)
	if l.state() == StateUp && l.cfg.suspect != never {
		l.suspect(now, LocalStall)
	}
	return true, l.speakUp(now)
}

// grace is how much longer is waited after what was our own fault.
func grace(t int64) int64 { return max(t/4, 20*ms) }

// pardon gives the peer time.
func (l *Layer) pardon(now int64) {
	if l.cfg.timeout == never {
		return
	}
	r := l.needRare()
	until := after(now, grace(l.cfg.timeout))
	r.notBefore, r.stuckFrom = max(r.notBefore, until), max(r.stuckFrom, until)
	if r.keepUntil != never {
		r.keepUntil = max(r.keepUntil, until)
	}
}

// suspect tells that the peer is suspect.
func (l *Layer) suspect(now int64, c Cause) {
	l.setState(StateSuspect)
	r := l.needRare()
	r.downAt = now
	l.because(c)
	l.link.Raise(PeerSuspect{l.info(now, l.heard, c)})
}

func (l *Layer) because(c Cause) {
	l.rare.cause = c
	if c == WriteStalled {
		l.flags.set(stalled)
	}
}

// down tells that the peer is down, or still is, and lets the handler decide. What it decides shows when the posted
// function runs, which is after OnEvent.
func (l *Layer) down(now int64, c Cause) {
	r := l.needRare()
	r.repeat++
	if l.state() != StateDown {
		r.repeat, r.downAt, r.probed = 0, now, now
	}
	l.setState(StateDown)
	r.keepUntil, r.decided = never, false
	l.because(c)
	r.id++
	id := r.id
	l.link.Raise(PeerDown{l.info(now, l.heard, c), r.repeat, id})
	until := after(now, grace(l.cfg.timeout))
	l.link.Post(func() error { return l.fallBack(id, until) })
}

// decide notes what the handler decided on PeerDown number id.
func (l *Layer) decide(id uint32, v Verdict) {
	r := l.rare
	if l.state() != StateDown || r == nil || r.id != id {
		return
	}
	r.decided, r.keepUntil = true, never
	if v.kind == keepFor {
		r.keepUntil = after(l.now(), int64(max(v.d, shortestKeep)))
	}
	l.arm(l.now())
}

// fallBack does what the configuration says, if the handler decided nothing on PeerDown number id. Bytes that have come
// since are heard first.
func (l *Layer) fallBack(id uint32, until int64) error {
	r, now, v := l.rare, l.now(), l.cfg.onDown
	switch {
	case l.state() != StateDown || r.id != id || r.decided || l.link.Closing() || v.kind == keep:
		return nil
	case !l.flags.has(held) && now < until && l.link.Unread() > 0:
		l.link.Post(func() error { return l.fallBack(id, until) })
		return nil
	}
	err := &DownError{time.Duration(now - l.heard), l.limit(), r.cause}
	switch v.kind {
	case keepFor:
		l.decide(id, v)
	case closeIt:
		l.link.End(err)
	case abortIt:
		return err
	default:
		panic("BUG: liveness: unhandled verdict")
	}
	return nil
}

// judgeQueue tells, once, that the peer does not read, if it is alive.
func (l *Layer) judgeQueue(now int64) {
	t, due := l.cfg.timeout, l.nextQueueLook()
	switch {
	case now < due:
	case now-due > max(t/8, 5*ms): // the system may have room by now, for writing comes after this
		l.needRare().stuckFrom = after(now, grace(t))
	default:
		l.flags.set(told | stalled)
		l.link.Raise(PeerSuspect{l.info(now, l.heard, WriteStalled)})
	}
}

func (l *Layer) stuckAt() int64 {
	due := after(l.spoke, l.cfg.timeout)
	if r := l.rare; r != nil {
		due = max(due, r.stuckFrom)
	}
	return due
}

// nextLook is when there is something to judge at the earliest. It may be too early, for what is heard does not move it;
// then it is looked for anew.
func (l *Layer) nextLook(now int64) (next int64) {
	t := l.cfg.timeout
	switch {
	case l.state() == StateWaiting || l.state() == StateClosing:
		return never
	case l.state() == StateEnded:
		return l.nextQueueLook()
	case l.cfg.form == watchdog:
		return l.nextWatch(now)
	case t == never:
		return never
	}
	// While reading is held, time is no sign of anything; but it must be known how long the signs have been missing.
	often := min(l.cfg.suspect, t-t/4)
	if l.flags.has(held) {
		if !l.flags.has(pending) {
			return after(now, often)
		}
		next = max(after(l.rare.lookedAt, t/4), now)
	} else {
		next = l.nextQueueLook()
	}
	due := max(after(l.sign(), t), l.notBefore())
	switch l.state() {
	case StateUp:
		if early := max(after(l.sign(), often), l.notBefore()); early > now {
			due = early
		}
	case StateDown:
		due = l.rare.keepUntil
	}
	if due <= now && l.rare != nil { // bytes wait to be heard
		due = max(l.rare.retry, now)
	}
	return min(next, due)
}

func (l *Layer) nextQueueLook() int64 {
	if s := l.state(); s != StateUp && s != StateEnded || l.flags&(pending|told|held) != pending || l.cfg.timeout == never {
		return never
	}
	return l.stuckAt()
}
