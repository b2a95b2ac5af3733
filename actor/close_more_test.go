//go:build linux

package actor_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// More ways in which connections end, on real sockets; see close_test.go.

func TestCLS3_CloseLosesNoAcceptedByte(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		c, p := f.fiveSends(func(p *probe) { p.Conn().Close() })
		p.await(t, "OnThrottled")
		got, err := c.rest(slow)
		require.NoError(t, err)
		assert.Equal(t, pattern(2*large+6), got)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
		assert.Equal(t, 5, p.count("OnSent"))
		assert.Zero(t, p.count("OnSendFailed"))
	})
}

func TestCLS4_ASecondCloseChangesNothing(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		again := func(c *conn.Conn) {
			c.Close()
			c.CloseWrite()
			_, err := c.Send([]byte("x"))
			assert.Equal(t, conn.ErrNotConnected, err)
			assert.False(t, c.IsWriteable())
		}
		s := f.serve(actor.ListenConfig{}, sends(again))
		c, p := s.open()
		p.tell("go")
		p.tell("go")
		got, err := c.rest(patience)
		require.NoError(t, err)
		assert.Empty(t, got)
		p.tell("go")
		p.awaitN(t, 3, "string", patience)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
	})
}

func TestCLS7_CloseDeliversWhatWasRead(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				p.Conn().Close()
				return nil
			}
		})
		c, p := s.open()
		c.send("AAAABBBB")
		_, err := c.rest(patience)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
		assert.Equal(t, []string{"OnReceived AAAA", "OnReceived BBBB"}, p.notes()[2:4])
	})
}

func TestCLS9_CloseWriteGoesOnReading(t *testing.T) {
	const size = 1_000_000
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(stuckConfig(), func(p *probe) {
			p.quiet = true
			p.onConnected = func(p *probe) {
				sendNext(t, p, 100_000)
				assert.Positive(t, p.Conn().Stats().Pending)
				p.Conn().CloseWrite()
				_, err := p.Conn().Send([]byte("x"))
				assert.Equal(t, conn.ErrNotConnected, err)
			}
		})
		c := s.dialWith(smallReader)
		p := s.next()
		got, err := c.rest(slow)
		require.NoError(t, err)
		assert.Equal(t, pattern(100_000), got)
		_, err = c.Write(pattern(size))
		require.NoError(t, err)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
		assert.Equal(t, size, p.received)
		assert.Equal(t, 1, p.sent)
		assert.Equal(t, "OnEOF,OnClosed,Stopping,Stopped", last(p, 4))
	})
}

func TestCLS12_AnOnEOFThatDoesNothing(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			sends(func(*conn.Conn) { sendNext(t, p, 100_000) })(p)
			p.onEOF = func(*probe) {}
		})
		c, p := s.open()
		require.NoError(t, c.CloseWrite())
		p.await(t, "OnEOF")
		stays(t, func() bool { return p.count("OnClosed") == 0 }, "it stays open for sending")
		p.tell("go")
		assert.Equal(t, pattern(100_000), c.take(100_000))
		p.await(t, "OnSent 1")
		began := time.Now()
		p.tell(&actor.Close{}) // the client keeps its socket
		p.closedInOrder(t)
		assert.Less(t, time.Since(began), time.Second, "the peer's end is known already")
		rest, err := c.rest(patience)
		assert.NoError(t, err)
		assert.Empty(t, rest)
	})
}

