package interceptor

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// spoil passes on copies, and overwrites them as soon as the call returned, as whoever owns the bytes may.
type spoil struct {
	Pass
	t *testing.T
}

func (s *spoil) Up(l Link, p []byte) error {
	q := bytes.Clone(p)
	err := l.Up(q)
	if !bytes.Equal(p, q) {
		s.t.Error("a layer changed what came up")
	}
	clear(q)
	return err
}

func (s *spoil) Down(l Link, bufs [][]byte) error {
	var copies, same [][]byte
	for _, b := range bufs {
		copies = append(copies, bytes.Clone(b))
	}
	same = append(same, copies...)
	err := l.Down(copies)
	for i, b := range bufs {
		if !bytes.Equal(b, same[i]) || len(b) > 0 && &same[i][0] != &copies[i][0] {
			s.t.Error("a layer changed what came down")
		}
		clear(same[i])
	}
	clear(copies)
	return err
}

// mask adds a running number to each byte on its way up, and takes it off down, or the other way round.
type mask struct {
	Pass
	up, down, sign byte
	scratch        []byte
}

func (m *mask) Up(l Link, p []byte) error {
	m.scratch = m.scratch[:0]
	for _, b := range p {
		m.up++
		m.scratch = append(m.scratch, b+m.sign*m.up)
	}
	return l.Up(m.scratch)
}

func (m *mask) Down(l Link, bufs [][]byte) error {
	m.scratch = m.scratch[:0]
	for _, b := range bufs {
		for _, b := range b {
			m.down++
			m.scratch = append(m.scratch, b-m.sign*m.down)
		}
	}
	return l.Down([][]byte{m.scratch})
}

// double writes each byte twice on its way down, and takes every second on its way up.
type double struct {
	Pass
	odd bool
}

func (d *double) Up(l Link, p []byte) error {
	var out []byte
	for _, b := range p {
		if d.odd = !d.odd; d.odd {
			out = append(out, b)
		}
	}
	return l.Up(out)
}

func (d *double) Down(l Link, bufs [][]byte) error {
	for _, b := range bufs {
		var twice []byte
		for _, b := range b {
			twice = append(twice, b, b)
		}
		if err := l.Down([][]byte{twice[:len(b)], twice[len(b):]}); err != nil {
			return err
		}
	}
	return nil
}

// What the near chain sends down is cut at random and given to the far chain, which has the same layers.
func TestLAY9_BytesAreValidDuringTheCallOnly(t *testing.T) {
	const total = 1 << 20
	rng := rand.New(rand.NewPCG(9, 9))
	ends := func() (*Chain, *socket) {
		s := newSocket()
		c := chainOf(t, &spoil{t: t}, &mask{sign: 1}, &spoil{t: t}, new(double), &spoil{t: t}, &mask{sign: 3}, &spoil{t: t})
		if err := c.Open(s); err != nil {
			t.Fatal(err)
		}
		return c, s
	}
	near, nearEnd := ends()
	far, farEnd := ends()
	sent, received := make([]byte, total), make([]byte, 0, total)
	for i := range sent {
		sent[i] = byte(rng.Uint32())
	}
	kept := bytes.Clone(sent)
	farEnd.onUp = func(p []byte) error { received = append(received, p...); farEnd.journal.take(); return nil }
	for rest := sent; len(rest) > 0; {
		n := min(1+rng.IntN(40_000), len(rest))
		cut := rng.IntN(n + 1)
		if err := near.Down(nearEnd, [][]byte{rest[:cut], nil, rest[cut:n]}); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		wire := []byte(nearEnd.down.String())
		nearEnd.down.Reset()
		nearEnd.journal.take()
		for len(wire) > 0 {
			n := min(1+rng.IntN(3_000), len(wire))
			if err := far.Up(farEnd, wire[:n]); err != nil {
				t.Fatal(err)
			}
			clear(wire[:n])
			wire = wire[n:]
		}
	}
	if !bytes.Equal(sent, kept) {
		t.Error("the sender's memory was changed")
	}
	if !bytes.Equal(received, kept) {
		t.Errorf("%d bytes arrived, not those that were sent", len(received))
	}
}

// quiet sees all and does nothing.
type quiet struct{ Pass }

func (*quiet) Wrote(Link, int, int) {}
func (*quiet) Reading(Link, bool)   {}

func (*quiet) Slept(Link, time.Duration) {}

// tick wants to be called again and again.
type tick struct {
	quiet
	turns int
}

func (k *tick) Expire(l Link, _ time.Time) error {
	k.turns++
	l.SetDeadline(l.Now().Add(time.Second))
	return nil
}

func busyChain(t testing.TB) (*Chain, *socket) {
	s, c := newSocket(), new(Chain)
	s.silent = true
	for _, i := range []Interceptor{new(tick), new(quiet), new(tick)} {
		if err := c.Push(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Open(s); err != nil {
		t.Fatal(err)
	}
	return c, s
}

func TestBytesDeadlinesAndObserversCostNoAllocation(t *testing.T) {
	c, s := busyChain(t)
	first, _ := Find[*tick](c)
	_ = first.Expire(c.top, s.now)
	p := make([]byte, 64)
	bufs := [][]byte{p}
	for name, f := range map[string]func(){
		"Up":      func() { _ = c.Up(s, p) },
		"Down":    func() { _ = c.Down(s, bufs) },
		"Wrote":   func() { c.Wrote(s, 64, 0) },
		"Reading": func() { c.Reading(s, true); c.Reading(s, false) },
		"Slept":   func() { c.Slept(s, time.Hour) },
		"Hold":    func() { c.top.Hold(); c.top.Release() },
		"Expire":  func() { s.now = s.now.Add(time.Second); _ = c.Expire(s, s.now) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if first.turns < 1000 {
		t.Errorf("only %d deadlines were served", first.turns)
	}
}

func BenchmarkUp3(b *testing.B) {
	c, s := busyChain(b)
	p := make([]byte, 64)
	for b.Loop() {
		_ = c.Up(s, p)
	}
}

func BenchmarkDown3(b *testing.B) {
	c, s := busyChain(b)
	bufs := [][]byte{make([]byte, 64)}
	for b.Loop() {
		_ = c.Down(s, bufs)
	}
}

func BenchmarkWrote3(b *testing.B) {
	c, s := busyChain(b)
	for b.Loop() {
		c.Wrote(s, 64, 0)
	}
}

func BenchmarkSetDeadline3(b *testing.B) {
	c, s := busyChain(b)
	for i := 0; b.Loop(); i++ {
		c.top.SetDeadline(s.now.Add(time.Second + time.Duration(i)))
	}
}
