package conn_test

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// These tests prove each promise of the package documentation once, in the plainest way. FuzzPromises looks for the
// cases that nobody thought of.

// A proof is a connection, and what its owner heard and does about it.
type proof struct {
	*conntest.Rig
	t     *testing.T
	rec   conntest.Recorder
	on    map[string]func(*conn.Conn) // what is done in a callback, by its name
	calls []string
}

func prove(t *testing.T, cfg conn.Config, opts ...conntest.Option) *proof {
	p := &proof{t: t, on: map[string]func(*conn.Conn){}}
	p.rec = conntest.Recorder{TB: t, Stay: true, Do: func(c *conn.Conn, call string) {
		if f := p.on[call]; f != nil {
			f(c)
		}
	}}
	p.Rig = conntest.New(&p.rec, cfg, append(opts, conntest.Checked(t))...)
	return p
}

// send sends and must be accepted.
func (p *proof) send(data string) func(*conn.Conn) {
	return func(c *conn.Conn) {
		_, err := c.Send([]byte(data))
		assert.NoError(p.t, err, "Send of %d bytes", len(data))
	}
}

// heard asserts that exactly these callbacks came since the last heard.
func (p *proof) heard(why string, calls ...string) {
	p.t.Helper()
	got := p.rec.Calls()
	if len(got)+len(calls) > 0 {
		assert.Equal(p.t, calls, got, why)
	}
}

func TestPromise_OnConnectFailedComesAlone(t *testing.T) {
	everything := func(p *proof) { // whatever still happens, nothing more is told
		p.Feed("late")
		p.FeedEOF()
		p.Do(func(c *conn.Conn) { c.Close(); c.Abort(nil) })
		p.Advance(time.Hour)
	}
	p := prove(t, conn.Config{}, conntest.Dialed())
	p.Connecting(1)
	p.Fail(conn.StageDial, syscall.ECONNREFUSED)
	p.heard("only OnEvent comes before", "OnEvent conn.Connecting{1}",
		"OnConnectFailed conn: connect far.example: dial: connection refused")
	everything(p)
	p.heard("OnConnectFailed is the last")

	p = prove(t, conn.Config{}, conntest.Dialed())
	p.Connecting(1)
	p.Connected()
	p.Feed("a")
	p.Do((*conn.Conn).Close)
	p.Connecting(2)
	p.FeedEOF()
	p.heard("OnConnected comes first, OnClosed last", "OnEvent conn.Connecting{1}", "OnConnected", `OnReceived "a"`,
		"OnEvent conn.Connecting{2}", "OnEOF", "OnClosed")
	everything(p)
	p.heard("OnClosed is the last")
}

func TestPromise_NoCallbackRunsInsideAMethod(t *testing.T) {
	p := prove(t, conn.Config{HighWater: 10, Split: frame.Fixed(1)})
	running := 0 // callbacks on the stack
	methods := func(c *conn.Conn) {
		was := running
		for _, m := range []struct {
			name string
			call func()
		}{
			{"Send", func() { _, _ = c.Send(make([]byte, 11)) }}, // it throttles
			{"Flush", c.Flush}, // it settles
			{"Pause", c.Pause},
			{"Resume", c.Resume}, // there are frames to deliver
			{"Upgrade", func() { _ = c.Upgrade(func() interceptor.Interceptor { return interceptor.Pass{} }) }},
		} {
			before := len(p.all())
			m.call()
			assert.Len(t, p.all(), before, "a callback ran inside %s", m.name)
		}
		assert.Equal(t, was, running)
	}
	p.rec.Do = func(c *conn.Conn, _ string) {
		running++
		assert.Equal(t, 1, running, "a callback runs inside another")
		methods(c)
		running--
	}
	p.Allow(0)
	p.Feed("frames")
	p.Do(methods)
	p.Allow(100)
	p.Do(func(c *conn.Conn) {
		before := len(p.all())
		c.Close()
		c.Abort(nil)
		assert.Len(t, p.all(), before, "a callback ran inside Close or Abort")
	})
	assert.True(t, p.Done())
	assert.Greater(t, len(p.all()), 6)
}

// all is every call so far.
func (p *proof) all() []string {
	p.calls = append(p.calls, p.rec.Calls()...)
	return p.calls
}

func TestPromise_ANoticeComesInALaterTurn(t *testing.T) {
	p := prove(t, conn.Config{}, conntest.Manual())
	p.Settle()
	p.Do(func(c *conn.Conn) { c.StartTimer(time.Second) })
	p.Settle()
	p.heard("", "OnConnected")

	p.Advance(time.Second) // the timer is due before the owner's message is handled
	p.Do(func(c *conn.Conn) {
		p.send("first")(c)
		c.Flush() // this is written, and so settled, in the middle of the turn
		p.send("second")(c)
	})
	p.Turn()
	assert.Equal(t, "firstsecond", p.Wire(), "all of it happened")
	p.heard("and nothing of it is told in the same turn")
	p.Turn()
	p.heard("all of it is told in the next one, in the order of the causes", "OnTimer 1", "OnSent 1", "OnSent 2")
}

