package actor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// A peer that is stopped costs a bounded amount of memory and holds nobody else up, on the same loop even. When it
// goes on, it gets every byte.
func TestBP6_APeerProcessIsStoppedAndGoesOn(t *testing.T) {
	onEachShell(t, testAPeerIsStoppedAndGoesOn)
}

func testAPeerIsStoppedAndGoesOn(t *testing.T, shell actor.Config) {
	const (
		total, each  = 500_000, 10_000
		high, pieces = 64 << 10, total / each
	)
	shell.Loops = 1
	f := start(t, shell)
	data := pattern(total)
	next := 0
	pour := func(p *probe) {
		for ; next < total; next += each {
			if _, err := p.Conn().Send(data[next : next+each]); err != nil {
				assert.ErrorIs(t, err, conn.ErrNotWriteable)
				return
			}
		}
		p.Conn().Close()
	}
	s := f.serve(stuckConfig(), func(p *probe) {
		p.onReceived = echo
		p.onUnthrottled = pour
		runs(p)
	})
	peer := startPeer(t)
	peer.ask("dial %s 1", s.Addr())
	p := s.next()
	other, q := s.open()

	peer.tell("finish")
	peer.halt()
	inTurn(t, p, func() { pour(p) })
	p.awaitN(t, 1, "OnThrottled", slow)
	for range 100 {
		other.send("still there?")
		other.expect("still there?")
	}
	inTurn(t, p, func() {
		n := p.Conn().Stats().Pending
		assert.Greater(t, n, high/2)
		assert.LessOrEqual(t, n, high+each, "one send more than the mark, at most")
		_, err := p.Conn().Send([]byte("x"))
		assert.ErrorIs(t, err, conn.ErrNotWriteable)
		assert.Equal(t, 0, p.count("OnUnthrottled"))
	})

	peer.resume()
	assert.Equal(t, "500000 EOF", peer.answer())
	p.awaitN(t, 1, "Stopped", slow)
	assert.NoError(t, p.err)
	assert.Equal(t, pieces, p.sent)
	assert.Zero(t, p.count("OnSendFailed"))
	assert.Positive(t, p.count("OnUnthrottled"))
	other.reset()
	q.awaitN(t, 1, "Stopped", slow)
	soon(t, func() bool { return s.Len() == 0 }, "none is left")
}

func TestCLS5_CloseToAStoppedPeerProcessTimesOut(t *testing.T) {
	onEachShell(t, testCloseToAStoppedPeer)
}

func testCloseToAStoppedPeer(t *testing.T, shell actor.Config) {
	const closeTimeout = 300 * time.Millisecond
	f := start(t, shell)
	cfg := stuckConfig()
	cfg.Conn.CloseTimeout = closeTimeout
	s := f.serve(cfg, runs)
	peer := startPeer(t)
	peer.ask("dial %s 1", s.Addr())
	p := s.next()
	peer.tell("finish")
	peer.halt()
	inTurn(t, p, func() { sendPending(t, p, 0) })
	p.awaitN(t, 1, "OnThrottled", slow)

	var closed time.Time
	inTurn(t, p, func() {
		closed = time.Now()
		p.Conn().Close()
	})
	p.awaitN(t, 1, "Stopped", slow)
	took := time.Since(closed)
	assert.GreaterOrEqual(t, took, closeTimeout)
	assert.Less(t, took, patience, "far less than CloseTimeout's default and its fixture's")
	var end *conn.CloseError
	require.ErrorAs(t, p.err, &end)
	assert.Equal(t, conn.CauseTimeout, end.Cause)
	assert.True(t, end.Timeout())
	assertSettled(t, p, len(pendingSizes))
	soon(t, func() bool { return s.Len() == 0 }, "its place is free, though the peer still holds its end")

	peer.resume()
	assert.Regexp(t, `^\d+ reset$`, peer.answer())
}
