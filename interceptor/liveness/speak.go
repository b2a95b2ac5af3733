package liveness

import (
	"errors"
	"sync"

	"github.com/galago-go/galago/interceptor"
)

// The speaking half: what we must say so that the peer hears us in time.

// keepalive is an empty DATA frame. Nobody changes it.
var keepalive = [][]byte{{0, 0, 0, 0}}

// A pace is how long after a word the next one is due.
type pace struct {
	least, most int64 // it is drawn from these, so that connections that began together part
	floor       int64 // it may be rounded down to the grid, but not below this
	grid        int64
}

// pace follows from what the peer wants, and from what we are willing to do.
func (l *Layer) pace() pace {
	p := pace{most: l.peer / l.cfg.fraction, floor: l.cfg.minSpeak, grid: min(l.peer/64, 10*ms)}
	p.least = p.most - p.most/10
	if l.peer < int64(minTimeout) { // no faster, whatever it says
		p.most, p.floor = quickest, max(quickest, p.floor)
	}
	p.least, p.most = max(p.least, p.floor), max(p.most, p.floor)
	return p
}

// earliest is from when on a word is not too early.
func (p pace) earliest() int64 { return max(p.least-p.grid, p.floor) }

// draw returns when to speak next after the word at last.
func (p pace) draw(last int64, random uint64) int64 {
	due := after(last, p.least+int64(random%uint64(p.most-p.least+1)))
	return max(floorTo(due, p.grid), after(last, p.floor))
}

// floorTo rounds down to a multiple of grid. Connections whose words fall on the same multiple are served together.
func floorTo(t, grid int64) int64 {
	if grid <= 1 || t == never {
		return t
	}
	return t - (t%grid+grid)%grid
}

// mute reports whether this side says nothing on its own.
func (l *Layer) mute() bool {
	switch {
	case l.flags.has(shut):
		return true
	case l.cfg.form == framed:
		return l.state() == StateWaiting || l.peer == never
	default: // answers could not be heard
		return l.cfg.probe == nil || l.flags.has(held) || l.state() == StateEnded || l.state() == StateClosing
	}
}

// maybeSpeak speaks if it is time to. While bytes of ours wait nothing is added to them: they are the keepalive.
func (l *Layer) maybeSpeak(now int64) error {
	if l.mute() || l.cfg.form == watchdog {
		return nil
	}
	if l.cfg.form == framed {
		if now < after(l.spoke, l.pace().earliest()) {
			return nil
		}
	} else if now < l.probeDue() {
		return nil
	}
	return l.say()
}

// answer speaks after a keepalive of the peer if it will soon be time to: it costs no turn of its own then, and takes the
// acknowledgement along that the peer's system waits for. Sides that want to hear as much of each other thus soon
// speak in the same turn. It is no earlier than the deadline of some other connection might be.
func (l *Layer) answer() error {
	now := l.now()
	if l.mute() || l.flags.has(pending) || now < after(l.spoke, l.pace().earliest()) {
		return nil
	}
	err := l.say()
	l.arm(now)
	return err
}

// say adds a keepalive or a probe, unless bytes of ours wait.
func (l *Layer) say() error {
	l.catchUp()
	if l.flags.has(pending) {
		l.flags.set(stalled)
		l.standAside()
		return nil
	}
	if l.cfg.form == framed {
		l.queued()
		return l.link.Down(keepalive)
	}
	if l.cfg.form == passive {
		l.mode = min(l.mode+1, uint8(l.cfg.fraction))
		if l.rare != nil {
			l.rare.probed = l.now()
		}
	}
	s := scratches.Get().(*scratch)
	defer s.giveBack()
	if s.bytes = l.cfg.probe(s.bytes[:0]); len(s.bytes) == 0 {
		return nil
	}
	l.queued()
	s.bufs = append(s.bufs, s.bytes)
	return l.link.Down(s.bufs)
}

// speakUp speaks at once, so that the peer does not judge us by the time in which we were stopped.
func (l *Layer) speakUp(now int64) error {
	switch {
	case l.mute(), l.cfg.form == watchdog, now < after(l.spoke, l.cfg.minSpeak):
		return nil
	case l.cfg.form == passive && int64(l.mode) >= l.cfg.fraction-1:
		return nil
	}
	return l.say()
}

// probeStep is the time from one probe to the next, probeGrid how much earlier one may be sent.
func (l *Layer) probeStep() int64 { return max(l.cfg.timeout/l.cfg.fraction, l.cfg.minSpeak) }
func (l *Layer) probeGrid() int64 { return min(l.cfg.timeout/64, 10*ms) }

// probeDue is from when on the next probe is not too early. There are Fraction-1 before PeerDown; afterwards one for each
// T, for the peer may have lost those.
func (l *Layer) probeDue() int64 {
	switch {
	case l.cfg.timeout == never:
		return never
	case l.state() == StateDown:
		return after(l.rare.probed, l.cfg.timeout)
	case int64(l.mode) >= l.cfg.fraction-1:
		return never
	}
	return after(l.sign(), (int64(l.mode)+1)*l.probeStep()) - l.probeGrid()
}

// nextWord is when it is time to speak.
func (l *Layer) nextWord(now int64) int64 {
	switch {
	case l.mute(), l.cfg.form == watchdog:
		return never
	case l.cfg.form == framed && l.flags.has(pending):
		return l.pace().draw(now, l.cfg.rand()) // they may be on their way already
	case l.cfg.form == framed:
		return l.pace().draw(l.spoke, l.cfg.rand())
	}
	due := l.probeDue()
	if due <= now { // bytes of ours wait
		return after(now, l.probeStep())
	}
	if due == never || l.state() == StateDown {
		return due
	}
	return max(floorTo(due+l.probeGrid(), l.probeGrid()), now+1)
}

// Speak sends a keepalive or a probe now, for an application that wants its peer to see life at once. If bytes of ours
// wait, these will do, and nothing is added.
func (l *Layer) Speak() error {
	switch {
	case l.link == nil || l.cfg.form == framed && l.state() == StateWaiting:
		return errNotReady
	case l.flags.has(shut):
		return interceptor.ErrClosed
	case l.cfg.form == watchdog:
		return l.speakWatch()
	case l.cfg.form == passive && l.cfg.probe == nil:
		return errNoProbe
	}
	err := l.say()
	l.arm(l.now())
	return err
}

var (
	errNotReady = errors.New("liveness: not ready: wait for OnConnected")
	errNoProbe  = errors.New("liveness: there is nothing to say: Config.Probe is nil")
)

// A scratch is memory that is lent for the time of a call, so that no layer has its own.
type scratch struct {
	bytes []byte
	bufs  [][]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// keepScratch bounds what a scratch keeps, in bytes and in buffers.
const keepScratch = 4 << 10

func (s *scratch) giveBack() {
	clear(s.bufs)
	s.bufs = s.bufs[:0]
	if cap(s.bytes) <= keepScratch && cap(s.bufs) <= keepScratch {
		scratches.Put(s)
	}
}
