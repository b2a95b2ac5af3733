package liveness

import "github.com/galago-go/galago/interceptor"

// Most of the time nothing depends on a byte but when it moved, and that the connection knows, if nothing is below this
// layer that makes bytes. Then the layer stands aside: it sees no writes, and Passive no bytes, which costs them nothing;
// and whenever something depends on the times, it catches up with them first.

// standAside begins that where it may, and ends it where something waits for the next byte. It is asked after whatever
// changes that.
func (l *Layer) standAside() {
	may := l.state() == StateUp && l.cfg.form != watchdog && !l.flags.has(held|stalled|told|shut)
	if l.link == nil || may == l.flags.has(aside) || may && l.flags.has(notAside) {
		return
	}
	m, ok := l.link.(interceptor.Meter)
	switch {
	case !ok:
		l.flags.set(notAside)
	case !may:
		l.catchUp()
		l.flags.clear(aside)
		m.Skip(0)
	case l.cfg.form == framed && m.Skip(interceptor.SkipWrote), l.cfg.form == passive && m.Skip(interceptor.SkipWrote|interceptor.SkipBytes):
		l.flags.set(aside)
	default:
		l.flags.set(notAside)
	}
}

// catchUp notes what has happened since the layer stands aside.
func (l *Layer) catchUp() {
	if !l.flags.has(aside) {
		return
	}
	t, _ := l.link.(interceptor.Meter).Traffic()
	if read := l.at(t.Read); read > l.heard {
		l.hear(read)
	}
	l.spoke = max(l.spoke, l.at(t.Wrote))
	if l.flags.clear(pending); t.Pending > 0 {
		l.flags.set(pending)
	}
}
