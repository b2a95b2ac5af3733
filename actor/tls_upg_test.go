//go:build linux

package actor_test

import (
	stdtls "crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/tls"
)

// STARTTLS, with the layer that it is for.

func TestUPG1_STARTTLSOfBothSides(t *testing.T) {
	const rounds = 100
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: linesConfig()}, func(p *probe) {
			p.onReceived = func(p *probe, line []byte) error {
				if string(line) == "STARTTLS" {
					return echo(p, []byte("220 go\r\n"))
				}
				return echo(p, []byte("Pong\n"))
			}
			p.onSent = func(p *probe, token conn.SendToken) {
				if token == 1 {
					assert.NoError(t, p.Conn().Upgrade(tls.Server(ours.server(nil))))
				}
			}
			p.onEvent = func(p *probe, ev any) {
				if _, ok := ev.(conn.Upgraded); ok {
					p.note("upgraded")
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
				assert.NoError(t, p.Conn().Upgrade(tls.Client(ours.client(nil))))
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
		for _, one := range []*probe{p, q} {
			assert.Equal(t, 1, one.count("OnConnected"))
			assert.Equal(t, 1, one.count("upgraded"))
		}
		plain, rest, _ := strings.Cut(passed(), "220 go\r\n")
		assert.Equal(t, "STARTTLS\r\n", plain)
		for _, word := range []string{"Ping", "Pong"} {
			assert.NotContains(t, rest, word)
		}
	})
}

// starttls is a server that upgrades when it is asked to, with refused being told why it could not.
func (f *fixture) starttls(ours *certified, refused func(p *probe, err error)) *server {
	f.t.Helper()
	return f.serve(actor.ListenConfig{Conn: linesConfig()}, func(p *probe) {
		var go220 conn.SendToken
		p.onReceived = func(p *probe, line []byte) (err error) {
			if string(line) != "STARTTLS" {
				return echo(p, append([]byte("250 "), append(line, '\r', '\n')...))
			}
			go220, err = p.Conn().Send([]byte("220 go\r\n"))
			return err
		}
		p.onSent = func(p *probe, token conn.SendToken) {
			if token == go220 {
				if err := p.Conn().Upgrade(tls.Server(ours.server(nil))); err != nil {
					refused(p, err)
				}
			}
		}
	})
}

// CVE-2021-23222, and CVE-2011-0411 before it: a command that somebody puts behind STARTTLS, in clear text, must not be
// taken for one that came under its protection.
func TestUPG2_AnInjectedCommand(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: linesConfig()}, func(p *probe) {
			p.onReceived = func(p *probe, line []byte) error {
				if string(line) != "STARTTLS" {
					return echo(p, []byte("250 ok\r\n"))
				}
				var refused *conn.UpgradeError
				if assert.ErrorAs(t, p.Conn().Upgrade(tls.Server(ours.server(nil))), &refused) {
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

		// With the answer between them, the injected command is answered in clear text, where the victim sees it, or ends
		// the connection; it is never delivered after the handshake.
		var why error
		injected := f.starttls(ours, func(p *probe, err error) { why = err; p.Conn().Abort(err) })
		c, p = injected.open()
		c.send("STARTTLS\r\nRSET\r\n")
		got, _ := c.rest(slow)
		assert.Contains(t, []string{"220 go\r\n250 RSET\r\n", "220 go\r\n"}, string(got))
		p.await(t, "OnClosed")
		var refused *conn.UpgradeError
		if why != nil {
			require.ErrorAs(t, why, &refused)
		}
		assert.Zero(t, p.count("OnEvent"), "there was no TLS")
	})
}

func TestUPG3_STARTTLSBehindAnUnsettledSend(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: linesConfig()}, func(p *probe) {
			upgrade := func() error { return p.Conn().Upgrade(tls.Server(ours.server(nil))) }
			p.onReceived = func(p *probe, line []byte) error {
				if string(line) != "STARTTLS" {
					return echo(p, []byte("250 ok\r\n"))
				}
				assert.NoError(t, echo(p, []byte("220 go\r\n")))
				var refused *conn.UpgradeError
				if assert.ErrorAs(t, upgrade(), &refused) {
					assert.Equal(t, 1, refused.Unsent)
				}
				return nil
			}
			p.onSent = func(p *probe, token conn.SendToken) {
				if token == 1 {
					assert.NoError(t, upgrade())
				}
			}
		})
		c, p := s.open()
		c.send("STARTTLS\r\n")
		c.expect("220 go\r\n")
		sec := c.over(ours.client(nil))
		sec.send("NOOP\r\n")
		sec.expect("250 ok\r\n")
		assert.Equal(t, 1, p.count("OnConnected"))
	})
}

