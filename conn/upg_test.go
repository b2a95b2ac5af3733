package conn_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// secret is a layer that greets, waits for the peer's greeting, and masks all that follows.
func secret(greeting, want string) func(l *sceneLayer) { return secretLayer(greeting, want, true) }

// secretAnswer is the other side of it: it waits first.
func secretAnswer(greeting, want string) func(l *sceneLayer) {
	return secretLayer(greeting, want, false)
}

func secretLayer(greeting, want string, begins bool) func(l *sceneLayer) {
	return func(s *sceneLayer) {
		masker(0x2a)(s)
		opened := s.up
		got := ""
		s.open = func(l interceptor.Link) error {
			if begins {
				return say(l, greeting)
			}
			return nil
		}
		s.up = func(l interceptor.Link, p []byte) error {
			if n := min(len(want)-len(got), len(p)); n > 0 {
				got += string(p[:n])
				p = p[n:]
				if !strings.HasPrefix(want, got) {
					return fmt.Errorf("%w: %q is no greeting", errPart, got)
				}
				if got == want {
					if !begins {
						if err := say(l, greeting); err != nil {
							return err
						}
					}
					l.Ready()
				}
			}
			if len(p) == 0 {
				return nil
			}
			return opened(l, p)
		}
	}
}

func TestUPG1_UpgradeOfBothSides(t *testing.T) {
	const rounds = 100
	client, server := newScene(t), newScene(t)
	var go220 conn.SendToken
	server.on(`OnReceived "STARTTLS"`, func(c *conn.Conn) { go220 = server.send(c, "220 go\r\n") })
	server.on("OnSent", func(c *conn.Conn) {
		if server.all[len(server.all)-1] == fmt.Sprint("OnSent ", go220) {
			assert.NoError(t, c.Upgrade(server.layer("secret", secretAnswer("from the server", "from the client"))))
		}
	})
	server.on(`OnReceived "Ping"`, func(c *conn.Conn) { server.send(c, "Pong\n") })

	client.on("OnConnected", func(c *conn.Conn) { client.send(c, "STARTTLS\r\n") })
	client.on(`OnReceived "220 go"`, func(c *conn.Conn) {
		assert.NoError(t, c.Upgrade(client.layer("secret", secret("from the client", "from the server"))))
	})
	ping := func(c *conn.Conn) { client.send(c, "Ping\n") }
	client.on("OnEvent conn.Upgraded", ping)
	client.on(`OnReceived "Pong"`, func(c *conn.Conn) {
		if client.count(`OnReceived "Pong"`) < rounds {
			ping(c)
		}
	})

	cfg := conn.Config{Split: frame.Lines(100)}
	d := openDuo(t, client, server, cfg, cfg, 1<<16, 1<<16)
	wire := ""
	d.sniff = func(_ *scene, p string) { wire += p }
	d.run()

	assert.Equal(t, rounds, client.count(`OnReceived "Pong"`))
	assert.Equal(t, rounds, server.count(`OnReceived "Ping"`))
	for _, s := range []*scene{client, server} {
		assert.Equal(t, 1, s.count("OnEvent conn.Upgraded"))
		assert.Equal(t, 1, s.count("OnConnected"))
	}
	plain, rest, _ := strings.Cut(wire, "220 go\r\n")
	assert.Equal(t, "STARTTLS\r\n", plain)
	for _, word := range []string{"Ping", "Pong", "STARTTLS", "\n"} {
		assert.NotContains(t, rest, word)
	}
	assert.Contains(t, rest, string(masked([]byte("Ping\n"), 0x2a)), "the sniffer does see them, masked")
}

// upgradeError asserts that err is an UpgradeError, and returns it.
func upgradeError(t *testing.T, err error) *conn.UpgradeError {
	t.Helper()
	var refused *conn.UpgradeError
	if !assert.ErrorAs(t, err, &refused) {
		return new(conn.UpgradeError)
	}
	return refused
}

