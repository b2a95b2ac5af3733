package main

import (
	"math/bits"

	"github.com/galago-go/galago/interceptor"
)

// A tap is a layer around interceptor.Fault, the top one. It compares what goes in with what comes out, so that the
// checks know each byte that was damaged on purpose, and no other damage passes for it. The first bytes of who dialed
// are spared on their way down: they say which connection this is.
type tap struct {
	inner interceptor.Interceptor
	side  *side // from OnConnected on; nothing passes before
	fail  func(format string, args ...any)

	in     []byte // went into inner on its way up, and did not come out yet
	want   []byte // went into inner on its way down
	upAt   int64  // bytes that came out
	downAt int64
	up     []damage // of what came up, as far as it is not delivered
	spare  bool     // the next Down is the hello
}

func newTap(inner interceptor.Interceptor, spare bool, fail func(format string, args ...any)) *tap {
	return &tap{inner: inner, spare: spare, fail: fail}
}

// Open opens inner.
func (t *tap) Open(l interceptor.Link) error {
	return t.inner.Open(&tapped{l, t})
}

// Up passes p through inner.
func (t *tap) Up(l interceptor.Link, p []byte) error {
	t.in = append(t.in, p...)
	return t.inner.Up(&tapped{l, t}, p)
}

// EOF passes it through inner.
func (t *tap) EOF(l interceptor.Link) error { return t.inner.EOF(&tapped{l, t}) }

// Down passes bufs through inner.
func (t *tap) Down(l interceptor.Link, bufs [][]byte) error {
	t.want = flat(t.want[:0], bufs)
	link := &tapped{l, t}
	if t.spare {
		t.spare = false
		return link.Down(bufs)
	}
	return t.inner.Down(link, bufs)
}

// CloseWrite passes it through inner.
func (t *tap) CloseWrite(l interceptor.Link) error { return t.inner.CloseWrite(&tapped{l, t}) }

// Close releases inner.
func (t *tap) Close() { t.inner.Close() }

// A tapped is the link of inner: what comes out passes here.
type tapped struct {
	interceptor.Link
	t *tap
}

// Up compares.
func (l *tapped) Up(p []byte) error {
	t := l.t
	if len(p) > len(t.in) {
		t.fail("a layer passed up %d bytes, of %d that came", len(p), len(t.in))
		return errPlanned
	}
	t.up = append(t.up, t.compare(p, t.in, t.upAt)...)
	t.in = t.in[len(p):]
	t.upAt += int64(len(p))
	return l.Link.Up(p)
}

// Down compares, and notes the damage where the other end looks for it, before it can arrive there.
func (l *tapped) Down(bufs [][]byte) error {
	t := l.t
	got := flat(nil, bufs)
	if len(got) != len(t.want) {
		t.fail("a layer passed down %d bytes, of %d that came", len(got), len(t.want))
	} else if found := t.compare(got, t.want, t.downAt); len(found) > 0 && t.side != nil && t.side.pair != nil {
		p := t.side.pair
		p.mu.Lock()
		p.damages[t.side.dir] = append(p.damages[t.side.dir], found...)
		p.mu.Unlock()
	}
	t.downAt += int64(len(got))
	return l.Link.Down(bufs)
}

// compare returns where got is not want, beginning at at. A fault flips one bit of a call's bytes.
func (t *tap) compare(got, want []byte, at int64) (found []damage) {
	for i, b := range got {
		if x := b ^ want[i]; x != 0 {
			if bits.OnesCount8(x) != 1 {
				t.fail("a fault changed byte %d by %08b: it must flip one bit", at+int64(i), x)
			}
			found = append(found, damage{at + int64(i), x})
		}
	}
	return found
}

// took returns the damage to bytes before at, once.
func (t *tap) took(at int64) (list []damage) {
	n := 0
	for n < len(t.up) && t.up[n].at < at {
		n++
	}
	list, t.up = t.up[:n:n], t.up[n:]
	return list
}

func flat(dst []byte, bufs [][]byte) []byte {
	for _, b := range bufs {
		dst = append(dst, b...)
	}
	return dst
}
