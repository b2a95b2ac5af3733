package actor_test

import (
	"context"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// startShells starts a network of each kind. They end together, before one of them looks for leaks.
func startShells(t testing.TB) (both []*fixture) {
	for _, cfg := range shells {
		both = append(both, start(t, cfg))
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, f := range both {
			_, _, _ = f.Shutdown(ctx)
		}
	})
	return both
}

// pairs opens two connections of each network with a peer there: one that it dialed, and one that it accepted.
func (c *cable) pairs(both []*fixture, peer *peerProcess, cfg actor.ListenConfig) (all []*probe) {
	c.t.Helper()
	for _, f := range both {
		all = append(all, c.pair(f, peer, cfg)...)
	}
	return all
}

func (c *cable) pair(f *fixture, peer *peerProcess, cfg actor.ListenConfig) []*probe {
	c.t.Helper()
	s := f.serveAt(at(hereIP), cfg, runs)
	peer.ask("dial %s 1", s.Addr())
	accepted := s.next()
	dialed := new(probe)
	runs(dialed)
	_, err := f.Dial(context.Background(), peer.ask("listen %s", thereIP), dialed,
		actor.DialConfig{Conn: cfg.Conn, Socket: cfg.Socket})
	require.NoError(c.t, err)
	peer.ask("accept 1")
	pair := []*probe{accepted, dialed}
	for _, p := range pair {
		p.awaitN(c.t, 1, "OnConnected", slow)
	}
	return pair
}

// assertLives asserts that nothing of an end was told.
func assertLives(t testing.TB, all []*probe) {
	t.Helper()
	for _, p := range all {
		assert.False(t, slices.ContainsFunc(p.notes(), func(note string) bool {
			return note == "OnEOF" || note == "OnClosed"
		}), "%s", p.tail())
	}
}

// What is not acknowledged in time ends a connection, if the application has set a time; else it waits, and arrives
// when the cable is mended.
func TestFLT4_ADeadCableEndsWhatHasAUserTimeout(t *testing.T) {
	const limit = time.Second
	c := plugged(t)
	if c == nil {
		return
	}
	both := startShells(t)
	bounded := stuckConfig()
	bounded.Socket.Control = userTimeout(limit)
	doomedPeer, lastingPeer := c.startPeer(), c.startPeer()
	doomed := c.pairs(both, doomedPeer, bounded)
	lasting := c.pairs(both, lastingPeer, stuckConfig())
	all := slices.Concat(doomed, lasting)
	for _, p := range all { // there is a connection, and the system knows how fast it is
		inTurn(t, p, func() {
			_, err := p.Conn().Send(pattern(100))
			assert.NoError(t, err)
		})
	}
	doomedPeer.ask("read 100")
	lastingPeer.ask("read 100")

	c.cut()
	cut := time.Now()
	for _, p := range all {
		inTurn(t, p, func() { sendPending(t, p, 100) })
	}
	for _, p := range doomed {
		p.awaitN(t, 1, "Stopped", slow)
		took := time.Since(cut)
		t.Logf("it ended after %v: %v", took, p.err)
		assert.GreaterOrEqual(t, took, limit)
		assert.Less(t, took, 8*limit)
		assertBroken(t, p, syscall.ETIMEDOUT)
		assertSettled(t, p, 1+len(pendingSizes))
		assert.Equal(t, 1, p.count("OnThrottled"))
		assert.Zero(t, p.count("OnUnthrottled"))
	}
	assertLives(t, lasting)

	c.mend()
	for _, p := range lasting {
		inTurn(t, p, func() { p.Conn().Close() })
	}
	assert.Equal(t, "260100 EOF, 260100 EOF, 260100 EOF, 260100 EOF", lastingPeer.ask("finish"), "late, but all of it")
	for _, p := range lasting {
		p.awaitN(t, 1, "Stopped", slow)
		assert.NoError(t, p.err)
		assert.Equal(t, 1+len(pendingSizes), p.sent)
	}
	soon(t, func() bool { return c.left() == 0 }, "no socket is left")
}

// A connection on which nothing moves learns of it by the system's probes.
func TestFLT4_ADeadCableEndsAnIdleConnectionThatIsProbed(t *testing.T) {
	c := plugged(t)
	if c == nil {
		return
	}
	both := startShells(t)
	probed := actor.ListenConfig{Socket: loop.Options{
		KeepAlive: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2},
	}}
	peer := c.startPeer()
	doomed := c.pairs(both, peer, probed)
	lasting := c.pairs(both, c.startPeer(), actor.ListenConfig{}) // probed after 15 s
	c.cut()
	cut := time.Now()
	for _, p := range doomed {
		p.awaitN(t, 1, "Stopped", slow)
		took := time.Since(cut)
		t.Logf("it ended after %v: %v", took, p.err)
		assert.Greater(t, took, time.Second, "two probes remain without an answer")
		assert.Less(t, took, 10*time.Second)
		assertBroken(t, p, syscall.ETIMEDOUT)
		assert.Equal(t, []string{"OnClosed", "Stopping", "Stopped"}, p.notes()[len(p.notes())-3:])
		assert.Equal(t, 1, p.count("OnClosed"))
		assert.Zero(t, p.count("OnEOF"))
	}
	assertLives(t, lasting)
	for _, f := range both {
		fastAbort(t, f.Network)
	}
	soon(t, func() bool { return c.left() == 0 }, "no socket is left")
}

// Dialing over a dead cable ends by StartTimeout, or by the system's own limit if that is shorter.
func TestDIAL7_ADeadCable(t *testing.T) {
	c := plugged(t)
	if c == nil {
		return
	}
	both := startShells(t)
	addr := c.startPeer().ask("listen %s", thereIP)
	c.cut()
	for _, f := range both {
		testDialing(t, f, addr)
	}
	soon(t, func() bool { return c.left() == 0 }, "the system keeps no socket either")
}

func testDialing(t *testing.T, f *fixture, addr string) {
	const start1, user, start2 = 500 * time.Millisecond, time.Second, slow
	before := takeCensus()
	for _, test := range []struct {
		name  string
		cfg   actor.DialConfig
		stage conn.Stage
		least time.Duration
	}{
		{"StartTimeout", actor.DialConfig{Conn: conn.Config{StartTimeout: start1}}, conn.StageTimeout, start1},
		{"TCP_USER_TIMEOUT", actor.DialConfig{
			Conn:   conn.Config{StartTimeout: start2},
			Socket: loop.Options{Control: userTimeout(user)},
		}, conn.StageDial, user},
	} {
		p := new(probe)
		began := time.Now()
		_, err := f.Dial(t.Context(), addr, p, test.cfg)
		require.NoError(t, err)
		p.awaitN(t, 1, "Stopped", slow)
		took := time.Since(began)
		t.Logf("%s: it ended after %v: %v", test.name, took, p.err)
		assert.GreaterOrEqual(t, took, test.least)
		assert.Less(t, took, 8*test.least)
		var end *conn.ConnectError
		require.ErrorAs(t, p.err, &end)
		assert.Equal(t, test.stage, end.Stage)
		assert.Contains(t, end.Error(), thereIP)
		if test.stage == conn.StageTimeout {
			assert.True(t, end.Timeout())
			assert.ErrorIs(t, end, context.DeadlineExceeded)
		} else {
			assert.ErrorIs(t, end, syscall.ETIMEDOUT)
		}
		assert.Equal(t, 1, p.count("OnConnectFailed"))
		assert.Zero(t, p.count("OnConnected"))
	}
	assert.Empty(t, before.wait(), "the sockets are gone")
}
