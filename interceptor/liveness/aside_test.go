package liveness_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A counted layer is one whose calls are counted.
type counted struct {
	*liveness.Layer
	up, down, wrote int
}

func (c *counted) Up(k interceptor.Link, p []byte) error {
	c.up++
	return c.Layer.Up(k, p)
}

func (c *counted) Down(k interceptor.Link, bufs [][]byte) error {
	c.down++
	return c.Layer.Down(k, bufs)
}

func (c *counted) Wrote(k interceptor.Link, n, pending int) {
	c.wrote++
	c.Layer.Wrote(k, n, pending)
}

// sees returns the calls since the last sees.
func (c *counted) sees() [3]int {
	n := [3]int{c.up, c.down, c.wrote}
	c.up, c.down, c.wrote = 0, 0, 0
	return n
}

// openCounted opens a side with such a layer, above others.
func openCounted(t *testing.T, maker liveness.Maker, below ...interceptor.Factory) (*side, *counted) {
	t.Helper()
	c := new(counted)
	top := func() interceptor.Interceptor {
		c.Layer = maker().(*liveness.Layer)
		return c
	}
	e := open(t, maker, with(func(cfg *conn.Config) { cfg.Layers = append(below, top) }),
		sideOption(func(s *side, _ *conn.Config) { s.find = func() *liveness.Layer { return c.Layer } }))
	return e, c
}

// exchange lets the peer and us say something.
func exchange(e *side, peer, us string) {
	e.Feed(peer)
	e.send(us)
	e.Wire()
}

// While nothing depends on a byte but when it moved, a Passive layer sees none; and yet it knows when that was.
func TestPassiveStandsAsideWhileThePeerIsUp(t *testing.T) {
	e, c := openCounted(t, passive(t, liveness.Config{Timeout: 4 * s}))
	exchange(e, "first", "word")
	c.sees()
	e.Advance(s)
	exchange(e, "more", "and more")
	assert.Equal(t, [3]int{}, c.sees())
	st := e.layer().Status()
	assert.Equal(t, e.Now(), st.LastHeard)
	assert.Equal(t, e.Now(), st.LastSpoke)
	assert.Equal(t, "firstmore", e.rec.Received())

	e.Advance(4*s - 1)
	e.want("suspect counts from the word that it did not see", "4s PeerSuspect")
	exchange(e, "alive", "good")
	assert.Equal(t, [3]int{1, 0, 0}, c.sees(), "the word that ends the silence it must see, and no other")
	e.state(liveness.StateUp)
	e.Advance(4 * s)
	e.want("down", "7.999999999s PeerSuspect", "8.999999999s PeerDown")
	e.send("x")
	assert.Equal(t, [3]int{0, 1, 1}, c.sees(), "while the peer is down it sees everything")
	e.Feed("back")
	e.want("up", "8.999999999s PeerUp after 0s")
}

// Framed must see bytes, and no writing.
func TestFramedNeedNotHearOfWriting(t *testing.T) {
	e, c := openCounted(t, framed(t, liveness.Config{Timeout: 4 * s}))
	e.Feed(hello(h, 0))
	exchange(e, data("first"), "word")
	c.sees()
	exchange(e, data("more"), "and more")
	assert.Equal(t, [3]int{1, 1, 0}, c.sees())
	assert.Equal(t, e.Now(), e.layer().Status().LastSpoke)
	e.Advance(4 * s)
	e.want("silence", "3s PeerSuspect", "4s PeerDown")
	e.send("x")
	assert.Equal(t, [3]int{0, 1, 1}, c.sees())
}

// A writer that is stuck is noticed by a layer that does not see the bytes that wait, and their progress, too.
func TestALayerThatStandsAsideNoticesAStuckWriter(t *testing.T) {
	e, c := openCounted(t, passive(t, liveness.Config{Timeout: 4 * s}))
	exchange(e, "first", "word")
	e.Advance(s)
	c.sees()
	e.Allow(0)
	e.send("it waits")
	assert.Equal(t, [3]int{}, c.sees())
	for range 4 {
		e.Advance(s)
		e.Feed("it speaks")
	}
	e.Advance(ms)
	e.want("since it waits", "5s PeerSuspect (writing stalled)")
	assert.True(t, e.layer().Status().Stalled)
	c.sees()
	e.Allow(-1)
	assert.Equal(t, [3]int{0, 0, 1}, c.sees(), "now it waits for progress")
	assert.False(t, e.layer().Status().Stalled)
	exchange(e, "a", "b")
	c.sees()
	exchange(e, "c", "d")
	assert.Equal(t, [3]int{}, c.sees(), "and stands aside again")
}

// A frame that moves the deadline finds out first when the peer was heard: by this frame, if by nothing else.
func TestADeadlineThatMovesKnowsOfWhatWasHeard(t *testing.T) {
	e := open(t, framed(t, liveness.Config{Timeout: 4 * s}), conntest.Manual())
	for _, p := range []string{hello(h, 0), data("first")} {
		e.Feed(p)
		e.Settle()
	}
	e.Do((*conn.Conn).Pause)
	e.Settle()
	e.Do((*conn.Conn).Resume)
	e.Settle()
	e.Feed(data("second"))
	e.Settle()
	e.Stall(5 * s) // we were stopped, and the peer has spoken meanwhile
	e.Feed(timings(h, 0))
	e.Settle()
	for range 4 {
		e.Stall(s)
		e.Settle()
	}
	e.want("silence counts from then", "8s PeerSuspect", "9s PeerDown")
}

// Pauses, ends, and layers below that see bytes: then it sees them.
func TestWhenALayerDoesNotStandAside(t *testing.T) {
	maker := passive(t, liveness.Config{Timeout: 4 * s})
	e, c := openCounted(t, maker)
	exchange(e, "first", "word")
	e.Do(func(c *conn.Conn) { c.Pause() })
	c.sees()
	e.send("x")
	assert.Equal(t, [3]int{0, 1, 1}, c.sees(), "reading is held")
	e.Do(func(c *conn.Conn) { c.Resume() })
	e.Feed("y")
	c.sees()
	exchange(e, "y", "z")
	assert.Equal(t, [3]int{}, c.sees(), "it runs again")
	e.FeedEOF()
	e.send("x")
	assert.Equal(t, [3]int{0, 1, 1}, c.sees(), "there is nothing to hear")

	e, c = openCounted(t, maker, func() interceptor.Interceptor { return interceptor.Pass{} })
	exchange(e, "first", "word")
	c.sees()
	exchange(e, "more", "and more")
	assert.Equal(t, [3]int{1, 1, 1}, c.sees(), "a layer below may do anything with bytes")

	below := passive(t, liveness.Config{Timeout: h})
	e, c = openCounted(t, maker, interceptor.Factory(below))
	exchange(e, "first", "word")
	exchange(e, "second", "word")
	c.sees()
	exchange(e, "more", "and more")
	assert.Equal(t, [3]int{}, c.sees(), "but not one that stands aside itself")
	require.Equal(t, "firstsecondmore", e.rec.Received())
}

// The random worlds are about both ways.
func TestLIV34_LayersStandAsideInRandomWorlds(t *testing.T) {
	asides := map[string]int{}
	for seed := range uint64(100) {
		w := &world{t: t, in: randomBytes(seed), peer: liveness.Never}
		w.open()
		for len(w.in) > 0 && !w.Done() && !t.Failed() {
			w.act()
		}
		asides[w.form] += w.spy.asides
	}
	for form, n := range asides {
		assert.Greater(t, n, 20, form)
	}
}
