package interceptor

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

var errTest = errors.New("test error")

// wrap puts what goes down between two strings, and takes them from what comes up.
type wrap struct {
	Pass
	left, right string
	bye         string
}

func (w *wrap) Up(l Link, p []byte) error {
	s, ok := strings.CutPrefix(string(p), w.left)
	s, ok2 := strings.CutSuffix(s, w.right)
	if !ok || !ok2 {
		return errTest
	}
	return l.Up([]byte(s))
}

func (w *wrap) Down(l Link, bufs [][]byte) error {
	return l.Down(append(append([][]byte{[]byte(w.left)}, bufs...), []byte(w.right)))
}

func (w *wrap) CloseWrite(l Link) error {
	if w.bye == "" {
		return nil
	}
	return l.Down(one(w.bye))
}

type (
	angle  struct{ wrap }
	square struct{ wrap }
	curly  struct{ wrap }
	absent struct{ Pass }
	box    struct{ *Chain } // a layer that holds a chain, and is none to look at
)

func newAngle() *angle   { return &angle{wrap{left: "<", right: ">", bye: "a!"}} }
func newSquare() *square { return &square{wrap{left: "[", right: "]", bye: "b!"}} }
func newCurly() *curly   { return &curly{wrap{left: "{", right: "}"}} }

func chainOf(t *testing.T, layers ...Interceptor) *Chain {
	t.Helper()
	c := new(Chain)
	for _, i := range layers {
		if err := c.Push(i); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestLAY1_LayersWrapDownAndUnwrapUp(t *testing.T) {
	s, c := newSocket(), chainOf(t, newAngle(), newSquare())
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	if err := c.Down(s, one("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.Up(s, []byte("<[y]>")); err != nil {
		t.Fatal(err)
	}
	want(t, "on the wire", s.down.String(), "<[x]>")
	want(t, "at the top", s.up.String(), "y")
}

func TestLAY1_AChainInsideAChainBehavesAsItsLayers(t *testing.T) {
	for name, c := range map[string]*Chain{
		"flat":        chainOf(t, newAngle(), newSquare(), newCurly()),
		"lower two":   chainOf(t, chainOf(t, newAngle(), newSquare()), newCurly()),
		"upper two":   chainOf(t, newAngle(), chainOf(t, newSquare(), newCurly())),
		"deep":        chainOf(t, chainOf(t, newAngle(), chainOf(t, newSquare(), chainOf(t), newCurly()))),
		"with empty":  chainOf(t, new(Chain), newAngle(), new(Chain), newSquare(), newCurly(), new(Chain)),
		"in a holder": chainOf(t, newAngle(), box{chainOf(t, newSquare(), newCurly())}),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSocket()
			if err := c.Open(s); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.Down(s, one("x")), c.Up(s, []byte("<[{y}]>")), c.EOF(s), c.CloseWrite(s)); err != nil {
				t.Error(err)
			}
			want(t, "all", s.journal.take(), "ready down(<[{x}]>) up(y) eof down(<b!>) down(a!)")
			if name == "in a holder" {
				return // it is a layer of its own type
			}
			if _, ok := Find[*angle](c); !ok {
				t.Error("angle is not found")
			}
			if l, ok := Find[*curly](c); !ok || l.left != "{" {
				t.Error("curly is not found")
			}
			if l, ok := Find[*absent](c); ok || l != nil {
				t.Error("a layer is found that is not there")
			}
			var all string
			for i := range c.All() {
				switch i.(type) {
				case *angle:
					all += "<"
				case *square:
					all += "["
				case *curly:
					all += "{"
				default:
					t.Errorf("All gives %T", i)
				}
			}
			want(t, "All, from the socket up", all, "<[{")
		})
	}
}

func TestFindTakesTheOneNearestTheHandler(t *testing.T) {
	low, high := newAngle(), newAngle()
	c := chainOf(t, low, newSquare(), high, newCurly())
	if l, _ := Find[*angle](c); l != high {
		t.Error("Find returns the lower of two")
	}
	if _, ok := Find[*angle](nil); ok {
		t.Error("Find finds something in nil")
	}
	for range (*Chain)(nil).All() {
		t.Error("nil has a layer")
	}
	for range c.All() {
		break // a range may end early
	}
	_ = c.Open(newSocket())
	c.Close()
	if l, _ := Find[*angle](c); l != high {
		t.Error("Find finds nothing after Close")
	}
}

