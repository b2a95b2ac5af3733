package conn_test

import (
	"context"
	"errors"
	"net"
	"strings"
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

// Of dialing, package conn sees what the shell says: how many addresses are being tried, and what came of it.

// connectError asserts that err is a ConnectError of this stage, and returns it.
func connectError(t *testing.T, err error, stage conn.Stage) *conn.ConnectError {
	t.Helper()
	var failed *conn.ConnectError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, stage.String(), failed.Stage.String())
	assert.Equal(t, stage == conn.StageTimeout, failed.Timeout())
	assert.Equal(t, stage == conn.StageClosed, errors.Is(err, net.ErrClosed))
	return failed
}

func TestDIAL1_BothSidesAreConnected(t *testing.T) {
	client, server := newScene(t), newScene(t)
	for _, s := range []*scene{client, server} {
		s.on("OnConnected", func(c *conn.Conn) { assert.True(t, c.IsWriteable()) })
	}
	openDuo(t, client, server, conn.Config{}, conn.Config{}, 1<<16, 1<<16).run()
	client.want("once", "OnConnected")
	server.want("once", "OnConnected")
}

func TestDIAL2_AHundredRounds(t *testing.T) {
	const rounds = 100
	client, server := newScene(t), newScene(t)
	ping := func(c *conn.Conn) { client.send(c, "Ping") }
	client.on("OnConnected", ping)
	client.on(`OnReceived "Pong"`, func(c *conn.Conn) {
		if client.count("OnReceived") < rounds {
			ping(c)
		}
	})
	server.on(`OnReceived "Ping"`, func(c *conn.Conn) { server.send(c, "Pong") })
	cfg := conn.Config{Split: frame.Fixed(4)}
	openDuo(t, client, server, cfg, cfg, 1<<16, 1<<16).run()
	assert.Equal(t, strings.Repeat("Pong", rounds), client.rec.Received())
	assert.Equal(t, strings.Repeat("Ping", rounds), server.rec.Received())
	assert.Equal(t, rounds, client.count("OnReceived"))
	assert.Equal(t, rounds, server.count("OnReceived"))
}

func TestDIAL4_NobodyListens(t *testing.T) {
	s := openScene(t, conn.Config{}, conntest.Dialed())
	s.Connecting(1)
	s.want("dialing", "OnEvent conn.Connecting{1}")
	closed, _ := s.Closed()
	require.False(t, closed)
	s.Fail(conn.StageDial, errors.Join(syscall.ECONNREFUSED))
	s.want("once", "OnConnectFailed...")
	failed := connectError(t, s.ends.failed, conn.StageDial)
	assert.ErrorIs(t, failed, syscall.ECONNREFUSED)
	assert.Equal(t, "far.example", failed.Addr)
	closed, _ = s.Closed()
	assert.True(t, closed, "what the socket held is given up")
	s.Connected()
	s.want("too late")
}

func TestDIAL5_TheNameHasNoAddress(t *testing.T) {
	s := openScene(t, conn.Config{}, conntest.Dialed())
	resolver := &net.DNSError{Err: "no such host", Name: "far.example", IsNotFound: true}
	s.Fail(conn.StageDNS, resolver)
	s.want("once", "OnConnectFailed...")
	failed := connectError(t, s.ends.failed, conn.StageDNS)
	var told *net.DNSError
	require.ErrorAs(t, failed, &told)
	assert.Same(t, resolver, told)
}

func TestDIAL7_StartTimeoutWhileDialing(t *testing.T) {
	for name, inflight := range map[string]int{"the resolver hangs": 0, "nobody answers": 2} {
		t.Run(name, func(t *testing.T) {
			s := openScene(t, conn.Config{StartTimeout: 300 * time.Millisecond}, conntest.Dialed())
			if inflight > 0 {
				s.Connecting(inflight)
			}
			s.skip()
			require.Equal(t, conn.StateConnecting, s.Conn().State())
			s.Advance(299 * time.Millisecond)
			s.want("not early")
			s.Advance(time.Millisecond)
			s.want("on time", "OnConnectFailed...")
			failed := connectError(t, s.ends.failed, conn.StageTimeout)
			assert.ErrorIs(t, failed, context.DeadlineExceeded)
			assert.ErrorContains(t, failed, "StartTimeout")
			closed, _ := s.Closed()
			assert.True(t, closed)
			s.Connected()
			s.want("too late")
		})
	}
}

