package interceptor

import "time"

// twin is a Chain as plain as can be: it keeps all it knows as written in the documentation of Chain, and looks it up
// each time. Random worlds compare the two.
type twin struct {
	outer                                              Link
	layers                                             []*twinLayer
	open, shut, closed, released, ended, endTold, held bool
	running                                            int
	openError                                          error
	owed                                               bool
	truncated                                          error
}

type twinLayer struct {
	*twin
	index                                        int
	i                                            Interceptor
	called, failed, flowing, ready, told         bool
	endedItself, endedAbove, holding, toldOfHeld bool
	waiting                                      []string
	deadline                                     time.Time
}

const endMark = "\x00end"

func (w *twin) during(f func() error) (err error) {
	w.running++
	defer func() {
		if w.running--; w.running > 0 {
			return
		}
		if w.owed {
			err = w.openError
		}
		w.owed = false
		if w.closed && !w.released {
			w.released = true
			for i := len(w.layers) - 1; i >= 0; i-- {
				if w.layers[i].called {
					w.layers[i].i.Close()
				}
			}
		}
	}()
	return f()
}

// noResult is during for what returns no error.
func (w *twin) noResult(f func() error) {
	if err := w.during(f); err != nil && !w.closed {
		w.outer.Post(func() error { return err })
	}
}

func (w *twin) at(i int) *twinLayer {
	if i < 0 || i >= len(w.layers) {
		return nil
	}
	return w.layers[i]
}

func (w *twin) Push(i Interceptor) error {
	if w.closed || w.shut {
		return ErrClosed
	}
	n := &twinLayer{twin: w, i: i, index: len(w.layers)}
	w.layers = append(w.layers, n)
	below := w.at(n.index - 1)
	if !w.open || below != nil && !below.ready {
		return nil
	}
	if below != nil && below.endedAbove {
		n.waiting = append(n.waiting, endMark)
	}
	return w.during(n.start)
}

func (w *twin) Open(l Link) error {
	w.open, w.outer = true, l
	return w.during(w.layers[0].start)
}

func (n *twinLayer) start() error {
	n.called = true
	if err := n.i.Open(n); err != nil {
		return n.broken(err)
	}
	n.tellReading()
	for len(n.waiting) > 0 && !n.closed {
		all, end := "", false
		for _, s := range n.waiting {
			if s == endMark {
				end = true
			} else {
				all += s
			}
		}
		n.waiting = nil
		if all != "" {
			if err := n.i.Up(n, []byte(all)); err != nil {
				return n.broken(err)
			}
		}
		if end && !n.closed {
			n.flowing = true
			return n.end()
		}
	}
	n.flowing = true
	return nil
}

func (n *twinLayer) broken(err error) error {
	n.failed, n.waiting = true, nil
	if n.openError == nil {
		n.openError = err
	}
	return err
}

func (n *twinLayer) tellReading() {
	if n.called && !n.failed && !n.closed && n.toldOfHeld != n.held {
		n.toldOfHeld = n.held
		n.i.(ReadObserver).Reading(n, n.held)
	}
}

func (w *twin) Up(_ Link, p []byte) error {
	if w.closed {
		return ErrClosed
	}
	n := w.layers[0]
	if !n.flowing {
		return errTest
	}
	return w.during(func() error { return n.i.Up(n, p) })
}

func (n *twinLayer) Up(p []byte) error {
	if n.closed {
		return ErrClosed
	}
	return n.during(func() error {
		above := n.at(n.index + 1)
		switch {
		case n.endedItself:
			return nil
		case n.endedAbove:
			return n.fail(errTest)
		case above == nil:
			return n.outer.Up(p)
		case above.failed:
			return n.openError
		case above.flowing:
			return above.i.Up(above, p)
		case above.called || !n.shut:
			above.waiting = append(above.waiting, string(p))
		}
		return nil
	})
}

func (w *twin) fail(err error) error {
	if w.openError == nil {
		w.openError = err
	}
	w.owed = true
	return err
}

func (w *twin) EOF(Link) error {
	if w.closed || w.ended {
		return nil
	}
	w.ended = true
	return w.during(func() error {
		err := w.layers[0].end()
		if w.truncated != nil {
			return w.truncated
		}
		return err
	})
}

func (n *twinLayer) end() error {
	if !n.flowing {
		n.waiting = append(n.waiting, endMark)
		return nil
	}
	if err := n.i.EOF(n); err != nil && n.truncated == nil {
		n.truncated = err
	}
	if n.closed || n.endedAbove {
		return nil
	}
	n.endedAbove = true
	return n.endAbove()
}

func (n *twinLayer) endAbove() error {
	if above := n.at(n.index + 1); above != nil {
		return above.end()
	}
	if n.endTold {
		return nil
	}
	n.endTold = true
	return n.outer.EOF()
}

