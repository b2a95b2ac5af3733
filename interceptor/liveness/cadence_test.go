package liveness_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor/liveness"
)

const (
	us   = time.Microsecond
	ms   = time.Millisecond
	s    = time.Second
	m    = time.Minute
	h    = time.Hour
	day  = 24 * h
	year = 365 * day
)

func TestLIV1_IdleSidesKeepEachOtherUp(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 4 * s}, liveness.Config{Timeout: 4 * s})
	c := count(w)
	w.pass(60 * s)
	for _, e := range []*side{w.a, w.b} {
		e.want("nothing is told")
		e.state(liveness.StateUp)
		assert.GreaterOrEqual(t, c.empty[e], 60)
		assert.LessOrEqual(t, c.empty[e], 67)
		assert.Equal(t, []string{"OnConnected"}, e.calls(), "the application hears nothing of it")
		least, most := c.gaps(e)
		assert.GreaterOrEqual(t, least, 900*ms-10*ms)
		assert.LessOrEqual(t, most, s)
	}
}

// The same through a layer that cuts, and behind frames of the application's own.
func TestLIV1_FramesAboveFrames(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 4 * s}, liveness.Config{Timeout: 4 * s},
		with(func(cfg *conn.Config) { cfg.Split = frame.Prefixed(2, 100) }))
	c := count(w)
	for range 10 {
		w.pass(3 * s)
		w.a.send("\x00\x05hello")
		w.b.send("\x00\x02hi\x00\x03you")
	}
	w.carry()
	for _, e := range []*side{w.a, w.b} {
		e.want("nothing is told")
		assert.GreaterOrEqual(t, c.empty[e], 20)
	}
	assert.Equal(t, "hello", w.b.rec.Received()[:5])
	assert.Equal(t, "hiyouhiyou", w.a.rec.Received()[:10])
	assert.Equal(t, 10, w.b.count("OnReceived"))
	assert.Equal(t, 20, w.a.count("OnReceived"))
}

func TestLIV2_DataIsAsGoodAsAKeepalive(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 4 * s}, liveness.Config{Timeout: 4 * s})
	c := count(w)
	for range 120 {
		w.a.send("a")
		w.b.send("b")
		w.pass(500 * ms)
	}
	for _, e := range []*side{w.a, w.b} {
		e.want("nothing is told")
		assert.Zero(t, c.empty[e])
		assert.Len(t, c.sizes[e], 120)
	}
}

func TestLIV3_EachSideHasItsOwnPatience(t *testing.T) {
	server, client := liveness.Config{Timeout: 4 * m}, liveness.Config{Timeout: 48 * h}
	w := pair(t, server, client)
	assert.Equal(t, []any{liveness.PeerTimings{Timeout: 48 * h}}, w.a.events)
	assert.Equal(t, []any{liveness.PeerTimings{Timeout: 4 * m}}, w.b.events)
	c := count(w)
	w.pass(24 * h)
	assert.GreaterOrEqual(t, c.empty[w.b], 1440)
	assert.LessOrEqual(t, c.empty[w.b], 1600)
	assert.GreaterOrEqual(t, c.empty[w.a], 2)
	assert.LessOrEqual(t, c.empty[w.a], 3)
	for _, e := range []*side{w.a, w.b} {
		e.want("nothing is told")
		e.state(liveness.StateUp)
	}
	assert.Equal(t, 48*h, w.a.layer().Status().PeerTimeout)
}

func TestLIV4_TenYears(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 10 * year}, liveness.Config{Timeout: 10 * year})
	c := count(w)
	turns := w.a.Turns()
	w.pass(5 * year / 2)
	assert.Equal(t, 1, c.empty[w.a])
	assert.Equal(t, 1, c.empty[w.b])
	assert.LessOrEqual(t, w.a.Turns()-turns, 6, "years cost no turns")
	w.a.want("nothing is told")
}

func TestLIV5_TenMilliseconds(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 10 * ms}, liveness.Config{Timeout: 10 * ms})
	c := count(w)
	w.pass(10 * s)
	for _, e := range []*side{w.a, w.b} {
		e.want("nothing is told")
		e.state(liveness.StateUp)
		least, most := c.gaps(e)
		assert.GreaterOrEqual(t, least, 2*ms)
		assert.LessOrEqual(t, most, 2500*us)
	}
	for _, f := range forms {
		_, err := f.make(liveness.Config{Timeout: 9 * ms, Probe: f.probe})
		assert.ErrorContains(t, err, "Timeout is 9ms", f.name)
	}
}

// A peer that wants to hear every quarter of a microsecond does not get it, nor does it make us busy.
func TestLIV5_OneMicrosecondIsNotObeyed(t *testing.T) {
	for _, wish := range []time.Duration{us, 9999 * us} {
		e := open(t, framed(t, liveness.Config{Timeout: h}))
		e.Wire()
		e.Feed(hello(wish, 0))
		turns := e.Turns()
		e.Advance(s)
		n := len(e.Wire()) / 4
		assert.Equal(t, 400, n, "every 2.5 ms")
		assert.LessOrEqual(t, e.Turns()-turns, 2*n)
		e.want("nothing is told")
	}
}