func TestPromise_DataDoesNotOvertakeNotices(t *testing.T) {
	p := prove(t, conn.Config{Split: frame.Fixed(4)}, conntest.Manual())
	p.Settle()
	p.heard("", "OnConnected")
	p.Do(p.send("x"))
	p.Turn() // OnSent is caused here
	p.Feed("AAAABBBB")
	p.on[`OnReceived "AAAA"`] = func(c *conn.Conn) {
		p.send("y")(c)
		c.Flush() // the reading has caused a notice
	}
	p.Turn()
	p.heard("a notice of an earlier turn comes first, and reading ends as soon as it causes one", "OnSent 1",
		`OnReceived "AAAA"`)
	p.Turn()
	p.heard("the next frame comes behind that notice", "OnSent 2", `OnReceived "BBBB"`)
}

func TestPromise_EveryAcceptedSendGetsOneOnSentOrOneOnSendFailed(t *testing.T) {
	p := prove(t, conn.Config{})
	p.Allow(7) // bytes: two sends, and a third of the last
	p.Do(func(c *conn.Conn) {
		for range 3 {
			p.send("abc")(c)
		}
		p.send("")(c)
	})
	p.heard("what the system took is sent", "OnConnected", "OnSent 1", "OnSent 2")
	assert.Equal(t, "abcabca", p.Wire())
	p.Reset()
	p.heard("the rest failed, in order, before the end", "OnSendFailed 3", "OnSendFailed 4",
		"OnClosed conn: connection ended: read: connection reset by peer")
}

// A promiseLayer passes everything on, and fails when "bad" comes down. It is ready at once, or never.
type promiseLayer struct {
	interceptor.Pass
	silent bool
}

var errBad = errors.New("bad bytes")

func (f promiseLayer) Open(l interceptor.Link) error {
	if !f.silent {
		l.Ready()
	}
	return nil
}

func (f promiseLayer) Down(l interceptor.Link, bufs [][]byte) error {
	if joined := bytes.Join(bufs, nil); bytes.HasSuffix(joined, []byte("bad")) {
		return errors.Join(l.Down([][]byte{joined[:1]}), errBad)
	}
	return l.Down(bufs)
}

func TestPromise_ARefusedSendLeavesNoTrace(t *testing.T) {
	p := prove(t, conn.Config{HighWater: 10, MaxPending: 20,
		Layers: []interceptor.Factory{func() interceptor.Interceptor { return promiseLayer{} }}})
	refused := func(c *conn.Conn, size int, want conn.SendError) {
		before := c.Stats()
		token, err := c.Send(make([]byte, size))
		assert.Equal(t, want, err, "Send of %d bytes", size)
		assert.Zero(t, token)
		if want == conn.ErrNotWriteable {
			before.Refused++ // that it was refused is all that is known of it
		}
		assert.Equal(t, before, c.Stats())
	}
	p.Allow(0)
	p.Do(func(c *conn.Conn) {
		refused(c, 21, conn.ErrTooLarge)
		p.send("12345678901")(c)
		refused(c, 21, conn.ErrTooLarge)
		refused(c, 1, conn.ErrNotWriteable)
		refused(c, 0, conn.ErrNotWriteable)
	})
	p.heard("", "OnConnected", "OnThrottled")
	p.Allow(100)
	p.heard("no callback is for a refused Send", "OnSent 1", "OnUnthrottled")
	p.on["OnSent 2"] = func(c *conn.Conn) {
		_, err := c.Send([]byte("x bad"))
		assert.Equal(t, conn.ErrNotConnected, err, "a layer failed in it")
		refused(c, 1, conn.ErrNotConnected)
	}
	p.Do(p.send("2"))
	p.heard("no token is lost, and the connection ends", "OnSent 2", "OnClosed conn: connection ended: layer: bad bytes")
	assert.Equal(t, "123456789012", p.Wire(), "no byte of a refused Send is on the wire")
}

