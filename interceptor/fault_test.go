package interceptor

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"testing"
)

// faults opens a chain of one Fault layer.
func faults(t *testing.T, f Factory) (*Chain, *socket) {
	t.Helper()
	s, c := newSocket(), chainOf(t, f())
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	s.journal.take()
	return c, s
}

func TestFaultChecksItsProbabilities(t *testing.T) {
	for name, f := range map[string]Faults{
		"Split": {Split: 1.5}, "Delay": {Delay: -0.1}, "Corrupt": {Corrupt: math.NaN()}, "Break": {Break: math.Inf(1)},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "Faults."+name) || !strings.Contains(got, "from 0 to 1") {
					t.Errorf("%s: recovered %v", name, got)
				}
			}()
			Fault(1, f)
		}()
	}
}

func TestFaultWithoutFaultsPassesAll(t *testing.T) {
	c, s := faults(t, Fault(1, Faults{}))
	for range 100 {
		_ = c.Up(s, []byte("u"))
		_ = c.Down(s, one("d"))
	}
	_ = c.EOF(s)
	want(t, "calls", s.journal.take(), strings.Repeat("up(u) down(d) ", 100)+"eof")
}

// life is all that a connection of f sees, in a fixed conversation.
func life(t *testing.T, f Factory) string {
	c, s := faults(t, f)
	for i := range 200 {
		if err := c.Up(s, fmt.Appendf(nil, "message %d from the peer", i)); err != nil {
			s.journal.add("%v", err)
		}
		if err := c.Down(s, one(fmt.Sprintf("message %d to the peer", i))); err != nil {
			s.journal.add("%v", err)
		}
		if err := s.turn(); err != nil {
			t.Error(err)
		}
	}
	return s.journal.take()
}

func TestTheSameSeedGivesTheSameFaults(t *testing.T) {
	all := Faults{Split: 0.3, Delay: 0.3, Corrupt: 0.3, Break: 0.05}
	f, again, other := Fault(42, all), Fault(42, all), Fault(43, all)
	first, second := life(t, f), life(t, f)
	if first == second {
		t.Error("two connections of one factory have the same faults")
	}
	if life(t, again) != first || life(t, again) != second {
		t.Error("the same seed gives other faults")
	}
	if life(t, other) == first {
		t.Error("another seed gives the same faults")
	}
}

func TestFaultSplits(t *testing.T) {
	c, s := faults(t, Fault(1, Faults{Split: 1}))
	pieces := 0
	for range 50 {
		_ = c.Up(s, []byte("0123456789"))
		n := len(s.journal.lines)
		if n < 2 || n > 5 {
			t.Errorf("%d pieces: %s", n, s.journal.take())
		}
		pieces += n
		s.journal.take()
	}
	if pieces < 120 {
		t.Errorf("only %d pieces of 50 calls", pieces)
	}
	want(t, "no byte is lost", s.up.String(), strings.Repeat("0123456789", 50))
	_ = c.Up(s, []byte("x"))
	_ = c.Up(s, nil)
	want(t, "what cannot be split", s.journal.take(), "up(x) up()")
}

func TestFaultDelaysUntilTheNextTurn(t *testing.T) {
	c, s := faults(t, Fault(1, Faults{Delay: 1}))
	b := []byte("one")
	_ = c.Up(s, b)
	copy(b, "XXX")
	_ = c.Up(s, []byte("two"))
	want(t, "this turn", s.journal.take(), "hold")
	if len(s.posts) != 1 {
		t.Errorf("%d functions are posted", len(s.posts))
	}
	_ = s.turn()
	want(t, "the next turn", s.journal.take(), "up(onetwo) release")

	_ = c.Up(s, []byte("last"))
	if err := c.EOF(s); err != nil {
		t.Error(err)
	}
	want(t, "the end comes after the bytes", s.journal.take(), "hold up(last) release eof")
	if err := s.turn(); err != nil {
		t.Error(err)
	}
	want(t, "nothing comes twice", s.journal.take(), "")
}

