package conn_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// What layers pass up as it was read is delivered from where it was read: it costs no copy, and no memory.
func TestBytesPassedUpAsTheyAreAreNotCopied(t *testing.T) {
	s := newScene(t)
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", nil), s.layer("b", nil)}})
	lent := -1
	s.on("OnReceived", func(*conn.Conn) { lent = s.Memory().InUse() })
	s.Feed("whole")
	assert.Equal(t, "whole", s.rec.Received())
	assert.Zero(t, lent)

	s.layers[0].up = func(l interceptor.Link, p []byte) error { return l.Up(bytes.Clone(p)) }
	s.Feed("changed")
	assert.Equal(t, "changed", s.rec.Received())
	assert.Positive(t, lent, "what is not as it was read is kept")
}

// What a layer makes in memory that the connection lends is delivered from there, behind what is held, if that is little.
func TestBytesMadeInLentMemoryAreNotCopied(t *testing.T) {
	room := func(l interceptor.Link) []byte { return l.(interceptor.Lender).Room() }
	made := []byte(nil)
	s := newScene(t)
	l := s.layer("a", func(s *sceneLayer) {
		s.up = func(l interceptor.Link, p []byte) error {
			for part := range bytes.SplitSeq(p, []byte("/")) {
				out := bytes.ToUpper(part)
				if made = room(l); len(made) >= len(out) {
					out = made[:copy(made, out)]
				}
				if err := l.Up(out); err != nil {
					return err
				}
			}
			return nil
		}
	})
	s.open(conn.Config{Layers: []interceptor.Factory{l}})
	lent, inHand := -1, []byte(nil)
	s.on("OnReceived", func(*conn.Conn) {
		lent, inHand = s.Memory().InUse(), room(s.layers[0].link)
	})
	s.Feed("one/two")
	assert.Equal(t, "ONETWO", s.rec.Received())
	assert.Zero(t, lent)
	assert.Empty(t, inHand, "nothing is lent while a frame of it may be in the handler's hands")
	assert.Empty(t, room(s.layers[0].link), "nor outside a turn's reading")

	s.Do(func(c *conn.Conn) { c.SetSplit(frame.Lines(64 << 10)) })
	s.Feed("ab/c")
	assert.Positive(t, s.Memory().InUse(), "a frame that is not whole is kept")
	s.Feed("d\n/x")
	assert.Equal(t, "ABCD", s.rec.Received())
	assert.Zero(t, lent, "what was kept has moved there")
	s.Feed(strings.Repeat("y", 40<<10))
	s.Feed("z")
	assert.Empty(t, made, "so much is not moved")
	s.Feed("\n")
	assert.Equal(t, "X"+strings.Repeat("Y", 40<<10)+"Z", s.rec.Received())
}

// However layers pass bytes up - whole, in parts that follow each other or do not, from memory of their own, twice - they
// are delivered in this order, and none is lost or changed.
func TestBytesPassedUpInAnyWay(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 12))
		s := newScene(t)
		var want strings.Builder
		up := func(l interceptor.Link, p []byte) error {
			want.Write(p)
			return l.Up(p)
		}
		pieces := func(l interceptor.Link, p []byte) error {
			for len(p) > 0 {
				n := 1 + r.IntN(len(p))
				part := p[:n:n]
				if r.IntN(2) == 0 {
					part = p[:n]
				}
				p = p[n:]
				var err error
				switch r.IntN(8) {
				case 3, 4: // other bytes, made in lent memory
					if room := l.(interceptor.Lender).Room(); len(room) >= n {
						part = room[:copy(room, part)]
					}
					err = up(l, part)
				case 0: // for the layer itself
				case 1:
					err = up(l, bytes.Clone(part))
				case 2:
					if err = up(l, part); err == nil {
						err = up(l, part)
					}
				default:
					err = up(l, part)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
		yields := r.IntN(3) == 0
		s.rec.Return = func(*conn.Conn, []byte) error {
			if yields && r.IntN(2) == 0 {
				return conn.Yield
			}
			return nil
		}
		cfg := conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) { a.up = pieces })}}
		if r.IntN(2) == 0 {
			cfg.Split = frame.Fixed(1 + r.IntN(9))
		}
		s.open(cfg)
		at := 0
		for range 20 {
			n := 1 + r.IntN(30)
			p := make([]byte, n)
			for i := range p {
				p[i] = byte('a' + (at+i)%26)
			}
			at += n
			s.Feed(string(p))
			if r.IntN(4) == 0 {
				s.Do((*conn.Conn).Pause)
				s.Feed("held")
				s.Do((*conn.Conn).Resume)
			}
		}
		s.Do(func(c *conn.Conn) { c.SetSplit(nil) })
		s.Settle()
		require.Equal(t, want.String(), s.rec.Received(), "seed %d", seed)
		s.Do(func(c *conn.Conn) { c.Abort(nil) })
		require.Zero(t, s.Memory().InUse(), "seed %d", seed)
	}
}

// All that layers ask for the time in a turn gets the same answer, that of their own turn, whoever used the memory before.
func TestTheTimeOfATurnIsItsOwn(t *testing.T) {
	m := new(conn.Memory)
	s, other := newScene(t), newScene(t)
	layered := func(s *scene) conn.Config { return conn.Config{Layers: []interceptor.Factory{s.layer("a", nil)}} }
	other.open(layered(other), conntest.Shared(m))
	other.Advance(time.Hour)
	other.Feed("a turn an hour later")
	var opened time.Time
	s.open(conn.Config{Layers: []interceptor.Factory{s.layer("a", func(a *sceneLayer) {
		a.open = func(l interceptor.Link) error { opened = l.Now(); l.Ready(); return nil }
	})}}, conntest.Shared(m))
	assert.Equal(t, s.Now(), opened)
	s.Advance(time.Minute)
	s.inLayer(0, func(l interceptor.Link) error { assert.Equal(t, s.Now(), l.Now()); return nil })
	other.inLayer(0, func(l interceptor.Link) error { assert.Equal(t, other.Now(), l.Now()); return nil })
	assert.Equal(t, s.Now(), s.layers[0].link.Now(), "between two turns it is the last one's")

	late := newScene(t)
	late.open(conn.Config{}, conntest.Shared(m))
	late.Advance(time.Second)
	late.Do(func(c *conn.Conn) { assert.NoError(t, c.Upgrade(late.layer("b", nil))) })
	assert.Equal(t, late.Now(), late.layers[0].link.Now())
}
