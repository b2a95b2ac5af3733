package actor_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor/liveness"
)

// startWatched starts a watched peer there.
func (c *cable) startWatched() *peerProcess {
	c.t.Helper()
	return startPeerOf(c.t, "watched", "ip", "netns", "exec", c.there)
}

// watchers gives each of the networks a connection to a watched peer there.
func (c *cable) watchers(networks []*fixture, t time.Duration, change func(*actor.DialConfig)) (all []*watcher, peers []*peerProcess) {
	c.t.Helper()
	for _, f := range networks {
		peer := c.startWatched()
		w := f.watch(peer.ask("listen %s 1h", thereIP), liveness.Config{Timeout: t}, change)
		peer.ask("accept")
		all, peers = append(all, w), append(peers, peer)
	}
	return all, peers
}

// The peer has closed, and its FIN is lost: silence has to speak.
func TestLIV6_AFINThatIsLost(t *testing.T) {
	c := plugged(t)
	if c == nil {
		return
	}
	const timeout = time.Second
	all, peers := c.watchers(startWays(t), timeout, nil)
	for i, w := range all {
		inTurn(t, w.probe, func() { _, _ = w.Conn().Send([]byte{0}) })
		soon(t, func() bool { return peers[i].ask("received") == "1" }, "the server is asked")
	}
	c.cut()
	for _, peer := range peers {
		peer.ask("close") // it lets go; nobody hears of it
	}
	for _, w := range all {
		down, _ := next[liveness.PeerDown](t, w, 1)
		t.Logf("down after %v", down.Silent)
		w.assertInTime(t, down, timeout)
		assert.Zero(t, w.count("OnEOF"))
	}
	c.mend()
	for _, w := range all { // the FIN is sent again, and comes
		w.awaitN(t, 1, "OnEOF", slow)
		w.awaitN(t, 1, "Stopped", slow)
		assert.NoError(t, w.err)
	}
}

// A cable is dead for a while. What is kept goes on when it is mended, and nothing is lost.
func TestLIV8_ADeadCableThatIsMended(t *testing.T) {
	c := plugged(t)
	if c == nil {
		return
	}
	const timeout = time.Second
	networks := startWays(t)
	all, peers := c.watchers(networks, timeout, nil)
	for i, w := range all {
		inTurn(t, w.probe, func() {
			w.decide = func(ev liveness.PeerDown, _ *conn.Conn) { ev.KeepFor(slow) }
			_, _ = w.Conn().Send(patternFrom(0, 1000))
		})
		soon(t, func() bool { return peers[i].ask("received") == "1000" }, "they talk")
	}
	c.cut()
	for _, w := range all {
		inTurn(t, w.probe, func() {
			_, err := w.Conn().Send(patternFrom(1000, 30_000))
			assert.NoError(t, err)
		})
	}
	for _, peer := range peers {
		peer.ask("send 20000")
	}
	for _, w := range all {
		down, _ := next[liveness.PeerDown](t, w, 1)
		t.Logf("down after %v", down.Silent)
		w.assertInTime(t, down, timeout)
	}
	c.mend()
	for i, w := range all {
		up, _ := next[liveness.PeerUp](t, w, 1)
		t.Logf("up, having been down for %v", up.DownFor)
		require.Eventually(t, func() bool { return peers[i].ask("received") == "31000" }, slow, 10*time.Millisecond, "each byte, once")
		require.Eventually(t, func() bool {
			n := 0
			inTurn(t, w.probe, func() { n = w.received })
			return n == 20_000
		}, slow, 10*time.Millisecond, "both ways")
		assert.Equal(t, 1, w.count("liveness.PeerDown"))
		inTurn(t, w.probe, func() { w.Conn().Close() })
		w.awaitN(t, 1, "Stopped", slow)
		assert.NoError(t, w.err)
	}
}

// A server that holds reading back until it may answer would never notice that the host is dead.
func TestLIV19_ReadingWaitsForWritingAndTheHostIsDead(t *testing.T) {
	c := plugged(t)
	if c == nil {
		return
	}
	const timeout = time.Second
	all, _ := c.watchers(startWays(t), timeout, func(cfg *actor.DialConfig) {
		cfg.Conn.ReadWaits = conn.On
		cfg.Socket.WriteBuffer = 16 << 10
	})
	c.cut()
	for _, w := range all {
		inTurn(t, w.probe, func() {
			_, err := w.Conn().Send(pattern(256 << 10))
			assert.NoError(t, err)
		})
	}
	for _, w := range all {
		down, _ := next[liveness.PeerDown](t, w, 1)
		assert.Equal(t, liveness.WriteStalled, down.Cause, w.text())
		assert.GreaterOrEqual(t, down.Silent, timeout)
		t.Logf("down after %v: %s", down.Silent, w.text())
		if !w.stalled() {
			assert.Less(t, down.Silent, 2*timeout, "the system took the last of what it takes a moment after the cut")
		}
		inTurn(t, w.probe, func() {
			l, _ := liveness.Of(w.Conn().Layers())
			assert.True(t, l.Status().Held)
			assert.True(t, l.Status().Stalled)
		})
	}
	c.mend()
	for _, w := range all {
		next[liveness.PeerUp](t, w, 1)
	}
}

// While reading is paused and nothing waits, a layer can know nothing. The system can.
func TestLIV33_TheSystemsOwnWatch(t *testing.T) {
	c := plugged(t)
	if c == nil {
		return
	}
	watch := liveness.OSFor(3 * time.Second)
	networks := startWays(t)
	var doomed []*watcher
	for _, f := range networks {
		w := new(watcher)
		var cfg actor.ListenConfig
		cfg.Conn.Layers = append(cfg.Conn.Layers, framedLayer(t, liveness.Config{Timeout: liveness.Never}))
		cfg.Socket.Control, cfg.Socket.KeepAlive = watch.Control, watch.KeepAlive()
		s := f.serveAt(at(hereIP), cfg, w.set)
		c.startWatched().ask("dial %s 1000h", s.Addr())
		s.next()
		w.awaitN(t, 1, "OnConnected", slow)
		inTurn(t, w.probe, func() { w.Conn().Pause() })
		doomed = append(doomed, w)
	}
	lasting, _ := c.watchers(networks, liveness.Never, nil) // without options
	for _, w := range lasting {
		inTurn(t, w.probe, func() { w.Conn().Pause() })
	}
	c.cut()
	cut := time.Now()
	for _, w := range doomed {
		w.awaitN(t, 1, "Stopped", slow)
		t.Logf("ended after %v: %v", time.Since(cut), w.err)
		assert.Less(t, time.Since(cut), 5*time.Second+10*busy)
		assertBroken(t, w.probe, syscall.ETIMEDOUT)
		w.none(t, "the layer has no opinion")
	}
	for _, w := range lasting {
		assert.Zero(t, w.count("Stopped"))
		assert.NotContains(t, strings.Join(w.notes(), " "), "liveness.Peer")
	}
	for _, f := range networks {
		fastAbort(t, f.Network)
	}
}