func TestUPG2_UpgradeIsRefusedWhilePlainBytesAreUndelivered(t *testing.T) {
	s := newScene(t)
	s.once(`OnReceived "STARTTLS"`, func(c *conn.Conn) {
		refused := upgradeError(t, c.Upgrade(s.layer("secret", nil)))
		assert.Equal(t, len("RSET\r\n"), refused.Unread)
		assert.Contains(t, refused.Error(), "6 bytes")
		assert.Equal(t, conn.StateConnected, c.State())
		assert.True(t, c.IsWriteable())
	})
	s.open(conn.Config{Split: frame.Lines(100)})
	s.Feed("STARTTLS\r\nRSET\r\n")
	s.want("in clear text", "OnConnected", `OnReceived "STARTTLS"`, `OnReceived "RSET"`)
	assert.Empty(t, s.layers, "nothing has changed")
	s.doSend("250 ok\r\n")
	assert.Equal(t, "250 ok\r\n", s.Wire())

	t.Run("half a line counts too", func(t *testing.T) {
		s := openScene(t, conn.Config{Split: frame.Lines(100)})
		s.Feed("STARTTLS\r\nRS")
		s.want("one line", "OnConnected", `OnReceived "STARTTLS"`)
		s.Do(func(c *conn.Conn) {
			assert.Equal(t, 2, upgradeError(t, c.Upgrade(s.layer("secret", nil))).Unread)
		})
	})
}

func TestUPG3_UpgradeIsRefusedWhileASendIsUnsettled(t *testing.T) {
	s := newScene(t)
	s.on("OnReceived", func(c *conn.Conn) {
		s.send(c, "220 go\r\n")
		refused := upgradeError(t, c.Upgrade(s.layer("secret", nil)))
		assert.Equal(t, 1, refused.Unsent)
		assert.Contains(t, refused.Error(), "1 send")
	})
	s.on("OnSent 1", func(c *conn.Conn) { assert.NoError(t, c.Upgrade(s.layer("secret", masker(1)))) })
	s.open(conn.Config{Split: frame.Lines(100)})
	s.Feed("STARTTLS\r\n")
	assert.Equal(t, "220 go\r\n", s.Wire(), "in clear text")
	s.want("accepted in OnSent", "OnConnected", `OnReceived "STARTTLS"`, "OnSent 1", "OnEvent conn.Upgraded")

	t.Run("written is not told", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		s.Do(func(c *conn.Conn) {
			s.send(c, "220 go\r\n")
			c.Flush()
			require.Equal(t, "220 go\r\n", s.Wire())
			assert.Equal(t, 1, upgradeError(t, c.Upgrade(s.layer("secret", nil))).Unsent)
		})
		s.Do(func(c *conn.Conn) { assert.NoError(t, c.Upgrade(s.layer("secret", nil))) })
	})
}

func TestUPG4_WhileUpgrading(t *testing.T) {
	s := newScene(t)
	s.rec.Stay = true
	idle, timer := s.clock("OnIdle"), s.clock("OnTimer")
	s.open(conn.Config{})
	s.Do(func(c *conn.Conn) {
		c.SetIdleTimeout(time.Second)
		c.StartTimer(2 * time.Second)
		require.NoError(t, c.Upgrade(s.layer("secret", secret("HI", "OK"))))
		assert.Equal(t, conn.StateUpgrading, c.State())
		s.refused(c, conn.ErrNotReady)
		n, err := c.Write([]byte("x"))
		assert.Zero(t, n)
		assert.Equal(t, conn.ErrNotReady, err)
		again := upgradeError(t, c.Upgrade(s.layer("second", nil)))
		assert.Equal(t, conn.ErrNotReady, again.Err)
	})
	assert.Equal(t, "HI", s.Wire())
	s.Advance(3500 * time.Millisecond)
	assert.Equal(t, seconds(1, 2, 3), *idle)
	assert.Equal(t, seconds(2), *timer)
	require.Equal(t, conn.StateUpgrading, s.Conn().State())
	assert.Len(t, s.layers, 1)
	s.skip()
	s.Feed("OK")
	s.want("then it goes on", "OnEvent conn.Upgraded")
	s.doSend("x")
	assert.Equal(t, string(masked([]byte("x"), 0x2a)), s.Wire())
}

