package interceptor

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestEOFTravelsUp(t *testing.T) {
	c, s, _ := opened(t, 3, nil)
	if err := errors.Join(c.EOF(s), c.EOF(s)); err != nil {
		t.Error(err)
	}
	want(t, "calls", s.journal.take(), "A.EOF B.EOF C.EOF eof")
}

func TestTheFirstObjectionToEOFCounts(t *testing.T) {
	other := errors.New("other")
	c, s, _ := opened(t, 3, func(p []*puppet) { p[0].errs["EOF"], p[2].errs["EOF"] = io.ErrUnexpectedEOF, other })
	if err := c.EOF(s); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("EOF gives %v", err)
	}
	want(t, "all are told all the same", s.journal.take(), "A.EOF B.EOF C.EOF eof")
}

func TestALayerEndsTheStreamItself(t *testing.T) {
	c, s, p := opened(t, 3, nil)
	p[1].do["Up"] = func(l Link) error { return errors.Join(l.EOF(), l.EOF()) }
	if err := c.Up(s, []byte("u")); err != nil {
		t.Error(err)
	}
	want(t, "those above are told; what comes then is dropped", s.journal.take(), "A.Up(u) B.Up(u) C.EOF eof")
	if err := c.EOF(s); err != nil {
		t.Error(err)
	}
	want(t, "the wire ends later", s.journal.take(), "A.EOF B.EOF")
}

// The objection of C to an end that B chose is no failure of B. The socket can ask for it when it is told.
func TestAnObjectionToTheEndOfALayerIsKnownAtTheTop(t *testing.T) {
	for name, shape := range map[string]func(t *testing.T, p []*puppet) *Chain{
		"flat":   func(t *testing.T, p []*puppet) *Chain { return chainOf(t, p[0], p[1], p[2]) },
		"nested": func(t *testing.T, p []*puppet) *Chain { return chainOf(t, p[0], box{chainOf(t, p[1], p[2])}) },
	} {
		t.Run(name, func(t *testing.T) {
			_, s, p := stacked(t, 3, func(p []*puppet) { p[2].errs["EOF"] = io.ErrUnexpectedEOF })
			c := shape(t, p)
			_ = c.Open(s)
			if c.Truncated() != nil {
				t.Error("an objection before the end")
			}
			s.journal.take()
			p[1].quiet = true
			p[1].do["Up"] = func(l Link) error { return l.EOF() }
			if err := c.Up(s, []byte("u")); err != nil {
				t.Errorf("Up gives %v", err)
			}
			want(t, "calls", s.journal.take(), "A.Up(u) B.Up(u) C.EOF eof")
			if !errors.Is(c.Truncated(), io.ErrUnexpectedEOF) {
				t.Errorf("Truncated gives %v", c.Truncated())
			}
		})
	}
}

// A layer passes on in EOF what it had kept. After that it is too late, and to drop it would hide a hole.
func TestBytesAfterEOFAreAnError(t *testing.T) {
	c, s, p := opened(t, 2, nil)
	p[0].do["EOF"] = func(l Link) error { return l.Up([]byte("rest")) }
	if err := c.EOF(s); err != nil {
		t.Error(err)
	}
	want(t, "calls", s.journal.take(), "A.EOF B.Up(rest) up(rest) B.EOF eof")
	p[0].link.Post(func() error { _ = p[0].link.Up([]byte("late")); return nil })
	if err := s.turn(); err == nil || !strings.Contains(err.Error(), "puppet passed bytes up after EOF") {
		t.Errorf("late bytes give %v", err)
	}
	want(t, "late bytes", s.journal.take(), "")
}

func TestLAY13_CloseWriteTravelsDown(t *testing.T) {
	s, c := newSocket(), chainOf(t, newAngle(), newSquare())
	_ = c.Open(s)
	_ = c.Down(s, one("x"))
	if err := c.CloseWrite(s); err != nil {
		t.Fatal(err)
	}
	want(t, "calls", s.journal.take(), "ready down(<[x]>) down(<b!>) down(a!)")
}

func TestCloseWriteIsToldOnceToOpenLayers(t *testing.T) {
	c, s, p := opened(t, 3, func(p []*puppet) { p[1].lazy = true; p[0].bye, p[1].bye = "a!", "b!" })
	_ = c.CloseWrite(s)
	_ = c.CloseWrite(s)
	want(t, "calls", s.journal.take(), "B.CloseWrite A.Down(b!) down(b!) A.CloseWrite down(a!)")
	p[1].link.Ready()
	want(t, "no layer opens any more", s.journal.take(), "")
	if err := c.Up(s, make([]byte, 2*maxEarly)); err != nil {
		t.Errorf("bytes for a layer that never opens: %v", err)
	}
}