func TestNeverNeedsNoKeepalives(t *testing.T) {
	for _, patience := range []time.Duration{liveness.Never, 100 * year} {
		w := pair(t, liveness.Config{Timeout: patience}, liveness.Config{Timeout: patience})
		c := count(w)
		turns := w.a.Turns()
		for range 10 {
			w.pass(20 * year / 10)
		}
		assert.Zero(t, c.empty[w.a])
		assert.Equal(t, patience, w.a.layer().Status().Timeout)
		assert.Equal(t, patience, w.b.layer().Status().PeerTimeout)
		assert.Equal(t, turns, w.a.Turns(), "no timer traffic")
		w.a.send("after 20 years")
		w.carry()
		assert.Equal(t, "after 20 years", w.b.rec.Received())
		w.a.want("nothing is told")
	}
}

// Each fraction is kept.
func TestTheFractionThatThisSideKeeps(t *testing.T) {
	for _, n := range []int{2, 3, 4, 16} {
		w := pair(t, liveness.Config{Timeout: 16 * s, Fraction: n}, liveness.Config{Timeout: 48 * s})
		c := count(w)
		w.pass(480 * s)
		assert.GreaterOrEqual(t, c.empty[w.a], n*10, "fraction %d", n)
		assert.LessOrEqual(t, c.empty[w.a], n*10*10/9+1+n/4, "fraction %d", n)
		w.b.want("nothing is told")
	}
}

func TestMinSpeakIsAFloor(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 40 * s, MinSpeak: 10 * s}, liveness.Config{Timeout: 40 * s})
	assert.Equal(t, liveness.PeerTimings{Timeout: 40 * s, MinSpeak: 10 * s}, w.b.events[0])
	c := count(w)
	w.pass(1000 * s)
	least, most := c.gaps(w.a)
	assert.GreaterOrEqual(t, least, 10*s)
	assert.LessOrEqual(t, most, 10*s+10*ms)
	w.b.want("the peer is up all the time")
}

// Connections that began together part: their keepalives are spread over a tenth of the time, and yet fall on a grid.
func TestKeepalivesAreGatheredAndSpread(t *testing.T) {
	layer := framed(t, liveness.Config{Timeout: h})
	times := map[time.Duration]int{}
	for range 2000 {
		e := open(t, layer)
		e.Feed(hello(100*s, 0))
		e.Wire()
		e.Advance(e.Deadline().Sub(e.Now()))
		require.Equal(t, "\x00\x00\x00\x00", e.Wire())
		times[e.Now().Sub(e.began)]++
	}
	for at := range times {
		assert.GreaterOrEqual(t, at, 22500*ms-10*ms)
		assert.LessOrEqual(t, at, 25*s)
		assert.Zero(t, at%(10*ms), "%v is not on the grid", at)
	}
	assert.Greater(t, len(times), 200, "they are spread")
	assert.Less(t, len(times), 252)
}

func TestLIV16_DownDoesNotStopSpeaking(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 4 * s}, liveness.Config{Timeout: 4 * s})
	c := count(w)
	w.b.Do(func(*conn.Conn) {})
	// b is heard no more, but hears.
	w.cutBack = true
	w.pass(40 * s)
	w.a.state(liveness.StateDown)
	assert.Len(t, w.a.told, 2, "suspect, and down, once")
	assert.GreaterOrEqual(t, c.empty[w.a], 40)
	w.b.want("b hears a all the time")
	w.b.state(liveness.StateUp)
}

func TestLIV21_TheTimeoutChangesWhileConnected(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 4 * s}, liveness.Config{Timeout: 4 * s})
	c := count(w)
	w.pass(20 * s)
	before := c.empty[w.b]
	require.GreaterOrEqual(t, before, 20)
	w.a.Do(func(*conn.Conn) { assert.NoError(t, w.a.layer().SetTimeout(2*day)) })
	w.pass(h)
	assert.LessOrEqual(t, c.empty[w.b], before+1, "half a day is soon enough now")
	assert.Equal(t, 1, c.frames[w.a][2], "one TIMINGS")
	assert.Equal(t, liveness.PeerTimings{Timeout: 2 * day}, w.b.events[1])
	w.a.want("no event")

	w.cut = true
	w.a.Do(func(*conn.Conn) { assert.NoError(t, w.a.layer().SetTimeout(4*s)) })
	w.pass(4*s - 1)
	w.a.want("silence counts from the change", "1h0m23s PeerSuspect")
	w.pass(1)
	w.a.want("then it is over", "1h0m24s PeerDown")
	w.cut = false
	w.pass(ms)
	w.a.want("the peer is told, and overdue", "1h0m24s PeerUp after 0s")
	w.pass(10 * s)
	w.a.want("and speaks as often as before")

	for _, bad := range []time.Duration{0, 9 * ms, -1, 101 * year} {
		assert.ErrorContains(t, w.a.layer().SetTimeout(bad), "10 ms to 100 years")
	}
	assert.Equal(t, 4*s, w.a.layer().Status().Timeout, "what is refused changes nothing")
}

