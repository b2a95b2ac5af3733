package interceptor

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestLAY5_EveryOpenedLayerIsClosedOnceFromTheTopDown(t *testing.T) {
	c, s, _ := opened(t, 4, func(p []*puppet) { p[2].lazy = true })
	c.Close()
	c.Close()
	want(t, "calls", s.journal.take(), "C.Close B.Close A.Close")

	c, s, _ = stacked(t, 2, nil)
	c.Close()
	want(t, "one that was not opened", s.journal.take(), "")
}

// Close comes while the layers' methods are on the stack: from each method, at each layer.
func TestLAY5_NoLayerIsClosedWhileAMethodRuns(t *testing.T) {
	calls := map[string]func(c *Chain, s *socket) error{
		"Open":       func(c *Chain, s *socket) error { return c.Open(s) },
		"Up":         func(c *Chain, s *socket) error { return c.Up(s, []byte("u")) },
		"EOF":        func(c *Chain, s *socket) error { return c.EOF(s) },
		"Down":       func(c *Chain, s *socket) error { return c.Down(s, one("d")) },
		"CloseWrite": func(c *Chain, s *socket) error { return c.CloseWrite(s) },
		"Expire":     func(c *Chain, s *socket) error { return c.Expire(s, at(9)) },
		"Wrote":      func(c *Chain, s *socket) error { c.Wrote(s, 1, 0); return nil },
		"Reading":    func(c *Chain, s *socket) error { c.Reading(s, true); return nil },
		"Slept":      func(c *Chain, s *socket) error { c.Slept(s, time.Hour); return nil },
	}
	for method, call := range calls {
		for layer := range 3 {
			for _, panics := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %c panic %v", method, 'A'+layer, panics), func(t *testing.T) {
					var c *Chain
					c, s, p := stacked(t, 3, func(p []*puppet) {
						p[layer].do[method] = func(l Link) error {
							c.Close()
							l.SetDeadline(at(2))
							l.Hold()
							for _, p := range p {
								if p.closes > 0 {
									t.Errorf("%s is closed at once", p.name)
								}
							}
							p[0].journal.take()
							if panics {
								panic(errTest)
							}
							return nil
						}
					})
					if method != "Open" {
						_ = c.Open(s)
						for _, p := range p {
							p.link.SetDeadline(at(1))
						}
					}
					func() {
						defer func() {
							if got := recover(); panics != (got != nil) {
								t.Errorf("recovered %v", got)
							}
						}()
						_ = call(c, s)
					}()
					closes := ""
					for _, p := range p {
						if p.link != nil {
							closes = " " + p.name + ".Close" + closes
						}
					}
					want(t, "calls once Close was called", " "+s.journal.take(), closes)
					for _, call := range calls {
						_ = call(c, s)
					}
					c.Close()
					want(t, "calls after Close", s.journal.take(), "")
				})
			}
		}
	}
}

func TestLAY5_CloseBelowTheHandler(t *testing.T) {
	c, s, _ := opened(t, 2, nil)
	s.onUp = func([]byte) error { c.Close(); return nil } // the handler aborts in OnReceived
	_ = c.Up(s, []byte("u"))
	want(t, "calls", s.journal.take(), "A.Up(u) B.Up(u) up(u) B.Close A.Close")

	c, s, p := opened(t, 2, nil)
	p[0].link.Post(func() error { c.Close(); s.journal.add("posted"); return nil })
	_ = s.turn()
	want(t, "in a posted function", s.journal.take(), "posted B.Close A.Close")

	c, s, p = opened(t, 2, nil)
	p[0].do["Down"] = func(Link) error { c.Close(); return nil }
	_ = p[1].link.Down(one("ping")) // a method of B that the handler called
	want(t, "below a layer that the handler called", s.journal.take(), "A.Down(ping) B.Close A.Close")

	c, s, _ = opened(t, 2, nil)
	x := newPuppet(t, s.journal, "X")
	x.do["Open"] = func(Link) error { c.Close(); return nil }
	_ = c.Push(x)
	want(t, "in Push", s.journal.take(), "X.Open X.Close B.Close A.Close")
}

func TestAPanicLeavesTheChainUsable(t *testing.T) {
	c, s, p := opened(t, 2, nil)
	p[1].do["Up"] = func(Link) error { panic(errTest) }
	func() {
		defer func() { _ = recover() }()
		_ = c.Up(s, []byte("u"))
	}()
	s.journal.take()
	if err := c.Down(s, one("d")); err != nil {
		t.Error(err)
	}
	c.Close()
	want(t, "calls", s.journal.take(), "B.Down(d) A.Down(d) down(d) B.Close A.Close")
}

func TestAPanicInCloseDoesNotKeepTheOthersOpen(t *testing.T) {
	c, s, p := opened(t, 3, nil)
	p[1].do["Close"] = func(Link) error { panic(errTest) }
	func() {
		defer func() {
			if recover() != errTest {
				t.Error("the panic is lost")
			}
		}()
		c.Close()
	}()
	want(t, "calls", s.journal.take(), "C.Close B.Close A.Close")
}

func TestAfterCloseNothingHasAnEffect(t *testing.T) {
	c, s, p := opened(t, 2, nil)
	l := p[1].link
	ran := false
	l.Post(func() error { ran = true; return errTest }) // before the end, and due after it
	try := func() {
		for _, err := range []error{l.Up([]byte("u")), l.Down(one("d")), l.EOF()} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("a call gives %v", err)
			}
		}
		l.Ready()
		l.Hold()
		l.Release()
		l.Raise("ev")
		l.End(errTest)
		l.SetDeadline(at(1))
		l.Post(func() error { ran = true; return errTest })
	}
	p[0].do["Close"] = func(Link) error { try(); return nil }
	c.Close()
	want(t, "calls", s.journal.take(), "B.Close A.Close")
	try()
	if err := s.turn(); err != nil || ran {
		t.Errorf("a posted function ran, %v", err)
	}
	want(t, "calls after the end", s.journal.take(), "")
}

// Post is the one door for other goroutines, also after the end.
func TestPostFromAnyGoroutine(t *testing.T) {
	var mu sync.Mutex
	var posts []func() error
	c, s, p := stacked(t, 1, nil)
	_ = c.Open(&lockedPost{s, func(f func() error) { mu.Lock(); posts = append(posts, f); mu.Unlock() }})
	link := p[0].link
	var wg sync.WaitGroup
	ran := 0
	for range 4 {
		wg.Go(func() {
			for range 100 {
				link.Post(func() error { ran++; return nil })
			}
		})
	}
	for range 100 { // the connection's turns go on meanwhile
		link.Hold()
		link.Release()
		_ = link.Down(one("d"))
	}
	wg.Wait()
	for i, f := range posts {
		if i == 300 {
			c.Close()
		}
		_ = f()
	}
	if ran != 300 {
		t.Errorf("%d functions ran, want the 300 before Close", ran)
	}
}

type lockedPost struct {
	*socket
	post func(f func() error)
}

func (l *lockedPost) Post(f func() error) { l.post(f) }
