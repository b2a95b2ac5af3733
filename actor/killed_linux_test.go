package actor_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// pendingSizes are three sends of which the last can never be written at once: the buffers of stuckConfig and of a peer
// process hold far less.
var pendingSizes = []int{30_000, 30_000, 200_000}

// sendPending makes the three sends, as one stream of the pattern that begins at off.
func sendPending(t testing.TB, p *probe, off int) {
	for _, n := range pendingSizes {
		_, err := p.Conn().Send(pattern(off + n)[off:])
		assert.NoError(t, err)
		off += n
	}
}

// assertSettled asserts that tokens from 1 to the last one accepted have one outcome each, in order, the last one
// failed, and that nothing came behind OnClosed.
func assertSettled(t testing.TB, p *probe, accepted int) {
	t.Helper()
	var got, want []string
	failed := false
	for _, note := range p.notes() {
		if word, token, _ := strings.Cut(note, " "); word == "OnSent" || word == "OnSendFailed" {
			assert.False(t, failed && word == "OnSent", "an OnSent behind an OnSendFailed")
			failed = word == "OnSendFailed"
			got = append(got, token)
		}
	}
	for i := range accepted {
		want = append(want, fmt.Sprint(i+1))
	}
	assert.Equal(t, want, got, "each send has one outcome, in order: %s", p.tail())
	assert.True(t, failed, "the last one failed: %s", p.tail())
	assert.Equal(t, 1, p.count("OnClosed"))
	notes := p.notes()
	assert.Equal(t, []string{"OnClosed", "Stopping", "Stopped"}, notes[max(0, len(notes)-3):])
}

// assertBroken asserts that p's connection ended in reading or writing, with one of these.
func assertBroken(t testing.TB, p *probe, errnos ...error) {
	t.Helper()
	var end *conn.CloseError
	if !assert.ErrorAs(t, p.err, &end) {
		return
	}
	assert.Contains(t, []conn.Cause{conn.CauseRead, conn.CauseWrite}, end.Cause)
	assert.True(t, slices.ContainsFunc(errnos, func(e error) bool { return errors.Is(end, e) }), "%v", end)
}

// Processes die with bytes of theirs unread here, and bytes of ours unread there.
func TestFLT3_PeersAreKilledWithDataPendingBothWays(t *testing.T) {
	onEachShell(t, testPeersAreKilled)
}

func testPeersAreKilled(t *testing.T, shell actor.Config) {
	const conns = 20
	for _, dialed := range []bool{false, true} {
		t.Run(map[bool]string{false: "accepted", true: "dialed"}[dialed], func(t *testing.T) {
			f := start(t, shell)
			var made atomic.Int32
			set := func(p *probe) {
				deaf := made.Add(1)%2 == 0 // half of them do not read what the peers sent
				p.onConnected = func(p *probe) {
					if deaf {
						p.Conn().Pause()
					}
					sendPending(t, p, 0)
				}
				p.onClosed = func(p *probe, _ error) {
					_, err := p.Conn().Send([]byte("x"))
					assert.ErrorIs(t, err, conn.ErrNotConnected)
				}
			}
			var probes []*probe
			var s *server
			peers := startPeer(t)
			before := takeCensus()
			if dialed {
				addr := peers.ask("listen 127.0.0.1")
				for range conns {
					p := new(probe)
					set(p)
					_, err := f.Dial(t.Context(), addr, p, actor.DialConfig{Conn: stuckConfig().Conn, Socket: stuckConfig().Socket})
					require.NoError(t, err)
					probes = append(probes, p)
				}
				peers.ask("accept %d", conns)
			} else {
				s = f.serve(stuckConfig(), set)
				peers.ask("dial %s %d", s.Addr(), conns)
				for range conns {
					probes = append(probes, s.next())
				}
			}
			for _, p := range probes {
				p.awaitN(t, 1, "OnThrottled", slow)
			}
			peers.ask("write 5000")
			peers.kill()

			for _, p := range probes {
				p.awaitN(t, 1, "Stopped", slow)
				assertBroken(t, p, syscall.ECONNRESET, syscall.EPIPE)
				assertSettled(t, p, len(pendingSizes))
				assert.Zero(t, p.count("OnUnthrottled"), "it was never writeable again")
				assert.Zero(t, p.count("OnEOF"), "a reset is no end")
			}
			if s != nil {
				soon(t, func() bool { return s.Len() == 0 }, "none is left")
				assert.NoError(t, s.Close())
			}
			assert.Empty(t, before.wait(), "the network holds nothing of them")
		})
	}
}

// Where nothing was pending, the system ends a killed peer's stream in order. Only the framing knows better.
func TestRCV18_APeerIsKilledInsideAFrame(t *testing.T) { onEachShell(t, testAPeerIsKilledInsideAFrame) }

func testAPeerIsKilledInsideAFrame(t *testing.T, shell actor.Config) {
	for _, test := range []struct {
		name      string
		bytes     int
		truncated bool
	}{{"between two frames", 8, false}, {"inside a frame", 6, true}} {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, shell)
			cfg := actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}
			s := f.serve(cfg, func(p *probe) {
				p.quiet = true
				runs(p)
			})
			peer := startPeer(t)
			peer.ask("dial %s 1", s.Addr())
			p := s.next()
			peer.ask("write %d", test.bytes)
			soon(t, func() bool { return statsOf(t, p).BytesRead == uint64(test.bytes) }, "all has come")
			peer.kill()
			p.awaitN(t, 1, "Stopped", slow)
			assert.Equal(t, []string{"Started", "OnConnected", "OnEOF", "OnClosed", "Stopping", "Stopped"}, p.notes())
			assert.Equal(t, test.bytes/4*4, p.received)
			if !test.truncated {
				assert.NoError(t, p.err)
				return
			}
			var end *conn.CloseError
			require.ErrorAs(t, p.err, &end)
			assert.Equal(t, conn.CauseTruncated, end.Cause)
		})
	}
}

// statsOf asks a live connection, in a turn of its own.
func statsOf(t testing.TB, p *probe) (s conn.Stats) {
	t.Helper()
	inTurn(t, p, func() { s = p.Conn().Stats() })
	return s
}

// inTurn runs f in a turn of p, which must be open and obey, and returns when it has.
func inTurn(t testing.TB, p *probe, f func()) {
	t.Helper()
	p.awaitN(t, 1, "OnConnected", slow)
	_, err := system.Root.RequestFuture(p.self, turnFunc(f), slow).Result()
	require.NoError(t, err)
}

// A turnFunc is a message that runs.
type turnFunc func()

// runs makes p obey turnFuncs.
func runs(p *probe) {
	p.receive = func(_ *probe, ctx proto.Context) {
		if f, ok := ctx.Message().(turnFunc); ok {
			f()
			ctx.Respond(true)
		}
	}
}