func TestLAY2_EachLayerOpensWhenTheOneBelowIsReady(t *testing.T) {
	c, s, _ := stacked(t, 3, func(p []*puppet) {
		for _, p := range p {
			p.lazy = true
			p.do["Open"] = func(l Link) error {
				l.Post(func() error { l.Ready(); l.Ready(); l.Ready(); return nil })
				return nil
			}
		}
	})
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	for i, step := range []string{"A.Open", "B.Open", "C.Open", "ready", ""} {
		want(t, "turn", s.journal.take(), step)
		if err := c.Down(s, one("x")); (err == nil) != (i >= 3) {
			t.Errorf("turn %d: Down gives %v", i, err)
		}
		s.journal.take()
		if err := s.turn(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheEmptyChainPassesThrough(t *testing.T) {
	s, c := newSocket(), new(Chain)
	if err := errors.Join(c.Open(s), c.Up(s, []byte("u")), c.Down(s, one("d")), c.EOF(s), c.EOF(s), c.CloseWrite(s),
		c.Expire(s, at(1))); err != nil {
		t.Error(err)
	}
	c.Wrote(s, 1, 0)
	c.Reading(s, true)
	c.Slept(s, time.Hour)
	want(t, "calls", s.journal.take(), "ready up(u) down(d) eof")
	c.Close()
	if err := c.Up(s, []byte("u")); !errors.Is(err, ErrClosed) {
		t.Errorf("Up after Close gives %v", err)
	}
	if err := c.Down(s, one("d")); !errors.Is(err, ErrClosed) {
		t.Errorf("Down after Close gives %v", err)
	}
	want(t, "calls after Close", s.journal.take(), "")
}

func TestPushOntoAnOpenChain(t *testing.T) {
	t.Run("opens the layer at once, and tells ready again", func(t *testing.T) {
		c, s, _ := opened(t, 1, nil)
		if err := c.Push(newPuppet(t, s.journal, "X")); err != nil {
			t.Fatal(err)
		}
		_ = c.Up(s, []byte("u"))
		_ = c.Down(s, one("d"))
		want(t, "calls", s.journal.take(), "X.Open ready A.Up(u) X.Up(u) up(u) X.Down(d) A.Down(d) down(d)")
	})
	t.Run("refuses what comes from above until it is ready", func(t *testing.T) {
		c, s, _ := opened(t, 1, nil)
		x := newPuppet(t, s.journal, "X")
		x.lazy = true
		_ = c.Push(x)
		if err := c.Down(s, one("plain")); err == nil || !strings.Contains(err.Error(), "puppet is not ready") {
			t.Errorf("Down gives %v", err)
		}
		x.link.Ready()
		x.link.Ready()
		want(t, "calls", s.journal.take(), "X.Open ready")
		if err := c.Down(s, one("d")); err != nil {
			t.Error(err)
		}
	})
	t.Run("waits for the one below", func(t *testing.T) {
		c, s, p := opened(t, 1, func(p []*puppet) { p[0].lazy = true })
		_ = c.Push(newPuppet(t, s.journal, "X"))
		want(t, "before", s.journal.take(), "")
		p[0].link.Ready()
		want(t, "after", s.journal.take(), "X.Open ready")
	})
	t.Run("onto none", func(t *testing.T) {
		s, c := newSocket(), new(Chain)
		_ = c.Open(s)
		_ = c.Push(newPuppet(t, s.journal, "X"))
		_ = c.Up(s, []byte("u"))
		want(t, "calls", s.journal.take(), "ready X.Open ready X.Up(u) up(u)")
	})
	t.Run("a chain of two, which is left empty", func(t *testing.T) {
		c, s, _ := opened(t, 1, nil)
		two := chainOf(t, newPuppet(t, s.journal, "X"), newPuppet(t, s.journal, "Y"))
		_ = c.Push(two)
		want(t, "calls", s.journal.take(), "X.Open Y.Open ready")
		for range two.All() {
			t.Error("a layer is in two chains")
		}
	})
	t.Run("onto none, after the end of the stream", func(t *testing.T) {
		s, c := newSocket(), new(Chain)
		_ = c.Open(s)
		_ = c.EOF(s)
		_ = c.Push(newPuppet(t, s.journal, "X"))
		want(t, "calls", s.journal.take(), "ready eof X.Open ready X.EOF")
	})
	t.Run("an empty chain is ready at once", func(t *testing.T) {
		c, s, _ := opened(t, 1, nil)
		_ = c.Push(new(Chain))
		want(t, "calls", s.journal.take(), "ready")
	})
	t.Run("returns the error of Open, and lets nothing by", func(t *testing.T) {
		c, s, _ := opened(t, 1, nil)
		x := newPuppet(t, s.journal, "X")
		x.errs["Open"] = errTest
		if err := c.Push(x); !errors.Is(err, errTest) {
			t.Errorf("Push gives %v", err)
		}
		if err := c.Up(s, []byte("u")); !errors.Is(err, errTest) {
			t.Errorf("Up gives %v", err)
		}
		if err := c.Down(s, one("d")); !errors.Is(err, errTest) {
			t.Errorf("Down gives %v", err)
		}
		want(t, "calls", s.journal.take(), "X.Open A.Up(u)")
	})
	t.Run("after the end of the stream the layer is told, and nobody else again", func(t *testing.T) {
		c, s, _ := opened(t, 1, nil)
		_ = c.EOF(s)
		s.journal.take()
		x := newPuppet(t, s.journal, "X")
		x.errs["EOF"] = io.ErrUnexpectedEOF
		if err := c.Push(x); err != nil {
			t.Error(err)
		}
		want(t, "calls", s.journal.take(), "X.Open ready X.EOF")
		if !errors.Is(c.Truncated(), io.ErrUnexpectedEOF) {
			t.Error("the objection is lost")
		}
	})
}

func TestPushRefuses(t *testing.T) {
	c, s, _ := opened(t, 1, nil)
	open, closed := new(Chain), new(Chain)
	_ = open.Open(newSocket())
	closed.Close()
	for name, i := range map[string]Interceptor{
		"nil": nil, "a nil chain": (*Chain)(nil), "itself": c, "an open chain": open, "a closed chain": closed,
	} {
		if c.Push(i) == nil {
			t.Errorf("%s is pushed", name)
		}
	}
	if err := c.Open(s); err == nil {
		t.Error("a second Open succeeds")
	}
	_ = c.CloseWrite(s)
	if err := c.Push(&absent{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Push after CloseWrite gives %v", err)
	}
	c.Close()
	if err := c.Push(&absent{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Push after Close gives %v", err)
	}
	if err := c.Open(s); !errors.Is(err, ErrClosed) {
		t.Errorf("Open after Close gives %v", err)
	}
}

func TestLAY6_NoByteGoesAroundALayerThatFailedToOpen(t *testing.T) {
	c, s, p := stacked(t, 3, func(p []*puppet) { p[1].errs["Open"] = errTest })
	if err := c.Open(s); !errors.Is(err, errTest) {
		t.Errorf("Open gives %v", err)
	}
	if err := c.Up(s, []byte("u")); !errors.Is(err, errTest) {
		t.Errorf("Up gives %v", err)
	}
	if err := c.Down(s, one("d")); !errors.Is(err, errTest) {
		t.Errorf("Down gives %v", err)
	}
	_ = c.EOF(s)
	_ = c.CloseWrite(s)
	p[0].link.Ready()
	c.Close()
	want(t, "calls", s.journal.take(), "A.Open B.Open A.Up(u) A.EOF A.CloseWrite B.Close A.Close")

	first, s, _ := stacked(t, 2, func(p []*puppet) { p[0].errs["Open"] = errTest })
	_ = first.Open(s)
	if err := first.Up(s, []byte("u")); !errors.Is(err, errTest) {
		t.Errorf("Up gives %v", err)
	}
	if err := first.Down(s, one("d")); !errors.Is(err, errTest) {
		t.Errorf("Down gives %v", err)
	}
	first.Close()
	want(t, "calls", s.journal.take(), "A.Open A.Close")
	if err := chainOf(t, newAngle()).Up(s, []byte("u")); err == nil {
		t.Error("a chain that is not open takes bytes")
	}
}

// The error of opening B reaches the outermost method that runs, whichever that is, once.
func TestLAY6_AnErrorOfOpenIsNotLost(t *testing.T) {
	for method, call := range map[string]func(c *Chain, s *socket) error{
		"Open":       func(c *Chain, s *socket) error { return c.Open(s) },
		"Up":         func(c *Chain, s *socket) error { return c.Up(s, []byte("u")) },
		"EOF":        func(c *Chain, s *socket) error { return c.EOF(s) },
		"CloseWrite": func(c *Chain, s *socket) error { return c.CloseWrite(s) },
		"Expire":     func(c *Chain, s *socket) error { return c.Expire(s, at(1)) },
		"Wrote":      func(c *Chain, s *socket) error { c.Wrote(s, 1, 0); return s.turn() },
		"Reading":    func(c *Chain, s *socket) error { c.Reading(s, true); return s.turn() },
		"Slept":      func(c *Chain, s *socket) error { c.Slept(s, time.Hour); return s.turn() },
		"Post":       func(c *Chain, s *socket) error { return s.turn() },
		"none":       nil, // the handler calls the layer, and the layer calls Ready
	} {
		t.Run(method, func(t *testing.T) {
			c, s, p := stacked(t, 2, func(p []*puppet) {
				p[0].lazy, p[0].quiet = true, true
				p[0].do[method] = func(l Link) error { l.Ready(); return nil }
				p[1].errs["Open"] = errTest
			})
			if method != "Open" {
				_ = c.Open(s)
				p[0].link.SetDeadline(at(1))
			}
			if method == "Post" {
				p[0].link.Post(func() error { p[0].link.Ready(); return nil })
			}
			if call == nil {
				p[0].link.Ready()
				call = func(c *Chain, s *socket) error { return s.turn() }
			}
			err := call(c, s)
			if method == "CloseWrite" { // no layer is opened any more
				if err != nil || p[1].link != nil {
					t.Errorf("CloseWrite gives %v", err)
				}
				return
			}
			if !errors.Is(err, errTest) {
				t.Errorf("the error is %v", err)
			}
			if err := errors.Join(c.Up(s, []byte("u")), s.turn()); err != nil {
				t.Errorf("it is told again: %v", err)
			}
		})
	}
}

func TestWhatComesUpBeforeALayerIsOpenWaits(t *testing.T) {
	c, s, p := opened(t, 3, func(p []*puppet) { p[0].lazy = true })
	b := []byte("one")
	_ = c.Up(s, b)
	copy(b, "XXX") // a caller may reuse its bytes
	_ = c.Up(s, []byte("two"))
	if err := c.EOF(s); err != nil {
		t.Error(err)
	}
	want(t, "before", s.journal.take(), "A.Up(one) A.Up(two) A.EOF")
	p[0].link.Ready()
	want(t, "after", s.journal.take(), "B.Open C.Open ready B.Up(onetwo) C.Up(onetwo) up(onetwo) B.EOF C.EOF eof")
}

// While B is given what waited, it makes A pass up more. That comes after.
func TestWhatWaitsKeepsItsOrder(t *testing.T) {
	c, s, p := opened(t, 2, func(p []*puppet) {
		p[0].lazy = true
		p[0].do["Down"] = func(l Link) error { return l.Up([]byte("answer")) }
		p[1].do["Open"] = func(l Link) error { return l.Down(one("hello")) }
		first := true
		p[1].do["Up"] = func(l Link) error {
			if first {
				first = false
				return l.Down(one("more"))
			}
			return nil
		}
	})
	_ = c.Up(s, []byte("early"))
	p[0].link.Ready()
	want(t, "calls", s.journal.take(), "A.Up(early) B.Open A.Down(hello) down(hello) ready "+
		"B.Up(earlyanswer) A.Down(more) down(more) up(earlyanswer) B.Up(answer) up(answer)")
}

func TestWhatWaitsIsBounded(t *testing.T) {
	c, s, p := opened(t, 2, func(p []*puppet) { p[0].lazy = true })
	b := make([]byte, 1024)
	for range 64 {
		if err := c.Up(s, b); err != nil {
			t.Fatal(err)
		}
	}
	p[0].quiet = true
	p[0].do["Up"] = func(l Link) error { _ = l.Up([]byte("x")); return nil } // an error that is overlooked counts too
	err := c.Up(s, []byte("x"))
	var early *EarlyError
	if !errors.As(err, &early) || early.Layer != "*interceptor.puppet" || early.Max != 65536 {
		t.Fatalf("Up gives %v", err)
	}
	want(t, "text", err.Error(),
		"interceptor: *interceptor.puppet passed up more than 65536 bytes before the layer above was open")
}

func TestTheErrorOfOpenComesBeforeThatOfTheCaller(t *testing.T) {
	c, s, _ := opened(t, 2, func(p []*puppet) {
		p[0].lazy = true
		p[0].do["Up"] = func(l Link) error { l.Ready(); return errors.New("a later error") }
		p[1].errs["Open"] = errTest
	})
	if err := c.Up(s, []byte("u")); !errors.Is(err, errTest) {
		t.Errorf("Up gives %v", err)
	}
}

// What waited is given to nobody once the chain is closed, be it in Open or while it is given.
func TestWhatWaitsIsDroppedByClose(t *testing.T) {
	for _, method := range []string{"Open", "Up"} {
		c, s, p := opened(t, 2, func(p []*puppet) { p[0].lazy = true })
		p[1].do[method] = func(Link) error { s.journal.add("close"); c.Close(); return nil }
		p[1].quiet = true
		_ = c.Up(s, []byte("early"))
		_ = c.EOF(s)
		p[0].link.Ready()
		_, after, _ := strings.Cut(s.journal.take(), "close ")
		want(t, method, after, "B.Close A.Close")
	}
}

// An error of Up, when it is given what waited, ends the connection like any other.
func TestAnErrorOverWhatWaitedIsNotLost(t *testing.T) {
	c, s, p := opened(t, 2, func(p []*puppet) { p[0].lazy = true; p[1].errs["Up"] = errTest })
	_ = c.Up(s, []byte("early"))
	p[0].do["Up"] = func(l Link) error { l.Ready(); return nil }
	p[0].quiet = true
	if err := c.Up(s, []byte("go")); !errors.Is(err, errTest) {
		t.Errorf("Up gives %v", err)
	}
}