func TestDIAL8_TheDeadlineEndsWithReadiness(t *testing.T) {
	s := openScene(t, conn.Config{StartTimeout: 200 * time.Millisecond}, conntest.Dialed())
	require.False(t, s.Deadline().IsZero())
	s.Advance(199 * time.Millisecond)
	s.Connected()
	s.want("in time", "OnConnected")
	s.Advance(600 * time.Millisecond)
	s.want("it stays")
	assert.True(t, s.Deadline().IsZero())
}

func TestDIAL9_EventsOfARace(t *testing.T) {
	s := openScene(t, conn.Config{}, conntest.Dialed(), conntest.Manual())
	s.Connecting(1)
	s.Connecting(2)
	s.Connected()
	s.Settle()
	s.want("before OnConnected", "OnEvent conn.Connecting{1}", "OnEvent conn.Connecting{2}", "OnConnected")
}

func TestDIAL11_CloseAndAbortWhileConnecting(t *testing.T) {
	for name, k := range map[string]struct {
		end func(*conn.Conn)
		err error
	}{
		"Close": {(*conn.Conn).Close, nil},
		"Abort": {func(c *conn.Conn) { c.Abort(errEnough) }, errEnough},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			turn, returned := 0, false
			s.on("OnEvent conn.Connecting{2}", func(c *conn.Conn) {
				k.end(c)
				returned, turn = true, s.Turns()
				assert.Equal(t, conn.StateClosed, c.State())
			})
			s.on("OnConnectFailed", func(*conn.Conn) {
				assert.True(t, returned)
				assert.Greater(t, s.Turns(), turn, "in a later turn")
			})
			s.open(conn.Config{StartTimeout: 30 * time.Second}, conntest.Dialed())
			before := s.Now()
			s.Connecting(1)
			s.Connecting(2)
			s.want("without waiting", "OnEvent conn.Connecting{1}", "OnEvent conn.Connecting{2}", "OnConnectFailed...")
			assert.Equal(t, before, s.Now())
			failed := connectError(t, s.ends.failed, conn.StageClosed)
			if k.err != nil {
				assert.ErrorIs(t, failed, k.err)
			}
			closed, _ := s.Closed()
			assert.True(t, closed, "both attempts are given up")
			s.Connecting(1)
			s.Connected()
			s.Fail(conn.StageDial, syscall.ECONNREFUSED)
			s.want("what the attempts still say is too late")
		})
	}
	t.Run("an attempt that succeeds before that is told", func(t *testing.T) {
		s := newScene(t)
		s.on("OnEvent", (*conn.Conn).Close)
		s.open(conn.Config{}, conntest.Dialed(), conntest.Manual())
		s.Connecting(1)
		s.Turn()
		s.want("closed", "OnEvent conn.Connecting{1}")
		s.Driver().Connecting(2)
		s.Driver().Failed(conn.StageDial, syscall.ECONNREFUSED)
		s.Driver().Connected()
		s.Settle()
		s.want("is too late, too", "OnConnectFailed...")
		connectError(t, s.ends.failed, conn.StageClosed)
	})
}

func TestDIAL12_SendWhileConnecting(t *testing.T) {
	s := newScene(t)
	s.on("OnEvent", func(c *conn.Conn) {
		require.Equal(t, conn.StateConnecting, c.State())
		s.refused(c, conn.ErrNotConnected)
		c.Pause()
		c.Resume()
		c.Flush()
		c.CloseWrite()
		assert.Zero(t, c.StartTimer(time.Second))
	})
	s.on("OnConnected", func(c *conn.Conn) { assert.EqualValues(t, 1, s.send(c, "first")) })
	s.open(conn.Config{}, conntest.Dialed())
	s.Connecting(1)
	s.Connected()
	s.want("connected", "OnEvent...", "OnConnected", "OnSent 1")
	assert.Equal(t, "first", s.Wire())
	s.Advance(time.Hour)
	assert.False(t, s.FIN())
}

func TestDIAL15_ACancelledContext(t *testing.T) {
	t.Run("while dialing", func(t *testing.T) {
		s := openScene(t, conn.Config{}, conntest.Dialed())
		s.Connecting(1)
		s.Fail(conn.StageClosed, context.Canceled)
		s.want("over", "OnEvent...", "OnConnectFailed...")
		assert.ErrorIs(t, s.ends.failed, context.Canceled)
	})
	t.Run("later", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("hello", hello)}}, conntest.Dialed())
		s.Connected()
		s.Fail(conn.StageClosed, context.Canceled)
		s.Feed("OK")
		s.Fail(conn.StageClosed, context.Canceled)
		s.want("nothing happens to it", "OnConnected")
		assert.Equal(t, conn.StateConnected, s.Conn().State())
	})
}