func TestUPG5_AnUpgradeThatFails(t *testing.T) {
	prepare := func(t *testing.T) *scene {
		s := openScene(t, conn.Config{StartTimeout: 2 * time.Second})
		s.Advance(time.Minute) // StartTimeout counts from Upgrade
		s.Do(func(c *conn.Conn) { require.NoError(t, c.Upgrade(s.layer("secret", secret("HI", "OK")))) })
		s.want("upgrading", "OnConnected")
		return s
	}
	t.Run("a silent peer", func(t *testing.T) {
		s := prepare(t)
		s.Advance(1999 * time.Millisecond)
		s.want("not early")
		s.Advance(time.Millisecond)
		s.want("at 2 s", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseTimeout)
		assert.ErrorContains(t, s.ends.closed, "StartTimeout")
	})
	t.Run("another protocol", func(t *testing.T) {
		s := prepare(t)
		s.Feed("XXXXXXXXXX")
		s.want("at once", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseLayer)
		assert.ErrorIs(t, s.ends.closed, errPart)
		assert.Empty(t, s.rec.Received())
	})
	t.Run("a peer that is not trusted", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{})
		s.Do(func(c *conn.Conn) {
			require.NoError(t, c.Upgrade(s.layer("judge", func(l *sceneLayer) {
				l.open = func(interceptor.Link) error { return nil }
				l.up = func(l interceptor.Link, p []byte) error {
					if err := say(l, "alert"); err != nil {
						return err
					}
					return fmt.Errorf("%w: the certificate names another", errPart)
				}
			})))
		})
		s.Feed("certificate")
		require.Equal(t, "alert", s.Wire(), "last words")
		s.FeedEOF()
		s.want("the layer's error", "OnConnected", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseLayer)
		assert.ErrorIs(t, s.ends.closed, errPart)
		assert.Empty(t, s.rec.Received())
	})
	t.Run("the layer's Open fails", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{})
		s.Do(func(c *conn.Conn) {
			assert.NoError(t, c.Upgrade(s.layer("broken", func(l *sceneLayer) {
				l.open = func(interceptor.Link) error { return errPart }
			})), "only what is refused without a trace is an UpgradeError")
			s.refused(c, conn.ErrNotReady)
		})
		s.want("OnClosed follows", "OnConnected", "OnClosed...")
		assert.ErrorIs(t, s.ends.closed, errPart)
	})
	t.Run("the peer ends", func(t *testing.T) {
		s := prepare(t)
		s.FeedEOF()
		s.want("cut short", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseTruncated)
	})
	t.Run("the peer ends, and there was a layer before", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("first", nil)}})
		s.Do(func(c *conn.Conn) { require.NoError(t, c.Upgrade(s.layer("secret", secret("HI", "OK")))) })
		s.FeedEOF()
		s.want("cut short", "OnConnected", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseTruncated)
	})
}

func TestUPG6_UpgradeInEveryOtherState(t *testing.T) {
	refuse := func(s *scene, c *conn.Conn, state conn.State) {
		require.Equal(s.t, state, c.State())
		refused := upgradeError(s.t, c.Upgrade(func() interceptor.Interceptor {
			s.t.Error("a layer was made")
			return interceptor.Pass{}
		}))
		assert.Error(s.t, refused.Err)
		assert.Equal(s.t, state, c.State())
	}
	t.Run("connecting", func(t *testing.T) {
		s := newScene(t)
		s.on("OnEvent", func(c *conn.Conn) { refuse(s, c, conn.StateConnecting) })
		s.open(conn.Config{}, conntest.Dialed())
		s.Connecting(1)
		s.want("asked", "OnEvent...")
	})
	t.Run("handshaking", func(t *testing.T) {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("secret", secret("HI", "OK"))}})
		asked := false
		s.Do(func(c *conn.Conn) { refuse(s, c, conn.StateStarting); asked = true })
		assert.True(t, asked)
	})
	t.Run("closing and closed", func(t *testing.T) {
		s := newScene(t)
		s.on("OnClosed", func(c *conn.Conn) {
			refuse(s, c, conn.StateClosed)
			assert.ErrorIs(t, c.Upgrade(nil), net.ErrClosed)
		})
		s.open(conn.Config{})
		s.Do(func(c *conn.Conn) {
			c.Close()
			refuse(s, c, conn.StateClosing)
		})
		s.FeedEOF()
		s.want("asked", "OnConnected", "OnEOF", "OnClosed")
	})
	t.Run("half closed, and without a factory", func(t *testing.T) {
		s := openScene(t, conn.Config{})
		s.Do(func(c *conn.Conn) {
			assert.Error(t, upgradeError(t, c.Upgrade(nil)).Err)
			c.CloseWrite()
			refuse(s, c, conn.StateConnected)
		})
	})
}

