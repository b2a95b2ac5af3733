package conntest

import (
	"bytes"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
)

// A Pair is two backends whose sockets are connected to each other, and what TestBackend needs of the shell that they
// belong to. TestBackend asks for a fresh one for each of its parts, closes both backends, and leaves everything else
// to the Cleanup of whoever made it.
type Pair struct {
	Near, Far conn.Backend

	// Turn takes a turn for b: on the goroutine that takes b's turns it runs, one after the other, all that was posted
	// to b before Turn was called, then f. It returns when f has. It works after b was closed, too.
	Turn func(b conn.Backend, f func())

	// Ready returns what was reported of b, as for [conn.Driver.Ready], since the last Ready of b. If that is nothing it
	// may wait for it, but no longer than some milliseconds: TestBackend asks again until its own patience of 5 s is at
	// an end.
	Ready func(b conn.Backend) conn.Interest
}

// TestBackend checks the contract of [conn.Backend]: on the scripted one of this package, and on that of every shell.
// It behaves as a connection does: it reads and writes only what it may, and waits for readiness where it must.
func TestBackend(t *testing.T, pair func(*testing.T) Pair) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(near, far *side)
	}{
		{"Info names both ends, and still does after Close", testInfo},
		{"Read answers ErrWouldBlock while there is nothing", testNothing},
		{"Bytes arrive in order, and Write neither changes nor keeps its buffers", testOrder},
		{"What comes after a short Read is reported anew", testReportedAnew},
		{"Write takes what fits, and the rest when there is room again", testFull},
		{"CloseWrite is the peer's end, and the other direction goes on", testHalfClose},
		{"The end is reported behind unread bytes", testEndBehindBytes},
		{"Close in order loses no byte", testClose},
		{"A reset is an error at the peer", testReset},
		{"Unread tells and takes nothing", testUnread},
		{"Unread tells of a reset whatever still waits", testUnreadReset},
		{"Arm takes any directions", testArm},
		{"Post runs in order, in turns, from anywhere", testPost},
		{"Post after Close does no harm", testPostAfterClose},
	} {
		t.Run(part.name, func(t *testing.T) {
			p := pair(t)
			if p.Near == nil || p.Far == nil || p.Turn == nil || p.Ready == nil {
				t.Fatal("conntest: a Pair needs Near, Far, Turn and Ready")
			}
			near := &side{t: t, name: "near", b: p.Near, pair: p, readable: true, writable: true}
			far := &side{t: t, name: "far", b: p.Far, pair: p, readable: true, writable: true}
			t.Cleanup(func() { near.close(true); far.close(true) })
			part.run(near, far)
		})
	}
}

// patience is how long TestBackend waits for what must come.
var patience = 5 * time.Second

// A side is one backend, with what a connection remembers about it.
type side struct {
	t    *testing.T
	name string
	b    conn.Backend
	pair Pair

	readable, writable, hangup bool
	armed                      conn.Interest
	closed                     bool
}

// do runs f in a turn.
func (s *side) do(f func()) {
	s.t.Helper()
	s.pair.Turn(s.b, f)
}

// note takes what was reported.
func (s *side) note() {
	i := s.pair.Ready(s.b)
	s.readable = s.readable || i&(conn.Readable|conn.Hangup) != 0
	s.writable = s.writable || i&(conn.Writable|conn.Hangup) != 0
	s.hangup = s.hangup || i&conn.Hangup != 0
}

// arm arms the backend for what it waits for, and takes what is reported.
func (s *side) arm() {
	i := conn.Hangup
	if !s.readable {
		i |= conn.Readable
	}
	if !s.writable {
		i |= conn.Writable
	}
	if i != s.armed {
		s.armed = i
		s.do(func() { s.b.Arm(i) })
	}
	s.note()
}

// await waits until ok. That may lead to a report, but need not: ok is asked anew all the time.
func (s *side) await(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			s.t.Fatalf("%s: %s was not reported within %v", s.name, what, patience)
		}
		s.arm()
		runtime.Gosched()
	}
}

