package loop

import "time"

// A sleeper is the waiter of a portable loop. It sleeps on a channel.
type sleeper struct {
	loop  *Loop
	woken chan struct{} // holds a wake that nobody has slept through yet
	timer *time.Timer
}

func (p *sleeper) open(l *Loop) error {
	p.loop = l
	p.woken = make(chan struct{}, 1)
	p.timer = time.NewTimer(0)
	return nil
}

func (p *sleeper) close() error {
	p.timer.Stop()
	return nil
}

func (p *sleeper) poll() {}

func (p *sleeper) dispatch(*Loop) {}

func (p *sleeper) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *sleeper) park(next int64) {
	var due <-chan time.Time // never, while it is nil
	if next != never {
		p.timer.Reset(time.Duration(next - p.loop.timers.clock()))
		due = p.timer.C
	}
	if !p.loop.sleep() {
		return
	}
	select {
	case <-p.woken:
	case <-due:
	}
}