// Of 200 messages, some delayed and some not, none overtakes another.
func TestFaultKeepsTheOrder(t *testing.T) {
	c, s := faults(t, Fault(5, Faults{Delay: 0.4, Split: 0.4}))
	all := ""
	for i := range 200 {
		m := fmt.Sprint(i, ";")
		all += m
		_ = c.Up(s, []byte(m))
		if i%3 == 0 {
			_ = s.turn()
		}
	}
	_ = c.EOF(s)
	want(t, "all that came up", s.up.String(), all)
}

// While what was held is passed on, the layer below passes up more.
func TestFaultKeepsTheOrderOfWhatComesMeanwhile(t *testing.T) {
	s := newSocket()
	low := newPuppet(t, s.journal, "A")
	low.do["Down"] = func(l Link) error { return l.Up([]byte("second ")) }
	high := newPuppet(t, s.journal, "B")
	asked := false
	high.do["Up"] = func(l Link) error {
		if asked {
			return nil
		}
		asked = true
		return l.Down(one("more"))
	}
	c := chainOf(t, low, Fault(3, Faults{Delay: 1, Split: 1})(), high)
	_ = c.Open(s)
	_ = c.Up(s, []byte("first "))
	_ = s.turn()
	want(t, "all that came up", s.up.String(), "first second ")
}

func TestFaultFlipsOneBit(t *testing.T) {
	c, s := faults(t, Fault(1, Faults{Corrupt: 1}))
	sent := "0123456789"
	p, bufs := []byte(sent), [][]byte{[]byte("0123"), nil, []byte("456789")}
	seen := map[string]bool{}
	for range 100 {
		_ = c.Up(s, p)
		_ = c.Down(s, bufs)
		for _, got := range []string{s.up.String(), s.down.String()} {
			flips := 0
			for i := range sent {
				flips += bits.OnesCount8(got[i] ^ sent[i])
			}
			if flips != 1 || len(got) != len(sent) {
				t.Errorf("%q has %d bits flipped", got, flips)
			}
			seen[got] = true
		}
		s.up.Reset()
		s.down.Reset()
	}
	if len(seen) < 40 {
		t.Errorf("only %d different bits of 80 were flipped", len(seen))
	}
	want(t, "the caller's memory", string(p)+string(flat(bufs)), sent+sent)
	_ = c.Up(s, nil)
	_ = c.Down(s, nil)
	want(t, "nothing to flip", s.up.String()+s.down.String(), "")
}

func TestFaultBreaks(t *testing.T) {
	f := Fault(7, Faults{Break: 0.1})
	_, _ = faults(t, f)
	c, s := faults(t, f)
	var up, down error
	for range 1000 {
		if up == nil {
			up = c.Up(s, []byte("0123456789"))
		}
		if down == nil {
			down = c.Down(s, one("01234"))
		}
	}
	for _, err := range []error{up, down} {
		var fault *FaultError
		if !errors.As(err, &fault) || fault.Seed != 7 || fault.Layer != 2 || fault.Down != (err == down) {
			t.Fatalf("the error is %v", err)
		}
		way, passed := "up", s.up.Len()
		if fault.Down {
			way, passed = "down", s.down.Len()
		}
		if fault.Offset != uint64(passed) {
			t.Errorf("it broke after %d bytes and says %d", passed, fault.Offset)
		}
		want(t, "text", err.Error(), fmt.Sprintf("interceptor: fault of seed 7: layer 2 broke at byte %d %s", passed, way))
	}
}

// An error above the layer, on what is passed on late, ends the connection: at once in a turn, and after EOF too.
func TestFaultPassesErrorsOn(t *testing.T) {
	for _, end := range []bool{false, true} {
		c, s := faults(t, Fault(1, Faults{Delay: 1, Split: 1}))
		s.onUp = func([]byte) error { return errTest }
		_ = c.Up(s, []byte("0123456789"))
		if end {
			if err := c.EOF(s); !errors.Is(err, errTest) {
				t.Errorf("EOF gives %v", err)
			}
		}
		if err := s.turn(); !errors.Is(err, errTest) {
			t.Errorf("the turn gives %v", err)
		}
		if n := s.up.Len(); n == 0 || n > 9 {
			t.Errorf("%d bytes went up", n)
		}
	}
}