// upgradingTLS opens a connection that begins TLS, as server or as client, when it hears "up".
func (f *fixture) upgradingTLS(cfg conn.Config, ours *certified, asClient bool, set func(p *probe)) (*peer, *probe) {
	f.t.Helper()
	s := f.serve(actor.ListenConfig{Conn: cfg}, func(p *probe) {
		p.onReceived = func(p *probe, data []byte) error {
			if string(data) != "up" {
				return nil
			}
			p.note("upgrading")
			if asClient {
				return p.Conn().Upgrade(tls.Client(ours.client(nil)))
			}
			return p.Conn().Upgrade(tls.Server(ours.server(nil)))
		}
		if set != nil {
			set(p)
		}
	})
	c, p := s.open()
	c.send("up")
	p.await(f.t, "upgrading")
	return c, p
}

func TestUPG5_STARTTLSThatFails(t *testing.T) {
	const limit = 300 * time.Millisecond
	ours, theirs := certify(t, "ours"), certify(t, "theirs")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		began := time.Now()
		_, p := f.upgradingTLS(conn.Config{StartTimeout: limit}, ours, false, nil)
		silent := p.closeError(t)
		onTime(t, began, limit)
		assert.Equal(t, conn.CauseTimeout, silent.Cause)
		assert.True(t, silent.Timeout())

		for _, asClient := range []bool{false, true} {
			c, p := f.upgradingTLS(conn.Config{}, ours, asClient, nil)
			c.send("XXXXXXXXXX")
			wrong := p.closeError(t)
			assert.Equal(t, conn.CauseLayer, wrong.Cause)
			var shake *tls.HandshakeError
			require.ErrorAs(t, wrong, &shake)
			assert.False(t, shake.Auth)
			assert.Equal(t, "OnReceived up,upgrading,OnClosed,Stopping,Stopped", last(p, 5))
		}

		c, p := f.upgradingTLS(conn.Config{}, ours, true, nil)
		impostor := stdtls.Server(c.TCPConn, theirs.server(nil))
		assert.Equal(t, "tls: bad certificate", alert(impostor.Handshake()))
		wrong := p.closeError(t)
		assert.Equal(t, conn.CauseLayer, wrong.Cause)
		var shake *tls.HandshakeError
		require.ErrorAs(t, wrong, &shake)
		assert.True(t, shake.Auth)
		assert.Equal(t, "OnReceived up,upgrading,OnClosed,Stopping,Stopped", last(p, 5))
	})
}

func TestUPG7_CloseAndAbortWhileSTARTTLSGoesOn(t *testing.T) {
	const limit = 300 * time.Millisecond
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		for _, asClient := range []bool{false, true} {
			_, p := f.upgradingTLS(conn.Config{CloseTimeout: limit}, ours, asClient, nil)
			began := time.Now()
			p.tell(&actor.Close{})
			assert.True(t, p.closeError(t).Timeout())
			onTime(t, began, limit)
			assert.Equal(t, 1, p.count("OnClosed"))

			_, p = f.upgradingTLS(conn.Config{}, ours, asClient, nil)
			began = time.Now()
			p.tell(&actor.Abort{})
			assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
			assert.Less(t, time.Since(began), time.Second)
			assert.Equal(t, 1, p.count("OnClosed"))
		}
		c, p := f.upgradingTLS(conn.Config{}, ours, false, func(p *probe) {
			p.onEvent = func(p *probe, ev any) {
				if _, ok := ev.(conn.Upgraded); ok {
					p.Conn().Abort(nil)
				}
			}
		})
		_, _ = io.Copy(io.Discard, stdtls.Client(c.TCPConn, ours.client(nil)))
		assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
		assert.Equal(t, 1, p.count("OnClosed"))
	})
}
