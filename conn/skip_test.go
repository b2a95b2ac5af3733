package conn_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

const skipAll = interceptor.SkipBytes | interceptor.SkipWrote

func meter(l *sceneLayer) interceptor.Meter { return l.link.(interceptor.Meter) }

// A layer that skips sees nothing, and the connection goes on as it did: no byte is lost on the way from one to the other,
// in the middle of a frame either.
func TestBytesGoPastALayerThatSkips(t *testing.T) {
	s := newScene(t)
	calls := 0
	s.open(conn.Config{Split: frame.Lines(100), Layers: []interceptor.Factory{s.layer("a", func(l *sceneLayer) {
		l.up = func(link interceptor.Link, p []byte) error { calls++; return link.Up(p) }
		l.down = func(link interceptor.Link, bufs [][]byte) error { calls++; return link.Down(bufs) }
		l.onWrote = func(interceptor.Link, int, int) { calls++ }
	})}})
	s.Feed("one\ntw")
	s.doSend("1")
	assert.Equal(t, 3, calls)
	s.Do(func(*conn.Conn) { assert.True(t, meter(s.layers[0]).Skip(skipAll)) })
	s.Feed("o\nthr")
	s.doSend("2")
	assert.Equal(t, 3, calls)
	s.Do(func(*conn.Conn) { assert.True(t, meter(s.layers[0]).Skip(interceptor.SkipWrote)) })
	s.Feed("ee\nfo")
	s.doSend("3")
	assert.Equal(t, 5, calls)
	s.Do(func(*conn.Conn) { assert.True(t, meter(s.layers[0]).Skip(0)) })
	s.Feed("ur\n")
	s.doSend("4")
	assert.Equal(t, 8, calls)
	assert.Equal(t, "onetwothreefour", s.rec.Received())
	assert.Equal(t, "1234", s.Wire())
}

// The same with frames of any length, in pieces of any, with pauses, and with skipping begun and ended anywhere, also
// within OnReceived.
func TestSkippingAnywhereLosesNoByte(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		s := newScene(t)
		s.open(conn.Config{Split: frame.Lines(80 << 10), MaxFrame: 80 << 10,
			Layers: []interceptor.Factory{s.layer("a", nil), s.layer("b", nil)}})
		turn := func() {
			l := s.layers[r.IntN(2)]
			_ = meter(l).Skip([]interceptor.Skips{0, interceptor.SkipWrote, skipAll, skipAll}[r.IntN(4)])
		}
		var want, sent strings.Builder
		s.on("OnReceived", func(c *conn.Conn) {
			if r.IntN(3) == 0 {
				turn()
			}
			p := strings.Repeat("s", []int{1, 100, 20_000}[r.IntN(3)])
			if _, err := c.Send([]byte(p)); err == nil {
				sent.WriteString(p)
			}
		})
		for range 30 {
			word := strings.Repeat(string(rune('a'+r.IntN(26))), []int{0, 1, 10, 3000, 40_000}[r.IntN(5)])
			want.WriteString(word)
			for line := word + "\n"; line != ""; {
				n := min(len(line), 1+r.IntN(30_000))
				s.Feed(line[:n])
				line = line[n:]
				switch r.IntN(6) {
				case 0:
					s.Do(func(*conn.Conn) { turn() })
				case 1:
					s.Do(func(c *conn.Conn) { c.Pause() })
				case 2:
					s.Do(func(c *conn.Conn) { c.Resume() })
				}
			}
		}
		s.Do(func(c *conn.Conn) { c.Resume() })
		require.Equal(t, want.String(), s.rec.Received(), "seed %d", seed)
		require.Equal(t, sent.String(), s.Wire(), "seed %d", seed)
		require.Zero(t, s.Memory().InUse(), "seed %d", seed)
	}
}

// A layer that Upgrade pushes sees everything, though those below skip.
func TestALayerAboveOneThatSkipsSeesEverything(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}})
	s.Do(func(c *conn.Conn) {
		assert.True(t, meter(s.layers[0]).Skip(skipAll))
		assert.NoError(t, c.Upgrade(s.layer("b", func(l *sceneLayer) {
			l.open = func(interceptor.Link) error { return nil }
			l.up = func(link interceptor.Link, p []byte) error {
				if string(p) == "go" {
					link.Ready()
					return nil
				}
				return link.Up([]byte(strings.ToUpper(string(p))))
			}
			l.down = func(link interceptor.Link, bufs [][]byte) error {
				return link.Down([][]byte{[]byte("<"), bufs[0], []byte(">")})
			}
		})))
	})
	s.Feed("go")
	s.Feed("up")
	s.doSend("down")
	assert.Equal(t, "UP", s.rec.Received())
	assert.Equal(t, "<down>", s.Wire())
}

// Traffic is when the system gave and took bytes; or, while they wait, when the first of them was queued.
func TestTrafficSaysWhenBytesMoved(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}})
	began := s.Now()
	at := func(what string, read, wrote time.Duration, pending int) {
		t.Helper()
		tr, ok := meter(s.layers[0]).Traffic()
		assert.True(t, ok)
		assert.Equal(t, read, tr.Read.Sub(began), "%s: read", what)
		assert.Equal(t, wrote, tr.Wrote.Sub(began), "%s: wrote", what)
		assert.Equal(t, pending, tr.Pending, "%s: pending", what)
	}
	at("nothing yet", 0, 0, 0)
	for i, skips := range []interceptor.Skips{0, skipAll} {
		s.Do(func(*conn.Conn) { assert.True(t, meter(s.layers[0]).Skip(skips)) })
		base := time.Duration(i) * time.Minute
		s.Advance(began.Add(base + time.Second).Sub(s.Now()))
		s.Feed("in")
		s.Advance(time.Second)
		s.doSend("out")
		at("both ways", base+time.Second, base+2*time.Second, 0)

		s.Allow(2)
		s.Advance(time.Second)
		s.doSend("four")
		at("in part", base+time.Second, base+3*time.Second, 2)
		s.Advance(time.Second)
		s.doSend("xx")
		at("more behind it does not change since when it waits", base+time.Second, base+3*time.Second, 4)
		s.Allow(3)
		at("progress", base+time.Second, base+4*time.Second, 1)
		s.Advance(time.Second)
		s.Allow(1)
		at("all", base+time.Second, base+5*time.Second, 0)
		s.Advance(time.Second)
		s.Allow(0)
		s.doSend("none of it")
		at("since it waits", base+time.Second, base+6*time.Second, 10)
		s.Advance(time.Second)
		s.doSend(".")
		at("still", base+time.Second, base+6*time.Second, 11)
		s.Allow(-1)
		at("at last", base+time.Second, base+7*time.Second, 0)
		s.Do(func(c *conn.Conn) {
			s.send(c, "y")
			at("what was not tried yet waits since now", base+time.Second, base+7*time.Second, 1)
		})
	}
}

// An idle timeout is put off by bytes that layers do not see.
func TestTMR8_SkippedBytesAreActivity(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{IdleTimeout: 10 * time.Second, Layers: []interceptor.Factory{s.layer("a", nil)}})
	s.Do(func(*conn.Conn) { assert.True(t, meter(s.layers[0]).Skip(skipAll)) })
	for range 3 {
		s.Advance(9 * time.Second)
		s.Feed("x")
		s.Advance(9 * time.Second)
		s.doSend("y")
	}
	assert.Zero(t, s.count("OnIdle"))
	s.Advance(10 * time.Second)
	assert.Equal(t, 1, s.count("OnIdle"))
}