func TestUPG7_CloseAndAbortWhileUpgrading(t *testing.T) {
	prepare := func(t *testing.T) *scene {
		s := openScene(t, conn.Config{CloseTimeout: time.Second})
		s.Do(func(c *conn.Conn) { require.NoError(t, c.Upgrade(s.layer("secret", secret("HI", "OK")))) })
		require.Equal(t, conn.StateUpgrading, s.Conn().State())
		s.skip()
		return s
	}
	t.Run("Close with a silent peer", func(t *testing.T) {
		s := prepare(t)
		s.Do((*conn.Conn).Close)
		s.Advance(999 * time.Millisecond)
		s.want("not early")
		s.Advance(time.Millisecond)
		s.want("within CloseTimeout", "OnClosed...")
	})
	t.Run("Close, and the peer ends", func(t *testing.T) {
		s := prepare(t)
		s.Do((*conn.Conn).Close)
		require.True(t, s.FIN())
		s.FeedEOF()
		require.Equal(t, 1, s.count("OnClosed"))
	})
	t.Run("Close, and the upgrade is ready late", func(t *testing.T) {
		s := prepare(t)
		s.Do((*conn.Conn).Close)
		s.Feed("OK")
		assert.Zero(t, s.count("OnEvent"))
		s.FeedEOF()
		require.Equal(t, 1, s.count("OnClosed"))
		assert.Zero(t, s.count("OnEvent"))
	})
	t.Run("Close between ready and told", func(t *testing.T) {
		s := openScene(t, conn.Config{}, conntest.Manual())
		s.Settle()
		s.Do(func(c *conn.Conn) { require.NoError(t, c.Upgrade(s.layer("secret", nil))); c.Close() })
		s.Settle()
		s.FeedEOF()
		s.Settle()
		s.want("no Upgraded", "OnConnected", "OnEOF", "OnClosed")
	})
	t.Run("Abort", func(t *testing.T) {
		s := prepare(t)
		s.Do(func(c *conn.Conn) { c.Abort(errEnough) })
		s.want("at once", "OnClosed...")
		assertClosed(t, s.ends.closed, conn.CauseAbort)
	})
	t.Run("Abort in OnEvent", func(t *testing.T) {
		s := prepare(t)
		s.on("OnEvent conn.Upgraded", func(c *conn.Conn) { c.Abort(errEnough) })
		s.Feed("OK")
		s.want("after the event", "OnEvent conn.Upgraded", "OnClosed...")
		assert.ErrorIs(t, s.ends.closed, errEnough)
		assert.Equal(t, 1, s.layers[0].closes)
	})
}

func TestUPG8_ALayerThatIsReadyAtOnce(t *testing.T) {
	s := openScene(t, conn.Config{})
	s.doSend("plain")
	s.skip()
	turn := 0
	var layer *sceneLayer
	s.Do(func(c *conn.Conn) {
		turn = s.Turns()
		require.NoError(t, c.Upgrade(s.layer("prefix", wrapper("1234", ""))))
		layer = s.layers[0]
		s.refused(c, conn.ErrNotReady)
	})
	s.want("in a later turn", "OnEvent conn.Upgraded")
	assert.Greater(t, s.turnOf["OnEvent conn.Upgraded"], turn)
	s.doSend("next")
	assert.Equal(t, "plain1234next", s.Wire())
	s.Feed("1234back")
	s.want("both ways", "OnSent 2", `OnReceived "back"`)
	found, ok := interceptor.Find[*sceneLayer](s.Conn().Layers())
	require.True(t, ok)
	assert.Same(t, layer, found)
	assert.Equal(t, 1, s.count("OnConnected"))
	s.Advance(time.Hour)
	s.want("StartTimeout ended with it")

	t.Run("twice", func(t *testing.T) {
		s.Do(func(c *conn.Conn) { require.NoError(t, c.Upgrade(s.layer("second", wrapper("[", "]")))) })
		s.doSend("x")
		assert.Equal(t, "1234[x]", s.Wire())
		s.want("again", "OnEvent conn.Upgraded", "OnSent 3")
	})
	t.Run("an error in between is none of Upgrade", func(t *testing.T) {
		s.Do(func(c *conn.Conn) { c.Abort(errors.New("enough of it")) })
		s.want("over", "OnClosed...")
		for _, l := range s.layers {
			assert.Equal(t, 1, l.closes)
		}
	})
}