func TestPromise_OnThrottledAndOnUnthrottledAlternate(t *testing.T) {
	p := prove(t, conn.Config{HighWater: 10, LowWater: 5})
	p.on["OnThrottled"] = func(c *conn.Conn) {
		_, err := c.Send([]byte("x"))
		assert.Equal(t, conn.ErrNotWriteable, err, "in OnThrottled")
	}
	p.on["OnUnthrottled"] = func(c *conn.Conn) {
		assert.LessOrEqual(t, c.Stats().Pending, 5)
		p.send("")(c)
	}
	p.heard("", "OnConnected")
	p.Allow(0)
	for range 3 {
		p.Do(func(c *conn.Conn) {
			p.send("1234567890")(c)
			assert.True(t, c.IsWriteable(), "HighWater itself is not too much")
			p.send("1")(c)
			_, err := c.Send([]byte("x"))
			assert.Equal(t, conn.ErrNotWriteable, err, "from its cause on")
		})
		p.heard("once, however often Send is refused", "OnThrottled")
		p.Allow(5)
		p.heard("6 bytes are pending: too many")
		p.Allow(1)
		p.Allow(100)
		calls := p.rec.Calls()
		assert.Equal(t, 1, count(calls, "OnUnthrottled"), "%q", calls)
		assert.Zero(t, count(calls, "OnThrottled"), "%q", calls)
		p.Allow(-1)
		p.Allow(0)
	}
	p.Do(func(c *conn.Conn) { p.send("12345678901")(c) })
	p.Do(func(c *conn.Conn) {
		_, err := c.Send([]byte("x"))
		assert.Equal(t, conn.ErrNotWriteable, err)
		c.Abort(nil)
	})
	calls := p.rec.Calls()
	assert.Zero(t, count(calls, "OnUnthrottled"))
	assert.Equal(t, 1, count(calls, "OnClosed conn: connection ended: aborted"), "OnClosed follows instead: %q", calls)
}

func count(calls []string, call string) (n int) {
	for _, c := range calls {
		if c == call {
			n++
		}
	}
	return n
}

func TestPromise_PendingBytesOfTheApplicationNeverExceed(t *testing.T) {
	const high, most = 100, 1000
	for _, size := range []int{1, 7, 99, 100, 101, 999, 1000} {
		p := prove(t, conn.Config{HighWater: high, MaxPending: most})
		p.Allow(0)
		p.Do(func(c *conn.Conn) {
			for range 2000 {
				_, _ = c.Send(make([]byte, size))
				assert.LessOrEqual(t, c.Stats().Pending, high+most)
			}
			_, _ = c.Send(make([]byte, most))
		})
		pending := p.Conn().Stats().Pending
		assert.Greater(t, pending, high, "a peer that does not read was really met")
		assert.LessOrEqual(t, pending, high+most)
	}

	p := prove(t, conn.Config{HighWater: high, MaxPending: most})
	p.Allow(0)
	p.Do(func(c *conn.Conn) {
		_, _ = c.Send(make([]byte, high))
		_, _ = c.Send(make([]byte, most))
	})
	assert.Equal(t, high+most, p.Conn().Stats().Pending, "the bound is reached, and so it is no other")
}

func TestPromise_CloseLosesNoAcceptedByte(t *testing.T) {
	p := prove(t, conn.Config{CloseTimeout: 5 * time.Second})
	p.Allow(0)
	p.Do(func(c *conn.Conn) {
		for _, s := range []string{"one ", "two ", "three"} {
			p.send(s)(c)
		}
		c.Close()
	})
	for range 6 { // far slower than CloseTimeout in all, but never without progress for so long
		assert.False(t, p.FIN(), "FIN is behind the last byte")
		p.Advance(4 * time.Second)
		p.Allow(2)
	}
	p.Advance(4 * time.Second)
	p.Allow(1)
	assert.Equal(t, "one two three", p.Wire())
	assert.True(t, p.FIN())
	p.FeedEOF()
	p.heard("", "OnConnected", "OnSent 1", "OnSent 2", "OnSent 3", "OnEOF", "OnClosed")

	p = prove(t, conn.Config{CloseTimeout: 5 * time.Second})
	p.Allow(2)
	p.Do(func(c *conn.Conn) { p.send("abc")(c); c.Close() })
	p.Advance(5 * time.Second)
	p.heard("unless CloseTimeout ends it, which is told", "OnConnected", "OnSendFailed 1",
		"OnClosed conn: connection ended: timeout: draining what was sent took longer than Config.CloseTimeout, 5s")
}