func (n *twinLayer) EOF() error {
	if n.closed {
		return ErrClosed
	}
	if n.endedAbove {
		return nil
	}
	n.endedItself, n.endedAbove = true, true
	return n.during(n.endAbove)
}

func (w *twin) Down(_ Link, bufs [][]byte) error {
	if w.closed {
		return ErrClosed
	}
	if w.shut {
		return nil
	}
	return w.during(func() error { return w.layers[len(w.layers)-1].take(bufs) })
}

func (n *twinLayer) take(bufs [][]byte) error {
	if n.told {
		return nil
	}
	if !n.ready {
		return errTest
	}
	return n.i.Down(n, bufs)
}

func (n *twinLayer) Down(bufs [][]byte) error {
	if n.closed {
		return ErrClosed
	}
	return n.during(func() error {
		if below := n.at(n.index - 1); below != nil {
			return below.take(bufs)
		}
		return n.outer.Down(bufs)
	})
}

func (w *twin) CloseWrite(Link) error {
	w.shut = true
	return w.during(func() error {
		for i := len(w.layers) - 1; i >= 0; i-- {
			if n := w.layers[i]; n.called && !n.failed && !n.told && !w.closed {
				n.told = true
				if err := n.i.CloseWrite(n); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (n *twinLayer) Ready() {
	if n.closed || n.ready || n.failed {
		return
	}
	n.ready = true
	n.noResult(func() error {
		above := n.at(n.index + 1)
		if above == nil {
			n.outer.Ready()
		} else if !n.shut {
			if err := above.start(); err != nil {
				_ = n.fail(err)
			}
		}
		return nil
	})
}

func (w *twin) Expire(_ Link, now time.Time) error {
	type due struct {
		n    *twinLayer
		when time.Time
	}
	if w.closed {
		return nil
	}
	return w.during(func() error {
		var all []due
		for _, n := range w.layers {
			if !n.deadline.IsZero() && !n.deadline.After(now) {
				i := 0
				for i < len(all) && !all[i].when.After(n.deadline) {
					i++
				}
				all = append(all[:i], append([]due{{n, n.deadline}}, all[i:]...)...)
			}
		}
		for _, d := range all {
			if w.closed || !d.n.deadline.Equal(d.when) { // replaced
				continue
			}
			d.n.deadline = time.Time{}
			if err := d.n.i.(Timed).Expire(d.n, now); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *twin) earliest() (t time.Time) {
	for _, n := range w.layers {
		if !n.deadline.IsZero() && (t.IsZero() || n.deadline.Before(t)) {
			t = n.deadline
		}
	}
	return t
}

func (n *twinLayer) SetDeadline(t time.Time) {
	if !n.closed {
		n.deadline = t
	}
}

func (w *twin) Wrote(_ Link, written, pending int) {
	w.noResult(func() error {
		for _, n := range w.layers {
			if n.called && !n.failed && !w.closed {
				n.i.(WriteObserver).Wrote(n, written, pending)
			}
		}
		return nil
	})
}

func (w *twin) Reading(_ Link, held bool) {
	w.held = held
	w.noResult(func() error {
		for _, n := range w.layers {
			n.tellReading()
		}
		return nil
	})
}

func (w *twin) Slept(_ Link, d time.Duration) {
	w.noResult(func() error {
		for _, n := range w.layers {
			if n.called && !n.failed && !w.closed {
				n.i.(SleepObserver).Slept(n, d)
			}
		}
		return nil
	})
}

func (w *twin) Close() {
	if !w.closed {
		w.closed = true
		w.noResult(func() error { return nil })
	}
}

func (n *twinLayer) holdAny(hold bool) {
	if n.closed {
		return
	}
	before := n.anyHolds()
	n.holding = hold
	if after := n.anyHolds(); before != after && after {
		n.outer.Hold()
	} else if before != after {
		n.outer.Release()
	}
}

func (w *twin) anyHolds() bool {
	for _, n := range w.layers {
		if n.holding {
			return true
		}
	}
	return false
}

func (n *twinLayer) Hold()          { n.holdAny(true) }
func (n *twinLayer) Release()       { n.holdAny(false) }
func (n *twinLayer) Info() Info     { return n.outer.Info() }
func (n *twinLayer) Closing() bool  { return n.closed || n.outer.Closing() }
func (n *twinLayer) Now() time.Time { return n.outer.Now() }

func (n *twinLayer) Unread() int {
	if n.closed {
		return -1
	}
	return n.outer.Unread()
}

func (n *twinLayer) Raise(ev any) {
	if !n.closed {
		n.outer.Raise(ev)
	}
}

func (n *twinLayer) End(err error) {
	if !n.closed {
		n.outer.End(err)
	}
}

func (n *twinLayer) Post(f func() error) {
	n.outer.Post(func() error {
		if n.closed {
			return nil
		}
		return n.during(f)
	})
}
