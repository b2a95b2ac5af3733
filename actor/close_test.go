//go:build linux

package actor_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// The ways in which connections end, on real sockets.

func TestCLS1_BothSidesMayBegin(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		c, p := s.open()
		_ = c.CloseWrite()
		p.await(t, "OnClosed")
		assert.NoError(t, p.err)
		c, p = s.open()
		system.Root.Send(p.self, &actor.Close{})
		_, err := c.rest(patience)
		assert.NoError(t, err)
		_ = c.Close()
		p.await(t, "OnClosed")
		assert.NoError(t, p.err)
		assert.Equal(t, []string{"Started", "OnConnected", "OnEOF", "OnClosed"}, p.notes()[:4])
	})
}

func TestCLS2_CloseBehindSends(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				for range 10 {
					_, err := p.Conn().Send(pattern(1000))
					assert.NoError(t, err)
				}
				p.Conn().Close()
				p.Conn().Close()
				_, err := p.Conn().Send([]byte("x"))
				assert.Equal(t, conn.ErrNotConnected, err)
				assert.ErrorIs(t, err, net.ErrClosed)
				return err // while closing it only ends delivery
			}
		})
		c, p := s.open()
		c.send("go")
		got, err := c.rest(patience)
		require.NoError(t, err)
		assert.Len(t, got, 10_000)
		_ = c.Close()
		p.await(t, "Stopped")
		assert.Equal(t, 10, p.count("OnSent"))
		assert.NoError(t, p.err)
	})
}

func TestCLS5_CloseTimeoutWhileDraining(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := stuckConfig()
		cfg.Conn.CloseTimeout = 300 * time.Millisecond
		s := f.serve(cfg, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				_, err := p.Conn().Send(pattern(256_000))
				p.Conn().Close()
				return err
			}
		})
		c := s.dialWith(smallReader)
		p := s.next()
		began := time.Now()
		c.send("go")
		p.await(t, "Stopped")
		assert.InDelta(t, 650, time.Since(began).Milliseconds(), 350)
		assert.Equal(t, 1, p.count("OnSendFailed 1"))
		var closed *conn.CloseError
		require.ErrorAs(t, p.err, &closed)
		assert.True(t, closed.Timeout())
		c.expectReset()
	})
}

func TestCLS6_CloseTimeoutOfASilentPeer(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := actor.ListenConfig{Conn: conn.Config{CloseTimeout: 300 * time.Millisecond}}
		s := f.serve(cfg, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				err := echo(p, data)
				p.Conn().Close()
				return err
			}
		})
		c, p := s.open()
		began := time.Now()
		c.send("bye")
		c.expect("bye")
		p.await(t, "Stopped")
		assert.InDelta(t, 650, time.Since(began).Milliseconds(), 350)
		assert.Equal(t, 1, p.count("OnSent"))
		var closed *conn.CloseError
		require.ErrorAs(t, p.err, &closed)
		assert.True(t, closed.Timeout())
	})
}

func TestCLS8_CloseWhileThePeerSends(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const size = 1_000_000
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.onReceived = func(p *probe, _ []byte) error {
				if p.Conn().State() == conn.StateConnected {
					_, err := p.Conn().Send([]byte("BYE"))
					p.Conn().Close()
					return err
				}
				return nil
			}
		})
		c, p := s.open()
		_, err := c.Write(pattern(size))
		require.NoError(t, err)
		c.expect("BYE")
		got, err := c.rest(patience)
		require.NoError(t, err, "no reset")
		assert.Empty(t, got)
		_ = c.Close()
		p.await(t, "Stopped")
		assert.Equal(t, size, p.received)
		assert.NoError(t, p.err)
	})
}

func TestCLS10_HalfClosedClientGetsEverything(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const size = 1 << 20
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			echoes(p)
		})
		c, p := s.open()
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(pattern(size))
			sent <- errors.Join(err, c.CloseWrite())
		}()
		<-time.After(hold) // the client is in no hurry
		got, err := c.rest(slow)
		require.NoError(t, err)
		require.NoError(t, <-sent)
		assert.Equal(t, pattern(size), got)
		p.await(t, "Stopped")
		assert.NoError(t, p.err)
	})
}