func TestPromise_AfterPauseThereIsNoOnReceivedUntilResume(t *testing.T) {
	p := prove(t, conn.Config{Split: frame.Fixed(4)})
	p.on[`OnReceived "AAAA"`] = (*conn.Conn).Pause
	p.Feed("AAAABBBBCC", "CCDDDD")
	p.Do(func(c *conn.Conn) { c.Pause() }) // pauses are not counted
	p.Advance(time.Hour)
	p.heard("nothing comes while paused", "OnConnected", `OnReceived "AAAA"`)
	p.Do((*conn.Conn).Resume)
	p.heard("then no byte is lost", `OnReceived "BBBB"`, `OnReceived "CCCC"`, `OnReceived "DDDD"`)

	p = prove(t, conn.Config{Split: frame.Fixed(1)}, conntest.Manual())
	p.Settle()
	p.heard("", "OnConnected")
	p.rec.Return = func(_ *conn.Conn, data []byte) error {
		if data[0] == 'b' {
			return conn.Yield
		}
		return nil
	}
	p.Feed("abcd")
	p.Turn()
	p.heard("after Yield, none in that turn", `OnReceived "a"`, `OnReceived "b"`)
	p.Turn()
	p.heard("and the rest in the next", `OnReceived "c"`, `OnReceived "d"`)
}

func TestPromise_AStreamThatEndsInsideAFrameIsReported(t *testing.T) {
	for data, whole := range map[string]bool{"": true, "A": false, "AAAA": true, "AAAABBB": false, "AAAABBBB": true} {
		var eof, closed error
		p := &tapped{Recorder: &conntest.Recorder{TB: t}, eof: &eof, closed: &closed}
		r := conntest.New(p, conn.Config{Split: frame.Fixed(4)}, conntest.Checked(t))
		r.Feed(data)
		r.FeedEOF()
		require.True(t, r.Done())
		assert.Equal(t, data[:len(data)/4*4], p.Received(), "whole frames are delivered")
		if whole {
			assert.NoError(t, eof, "%q", data)
			assert.NoError(t, closed, "%q", data)
			continue
		}
		assert.ErrorIs(t, eof, io.ErrUnexpectedEOF, "%q", data)
		var e *conn.CloseError
		require.ErrorAs(t, closed, &e, "%q", data)
		assert.Equal(t, conn.CauseTruncated, e.Cause)
		assert.ErrorIs(t, closed, io.ErrUnexpectedEOF, "%q", data)
	}
}

// tapped keeps the errors that a Recorder turns into text.
type tapped struct {
	*conntest.Recorder
	eof, closed *error
}

func (p *tapped) OnEOF(c *conn.Conn, err error)    { *p.eof = err; p.Recorder.OnEOF(c, err) }
func (p *tapped) OnClosed(c *conn.Conn, err error) { *p.closed = err; p.Recorder.OnClosed(c, err) }

func TestPromise_ConnectingStartingUpgradingAndClosingHaveDeadlines(t *testing.T) {
	silent := func() interceptor.Interceptor { return promiseLayer{silent: true} }
	cfg := conn.Config{StartTimeout: 3 * time.Second, CloseTimeout: 2 * time.Second}
	layered := cfg
	layered.Layers = []interceptor.Factory{silent}
	for _, c := range []struct {
		state conn.State
		cfg   conn.Config
		opts  []conntest.Option
		do    func(p *proof, c *conn.Conn)
		after time.Duration
		last  string
	}{
		{state: conn.StateConnecting, cfg: cfg, opts: []conntest.Option{conntest.Dialed()}, after: 3 * time.Second,
			last: "OnConnectFailed conn: connect far.example: timeout: dialing took longer than Config.StartTimeout, 3s"},
		{state: conn.StateStarting, cfg: layered, after: 3 * time.Second,
			last: "OnConnectFailed conn: connect 198.51.100.7:49152: timeout: " +
				"the layers' handshakes took longer than Config.StartTimeout, 3s"},
		{state: conn.StateUpgrading, cfg: cfg, after: 3 * time.Second,
			do:   func(_ *proof, c *conn.Conn) { assert.NoError(t, c.Upgrade(silent)) },
			last: "OnClosed conn: connection ended: timeout: the handshake of Upgrade took longer than Config.StartTimeout, 3s"},
		{state: conn.StateClosing, cfg: cfg, after: 2 * time.Second,
			do:   func(_ *proof, c *conn.Conn) { c.Close() },
			last: "OnClosed conn: connection ended: timeout: waiting for the peer's end took longer than Config.CloseTimeout, 2s"},
	} {
		p := prove(t, c.cfg, c.opts...)
		if c.do != nil {
			p.Do(func(conn *conn.Conn) { c.do(p, conn) })
		}
		require.Equal(t, c.state, p.Conn().State())
		assert.Equal(t, p.Now().Add(c.after), p.Deadline(), "%v: a turn is wanted at its deadline", c.state)
		p.Advance(c.after - 1)
		assert.Equal(t, c.state, p.Conn().State(), "a nanosecond earlier")
		p.Advance(1)
		assert.True(t, p.Done(), "%v has no deadline", c.state)
		calls := p.rec.Calls()
		assert.Equal(t, c.last, calls[len(calls)-1])
		closed, reset := p.Closed()
		assert.True(t, closed && reset, "%v: the socket is given up", c.state)
	}
}
