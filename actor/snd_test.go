//go:build linux

package actor_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// Sending, on real sockets; see flow_test.go, too.

// sends makes p do f when it hears a message.
func sends(f func(c *conn.Conn)) func(*probe) {
	return func(p *probe) {
		p.receive = func(p *probe, ctx proto.Context) {
			if ctx.Message() == "go" {
				f(p.Conn())
			}
		}
	}
}

func TestSND2_SendsOfOneTurn(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, sends(func(c *conn.Conn) {
			for i, what := range []string{"one", "two", "three"} {
				token, err := c.Send([]byte(what))
				assert.NoError(t, err)
				assert.EqualValues(t, i+1, token)
			}
		}))
		c, p := s.open()
		p.tell("go")
		c.expect("onetwothree")
		p.awaitN(t, 3, "OnSent", patience)
		assert.Equal(t, []string{"Started", "OnConnected", "string", "OnSent 1", "OnSent 2", "OnSent 3"}, p.notes())
	})
}

func TestSND3_SeveralBuffersAreOneSend(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, sends(func(c *conn.Conn) {
			first, err1 := c.Send([]byte("Hello"), []byte(", "), []byte("world!"))
			second, err2 := c.Send([]byte("Hello"), nil, []byte{}, []byte("world"))
			assert.NoError(t, errors.Join(err1, err2))
			assert.Equal(t, []conn.SendToken{1, 2}, []conn.SendToken{first, second})
		}))
		c, p := s.open()
		p.tell("go")
		c.expect("Hello, world!Helloworld")
		p.await(t, "OnSent 2")
		assert.Equal(t, 2, p.count("OnSent"))
	})
}

func TestSND5_TheCallerMayChangeItsBytesAfterSend(t *testing.T) {
	for _, size := range []int{5, 256_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(stuckConfig(), sends(func(c *conn.Conn) {
					b := pattern(size)
					_, err := c.Send(b)
					assert.NoError(t, err)
					copy(b, bytes.Repeat([]byte{'Z'}, size))
					if size > 65_536 {
						if !w.portable { // there it is written soon, from a copy
							assert.Positive(t, c.Stats().BytesWritten, "it was written in part")
						}
						assert.Less(t, c.Stats().BytesWritten, uint64(size))
					}
				}))
				c := s.dialWith(smallReader)
				p := s.next()
				p.await(t, "OnConnected")
				p.tell("go")
				p.await(t, "string")
				assert.Equal(t, pattern(size), c.take(size))
				p.awaitN(t, 1, "OnSent 1", slow)
			})
		})
	}
}

func TestSND13_SendWhenThereIsNoConnection(t *testing.T) {
	refused := func(t *testing.T, c *conn.Conn) {
		_, err := c.Send([]byte("x"))
		assert.Equal(t, conn.ErrNotConnected, err)
		assert.ErrorIs(t, err, net.ErrClosed)
	}
	for _, other := range []error{conn.ErrNotReady, conn.ErrNotWriteable, conn.ErrTooLarge} {
		assert.NotErrorIs(t, other, net.ErrClosed)
	}
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				return echo(p, data)
			}
			p.receive = func(p *probe, ctx proto.Context) {
				switch ctx.Message() {
				case "close":
					p.Conn().Close()
				case "abort":
					p.Conn().Abort(nil)
				default:
					return
				}
				refused(t, p.Conn())
			}
			p.onClosed = func(p *probe, _ error) { refused(t, p.Conn()) }
		})
		for _, how := range []string{"close", "abort"} {
			c, p := s.open()
			c.send(how)
			c.expect(how)
			p.await(t, "OnSent 1")
			p.tell(how)
			if how == "close" {
				require.NoError(t, c.CloseWrite())
			}
			p.await(t, "Stopped")
			assert.Equal(t, "OnClosed,Stopping,Stopped", last(p, 3))
			assert.Equal(t, 1, p.count("OnSent 1"), "it was sent before")
			assert.Equal(t, 1, p.count("OnSent"), "the refused ones have no outcome")
			assert.Zero(t, p.count("OnSendFailed"))
		}
		p := &probe{onFailed: func(p *probe, _ error) { refused(t, p.Conn()) }}
		f.call(deadAddr(t), p, actor.DialConfig{})
		p.connectError(t)
		assert.Equal(t, "OnConnectFailed,Stopping,Stopped", last(p, 3))
	})
}

func TestSND21_AConnIsAWriter(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(stuckConfig(), sends(func(c *conn.Conn) {
			_, err := c.Send([]byte("before "))
			assert.NoError(t, err)
			n, err := fmt.Fprintf(c, "%d bytes ", 42)
			assert.NoError(t, err)
			assert.Equal(t, len("42 bytes "), n)
			_, err = c.Send([]byte("after "), pattern(256_000))
			assert.NoError(t, err)
			n, err = fmt.Fprint(c, "refused")
			assert.Zero(t, n)
			assert.Equal(t, conn.ErrNotWriteable, err)
		}))
		c := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnConnected")
		p.tell("go")
		c.expect("before 42 bytes after ")
		assert.Equal(t, pattern(256_000), c.take(256_000))
		p.awaitN(t, 3, "OnSent", slow)
		p.tell(&actor.Close{})
		rest, err := c.rest(patience)
		assert.NoError(t, err)
		assert.Empty(t, rest)
	})
}
