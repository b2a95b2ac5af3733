//go:build !linux

package loop

import "time"

type system struct{}

// poller sleeps on a channel. On this system no descriptor is polled.
type poller struct {
	loop  *Loop
	woken chan struct{} // holds a wake that nobody has slept through yet
	timer *time.Timer
}

func (p *poller) open(l *Loop) error {
	p.loop = l
	p.woken = make(chan struct{}, 1)
	p.timer = time.NewTimer(0)
	return nil
}

func (p *poller) close() error {
	p.timer.Stop()
	return nil
}

func (p *poller) poll() {}

func (p *poller) dispatch(*Loop) {}

func (p *poller) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *poller) park(next int64) {
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
