package actor_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
	"github.com/galago-go/galago/tls"
)

// The scenarios of package liveness that need processes, in every way that connections run.

// busy is by how much a machine that does other things as well may be late.
const busy = 100 * time.Millisecond

// A watcher writes down what a layer tells.
type watcher struct {
	*probe
	mu     sync.Mutex
	events []stamped
	decide func(ev liveness.PeerDown, c *conn.Conn)
}

type stamped struct {
	at time.Time
	ev any
}

func framedLayer(t testing.TB, cfg liveness.Config) interceptor.Factory {
	t.Helper()
	layer, err := liveness.Framed(cfg)
	require.NoError(t, err)
	return layer
}

// set makes p a watcher's.
func (w *watcher) set(p *probe) {
	w.probe = p
	p.quiet = true
	p.onEvent = func(p *probe, ev any) {
		switch ev.(type) {
		case liveness.PeerTimings, conn.Connecting, tls.Established:
			return
		}
		w.mu.Lock()
		w.events = append(w.events, stamped{time.Now(), ev})
		w.mu.Unlock()
		p.note(fmt.Sprintf("%T", ev))
		if down, ok := ev.(liveness.PeerDown); ok && w.decide != nil {
			w.decide(down, p.Conn())
		}
	}
	runs(p)
}

// watch dials addr with a Framed layer.
func (f *fixture) watch(addr string, cfg liveness.Config, change func(*actor.DialConfig)) *watcher {
	f.t.Helper()
	w := new(watcher)
	w.set(new(probe))
	dial := actor.DialConfig{Conn: conn.Config{Layers: []interceptor.Factory{framedLayer(f.t, cfg)}}}
	if change != nil {
		change(&dial)
	}
	_, err := f.Dial(context.Background(), addr, w.probe, dial)
	require.NoError(f.t, err)
	w.awaitN(f.t, 1, "OnConnected", slow)
	return w
}

// told returns the events by now.
func (w *watcher) told() []stamped {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

func (w *watcher) text() string {
	var all []string
	for _, e := range w.told() {
		all = append(all, fmt.Sprint(e.ev))
	}
	return strings.Join(all, "; ")
}

// next waits for the n-th event of type T, and returns it.
func next[T any](t testing.TB, w *watcher, n int) (ev T, at time.Time) {
	t.Helper()
	w.awaitN(t, n, fmt.Sprintf("%T", ev), slow)
	for _, e := range w.told() {
		if got, ok := e.ev.(T); ok {
			if n--; n == 0 {
				return got, e.at
			}
		}
	}
	require.FailNow(t, "an event was lost")
	return ev, at
}

// none asserts that nothing was told.
func (w *watcher) none(t testing.TB, why string) {
	t.Helper()
	assert.Empty(t, w.text(), why)
}

// stalled reports whether this process was late itself, so that its times say nothing.
func (w *watcher) stalled() bool {
	for _, e := range w.told() {
		if s, ok := e.ev.(liveness.PeerSuspect); ok && s.Cause == liveness.LocalStall {
			return true
		}
	}
	return false
}

// assertInTime asserts that a peer was called down after a silence of t, and not much later.
func (w *watcher) assertInTime(tb testing.TB, down liveness.PeerDown, t time.Duration) {
	tb.Helper()
	assert.GreaterOrEqual(tb, down.Silent, t, "never early")
	if !w.stalled() {
		assert.LessOrEqual(tb, down.Silent, t+busy)
	}
}

func TestLIV7_APeerProcessIsKilled(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		f := way.start(t, actor.Config{})
		peer := startPeerOf(t, "watched")
		w := f.watch(peer.ask("listen 127.0.0.1 1h"), liveness.Config{Timeout: time.Hour}, nil)
		peer.ask("accept")
		killed := time.Now()
		peer.kill()
		w.awaitN(t, 1, "Stopped", slow)
		assert.Less(t, time.Since(killed), 10*busy, "at once")
		var end *conn.CloseError
		require.ErrorAs(t, w.err, &end)
		if end.Cause != conn.CauseTruncated {
			assert.ErrorIs(t, w.err, syscall.ECONNRESET)
		}
		w.none(t, "the end says it all")
	})
}

