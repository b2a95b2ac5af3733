package conntest

import (
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/galago-go/galago/conn"
)

func testInfo(near, far *side) {
	check := func() {
		a, b := near.b.Info(), far.b.Info()
		if a.Local != b.Remote || a.Remote != b.Local {
			near.t.Errorf("near is %v to %v, far %v to %v", a.Local, a.Remote, b.Local, b.Remote)
		}
	}
	check()
	before := near.b.Info()
	near.close(false)
	far.close(false)
	check()
	if after := near.b.Info(); after != before {
		near.t.Errorf("Info was %v, and is %v after Close", before, after)
	}
}

func testNothing(near, _ *side) {
	near.do(func() {
		if n, err := near.b.Read(make([]byte, 100)); n != 0 || err != conn.ErrWouldBlock {
			near.t.Errorf("Read of nothing returned %d, %v", n, err)
		}
		if n, err := near.b.Unread(); n > 0 || err != nil {
			near.t.Errorf("Unread of nothing returned %d, %v", n, err)
		}
	})
}

func testOrder(near, far *side) {
	want := pattern(100_000)
	got := transfer(near, far, want, 0, func(rest []byte) (bufs [][]byte) {
		for size := 0; len(bufs) < 256 && len(rest) > 0; size = (size + 1) % 97 { // an empty one among them
			bufs = append(bufs, rest[:min(size, len(rest))])
			rest = rest[min(size, len(rest)):]
		}
		return bufs
	})
	far.same("what was read", got, want)
}

// transfer writes what p has behind the first n bytes, which were written already, in the buffers that cut makes. It
// reads all of p at the other side.
func transfer(from, to *side, p []byte, n int, cut func(rest []byte) [][]byte) (got []byte) {
	from.t.Helper()
	for end := time.Now().Add(patience); len(got) < len(p); {
		progress := false
		if n < len(p) && from.writable {
			k, err := from.write(cut(p[n:])...)
			if err != nil {
				from.t.Fatalf("%s: after %d bytes: %v", from.name, n, err)
			}
			n, progress = n+k, k > 0
		}
		if to.readable {
			some, err := to.read(64 << 10)
			if err != nil {
				to.t.Fatalf("%s: after %d bytes: %v", to.name, len(got), err)
			}
			got, progress = append(got, some...), progress || len(some) > 0
		}
		switch {
		case progress:
			end = time.Now().Add(patience)
		case time.Now().After(end):
			from.t.Fatalf("nothing moved for %v, after %d bytes were written and %d read", patience, n, len(got))
		default:
			from.arm()
			to.arm()
			runtime.Gosched()
		}
	}
	return got
}

func testReportedAnew(near, far *side) {
	for range 20 {
		near.writeAll([]byte("some bytes"))
		far.same("what was read", far.readN(10), []byte("some bytes"))
		if far.readable {
			far.t.Error("the precondition failed: the last Read was not short")
		}
	}
	near.closeWrite()
	p, err := far.readEnd()
	far.same("after all that was sent", p, nil)
	far.ended(err)
}

// fill writes until the system refuses, and returns how many bytes of the pattern it took.
func fill(s *side, p []byte) (n int) {
	s.t.Helper()
	for s.writable {
		if n == len(p) {
			s.t.Fatalf("the system took %d bytes that nobody reads: give the sockets smaller buffers", n)
		}
		k, err := s.write(p[n:min(n+64<<10, len(p))])
		if err != nil {
			s.t.Fatal(err)
		}
		n += k
	}
	return n
}

// most is more than any system keeps for a reader that does not read.
var most = 32 << 20

func testFull(near, far *side) {
	p := pattern(most)
	n := fill(near, p)
	want := p[:min(n+1<<20, len(p))]
	got := transfer(near, far, want, n, func(rest []byte) [][]byte {
		half := min(len(rest), 256<<10) / 2
		return [][]byte{rest[:half], rest[half:min(len(rest), 256<<10)]}
	})
	far.same("what was read", got, want)
}

func testHalfClose(near, far *side) {
	near.writeAll([]byte("request"))
	near.closeWrite()
	p, err := far.readEnd()
	far.same("the request", p, []byte("request"))
	far.ended(err)
	far.writeAll([]byte("answer"))
	near.same("the answer", near.readN(6), []byte("answer"))
	far.closeWrite()
	p, err = near.readEnd()
	near.same("after the answer", p, nil)
	near.ended(err)
}

