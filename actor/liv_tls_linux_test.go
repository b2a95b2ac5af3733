package actor_test

import (
	"encoding/base64"
	"strings"
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

// Liveness above and below TLS, with the real layers.

// record is how many bytes TLS 1.3 adds to each write (RFC 8446, 5.2): header, type and tag.
const record = 5 + 1 + 16

// Idle sides keep each other up with records. They are all that is on the wire.
func TestLIV28_IdleAboveTLS(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, way way) {
		const timeout = 200 * time.Millisecond
		f := way.start(t, actor.Config{})
		above := framedLayer(t, liveness.Config{Timeout: timeout})
		accepted := new(watcher)
		cfg := serves(ours.server(nil))
		cfg.Conn.Layers = append(cfg.Conn.Layers, above)
		s := f.serve(cfg, accepted.set)
		dialed := f.watch(s.Addr().String(), liveness.Config{Timeout: timeout}, func(cfg *actor.DialConfig) {
			cfg.Conn.Layers = append([]interceptor.Factory{tls.Client(ours.client(nil))}, cfg.Conn.Layers...)
		})
		s.next()
		accepted.awaitN(t, 1, "OnConnected", slow)
		soon(t, func() bool { return statsOf(t, accepted.probe).BytesRead > 0 }, "they talk")
		before, began := statsOf(t, dialed.probe), time.Now()
		time.Sleep(10 * timeout) // the time itself is the point
		after, took := statsOf(t, dialed.probe), time.Since(began)
		for _, w := range []*watcher{accepted, dialed} {
			for _, e := range w.told() { // a busy machine stops us, too; but nobody is down for that
				assert.IsType(t, liveness.PeerSuspect{}, e.ev, w.text())
			}
			inTurn(t, w.probe, func() { assert.Zero(t, w.received) })
		}
		n := float64(after.BytesWritten-before.BytesWritten) / (4 + record)
		assert.LessOrEqual(t, n, took.Seconds()/(timeout.Seconds()/4)*10/9+2, "a quarter of T, less a tenth")
		assert.GreaterOrEqual(t, n, took.Seconds()/(timeout.Seconds()/4)/2)
		inTurn(t, dialed.probe, func() { dialed.Conn().Close() })
		for _, w := range []*watcher{accepted, dialed} {
			w.awaitN(t, 1, "OnEOF", slow)
			inTurnOrOver(w)
		}
		dialed.awaitN(t, 1, "Stopped", slow)
		assert.NoError(t, dialed.err, "goodbye, close_notify, FIN: in order")
	})
}

// inTurnOrOver lets the side that is left close.
func inTurnOrOver(w *watcher) { system.Root.Send(w.self, new(actor.Close)) }

// The peer's process sends 1 MiB and is stopped: all of it is delivered, then the peer is suspect and down, and when it
// goes on it is up, and nothing was lost.
func TestLIV28_StoppedAboveAndBelowTLS(t *testing.T) {
	ours := certify(t, "ours")
	pem := base64.StdEncoding.EncodeToString(append(append([]byte(nil), ours.cert...), ours.pk...))
	const timeout, size = time.Second, 1 << 20
	for _, place := range []struct {
		name, peer string
		layers     func(secret interceptor.Factory) []interceptor.Factory
	}{
		{"framed above", "secret", func(secret interceptor.Factory) []interceptor.Factory {
			return []interceptor.Factory{secret, framedLayer(t, liveness.Config{Timeout: timeout})}
		}},
		{"passive below", "tls", func(secret interceptor.Factory) []interceptor.Factory {
			passive, err := liveness.Passive(liveness.Config{Timeout: timeout})
			require.NoError(t, err)
			return []interceptor.Factory{passive, secret}
		}},
	} {
		t.Run(place.name, func(t *testing.T) {
			ways(t, func(t *testing.T, way way) {
				f := way.start(t, actor.Config{})
				peer := startPeerOf(t, "watched")
				w := f.watch(peer.ask("listen 127.0.0.1 1h %s %s", place.peer, pem), liveness.Config{}, func(cfg *actor.DialConfig) {
					cfg.Conn.Layers = place.layers(tls.Client(ours.client(nil)))
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
				next[liveness.PeerSuspect](t, w, 1)
				down, downAt := next[liveness.PeerDown](t, w, 1)
				w.assertInTime(t, down, timeout)
				received := func() (n int) {
					inTurn(t, w.probe, func() { n = w.received })
					return n
				}
				assert.Equal(t, received(), got, "nothing comes after PeerDown that had come before")
				peer.resume()
				peer.ask("send %d", 1024)
				up, upAt := next[liveness.PeerUp](t, w, 1)
				assert.InDelta(t, upAt.Sub(downAt).Seconds(), up.DownFor.Seconds(), busy.Seconds())
				require.Eventually(t, func() bool { return received() == size+1024 }, slow, 10*time.Millisecond, "nothing is lost")
				assert.Equal(t, 1, strings.Count(strings.Join(w.notes(), " "), "liveness.PeerDown"))
				inTurn(t, w.probe, func() { w.Conn().Close() })
				w.awaitN(t, 1, "Stopped", slow)
				assert.NoError(t, w.err)
			})
		})
	}
}