func TestLIV9_APeerProcessIsStoppedAndGoesOn(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		const timeout = time.Second
		f := way.start(t, actor.Config{})
		peer := startPeerOf(t, "watched")
		w := f.watch(peer.ask("listen 127.0.0.1 1s"), liveness.Config{Timeout: timeout}, nil)
		peer.ask("accept")
		inTurn(t, w.probe, func() { _, _ = w.Conn().Send(patternFrom(0, 1000)) })
		soon(t, func() bool { return peer.ask("received") == "1000" }, "they talk")
		peer.halt()
		stopped := time.Now()
		for i := range 10 { // what is sent meanwhile waits
			inTurn(t, w.probe, func() {
				_, err := w.Conn().Send(patternFrom(1000*(i+1), 1000))
				assert.NoError(t, err)
			})
		}
		suspect, _ := next[liveness.PeerSuspect](t, w, 1)
		if suspect.Cause == liveness.Silence {
			assert.GreaterOrEqual(t, suspect.Silent, timeout*3/4)
		}
		down, downAt := next[liveness.PeerDown](t, w, 1)
		w.assertInTime(t, down, timeout)
		assert.Zero(t, down.Repeat)
		stays(t, func() bool { return w.count("liveness.PeerDown") == 1 }, "it is told once")
		peer.resume()
		resumed := time.Now()
		up, upAt := next[liveness.PeerUp](t, w, 1)
		assert.InDelta(t, upAt.Sub(downAt).Seconds(), up.DownFor.Seconds(), busy.Seconds())
		assert.Less(t, upAt.Sub(resumed), timeout, "it speaks soon")
		t.Logf("%s: stopped; suspect after %v, down after %v, up %v after it went on", way.name, suspect.Silent, down.Silent, upAt.Sub(resumed))
		soon(t, func() bool { return peer.ask("received") == "11000" }, "everything arrives, in order, once")
		assert.Equal(t, 1, w.count("liveness.PeerUp"))
		assert.NotContains(t, peer.ask("events"), "down", "it was we who heard nothing: the stopped one excuses itself (after %v)", time.Since(stopped))
		inTurn(t, w.probe, func() { w.Conn().Close() })
		w.awaitN(t, 1, "Stopped", slow)
		assert.NoError(t, w.err)
	})
}

// The process that is stopped here is the one that watches. Its peer speaks all the time.
func TestLIV10_WeAreStoppedOurselves(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		const timeout = 500 * time.Millisecond
		f := way.start(t, actor.Config{})
		stopped := startPeerOf(t, "watched")
		w := f.watch(stopped.ask("listen 127.0.0.1 %v", timeout), liveness.Config{Timeout: time.Hour}, nil)
		stopped.ask("accept")
		for range 3 {
			stopped.halt()
			time.Sleep(3 * timeout) // the time itself is the point
			stopped.resume()
			stays(t, func() bool { return !strings.Contains(stopped.ask("events"), "down") }, "nobody is called down")
		}
		t.Logf("%s: %s", way.name, stopped.ask("events"))
		w.none(t, "nor here")
	})
}

// A callback that blocks holds its connection up, and without Blocking all others of its loop. They are not judged by that.
func TestLIV11_ACallbackBlocks(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		const timeout = 500 * time.Millisecond
		f := way.start(t, actor.Config{Loops: 1, StallWarning: time.Hour})
		peers := []*peerProcess{startPeerOf(t, "watched"), startPeerOf(t, "watched")}
		var all []*watcher
		for _, peer := range peers {
			w := f.watch(peer.ask("listen 127.0.0.1 1h"), liveness.Config{Timeout: timeout, OnDown: liveness.Abort()}, nil)
			peer.ask("accept")
			all = append(all, w)
		}
		blocked := make(chan struct{})
		inTurn(t, all[0].probe, func() {
			all[0].onReceived = func(*probe, []byte) error {
				time.Sleep(2 * timeout)
				close(blocked)
				return nil
			}
		})
		peers[0].ask("send 1")
		select {
		case <-blocked:
		case <-time.After(slow):
			require.FailNow(t, "nothing came")
		}
		for _, w := range all {
			stays(t, func() bool { return w.count("liveness.PeerDown") == 0 }, "nobody is down")
			assert.Zero(t, w.count("Stopped"))
		}
	})
}

func TestLIV18_PauseAndThenThePeerIsStopped(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		const timeout = 300 * time.Millisecond
		f := way.start(t, actor.Config{})
		peer := startPeerOf(t, "watched")
		w := f.watch(peer.ask("listen 127.0.0.1 1h"), liveness.Config{Timeout: timeout}, nil)
		peer.ask("accept")
		inTurn(t, w.probe, func() { w.Conn().Pause() })
		inTurn(t, w.probe, func() {
			l, _ := liveness.Of(w.Conn().Layers())
			assert.True(t, l.Status().Held)
		})
		time.Sleep(10 * timeout) // the time itself is the point
		w.none(t, "a paused reader judges nobody")
		peer.halt()
		w.none(t, "nor now")
		var resumed time.Time
		inTurn(t, w.probe, func() {
			resumed = time.Now()
			w.Conn().Resume()
		})
		_, downAt := next[liveness.PeerDown](t, w, 1)
		// What came before the stop is heard on Resume, at the latest; from there a full T runs.
		assert.GreaterOrEqual(t, downAt.Sub(resumed), timeout-busy/4)
		if !w.stalled() {
			assert.Less(t, downAt.Sub(resumed), timeout+2*busy)
		}
	})
}

