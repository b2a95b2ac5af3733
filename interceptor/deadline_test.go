package interceptor

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestLAY12_DeadlinesExpireOnceInOrder(t *testing.T) {
	c, s, p := opened(t, 2, nil)
	a, b := p[0].link, p[1].link
	a.SetDeadline(at(3))
	b.SetDeadline(at(2))
	want(t, "the earliest is told", s.journal.take(), "deadline(3s) deadline(2s)")
	_ = c.Expire(s, at(1))
	want(t, "too early", s.journal.take(), "deadline(2s)")
	_ = c.Expire(s, at(2))
	want(t, "at 2 s", s.journal.take(), "deadline(3s) B.Expire(2s)")
	_ = c.Expire(s, at(3))
	want(t, "at 3 s", s.journal.take(), "deadline(never) A.Expire(3s)")
	_ = c.Expire(s, at(4))
	want(t, "once each", s.journal.take(), "")
}

func TestLAY12_ASecondDeadlineReplacesTheFirst(t *testing.T) {
	c, s, p := opened(t, 2, nil)
	a, b := p[0].link, p[1].link
	b.SetDeadline(at(9))
	a.SetDeadline(at(5))
	a.SetDeadline(at(7))
	a.SetDeadline(at(3))
	a.SetDeadline(at(3))
	want(t, "later, then earlier", s.journal.take(), "deadline(9s) deadline(5s) deadline(7s) deadline(3s)")
	a.SetDeadline(time.Time{})
	want(t, "cleared", s.journal.take(), "deadline(9s)")
	b.SetDeadline(time.Time{})
	b.SetDeadline(time.Time{})
	want(t, "none left", s.journal.take(), "deadline(never)")
	_ = c.Expire(s, at(100))
	want(t, "nothing expires", s.journal.take(), "")
}

func TestManyDeadlinesAreServedInTheirOrder(t *testing.T) {
	c, s, p := opened(t, 4, nil)
	for i, when := range []float64{3, 1, 4, 2} {
		p[i].link.SetDeadline(at(when))
	}
	s.journal.take()
	_ = c.Expire(s, at(3))
	want(t, "calls", s.journal.take(), "deadline(4s) B.Expire(3s) D.Expire(3s) A.Expire(3s)")
}

// A deadline that a layer sets while deadlines are served waits for another call, or it could go on for ever; what a
// neighbour replaces or clears meanwhile is not served.
func TestDeadlinesSetWhileServing(t *testing.T) {
	c, s, p := opened(t, 3, nil)
	p[0].do["Expire"] = func(l Link) error {
		l.SetDeadline(s.now)
		p[1].link.SetDeadline(time.Time{})
		p[2].link.SetDeadline(at(8))
		return nil
	}
	p[0].link.SetDeadline(at(1))
	p[1].link.SetDeadline(at(2))
	p[2].link.SetDeadline(at(2))
	s.journal.take()
	s.now = at(2)
	_ = c.Expire(s, s.now)
	want(t, "calls", s.journal.take(), "deadline(never) A.Expire(2s) deadline(2s)")
	p[0].do["Expire"] = nil
	_ = c.Expire(s, s.now)
	want(t, "the next turn", s.journal.take(), "deadline(8s) A.Expire(2s)")
}

func TestADeadlineIsNotLostBehindAFailure(t *testing.T) {
	for name, fail := range map[string]func(Link) error{
		"error": func(Link) error { return errTest },
		"panic": func(Link) error { panic(errTest) },
	} {
		t.Run(name, func(t *testing.T) {
			c, s, p := opened(t, 2, nil)
			p[0].do["Expire"] = fail
			p[0].link.SetDeadline(at(1))
			p[1].link.SetDeadline(at(2))
			s.journal.take()
			func() {
				defer func() { _ = recover() }()
				if err := c.Expire(s, at(2)); !errors.Is(err, errTest) {
					t.Errorf("Expire gives %v", err)
				}
			}()
			want(t, "first", s.journal.take(), "deadline(never) A.Expire(2s) deadline(2s)")
			_ = c.Expire(s, at(2))
			want(t, "then", s.journal.take(), "deadline(never) B.Expire(2s)")
		})
	}
}

func TestALayerThatIsNotTimedHasNoDeadline(t *testing.T) {
	s := newSocket()
	var link Link
	_ = chainOf(t, &opener{do: func(l Link) { link = l }}).Open(s)
	s.journal.take()
	link.SetDeadline(at(1))
	want(t, "calls", s.journal.take(), "")
}

type opener struct {
	Pass
	do func(l Link)
}

func (o *opener) Open(l Link) error { o.do(l); l.Ready(); return nil }

// From nanoseconds to centuries, past and future: told as given as far as a Duration reaches, and never early.
func TestDeadlinesNearAndFar(t *testing.T) {
	for _, d := range []time.Duration{
		math.MinInt64, -time.Hour, -1, 0, 1, time.Millisecond, 24 * time.Hour, 100 * 365 * 24 * time.Hour, math.MaxInt64,
	} {
		c, s, p := opened(t, 1, nil)
		s.now = at(10)
		due := s.now.Add(d)
		p[0].link.SetDeadline(due)
		if d != math.MaxInt64 && !s.deadline.Equal(due) {
			t.Errorf("%v is told as %v", due, s.deadline)
		}
		told := s.deadline
		_ = c.Expire(s, told.Add(-1))
		want(t, "a nanosecond early", last(s.journal), "deadline("+told.Sub(epoch).String()+")")
		_ = c.Expire(s, told)
		want(t, "in time", last(s.journal), "A.Expire("+told.Sub(epoch).String()+")")
	}
	_, s, p := opened(t, 1, nil)
	s.now = at(10)
	p[0].link.SetDeadline(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	if s.deadline.Year() < 2300 {
		t.Errorf("the year 9999 is told as %v", s.deadline)
	}
	p[0].link.SetDeadline(time.Unix(0, 0).AddDate(-1000, 0, 0))
	if s.deadline.After(s.now) || s.deadline.IsZero() {
		t.Errorf("a time long past is told as %v", s.deadline)
	}
	s.now = at(-10) // the clock was set back
	p[0].link.SetDeadline(time.Unix(0, 0).AddDate(-1000, 0, 0))
	if s.deadline.After(s.now) || s.deadline.IsZero() {
		t.Errorf("with the clock set back, a time long past is told as %v", s.deadline)
	}
}

func last(j *journal) string {
	if len(j.lines) == 0 {
		return ""
	}
	return j.lines[len(j.lines)-1]
}

// The times of a real shell carry a monotonic reading. What is told must keep it: the wall clock may be set.
func TestDeadlinesKeepTheMonotonicClock(t *testing.T) {
	now := time.Now()
	s, c := newSocket(), new(Chain)
	s.now = now
	p := newPuppet(t, s.journal, "A")
	_ = c.Push(p)
	_ = c.Open(s)
	s.now = now.Add(time.Second)
	p.link.SetDeadline(s.now.Add(time.Minute))
	if s.deadline != now.Add(61*time.Second) { // with ==, for Equal would not see the monotonic reading missing
		t.Errorf("told %v, want %v", s.deadline, now.Add(61*time.Second))
	}
}
