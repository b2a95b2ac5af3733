package interceptor

import (
	"errors"
	"fmt"
	"testing"
)

// A metered socket knows when bytes moved, and may be told that layers skip.
type metered struct {
	*socket
	traffic Traffic
	unknown bool
	told    []Skips
}

func (m *metered) Skip(s Skips) bool {
	m.told = append(m.told, s)
	return true
}

func (m *metered) Traffic() (Traffic, bool) { return m.traffic, !m.unknown }

// openMetered opens a chain of n puppets on a metered socket.
func openMetered(t *testing.T, n int, prepare func(p []*puppet)) (*Chain, *metered, []*puppet) {
	t.Helper()
	c, s, all := stacked(t, n, prepare)
	m := &metered{socket: s, traffic: Traffic{Read: at(1), Wrote: at(2), Pending: 3}}
	if err := c.Open(m); err != nil {
		t.Fatal(err)
	}
	s.journal.take()
	return c, m, all
}

func (p *puppet) skip(s Skips) bool { return p.link.(Meter).Skip(s) }

// pass lets a byte pass each way and tells of writing, and returns who saw what.
func (m *metered) pass(t *testing.T, c *Chain) string {
	t.Helper()
	if err := errors.Join(c.Up(m, []byte("u")), c.Down(m, one("d"))); err != nil {
		t.Fatal(err)
	}
	c.Wrote(m, 1, 0)
	return m.journal.take()
}

const skipAll = SkipBytes | SkipWrote

func TestALayerThatSkipsSeesNothing(t *testing.T) {
	c, m, p := openMetered(t, 3, nil)
	want(t, "who asks may", fmt.Sprint(p[0].skip(skipAll), p[1].skip(SkipBytes)), "true true")
	want(t, "the others see it all", m.pass(t, c), "C.Up(u) up(u) C.Down(d) down(d) B.Wrote(1,0) C.Wrote(1,0)")
	want(t, "as long as it is so", fmt.Sprint(p[0].skip(SkipWrote)), "true")
	want(t, "in part", m.pass(t, c), "A.Up(u) C.Up(u) up(u) C.Down(d) A.Down(d) down(d) B.Wrote(1,0) C.Wrote(1,0)")
	want(t, "taken back", fmt.Sprint(p[0].skip(0), p[1].skip(0)), "true false")
	want(t, "then", m.pass(t, c), "A.Up(u) B.Up(u) C.Up(u) up(u) C.Down(d) B.Down(d) A.Down(d) down(d) "+
		"A.Wrote(1,0) B.Wrote(1,0) C.Wrote(1,0)")
}

func TestSkipIsRefused(t *testing.T) {
	var opening []bool
	c, m, p := openMetered(t, 3, func(p []*puppet) {
		p[0].do["Open"] = func(l Link) error {
			opening = append(opening, l.(Meter).Skip(skipAll))
			return nil
		}
		p[2].lazy = true
	})
	want(t, "to who is not ready", fmt.Sprint(opening, p[2].skip(skipAll)), "[false] false")
	want(t, "above one that sees bytes", fmt.Sprint(p[1].skip(skipAll)), "false")
	want(t, "even if that does not hear of writing", fmt.Sprint(p[0].skip(SkipWrote), p[1].skip(skipAll)), "true false")
	want(t, "but not above one that does not", fmt.Sprint(p[0].skip(SkipBytes), p[1].skip(skipAll)), "true true")
	m.unknown = true
	want(t, "where nobody knows of the bytes", fmt.Sprint(p[1].skip(skipAll)), "false")
	if err := c.Up(m, []byte("u")); err != nil {
		t.Fatal(err)
	}
	want(t, "who was refused sees everything", m.journal.take(), "B.Up(u) C.Up(u) up(u)")
	m.unknown = false
	p[1].skip(skipAll)
	if err := c.CloseWrite(m); err != nil {
		t.Fatal(err)
	}
	m.journal.take()
	want(t, "after CloseWrite", fmt.Sprint(p[0].skip(skipAll), p[1].skip(SkipBytes)), "false false")
	c.Close()
	want(t, "after the end", fmt.Sprint(p[0].skip(skipAll)), "false")

	_, _, p = opened(t, 1, nil)
	want(t, "where there is no Meter outside", fmt.Sprint(p[0].skip(skipAll)), "false")
}

func TestTrafficIsThatOfTheConnection(t *testing.T) {
	_, m, p := openMetered(t, 2, nil)
	traffic := func(p *puppet) string {
		tr, ok := p.link.(Meter).Traffic()
		return fmt.Sprint(tr == m.traffic, tr == Traffic{}, ok)
	}
	want(t, "of the lowest layer", traffic(p[0]), "true false true")
	want(t, "not of one above", traffic(p[1]), "false true false")
	p[0].skip(SkipBytes)
	want(t, "unless that below lets bytes pass", traffic(p[1]), "true false true")
}

