package conn_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
)

func TestFLT2_PartialWritesOfOneSendThroughALayer(t *testing.T) {
	const header, total = "head", 1015
	sizes := []int{10, 0, 300, 1, 700}
	for n := range total + 1 {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("header", wrapper(header, ""))}})
		s.Allow(0)
		data := big(total - len(header))
		var bufs [][]byte
		for at, rest := 0, sizes; len(rest) > 0; rest = rest[1:] {
			bufs = append(bufs, []byte(data[at:at+rest[0]]))
			at += rest[0]
		}
		s.Do(func(c *conn.Conn) {
			_, err := c.Send(bufs...)
			require.NoError(t, err)
		})
		require.Equal(t, total, s.Conn().Stats().Pending)
		s.Allow(n)
		require.Equal(t, total-n, s.Conn().Stats().Pending)
		wire := s.Wire()
		require.Len(t, wire, n)
		for len(wire) < total {
			require.Zero(t, s.count("OnSent"), "after %d bytes", len(wire))
			s.Allow(7)
			wire += s.Wire()
		}
		require.Equal(t, header+data, wire)
		s.want("once", "OnConnected", "OnSent 1")
		for i, b := range bufs {
			require.Len(t, b, sizes[i])
		}
		require.Equal(t, data, string(bytes.Join(bufs, nil)), "the buffers are unchanged")
	}
}

func TestFLT3_AResetWhileUnwriteable(t *testing.T) {
	for name, end := range map[string]struct {
		happen func(s *scene)
		err    error
	}{
		"a reset":         {func(s *scene) { s.Reset() }, syscall.ECONNRESET},
		"a broken pipe":   {func(s *scene) { s.FailWrite(syscall.EPIPE) }, syscall.EPIPE},
		"a failing read":  {func(s *scene) { s.FeedError(syscall.ETIMEDOUT) }, syscall.ETIMEDOUT},
		"a paused reader": {func(s *scene) { s.Do((*conn.Conn).Pause); s.Reset() }, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.on("OnClosed", func(c *conn.Conn) { s.refused(c, conn.ErrNotConnected) })
			s.open(conn.Config{})
			s.Allow(0)
			s.Do(func(c *conn.Conn) {
				for range 2 {
					s.send(c, big(30_000))
				}
				s.send(c, big(10_000))
				s.refused(c, conn.ErrNotWriteable)
			})
			s.want("throttled", "OnConnected", "OnThrottled")
			end.happen(s)
			s.want("no OnUnthrottled", "OnSendFailed 1", "OnSendFailed 2", "OnSendFailed 3", "OnClosed...")
			var closed *conn.CloseError
			require.ErrorAs(t, s.ends.closed, &closed)
			assert.ErrorIs(t, s.ends.closed, end.err)
		})
	}
}

// The three sends end at 400, 1,000 and 1,400 bytes on the wire. Whatever the system takes before the end, what it has
// taken whole is sent, and the rest has failed.
func TestOutcomesAreExactToTheLastByteAtTeardown(t *testing.T) {
	ends := []int{400, 1000, 1400}
	teardowns := map[string]func(s *scene){
		"Abort": func(s *scene) {
			s.Settle()
			s.Do(func(c *conn.Conn) { c.Abort(nil) })
		},
		"Abort in the turn of the write": func(s *scene) {
			s.Do(func(c *conn.Conn) { c.Flush(); c.Abort(nil) })
		},
		"reset": func(s *scene) {
			s.Settle()
			s.Reset()
		},
		"a write that takes some and fails": func(s *scene) {
			s.FailWrite(syscall.EPIPE)
		},
		"CloseTimeout": func(s *scene) {
			s.Do((*conn.Conn).Close)
			s.Settle()
			s.Advance(5 * time.Second) // the default
		},
		"a layer fails": func(s *scene) {
			s.Settle()
			s.layers[0].link.Post(func() error { return errPart })
		},
	}
	for name, tearDown := range teardowns {
		t.Run(name, func(t *testing.T) {
			for _, taken := range []int{0, 1, 399, 400, 401, 999, 1000, 1001, 1399} {
				s := newScene(t)
				s.open(conn.Config{Layers: []interceptor.Factory{s.layer("double", func(l *sceneLayer) {
					l.down = func(l interceptor.Link, bufs [][]byte) error {
						p := bytes.Join(bufs, nil)
						return l.Down([][]byte{p, p})
					}
				})}}, conntest.Manual())
				s.Settle()
				s.Allow(0)
				s.Do(func(c *conn.Conn) {
					s.send(c, big(200))
					s.send(c, big(300))
					s.send(c, big(200))
				})
				s.Settle()
				require.Equal(t, 1400, s.Conn().Stats().Pending)
				s.Allow(taken)
				tearDown(s)
				s.Settle()
				require.True(t, s.Done())
				require.Len(t, s.Wire(), taken)
				want := []string{"OnConnected"}
				for i, end := range ends {
					if end <= taken {
						want = append(want, fmt.Sprint("OnSent ", i+1))
					} else {
						want = append(want, fmt.Sprint("OnSendFailed ", i+1))
					}
				}
				s.want(fmt.Sprint(taken, " bytes"), append(want, "OnClosed...")...)
			}
		})
	}
}

// A layer's own bytes between two sends belong to neither: they delay the second and settle nothing.
func TestOutcomesDoNotCountTheLayersOwnBytes(t *testing.T) {
	for taken, want := range map[int]string{2: "", 3: "1", 8: "1", 10: "1", 11: "1 2", 15: "1 2"} {
		s := newScene(t)
		s.open(conn.Config{Layers: []interceptor.Factory{s.layer("chatty", func(l *sceneLayer) {
			l.up = func(l interceptor.Link, p []byte) error { return say(l, string(p)) }
		})}})
		s.Allow(0)
		s.doSend("one")
		s.Feed("-----")
		s.doSend("two")
		s.Feed("----")
		require.Equal(t, 15, s.Conn().Stats().Pending)
		s.Allow(taken)
		s.Reset()
		var sent []string
		for _, call := range s.all {
			if token, ok := strings.CutPrefix(call, "OnSent "); ok {
				sent = append(sent, token)
			}
		}
		assert.Equal(t, want, strings.Join(sent, " "), "after %d bytes", taken)
		assert.Equal(t, 2-len(sent), s.count("OnSendFailed"))
		assert.True(t, errors.Is(s.ends.closed, syscall.ECONNRESET))
	}
}