func TestCLS15_TheFirstCauseStays(t *testing.T) {
	first, other := errors.New("the first"), errors.New("another one")
	for name, end := range map[string]func(c *conn.Conn){
		"Abort twice":       func(c *conn.Conn) { c.Abort(first); c.Abort(other) },
		"Close after Abort": func(c *conn.Conn) { c.Abort(first); c.Close() },
		"Abort after Close": func(c *conn.Conn) { c.Close(); c.Abort(first) },
	} {
		t.Run(name, func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(actor.ListenConfig{}, sends(end))
				_, p := s.open()
				began := time.Now()
				p.tell("go")
				closed := p.closeError(t)
				assert.Equal(t, conn.CauseAbort, closed.Cause)
				assert.ErrorIs(t, closed, first)
				assert.NotErrorIs(t, closed, other)
				assert.Less(t, time.Since(began), time.Second)
				stays(t, func() bool { return p.count("OnClosed") == 1 }, "one end")
			})
		})
	}
	t.Run("Abort long after Close", func(t *testing.T) {
		ways(t, func(t *testing.T, w way) {
			f := w.start(t, actor.Config{})
			s := f.serve(actor.ListenConfig{}, nil)
			c, p := s.open()
			p.tell(&actor.Close{})
			_, err := c.rest(patience) // it has sent FIN, and waits 5 s for ours
			require.NoError(t, err)
			began := time.Now()
			p.tell(&actor.Abort{Err: first})
			assert.ErrorIs(t, p.closeError(t), first)
			assert.Less(t, time.Since(began), time.Second)
		})
	})
}

func TestCLS17_OnClosedComesInALaterTurn(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		returned := false
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				p.Conn().Abort(nil)
				returned = true
				return nil
			}
			p.onClosed = func(*probe, error) { assert.True(t, returned) }
		})
		c, p := s.open()
		c.send("x")
		p.closeError(t)

		// A send that completes, and a close that finishes, in one turn: the peer has ended already.
		s = f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onEOF = func(p *probe) {
				assert.NoError(t, echo(p, []byte("x")))
				p.Conn().Close()
			}
		})
		c, p = s.open()
		require.NoError(t, c.CloseWrite())
		c.expect("x")
		p.closedInOrder(t)
		assert.Equal(t, []string{"OnEOF", "OnSent 1", "OnClosed"}, p.notes()[2:5])
	})
}

func TestCLS18_NothingComesAfterOnClosed(t *testing.T) {
	for name, end := range map[string]func(c *conn.Conn){
		"Abort": func(c *conn.Conn) { c.Abort(nil) }, "Close": (*conn.Conn).Close,
	} {
		t.Run(name, func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
					p.onReceived = func(p *probe, _ []byte) error {
						for i := range 10 {
							p.Conn().StartTimer(time.Duration(i) * 40 * time.Millisecond)
							p.Context().Send(p.self, "marker")
						}
						p.Conn().SetIdleTimeout(50 * time.Millisecond)
						p.Conn().Pause()
						end(p.Conn())
						p.Conn().Resume()
						p.Conn().Close()
						return nil
					}
				})
				c, p := s.open()
				c.send("AAAABBBBCC")
				_, _ = c.rest(patience)
				_ = c.Close()
				p.await(t, "Stopped")
				stays(t, func() bool { return last(p, 3) == "OnClosed,Stopping,Stopped" }, "it is over")
			})
		})
	}
}

func TestCLS23_CloseTimeoutIsTheTimeWithoutProgress(t *testing.T) {
	const step = 10_000
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := stuckConfig()
		cfg.Conn.CloseTimeout = 300 * time.Millisecond
		if w.portable { // which hears of progress up to 100 ms later, on top of the steps in which TCP tells of room
			cfg.Conn.CloseTimeout = 900 * time.Millisecond
		}
		c, p := f.stuck(cfg, func(*probe) {}, func(p *probe) {
			sendsLarge(t)(p)
			p.Conn().Close()
		})
		p.await(t, "OnThrottled")
		began := time.Now()
		pace := time.NewTicker(150 * time.Millisecond)
		defer pace.Stop()
		var got []byte
		for p.count("OnSent") == 0 { // then FIN has gone, too, and the reader has CloseTimeout to get there
			<-pace.C
			got = append(got, c.take(step)...)
		}
		rest, err := c.rest(slow)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		assert.Equal(t, pattern(large), append(got, rest...))
		assert.Greater(t, time.Since(began), 2*cfg.Conn.CloseTimeout, "much longer than CloseTimeout")
		p.closedInOrder(t)
		assert.Equal(t, 1, p.count("OnSent 1"))
	})
}