func TestCloseWriteStopsAtAnError(t *testing.T) {
	c, s, _ := opened(t, 3, func(p []*puppet) { p[1].errs["CloseWrite"] = errTest })
	if err := c.CloseWrite(s); !errors.Is(err, errTest) {
		t.Errorf("CloseWrite gives %v", err)
	}
	want(t, "calls", s.journal.take(), "C.CloseWrite B.CloseWrite")
}

// B answers a message while the connection closes: A was told that no more comes, so it gets no more.
func TestOutputAfterCloseWrite(t *testing.T) {
	c, s, p := opened(t, 2, nil)
	_ = c.CloseWrite(s)
	s.journal.take()
	p[1].do["Up"] = func(l Link) error { return l.Down(one("pong")) }
	p[0].do["Up"] = func(l Link) error { return l.Down(one("alert")) }
	if err := errors.Join(c.Up(s, []byte("ping")), c.Down(s, one("d"))); err != nil {
		t.Error(err)
	}
	want(t, "calls", s.journal.take(), "A.Up(ping) down(alert) B.Up(ping) up(ping)")
}

func TestHoldHoldsWhileAnyLayerHolds(t *testing.T) {
	_, s, p := opened(t, 3, nil)
	a, b := p[0].link, p[1].link
	a.Release()
	a.Hold()
	a.Hold()
	b.Hold()
	a.Release()
	a.Release()
	want(t, "still held by B", s.journal.take(), "hold")
	b.Release()
	b.Hold()
	want(t, "free, and held again", s.journal.take(), "release hold")
}

func TestObserversHearFromTheBottomUp(t *testing.T) {
	c, s, p := opened(t, 3, func(p []*puppet) { p[1].lazy = true })
	_ = c.Push(newAngle()) // observes nothing
	c.Wrote(s, 3, 4)
	c.Reading(s, true)
	c.Reading(s, true)
	c.Slept(s, time.Hour)
	want(t, "open ones", s.journal.take(), "A.Wrote(3,4) B.Wrote(3,4) A.Reading(true) B.Reading(true) "+
		"A.Slept(1h0m0s) B.Slept(1h0m0s)")
	p[1].link.Ready()
	want(t, "one that opens meanwhile", s.journal.take(), "C.Open ready C.Reading(true)")
	c.Reading(s, false)
	c.Wrote(s, 1, 0)
	want(t, "all", s.journal.take(), "A.Reading(false) B.Reading(false) C.Reading(false) "+
		"A.Wrote(1,0) B.Wrote(1,0) C.Wrote(1,0)")
}

// What a layer asks about the connection is answered outside, and what would be no more than a guess is not answered.
func TestWhatWaitsAndWhetherItEndsIsAskedOutside(t *testing.T) {
	c, s, p := opened(t, 2, nil)
	s.unread = 7
	l := p[1].link
	if n, closing := l.Unread(), l.Closing(); n != 7 || closing {
		t.Errorf("%d bytes are unread, closing is %v", n, closing)
	}
	s.closing = true
	if !l.Closing() {
		t.Error("the connection is closing, and the layer does not learn it")
	}
	s.closing = false
	c.Close()
	if n, closing := l.Unread(), l.Closing(); n != -1 || !closing {
		t.Errorf("after Close of the chain %d bytes are unread, closing is %v", n, closing)
	}
}

func TestTheRestGoesToTheSocket(t *testing.T) {
	_, s, p := opened(t, 2, nil)
	l := p[0].link
	l.Raise("ev")
	l.End(errTest)
	want(t, "calls", s.journal.take(), "raise(ev) end(test error)")
	if l.Info() != s.Info() || !l.Now().Equal(s.now) {
		t.Error("Info or Now is not the socket's")
	}
}

func TestErrorsOfLayersAreReturned(t *testing.T) {
	for _, method := range []string{"Up", "Down", "Expire", "CloseWrite"} {
		c, s, p := opened(t, 3, func(p []*puppet) { p[1].errs[method] = errTest })
		p[1].link.SetDeadline(at(0))
		var err error
		switch method {
		case "Up":
			err = c.Up(s, []byte("u"))
		case "Down":
			err = c.Down(s, one("d"))
		case "Expire":
			err = c.Expire(s, at(1))
		case "CloseWrite":
			err = c.CloseWrite(s)
		}
		if !errors.Is(err, errTest) {
			t.Errorf("%s gives %v", method, err)
		}
	}
	_, s, p := opened(t, 1, nil)
	p[0].link.Post(func() error { return errTest })
	if err := s.turn(); !errors.Is(err, errTest) {
		t.Errorf("a posted function gives %v", err)
	}
}