func TestLIV20_APeerThatSpeaksButDoesNotRead(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		const timeout = 400 * time.Millisecond
		f := way.start(t, actor.Config{})
		w := new(watcher)
		cfg := stuckConfig()
		cfg.Conn.ReadWaits = conn.Off
		cfg.Conn.MaxPending = 1 << 20
		cfg.Conn.Layers = []interceptor.Factory{framedLayer(t, liveness.Config{Timeout: timeout})}
		s := f.serve(cfg, func(p *probe) { w.set(p) })
		// A peer that is no galago: it says hello, and then keeps alive, and reads nothing.
		c := s.dialWith(smallReader)
		c.send("\x01\x00\x00\x24FLM1\x01\x01\x00\x00" + "\x00\x00\x00\x00\x00\x06\x1a\x80" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "12345678\x00\x00\x00\x00")
		s.next()
		w.awaitN(t, 1, "OnConnected", slow)
		done := make(chan struct{})
		var speaking sync.WaitGroup
		speaking.Go(func() {
			for tick := time.NewTicker(timeout / 5); ; {
				select {
				case <-done:
					tick.Stop()
					return
				case <-tick.C:
					_, _ = c.Write([]byte{0, 0, 0, 0})
				}
			}
		})
		defer speaking.Wait()
		defer close(done)
		pending := func() (n int) {
			inTurn(t, w.probe, func() { n = w.Conn().Stats().Pending })
			return n
		}
		inTurn(t, w.probe, func() {
			_, err := w.Conn().Send(pattern(1 << 20))
			assert.NoError(t, err)
		})
		stuck, since := 0, time.Now()
		soon(t, func() bool {
			if n := pending(); n != stuck {
				stuck, since = n, time.Now()
			}
			return stuck > 256<<10 && time.Since(since) > timeout // package net tells now and then what it took
		}, "the system takes no more")
		stuckAt := time.Now()
		for time.Since(stuckAt) < 4*timeout {
			require.Equal(t, stuck, pending(), "nothing is added to what waits")
			time.Sleep(timeout / 10)
		}
		suspect, _ := next[liveness.PeerSuspect](t, w, 1)
		assert.Equal(t, liveness.WriteStalled, suspect.Cause)
		assert.Equal(t, 1, len(w.told()), "once, and nothing else: %s", w.text())
		go func() { // now it reads, for as long as there is a connection
			buf := make([]byte, 64<<10)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		}()
		soon(t, func() bool { return pending() == 0 }, "it reads")
		read := statsOf(t, w.probe).BytesWritten
		soon(t, func() bool { return statsOf(t, w.probe).BytesWritten >= read+12 }, "and keepalives come again")
		assert.Equal(t, 1, len(w.told()), "%s", w.text())
	})
}

// Idle sides keep each other up, on real clocks.
func TestLIV28_IdleInEveryWay(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		const timeout = 200 * time.Millisecond
		f := way.start(t, actor.Config{})
		accepted := new(watcher)
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Layers: []interceptor.Factory{framedLayer(t, liveness.Config{Timeout: timeout})}}},
			accepted.set)
		dialed := f.watch(s.Addr().String(), liveness.Config{Timeout: timeout}, nil)
		s.next()
		accepted.awaitN(t, 1, "OnConnected", slow)
		began := time.Now() // before the first look, as the second look comes before the last: each may take its time
		before := statsOf(t, dialed.probe)
		time.Sleep(10 * timeout) // the time itself is the point
		after := statsOf(t, dialed.probe)
		took := time.Since(began)
		for _, w := range []*watcher{accepted, dialed} {
			for _, e := range w.told() { // a busy machine stops us, too; but nobody is down for that
				assert.IsType(t, liveness.PeerSuspect{}, e.ev, w.text())
			}
			inTurn(t, w.probe, func() { assert.Zero(t, w.received) })
		}
		n := float64(after.BytesWritten-before.BytesWritten) / 4
		// A quarter of T, less a tenth, less the grid of T/64; and one at once whenever the machine has stopped us.
		assert.LessOrEqual(t, n, took.Seconds()/(timeout.Seconds()/4)*4/3+2)
		assert.GreaterOrEqual(t, n, took.Seconds()/(timeout.Seconds()/4)/2)
	})
}

// What was received before the silence is delivered before PeerDown, also by a reader that yields after every frame.
func TestLIV28_DataComesBeforePeerDownInEveryWay(t *testing.T) {
	ways(t, func(t *testing.T, way way) {
		const timeout, size = 300 * time.Millisecond, 1 << 20
		f := way.start(t, actor.Config{})
		peer := startPeerOf(t, "watched")
		w := f.watch(peer.ask("listen 127.0.0.1 1h"), liveness.Config{Timeout: timeout}, func(cfg *actor.DialConfig) {
			cfg.Conn.Split = fixed(1024)
		})
		peer.ask("accept")
		got := -1
		inTurn(t, w.probe, func() {
			w.onReceived = func(*probe, []byte) error { return conn.Yield }
			w.decide = func(liveness.PeerDown, *conn.Conn) { got = w.received }
		})
		for range 16 {
			peer.ask("send %d", size/16)
		}
		peer.halt()
		next[liveness.PeerDown](t, w, 1)
		inTurn(t, w.probe, func() { assert.Equal(t, w.received, got, "nothing comes after PeerDown that had come before") })
		peer.resume()
		require.Eventually(t, func() bool {
			n := 0
			inTurn(t, w.probe, func() { n = w.received })
			return n == size
		}, slow, 10*time.Millisecond, "and nothing is lost")
	})
}