func TestLIV22_TimingsThatDoNotGoTogether(t *testing.T) {
	quick := func(r liveness.Reconcile) liveness.Config { return liveness.Config{Timeout: 20 * ms, Reconcile: r} }
	slow := func(r liveness.Reconcile) liveness.Config {
		return liveness.Config{Timeout: 20 * s, MinSpeak: s, Reconcile: r}
	}
	t.Run("stretch", func(t *testing.T) {
		w := pair(t, quick(liveness.Stretch), slow(liveness.Stretch))
		assert.Equal(t, 4*s, w.a.layer().Status().Timeout)
		c := count(w)
		w.pass(100 * s)
		assert.LessOrEqual(t, c.empty[w.b], 110)
		assert.GreaterOrEqual(t, c.empty[w.b], 95)
		w.a.want("nobody is down")
		w.b.want("nobody is down")
	})
	t.Run("refuse", func(t *testing.T) {
		w := pair(t, quick(liveness.Trust), slow(liveness.Refuse))
		assert.ErrorIs(t, w.b.failed, liveness.ErrTooFast)
		assert.ErrorContains(t, w.b.failed, "20ms")
		var bye *liveness.ByeError
		require.ErrorAs(t, w.a.ending(), &bye)
		assert.Equal(t, uint16(4), bye.Code)
		assert.ErrorIs(t, bye, liveness.ErrTooFast)
		assert.Contains(t, bye.Reason, "20ms")
	})
	t.Run("refuse, later", func(t *testing.T) {
		w := pair(t, liveness.Config{Timeout: 20 * s}, slow(liveness.Refuse))
		w.a.Do(func(*conn.Conn) { assert.NoError(t, w.a.layer().SetTimeout(20*ms)) })
		w.carry()
		assert.ErrorIs(t, w.b.closed, liveness.ErrTooFast)
		assert.ErrorIs(t, w.a.closed, liveness.ErrTooFast)
	})
	t.Run("trust", func(t *testing.T) {
		w := pair(t, quick(liveness.Trust), slow(liveness.Trust))
		w.pass(10*s + 500*ms)
		assert.GreaterOrEqual(t, len(w.a.told), 3*9)
		for i, told := range w.a.told {
			assert.Contains(t, told, []string{"PeerSuspect", "PeerDown", "PeerUp"}[i%3], "they alternate")
		}
		w.b.want("the other side is content")
		assert.Equal(t, conn.StateConnected, w.a.Conn().State(), "it lives")
	})
	t.Run("smaller", func(t *testing.T) {
		w := pair(t, liveness.Config{Timeout: 4 * s}, liveness.Config{Timeout: 20 * s, Reconcile: liveness.Smaller})
		assert.Equal(t, 4*s, w.b.layer().Status().Timeout, "it is as impatient as the other")
		c := count(w)
		w.pass(40 * s)
		assert.GreaterOrEqual(t, c.empty[w.b], 40)
		assert.LessOrEqual(t, c.empty[w.a], 10, "who does not know that judges by what it was told")
		w.a.Do(func(*conn.Conn) { assert.NoError(t, w.a.layer().SetTimeout(40*s)) })
		w.carry()
		assert.Equal(t, 20*s, w.b.layer().Status().Timeout, "its own again")
		assert.Equal(t, 20*s, w.b.layer().Status().PeerTimeout)
	})
}

func TestSpeakAtOnce(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: h}, liveness.Config{Timeout: h})
	c := count(w)
	w.a.Do(func(*conn.Conn) { assert.NoError(t, w.a.layer().Speak()) })
	w.carry()
	assert.Equal(t, 1, c.empty[w.a])
	w.a.Allow(0)
	w.a.send("stuck")
	w.a.Do(func(*conn.Conn) { assert.NoError(t, w.a.layer().Speak()) })
	w.a.Allow(-1)
	w.carry()
	assert.Equal(t, 1, c.empty[w.a], "what waits will do")
	w.a.Do(func(c *conn.Conn) {
		c.CloseWrite()
		assert.Error(t, w.a.layer().Speak())
	})

	e := open(t, passive(t, liveness.Config{}))
	e.Do(func(*conn.Conn) { assert.ErrorContains(t, e.layer().Speak(), "Probe") })
	e = open(t, framed(t, liveness.Config{}))
	assert.ErrorContains(t, e.layer().Speak(), "OnConnected")
}

// Bytes that a layer below makes on its own are not heard by the peer's layer: they are no keepalive.
func TestTheBytesOfOthersAreNoKeepalive(t *testing.T) {
	chatty := new(chatterbox)
	a := open(t, framed(t, liveness.Config{Timeout: h}), sideOption(chatty.below))
	a.Feed(hello(4*s, 0))
	a.Wire()
	spoke := 0
	for range 400 {
		chatty.link.Post(func() error { return chatty.link.Down([][]byte{{'x'}}) })
		a.Advance(100 * ms)
		for _, b := range []byte(a.Wire()) {
			if b == 0 {
				spoke++
			}
		}
	}
	assert.GreaterOrEqual(t, spoke/4, 40)
}