func TestCLS11_AnswerInOnEOF(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onEOF = func(p *probe) {
				_, err := p.Conn().Send([]byte("reply"))
				assert.NoError(t, err)
				p.Conn().Close()
			}
		})
		c, p := s.open()
		c.send("request")
		require.NoError(t, c.CloseWrite())
		got, err := c.rest(patience)
		require.NoError(t, err)
		assert.Equal(t, "reply", string(got))
		p.await(t, "Stopped")
		assert.NoError(t, p.err)
	})
}

func TestCLS13_ResetByThePeer(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(stuckConfig(), func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				for _, n := range []int{20_000, 20_000, 256_000} {
					_, err := p.Conn().Send(pattern(n))
					assert.NoError(t, err)
				}
				return nil
			}
		})
		c := s.dialWith(smallReader)
		p := s.next()
		c.send("go")
		p.await(t, "OnThrottled")
		c.reset()
		p.await(t, "Stopped")
		assert.Equal(t, 3, p.count("OnSent ")+p.count("OnSendFailed "))
		assert.Equal(t, 1, p.count("OnSendFailed 3"))
		assert.ErrorIs(t, p.err, syscall.ECONNRESET)
		assert.Zero(t, p.count("OnEOF"))
		assert.Zero(t, p.count("OnUnthrottled"))
	})
}

func TestCLS14_Abort(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		why := errors.New("enough")
		s := f.serve(stuckConfig(), func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				_, err := p.Conn().Send(pattern(256_000))
				return err
			}
			p.onThrottled = func(p *probe) {
				p.Conn().Abort(why)
				p.Conn().Abort(errors.New("the first cause stays"))
				p.Conn().Close()
				assert.Zero(t, p.count("OnClosed"))
			}
		})
		c := s.dialWith(smallReader)
		p := s.next()
		c.send("go")
		p.await(t, "Stopped")
		assert.Equal(t, []string{"OnThrottled", "OnSendFailed 1", "OnClosed", "Stopping", "Stopped"}, p.notes()[3:])
		assert.ErrorIs(t, p.err, why)
		got, err := c.rest(patience)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.Less(t, len(got), 256_000)
	})
}

func TestCLS16_EndInOnConnected(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		for name, end := range map[string]func(c *conn.Conn){"Close": (*conn.Conn).Close, "Abort": func(c *conn.Conn) { c.Abort(nil) }} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{})
				s := f.serve(actor.ListenConfig{}, func(p *probe) { p.onConnected = func(p *probe) { end(p.Conn()) } })
				c := s.dial()
				p := s.next()
				_, _ = c.rest(patience)
				_ = c.Close()
				p.await(t, "Stopped")
				assert.Equal(t, 1, p.count("OnClosed"))
				assert.Zero(t, p.count("OnConnectFailed"))
				assert.Zero(t, p.count("OnReceived"))
			})
		}
	})
}

// TestCLS21 lets descriptors be reused as fast as it goes: no connection may see bytes of another.
func TestCLS21_NoConnectionSeesAnothersBytes(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		const clients, each = 8, 125
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(8)}}, func(p *probe) {
			p.quiet = true
			var mine string
			p.onReceived = func(p *probe, data []byte) error {
				if mine == "" {
					mine = string(data)
				}
				assert.Equal(t, mine, string(data))
				err := echo(p, data)
				if p.received == 5*8 {
					if data[7]%2 == 0 {
						p.Conn().Close()
					} else {
						p.Conn().Abort(nil)
					}
				}
				return err
			}
		})
		before := descriptors()
		var running sync.WaitGroup
		for client := range clients {
			running.Go(func() {
				for i := range each {
					id := []byte{'a' + byte(client), 'a' + byte(i/26), 'a' + byte(i%26), 'x', 'y', 'z', ' ', byte(i)}
					nc, err := net.Dial("tcp", s.Addr().String())
					if !assert.NoError(t, err) {
						return
					}
					_ = nc.SetDeadline(time.Now().Add(patience))
					for range 5 {
						_, _ = nc.Write(id)
					}
					got, err := io.ReadAll(nc)
					assert.True(t, err == nil || errors.Is(err, syscall.ECONNRESET), "%v", err)
					for len(got) >= 8 {
						assert.Equal(t, string(id), string(got[:8]))
						got = got[8:]
					}
					_ = nc.Close()
				}
			})
		}
		running.Wait()
		soon(t, func() bool { return s.Len() == 0 && descriptors() == before }, "descriptors are back")
	})
}