func testEndBehindBytes(near, far *side) {
	want := pattern(5000)
	near.writeAll(want)
	near.closeWrite()
	var got []byte
	for {
		p, err := far.read(64) // always too little room
		if got = append(got, p...); err != nil {
			far.ended(err)
			break
		}
	}
	far.same("what was read", got, want)
}

func testClose(near, far *side) {
	want := pattern(30_000)
	near.writeAll(want)
	near.close(false)
	p, err := far.readEnd()
	far.same("what was read", p, want)
	far.ended(err)
}

func testReset(near, far *side) {
	near.writeAll([]byte("x"))
	far.readN(1)
	near.close(true)
	if _, err := far.readEnd(); err == io.EOF {
		far.t.Error("a reset looks like the peer's orderly end")
	}
	var err error
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
		_, err = far.write([]byte("y"))
	}
	if err == nil {
		far.t.Error("after a reset Write goes on")
	}
}

func testUnread(near, far *side) {
	ask := func() (n int, err error) {
		far.do(func() { n, err = far.b.Unread() })
		return n, err
	}
	near.writeAll([]byte("12345"))
	far.await("Readable", func() bool { return far.readable && atLeast(ask, 5) })
	if n, err := ask(); n != 5 && n != -1 || err != nil {
		far.t.Errorf("Unread returned %d, %v; 5 bytes wait", n, err)
	}
	far.same("what was read", far.readN(5), []byte("12345"))
	if n, err := ask(); n > 0 || err != nil {
		far.t.Errorf("Unread returned %d, %v; nothing waits", n, err)
	}
	near.closeWrite()
	far.await("the end", func() bool { _, err := ask(); return err != nil && far.readable })
	if n, err := ask(); n > 0 || err != io.EOF {
		far.t.Errorf("Unread returned %d, %v; the peer has ended", n, err)
	}
	_, err := far.readEnd()
	far.ended(err)
}

// atLeast reports whether Unread says that n bytes wait; -1 means that it cannot know.
func atLeast(ask func() (int, error), n int) bool {
	k, err := ask()
	return k >= n || k == -1 || err != nil
}

func testUnreadReset(near, far *side) {
	near.writeAll([]byte("never read"))
	far.readable = false // it has not looked yet
	far.await("Readable", func() bool { return far.readable })
	near.close(true)
	var err error
	far.await("the reset", func() bool {
		far.do(func() { _, err = far.b.Unread() })
		return err != nil
	})
	if err == io.EOF || err == conn.ErrWouldBlock {
		far.t.Errorf("Unread says %v after a reset", err)
	}
}

func testArm(near, far *side) {
	for i := range conn.Interest(8) {
		near.do(func() { near.b.Arm(i) })
		far.do(func() { far.b.Arm(i) })
	}
	near.do(func() { near.b.Arm(0) })
	near.writeAll([]byte("ping"))
	far.same("what was read", far.readN(4), []byte("ping"))
	far.writeAll([]byte("pong"))
	near.same("what was read", near.readN(4), []byte("pong"))
}

func testPost(near, _ *side) {
	const goroutines, each = 4, 200
	var order [goroutines][]int // each is written in turns only: the race detector watches
	in := false
	together(goroutines, func(g int) {
		for i := range each {
			near.b.Post(func() {
				if in {
					near.t.Error("a posted function runs inside another one")
				}
				in = true
				order[g] = append(order[g], i)
				in = false
			})
		}
	})
	later := false
	near.do(func() {
		for g := range order {
			if len(order[g]) != each || !slices.IsSorted(order[g]) {
				near.t.Errorf("goroutine %d: %d of %d functions ran before the turn, sorted: %v", g, len(order[g]), each,
					slices.IsSorted(order[g]))
			}
		}
		near.b.Post(func() { later = true })
		if later {
			near.t.Error("Post ran its function at once")
		}
	})
	near.do(func() {
		if !later {
			near.t.Error("what was posted in a turn did not run before the next one")
		}
	})
}

func testPostAfterClose(near, far *side) {
	near.close(false)
	far.close(false)
	ran := 0 // how many run is the shell's choice; one after the other, for the race detector watches
	together(4, func(int) {
		for range 50 {
			near.b.Post(func() { ran++ })
		}
	})
	near.do(func() {
		if ran > 200 {
			near.t.Errorf("200 posted functions ran %d times", ran)
		}
	})
}
