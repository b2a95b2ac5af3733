//go:build linux

package actor_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// Upgrades of an open connection, on real sockets, with layers that stand for TLS.

// relay passes bytes on between one client and addr. passed tells what bytes there were, in the order in which they came.
func relay(t *testing.T, addr string) (at string, passed func() string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	seen := new(logBook)
	ends := make(chan net.Conn, 2)
	running.Go(func() {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		ends <- near
		far, err := net.Dial("tcp", addr)
		if !assert.NoError(t, err) {
			return
		}
		ends <- far
		pass := func(to, from net.Conn) {
			_, _ = io.Copy(to, io.TeeReader(from, seen))
			_ = to.(*net.TCPConn).CloseWrite()
		}
		running.Go(func() { pass(near, far) })
		pass(far, near)
	})
	t.Cleanup(func() {
		_ = ln.Close()
		for len(ends) > 0 {
			_ = (<-ends).Close()
		}
		running.Wait()
	})
	return ln.Addr().String(), seen.String
}

func linesConfig() conn.Config { return conn.Config{Split: frame.Lines(100)} }

func TestUPG1_UpgradeOfBothSides(t *testing.T) {
	const rounds = 100
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		upgrade := func(p *probe) { assert.NoError(t, p.Conn().Upgrade(newMasked)) }
		s := f.serve(actor.ListenConfig{Conn: linesConfig()}, func(p *probe) {
			p.onReceived = func(p *probe, line []byte) error {
				if string(line) == "STARTTLS" {
					return echo(p, []byte("220 go\r\n"))
				}
				return echo(p, []byte("Pong\n"))
			}
			p.onSent = func(p *probe, token conn.SendToken) {
				if token == 1 {
					upgrade(p)
				}
			}
		})
		at, passed := relay(t, s.Addr().String())
		ping := func(p *probe) { assert.NoError(t, echo(p, []byte("Ping\n"))) }
		p := &probe{onConnected: func(p *probe) { assert.NoError(t, echo(p, []byte("STARTTLS\r\n"))) }}
		p.onEvent = func(p *probe, ev any) {
			if _, ok := ev.(conn.Upgraded); ok {
				p.note("upgraded")
				ping(p)
			}
		}
		p.onReceived = func(p *probe, line []byte) error {
			switch {
			case string(line) == "220 go":
				upgrade(p)
			case p.count("OnReceived Pong") < rounds:
				ping(p)
			default:
				p.Conn().Close()
			}
			return nil
		}
		f.call(at, p, actor.DialConfig{Conn: linesConfig()})
		p.closedInOrder(t)
		q := s.next()
		q.closedInOrder(t)
		assert.Equal(t, rounds, p.count("OnReceived Pong"))
		assert.Equal(t, rounds, q.count("OnReceived Ping"))
		assert.Equal(t, 1, p.count("upgraded"))
		assert.Equal(t, 1, q.count("OnEvent"))
		for _, one := range []*probe{p, q} {
			assert.Equal(t, 1, one.count("OnConnected"))
		}
		plain, rest, _ := strings.Cut(passed(), "220 go\r\n")
		assert.Equal(t, "STARTTLS\r\n", plain)
		assert.Equal(t, rounds, strings.Count(rest, string(mask([]byte("Ping\n")))))
		for _, word := range []string{"Ping", "Pong", "\n"} {
			assert.NotContains(t, rest, word)
		}
	})
}

func TestUPG2_UpgradeIsRefusedWhilePlainBytesAreUndelivered(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: linesConfig()}, func(p *probe) {
			p.onReceived = func(p *probe, line []byte) error {
				if string(line) != "STARTTLS" {
					return echo(p, []byte("250 ok\r\n"))
				}
				var refused *conn.UpgradeError
				if assert.ErrorAs(t, p.Conn().Upgrade(newMasked), &refused) {
					assert.Equal(t, len("RSET\r\n"), refused.Unread)
				}
				return nil
			}
		})
		c, p := s.open()
		c.send("STARTTLS\r\nRSET\r\n")
		c.expect("250 ok\r\n")
		p.await(t, "OnSent 1")
		assert.Equal(t, []string{"OnReceived STARTTLS", "OnReceived RSET", "OnSent 1"}, p.notes()[2:])
	})
}