// read reads once, when it may. It returns nothing for ErrWouldBlock.
func (s *side) read(size int) (p []byte, err error) {
	s.t.Helper()
	s.await("Readable", func() bool { return s.readable })
	buf := make([]byte, size)
	s.do(func() {
		n, rerr := s.b.Read(buf)
		if n < 0 || n > size || n == 0 && rerr == nil || n > 0 && rerr != nil {
			s.t.Errorf("%s: Read of %d bytes returned %d, %v", s.name, size, n, rerr)
			n = max(0, min(n, size))
		}
		s.readable = n == size || s.hangup && rerr != conn.ErrWouldBlock
		p, err = buf[:n], rerr
	})
	if err == conn.ErrWouldBlock {
		return nil, nil
	}
	return p, err
}

// readN reads n bytes.
func (s *side) readN(n int) []byte {
	s.t.Helper()
	var all []byte
	for len(all) < n {
		p, err := s.read(64 << 10)
		if err != nil {
			s.t.Fatalf("%s: after %d of %d bytes: %v", s.name, len(all), n, err)
		}
		all = append(all, p...)
	}
	if len(all) > n {
		s.t.Fatalf("%s: read %d bytes, expected %d", s.name, len(all), n)
	}
	return all
}

// readEnd reads until an error, and returns what came before.
func (s *side) readEnd() ([]byte, error) {
	s.t.Helper()
	var all []byte
	for {
		p, err := s.read(64 << 10)
		if all = append(all, p...); err != nil {
			return all, err
		}
	}
}

// write writes once, from memory that is overwritten afterwards. It returns 0 for ErrWouldBlock.
func (s *side) write(bufs ...[]byte) (n int, err error) {
	s.t.Helper()
	s.await("Writable", func() bool { return s.writable })
	total := 0
	given := make([][]byte, len(bufs))
	for i, b := range bufs {
		total += len(b)
		given[i] = bytes.Clone(b)
	}
	s.do(func() { n, err = s.b.Write(given) })
	for i, b := range bufs {
		if !bytes.Equal(given[i], b) {
			s.t.Errorf("%s: Write changed its buffers", s.name)
		}
		for j := range given[i] {
			given[i][j] = 0xee
		}
	}
	switch {
	case n < 0 || n > total || n == 0 && err == nil && total > 0:
		s.t.Fatalf("%s: Write of %d bytes returned %d, %v", s.name, total, n, err)
	case err == conn.ErrWouldBlock && n > 0:
		s.t.Errorf("%s: Write returned %d and ErrWouldBlock", s.name, n)
	}
	s.writable = n == total
	if err == conn.ErrWouldBlock {
		err = nil
	}
	return n, err
}

// writeAll writes all of p. The other side must have room for it.
func (s *side) writeAll(p []byte) {
	s.t.Helper()
	for len(p) > 0 {
		n, err := s.write(p)
		if err != nil {
			s.t.Fatalf("%s: Write: %v", s.name, err)
		}
		p = p[n:]
	}
}

func (s *side) closeWrite() {
	s.t.Helper()
	s.do(func() {
		if err := s.b.CloseWrite(); err != nil {
			s.t.Errorf("%s: CloseWrite: %v", s.name, err)
		}
	})
}

func (s *side) close(reset bool) {
	s.t.Helper()
	if s.closed {
		return
	}
	s.closed = true
	s.do(func() {
		if err := s.b.Close(reset); err != nil {
			s.t.Errorf("%s: Close(%v): %v", s.name, reset, err)
		}
	})
}

// pattern returns n bytes, no two stretches of which are alike for long.
func pattern(n int) []byte {
	p := make([]byte, n)
	x := uint32(1)
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

// same fails unless got is want, without printing either.
func (s *side) same(what string, got, want []byte) {
	s.t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	s.t.Errorf("%s: %s: %d bytes, expected %d; they differ from byte %d on", s.name, what, len(got), len(want), i)
}

// together runs f in as many goroutines, and waits for them.
func together(goroutines int, f func(g int)) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { f(g) })
	}
	wg.Wait()
}

// ended fails unless err is io.EOF.
func (s *side) ended(err error) {
	s.t.Helper()
	if err != io.EOF {
		s.t.Errorf("%s: the stream ended with %v, expected io.EOF", s.name, err)
	}
}