// What is around the chain hears what all layers skip, and of a layer that comes later at once.
func TestWhatAllSkipIsToldOutside(t *testing.T) {
	c, m, p := openMetered(t, 2, nil)
	told := func() string {
		s := fmt.Sprint(m.told)
		m.told = nil
		return s
	}
	want(t, "at first nothing", told(), "[]")
	p[0].skip(skipAll)
	p[1].skip(SkipBytes)
	want(t, "bytes", told(), fmt.Sprint([]Skips{SkipBytes}))
	p[1].skip(skipAll)
	want(t, "and writing", told(), fmt.Sprint([]Skips{skipAll}))
	late := newPuppet(t, m.journal, "C")
	late.lazy = true
	if err := c.Push(late); err != nil {
		t.Fatal(err)
	}
	want(t, "a layer that comes later sees them", told(), "[0]")
	m.journal.take()
	late.link.Ready()
	m.journal.take()
	want(t, "it does", m.pass(t, c), "C.Up(u) up(u) C.Down(d) down(d) C.Wrote(1,0)")
	late.skip(skipAll)
	if err := c.CloseWrite(m); err != nil {
		t.Fatal(err)
	}
	if s := told(); s != fmt.Sprint([]Skips{skipAll, 0}) {
		t.Errorf("with CloseWrite it is over: %s", s)
	}

	// Layers that observe no writing need not be told of any.
	c2, m2 := chainOf(t, Pass{}), &metered{socket: newSocket()}
	if err := c2.Open(m2); err != nil {
		t.Fatal(err)
	}
	want(t, "no observer", fmt.Sprint(m2.told), fmt.Sprint([]Skips{SkipWrote}))
}

// What comes up for a layer that is not open yet waits behind those that skip, too.
func TestBytesThatPassASkippingLayerWait(t *testing.T) {
	c, m, p := openMetered(t, 2, func(p []*puppet) { p[0].lazy = true })
	p[0].link.Ready()
	m.journal.take()
	p[0].skip(skipAll)
	late := newPuppet(t, m.journal, "C")
	p[1].skip(skipAll)
	late.do["Open"] = func(Link) error { return c.Up(m, []byte("early")) }
	if err := c.Push(late); err != nil {
		t.Fatal(err)
	}
	want(t, "until it is open", m.journal.take(), "C.Open ready C.Up(early) up(early)")
}

// Parting words of a layer above pass one that skips and was not told yet; then nothing more comes from above.
func TestSkippingAndCloseWrite(t *testing.T) {
	c, m, p := openMetered(t, 2, func(p []*puppet) { p[1].bye = "bye" })
	p[0].skip(skipAll)
	p[0].do["CloseWrite"] = func(Link) error { return p[1].link.Down(one("too late")) }
	if err := c.CloseWrite(m); err != nil {
		t.Fatal(err)
	}
	want(t, "order", m.journal.take(), "B.CloseWrite down(bye) A.CloseWrite")
}

// A chain within a chain skips what its layers do.
func TestAnInnerChainSkips(t *testing.T) {
	a, b := newPuppet(t, new(journal), "A"), newPuppet(t, new(journal), "B")
	inner := &crate{Chain: chainOf(t, b)}
	m := &metered{socket: newSocket()}
	a.journal, b.journal = m.journal, m.journal
	c := chainOf(t, a, inner)
	if err := c.Open(m); err != nil {
		t.Fatal(err)
	}
	m.journal.take()
	want(t, "not above one that sees bytes", fmt.Sprint(b.skip(skipAll)), "false")
	want(t, "but else", fmt.Sprint(a.skip(skipAll), b.skip(skipAll), m.told), fmt.Sprint(true, true, []Skips{skipAll}))
	want(t, "nobody sees anything", m.pass(t, c), "up(u) down(d)")
}

// A crate is a layer that is a chain, and not taken apart by Push.
type crate struct{ *Chain }

// Skipping costs no memory of its own, and bytes that pass cost no allocation.
func TestSkippingAllocatesNothing(t *testing.T) {
	c, m, p := openMetered(t, 2, nil)
	p[0].skip(skipAll)
	p[1].skip(skipAll)
	m.silent = true
	b, bufs := []byte("u"), one("d")
	if n := testing.AllocsPerRun(100, func() {
		_, _ = c.Up(m, b), c.Down(m, bufs)
		c.Wrote(m, 1, 0)
		p[0].skip(SkipWrote)
		p[0].skip(skipAll)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
