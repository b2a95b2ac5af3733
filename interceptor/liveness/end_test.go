package liveness_test

import (
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor/liveness"
)

func TestLIV6_ClosingIsToldAtOnce(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: h}, liveness.Config{Timeout: h})
	w.a.send("once")
	w.a.Do((*conn.Conn).Close)
	w.carry()
	assert.Equal(t, "once", w.b.rec.Received())
	assert.Contains(t, w.b.calls(), "OnEOF")
	w.b.state(liveness.StateEnded)
	w.b.Do((*conn.Conn).Close)
	w.carry()
	assert.NoError(t, w.a.closed)
	assert.NoError(t, w.b.closed)
}

// By the default OnEOF the peer closes, too.
func TestLIV6_BothEndsWithDefaults(t *testing.T) {
	stay := func(e *side, _ *conn.Config) { e.rec.Stay = false }
	w := pair(t, liveness.Config{Timeout: h}, liveness.Config{Timeout: h}, sideOption(stay))
	w.a.Do((*conn.Conn).Close)
	w.carry()
	assert.True(t, w.a.Done())
	assert.True(t, w.b.Done())
	assert.NoError(t, w.a.closed)
	assert.NoError(t, w.b.closed)
}

func TestLIV7_AProcessThatDies(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: h}, liveness.Config{Timeout: h})
	w.b.FeedEOF() // its system says so, for it
	assert.Contains(t, w.b.calls()[1], "without a goodbye")
	w.b.Do((*conn.Conn).Close)
	assert.ErrorIs(t, w.b.closed, io.ErrUnexpectedEOF)

	w = pair(t, liveness.Config{Timeout: h}, liveness.Config{Timeout: h})
	w.b.Reset()
	assert.ErrorIs(t, w.b.closed, syscall.ECONNRESET)
}

func TestLIV27_AHalfClosedPeer(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: s}, liveness.Config{Timeout: s})
	c := count(w)
	w.pass(2 * s)
	spoke := c.empty[w.b]
	w.b.Do((*conn.Conn).CloseWrite)
	w.carry()
	assert.Equal(t, []string{"OnConnected", "OnEOF"}, w.a.calls())
	w.a.state(liveness.StateEnded)
	for range 16 {
		w.a.send(strings.Repeat("x", 1<<16))
		w.pass(100 * ms)
	}
	w.pass(10 * s)
	assert.Len(t, w.b.rec.Received(), 1<<20)
	assert.Equal(t, spoke, c.empty[w.b], "it speaks no more")
	w.a.want("and is not down")
	assert.GreaterOrEqual(t, c.empty[w.a], 40, "we go on speaking")
	w.b.want("so that we are up for it")
	w.b.state(liveness.StateUp)

	w.cut = true
	w.pass(s)
	assert.Contains(t, strings.Join(w.b.told, ", "), "PeerDown", "it still judges")
	w.a.want("we have nothing to judge by")
	w.cut = false
	w.pass(s)
	w.a.Do((*conn.Conn).Close)
	w.b.Do((*conn.Conn).Close)
	w.carry()
	assert.NoError(t, w.a.closed)
	assert.NoError(t, w.b.closed)
}

// A half-open connection is told of a peer that does not read.
func TestAHalfClosedPeerThatDoesNotRead(t *testing.T) {
	e := open(t, framed(t, liveness.Config{Timeout: s}), with(func(cfg *conn.Config) { cfg.ReadWaits = conn.Off }))
	e.Feed(hello(s, 0) + bye(0, ""))
	e.FeedEOF()
	e.stuck(10_000)
	e.Advance(10 * s)
	e.want("once", "1s PeerSuspect (writing stalled)")
}

// What ends a connection besides does not disturb the watch, nor the watch it.
func TestNothingComesAfterTheEnd(t *testing.T) {
	both(t, liveness.Config{Timeout: s}, func(t *testing.T, e *side, life string) {
		e.Advance(900 * ms)
		e.Do(func(c *conn.Conn) { c.Abort(nil) })
		require.True(t, e.Done())
		l := e.layer()
		e.Advance(h)
		e.want("only what came before", "750ms PeerSuspect")
		l.Heard()
		l.Answered()
		l.SetProbe(nil)
		assert.Error(t, l.Speak())
		_ = l.SetTimeout(4 * s)
		_ = l.Status()
	})
}