func TestUPG3_UpgradeIsRefusedWhileASendIsUnsettled(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: linesConfig()}, func(p *probe) {
			p.onReceived = func(p *probe, line []byte) error {
				if string(line) != "STARTTLS" {
					return echo(p, []byte("250 ok\r\n"))
				}
				assert.NoError(t, echo(p, []byte("220 go\r\n")))
				var refused *conn.UpgradeError
				if assert.ErrorAs(t, p.Conn().Upgrade(newMasked), &refused) {
					assert.Equal(t, 1, refused.Unsent)
				}
				return nil
			}
			p.onSent = func(p *probe, token conn.SendToken) {
				if token == 1 {
					assert.NoError(t, p.Conn().Upgrade(newMasked))
				}
			}
		})
		c, p := s.open()
		c.send("STARTTLS\r\n")
		c.expect("220 go\r\n")
		p.await(t, "OnEvent")
		c.send(string(mask([]byte("NOOP\r\n"))))
		c.expect(string(mask([]byte("250 ok\r\n"))))
		assert.Equal(t, 1, p.count("OnConnected"))
	})
}

var errHello = errors.New("this is not a hello")

// A hello is a layer that is ready when it has heard "hello", and fails if it hears something else.
type hello struct {
	interceptor.Pass
	open   bool
	closed *atomic.Int32
}

func (*hello) Open(interceptor.Link) error { return nil }
func (h *hello) Up(l interceptor.Link, p []byte) error {
	switch {
	case h.open:
		return l.Up(p)
	case string(p) != "hello":
		return errHello
	}
	h.open = true
	l.Ready()
	return nil
}
func (h *hello) Close() { h.closed.Add(1) }

// upgrading opens a connection that is being upgraded with a hello.
func (f *fixture) upgrading(cfg conn.Config, set func(p *probe)) (c *peer, p *probe, closed *atomic.Int32) {
	f.t.Helper()
	closed = new(atomic.Int32)
	s := f.serve(actor.ListenConfig{Conn: cfg}, func(p *probe) {
		p.onReceived = func(p *probe, data []byte) error {
			if string(data) == "up" {
				p.note("upgrading")
				return p.Conn().Upgrade(func() interceptor.Interceptor { return &hello{closed: closed} })
			}
			return nil
		}
		if set != nil {
			set(p)
		}
	})
	c, p = s.open()
	c.send("up")
	p.await(f.t, "upgrading")
	return c, p, closed
}

func TestUPG5_AnUpgradeThatFails(t *testing.T) {
	const limit = 300 * time.Millisecond
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		began := time.Now()
		_, p, layer := f.upgrading(conn.Config{StartTimeout: limit}, nil)
		silent := p.closeError(t)
		onTime(t, began, limit)
		assert.Equal(t, conn.CauseTimeout, silent.Cause)
		assert.True(t, silent.Timeout())
		assert.Equal(t, "OnReceived up,upgrading,OnClosed,Stopping,Stopped", last(p, 5))
		assert.EqualValues(t, 1, layer.Load())

		c, p, layer := f.upgrading(conn.Config{}, nil)
		c.send("XXXXXXXXXX")
		wrong := p.closeError(t)
		assert.Equal(t, conn.CauseLayer, wrong.Cause)
		assert.ErrorIs(t, wrong, errHello)
		assert.Equal(t, "OnReceived up,upgrading,OnClosed,Stopping,Stopped", last(p, 5))
		assert.EqualValues(t, 1, layer.Load())
	})
}

func TestUPG7_CloseAndAbortWhileUpgrading(t *testing.T) {
	const limit = 300 * time.Millisecond
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		_, p, layer := f.upgrading(conn.Config{CloseTimeout: limit}, nil)
		began := time.Now()
		p.tell(&actor.Close{})
		assert.True(t, p.closeError(t).Timeout())
		onTime(t, began, limit)
		assert.Equal(t, 1, p.count("OnClosed"))
		assert.EqualValues(t, 1, layer.Load())

		_, p, layer = f.upgrading(conn.Config{}, nil)
		began = time.Now()
		p.tell(&actor.Abort{})
		assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
		assert.Less(t, time.Since(began), time.Second)
		assert.Equal(t, 1, p.count("OnClosed"))
		assert.EqualValues(t, 1, layer.Load())

		c, p, layer := f.upgrading(conn.Config{}, func(p *probe) {
			p.onEvent = func(p *probe, ev any) {
				assert.IsType(t, conn.Upgraded{}, ev)
				p.Conn().Abort(nil)
			}
		})
		c.send("hello")
		assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
		assert.Equal(t, "OnReceived up,upgrading,OnEvent,OnClosed,Stopping,Stopped", last(p, 6))
		assert.EqualValues(t, 1, layer.Load())
	})
}
