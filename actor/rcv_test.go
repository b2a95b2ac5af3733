//go:build linux

package actor_test

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

// Receiving and framing, on real sockets.

func TestRCV4_WithoutASplit(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		var got []byte
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.onReceived = func(_ *probe, data []byte) error {
				assert.NotEmpty(t, data)
				got = append(got, data...)
				return nil
			}
		})
		c, p := s.open()
		_, err := c.Write(pattern(100_000))
		require.NoError(t, err)
		require.NoError(t, c.CloseWrite())
		p.closedInOrder(t)
		assert.Equal(t, pattern(100_000), got)
	})
}

func TestRCV6_AFrameThatIsAnnouncedTooLong(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		var got []byte
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: frame.Prefixed(4, 1000)}}, func(p *probe) {
			p.onReceived = func(_ *probe, data []byte) error {
				got = append(got, data...)
				return nil
			}
		})
		c, p := s.open()
		c.send(string(frame.AppendPrefix(nil, 4, 1000)) + string(pattern(1000)))
		p.await(t, "OnReceived")
		c.send(string(frame.AppendPrefix(nil, 4, 1001))) // and no byte of its body
		closed := p.closeError(t)
		assert.Equal(t, conn.CauseFrame, closed.Cause)
		assert.ErrorIs(t, closed, bufio.ErrTooLong)
		assert.ErrorContains(t, closed, "1001")
		assert.ErrorContains(t, closed, "1000")
		assert.Equal(t, pattern(1000), got)
		assert.Equal(t, 1, p.count("OnReceived"))
		c.expectReset()
	})
}

func TestRCV8_ManyFramesAndOneLargeFrame(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		frames := 0
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(1000)}}, func(p *probe) {
			p.quiet = true
			p.onReceived = func(_ *probe, data []byte) error {
				assert.Equal(t, bytes.Repeat([]byte{byte(frames)}, 1000), data)
				frames++
				return nil
			}
		})
		c, p := s.open()
		var all []byte
		for n := range 100 {
			all = append(all, bytes.Repeat([]byte{byte(n)}, 1000)...)
		}
		_, err := c.Write(all)
		require.NoError(t, err)
		require.NoError(t, c.CloseWrite())
		p.closedInOrder(t)
		assert.Equal(t, 100, frames)

		var large []byte
		const size = 1_000_000
		s = f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(size), MaxFrame: size}}, func(p *probe) {
			p.onReceived = func(_ *probe, data []byte) error {
				large = append(large, data...)
				return nil
			}
		})
		c, p = s.open()
		_, err = c.Write(pattern(size))
		require.NoError(t, err)
		require.NoError(t, c.CloseWrite())
		p.closedInOrder(t)
		assert.Equal(t, 1, p.count("OnReceived"))
		assert.True(t, bytes.Equal(pattern(size), large))
	})
}

func TestRCV9_NothingIsDeliveredAfterAbort(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				p.Conn().Abort(nil)
				return nil
			}
		})
		c, p := s.open()
		c.send("AAAABBBB")
		assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
		stays(t, func() bool { return p.count("On") == 3 }, "it is over")
		assert.Equal(t, []string{"Started", "OnConnected", "OnReceived AAAA", "OnClosed", "Stopping", "Stopped"}, p.notes())
		c.expectReset()
	})
}

func TestRCV10_AnErrorFromOnReceived(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		why := errors.New("this frame makes no sense")
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(*probe, []byte) error { return why }
		})
		c, p := s.open()
		c.send("AAAABBBB")
		closed := p.closeError(t)
		assert.Equal(t, conn.CauseHandler, closed.Cause)
		assert.ErrorIs(t, closed, why)
		assert.Equal(t, []string{"Started", "OnConnected", "OnReceived AAAA", "OnClosed", "Stopping", "Stopped"}, p.notes())
		c.expectReset()
	})
}

func TestRCV14_SetSplitAppliesToBytesAlreadyRead(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if string(data) == "LEN8" {
					p.Conn().SetSplit(fixed(8))
				}
				return nil
			}
		})
		c, p := s.open()
		c.send("LEN8abcdefgh")
		p.awaitN(t, 2, "OnReceived", patience)
		c.send("ijklmnop")
		p.awaitN(t, 3, "OnReceived", patience)
		assert.Equal(t, []string{"OnReceived LEN8", "OnReceived abcdefgh", "OnReceived ijklmnop"}, p.notes()[2:])
	})
}

func TestRCV18_AStreamThatEndsInsideAFrame(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, nil)
		c, p := s.open()
		c.send("AAAABB")
		require.NoError(t, c.CloseWrite())
		_, err := c.rest(patience)
		require.NoError(t, err)
		assert.Equal(t, conn.CauseTruncated, p.closeError(t).Cause)
		assert.Equal(t, []string{"OnReceived AAAA", "OnEOF", "OnClosed"}, p.notes()[2:5])

		s = f.serve(actor.ListenConfig{Conn: conn.Config{Split: bufio.ScanLines}}, nil)
		c, p = s.open()
		c.send("a\nb")
		require.NoError(t, c.CloseWrite())
		p.closedInOrder(t)
		assert.Equal(t, []string{"OnReceived a", "OnReceived b", "OnEOF", "OnClosed"}, p.notes()[2:6])
	})
}
