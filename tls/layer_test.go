package tls_test

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
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
	"github.com/galago-go/galago/tls"
)

// records splits p into records. What is left over is no whole one.
func records(p string) (list []string, rest string) {
	for len(p) >= 5 {
		n := 5 + int(p[3])<<8 + int(p[4])
		if n > len(p) {
			break
		}
		list = append(list, p[:n])
		p = p[n:]
	}
	return list, p
}

// hushed is a peer's part that does what it is told, over a channel.
type hushed struct {
	do   chan func(c *stdtls.Conn) error
	done chan error
}

func newHushed() *hushed { return &hushed{make(chan func(*stdtls.Conn) error), make(chan error, 1)} }

func (h *hushed) part(c *stdtls.Conn) error {
	for f := range h.do {
		if err := f(c); err != nil {
			h.done <- err
			return err
		}
		h.done <- nil
	}
	return nil
}

// talking is a talk that is connected, with a peer that does what it is told.
func talking(t *testing.T, v version, as role, cfg conn.Config, setup func(k *talk), opts ...conntest.Option,
) (*talk, *hushed) {
	t.Helper()
	h := newHushed()
	p := v.play(t, as, h.part)
	p.conn, p.setup, p.opts = cfg, setup, opts
	k := p.begin(t)
	t.Cleanup(func() { close(h.do) })
	k.connected()
	k.settle()
	return k, h
}

// settle carries what is on its way: tickets, above all.
func (k *talk) settle() {
	for range 3 {
		k.step()
		k.Settle()
	}
}

// peer has the peer do f. Nothing is carried meanwhile, so what it writes comes to us at once, later.
func (k *talk) peer(h *hushed, f func(c *stdtls.Conn) error) {
	k.t.Helper()
	h.do <- f
	select {
	case err := <-h.done:
		require.NoError(k.t, err)
	case <-time.After(patience):
		require.FailNow(k.t, "the peer is not done")
	}
}

// peerReads has the peer read n bytes that were written, and returns them.
func (k *talk) peerReads(h *hushed, n int) string {
	k.t.Helper()
	k.step()
	got := make([]byte, n)
	k.peer(h, func(c *stdtls.Conn) error { _, err := io.ReadFull(c, got); return err })
	return string(got)
}

func writes(parts ...string) func(c *stdtls.Conn) error {
	return func(c *stdtls.Conn) error {
		for _, p := range parts {
			if _, err := io.WriteString(c, p); err != nil {
				return err
			}
		}
		return nil
	}
}

var framed4 = conn.Config{Split: frame.Fixed(4)}

func TestTLS7_YieldBetweenFramesOfOneRecord(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		var got []string
		k, h := talking(t, v, as, framed4, func(k *talk) {
			k.rec.Return = func(c *conn.Conn, data []byte) error {
				if got = append(got, string(data)); len(got) == 1 {
					k.Do(func(*conn.Conn) { got = append(got, "marker") })
				}
				return conn.Yield
			}
		}, conntest.Manual()) // so that Do takes no turn
		k.peer(h, writes("aaaabbbbccccddddeeee"))
		k.settle()
		require.Len(t, got, 6)
		assert.Less(t, index(got, "marker"), index(got, "cccc"))
		assert.Equal(t, "aaaabbbbccccddddeeee", strings.Join(append(got[:index(got, "marker")], got[index(got, "marker")+1:]...), ""))
	})
}

func TestTLS7_PauseBetweenFramesOfOneRecord(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		var got []string
		k, h := talking(t, v, as, framed4, func(k *talk) {
			k.rec.Return = func(c *conn.Conn, data []byte) error {
				switch got = append(got, string(data)); len(got) {
				case 1, 2, 5:
					c.Pause()
				case 6:
					_, err := c.Send(data)
					return err
				}
				return nil
			}
		})
		resume := func() { k.Do((*conn.Conn).Resume); k.settle() }
		k.peer(h, writes("aaaabbbbccccddddeeee"))
		k.settle()
		for _, n := range []int{1, 2, 5} {
			require.Len(t, got, n)
			k.Advance(time.Second)
			k.settle()
			require.Len(t, got, n, "nothing arrives while paused")
			resume()
		}
		require.Len(t, got, 5)
		k.peer(h, writes("ffff"))
		k.settle()
		assert.Equal(t, "ffff", k.peerReads(h, 4), "a round trip works")
		assert.Equal(t, "aaaa bbbb cccc dddd eeee ffff", strings.Join(got, " "))
	})
}

func TestTLS8_CloseAndAbortInTheFirstOfTwoRecords(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		k, h := talking(t, v, as, conn.Config{Split: frame.Fixed(5)}, func(k *talk) {
			k.rec.Return = func(c *conn.Conn, data []byte) error { c.Close(); return nil }
		})
		k.peer(h, writes("first", "other"))
		k.settle()
		assert.Equal(t, 2, k.count("OnReceived"), "close: what has come is still delivered")
		assert.False(t, k.has("OnClosed"))
		k.peer(h, readToEnd)
		k.until("FIN", k.FIN)
		k.peer(h, func(c *stdtls.Conn) error { return nil })
		k.ended = true
		k.FeedEOF()
		k.done()
		assert.NoError(t, k.ends.closed)

		k, h = talking(t, v, as, conn.Config{Split: frame.Fixed(5)}, func(k *talk) {
			k.rec.Return = func(c *conn.Conn, data []byte) error { c.Abort(nil); return nil }
		})
		k.peer(h, writes("first", "other"))
		k.settle()
		k.done()
		assert.Equal(t, 1, k.count("OnReceived"), "abort: nothing more")
		var closed *conn.CloseError
		require.ErrorAs(t, k.ends.closed, &closed)
		assert.Equal(t, conn.CauseAbort, closed.Cause)

		p := v.play(t, as, func(c *stdtls.Conn) error { _, _ = io.Copy(io.Discard, c); return nil })
		p.setup = func(k *talk) {
			k.rec.Do = func(c *conn.Conn, call string) {
				if call == "OnConnected" {
					c.Abort(nil)
				}
			}
		}
		k = p.begin(t)
		k.done()
		assert.Equal(t, []string{"OnConnected", "OnClosed conn: connection ended: aborted"}, k.calls[1:], "abort in OnConnected")
	})
}

func TestTLS10_CloseNotifyIsTheLastRecord(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		wire := ""
		k, h := talking(t, v, as, conn.Config{HighWater: 1 << 20}, nil)
		k.sniff = func(p string) { wire += p }
		k.Allow(1000)
		k.Do(func(c *conn.Conn) {
			for range 4 {
				_, err := c.Send(bytes.Repeat([]byte("x"), 64_000))
				assert.NoError(t, err)
			}
			c.Close()
			c.Close()
		})
		k.Do(func(c *conn.Conn) { c.Close() })
		assert.False(t, k.FIN(), "there is much to write")
		h.do <- func(c *stdtls.Conn) error {
			n, err := io.Copy(io.Discard, c)
			if n != 256_000 {
				return fmt.Errorf("%d bytes came: %w", n, err)
			}
			return errors.Join(err, c.Close())
		}
		for !k.FIN() {
			k.Allow(10_000)
			k.step()
		}
		k.until("the peer's part", func() bool { return len(h.done) > 0 })
		require.NoError(t, <-h.done)
		k.ended = true
		k.FeedEOF()
		k.done()
		assert.NoError(t, k.ends.closed)
		assert.Equal(t, 4, k.count("OnSent"))

		list, rest := records(wire)
		assert.Empty(t, rest)
		last := list[len(list)-1]
		alerts := 0
		for _, r := range list {
			if len(r) == len(last) {
				alerts++
			}
		}
		assert.Equal(t, 1, alerts, "one goodbye, and no record after it")
	})
}

func TestTLS11_GoodbyeOrNot(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		for _, goodbye := range []bool{true, false} {
			k, h := talking(t, v, as, conn.Config{}, nil)
			k.peer(h, func(c *stdtls.Conn) error {
				if err := writes("ten bytes.")(c); err != nil || !goodbye {
					return err
				}
				return c.CloseWrite()
			})
			k.peer(h, func(c *stdtls.Conn) error { return c.NetConn().Close() }) // FIN
			k.done()
			assert.Equal(t, "ten bytes.", k.rec.Received())
			assert.Equal(t, 1, k.count("OnEOF"))
			if goodbye {
				assert.NoError(t, k.ends.eof)
				assert.NoError(t, k.ends.closed)
				continue
			}
			assert.ErrorIs(t, k.ends.eof, io.ErrUnexpectedEOF)
			assert.ErrorContains(t, k.ends.eof, "without close_notify")
			var closed *conn.CloseError
			require.ErrorAs(t, k.ends.closed, &closed)
			assert.Equal(t, conn.CauseTruncated, closed.Cause)
			assert.ErrorContains(t, closed, "truncated")
		}
	})
}

// After a goodbye the rest of the wire means nothing; and a record that is cut off is no goodbye.
func TestTLS11_WhatFollowsAGoodbye(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		k, h := talking(t, v, as, conn.Config{}, func(k *talk) { k.rec.Stay = true })
		k.peer(h, func(c *stdtls.Conn) error {
			return errors.Join(writes("word")(c), c.CloseWrite())
		})
		k.step()
		k.Feed("what is this")
		assert.Equal(t, "word", k.rec.Received())
		assert.Equal(t, 1, k.count("OnEOF"))
		k.Do(func(c *conn.Conn) {
			_, err := c.Send([]byte("answer"))
			assert.NoError(t, err)
		})
		k.settle()
		assert.Equal(t, "answer", k.peerReads(h, 6))
		assert.False(t, k.Done())

		k, h = talking(t, v, as, conn.Config{}, nil)
		k.cut = func(_ int, p string) []string { return []string{p[:len(p)-1]} }
		k.peer(h, writes("word"))
		k.step()
		k.FeedEOF()
		k.done()
		assert.False(t, k.has("OnReceived"))
		assert.ErrorIs(t, k.ends.eof, io.ErrUnexpectedEOF)
	})
}

func TestTLS14_OneBitFlipped(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		k, h := talking(t, v, as, conn.Config{}, nil)
		k.cut = func(_ int, p string) []string {
			flipped := []byte(p)
			flipped[len(p)/2+5] ^= 4
			return []string{string(flipped)}
		}
		k.peer(h, writes("a message"))
		k.step()
		k.settle()
		assert.False(t, k.has("OnReceived"))
		k.peer(h, func(c *stdtls.Conn) error {
			_, err := io.Copy(io.Discard, c)
			var op *net.OpError
			if !errors.As(err, &op) || op.Op != "remote error" || op.Err.Error() != "tls: bad record MAC" {
				return fmt.Errorf("the peer got %v", err)
			}
			return c.NetConn().Close()
		})
		k.done()
		assert.Equal(t, 1, k.count("OnClosed"))
		var closed *conn.CloseError
		require.ErrorAs(t, k.ends.closed, &closed)
		assert.Equal(t, conn.CauseLayer, closed.Cause)
		var broken *tls.RecordError
		require.ErrorAs(t, closed, &broken)
		assert.Equal(t, tls.AlertError(20), broken.Alert)
		assert.False(t, broken.Remote)
		var alert tls.AlertError
		require.ErrorAs(t, closed, &alert)
		assert.EqualError(t, alert, "tls: bad record MAC")
	})
}

func TestTLS15_OneWriteForAllSendsOfATurn(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		k, h := talking(t, v, as, conn.Config{}, nil)
		before := k.Writes()
		k.Do(func(c *conn.Conn) {
			for i := range 160 {
				_, err := c.Send([]byte(fmt.Sprintf("%064d", i)))
				assert.NoError(t, err)
			}
		})
		assert.Equal(t, 1, k.Writes()-before)
		got := k.peerReads(h, 160*64)
		for i := range 160 {
			require.Equal(t, fmt.Sprintf("%064d", i), got[64*i:64*i+64])
		}
		var sent []string
		for _, c := range k.calls {
			if strings.HasPrefix(c, "OnSent") {
				sent = append(sent, c)
			}
		}
		require.Len(t, sent, 160)
		for i, c := range sent {
			assert.Equal(t, fmt.Sprintf("OnSent %d", i+1), c)
		}
	})
}

// Buffers of one send that are small share a record; what is large is not copied.
func TestSmallBuffersShareARecord(t *testing.T) {
	big := strings.Repeat("b", 20_000)
	for name, x := range map[string]struct {
		bufs    []string
		records int
	}{
		"nothing":           {[]string{""}, 0},
		"one":               {[]string{"hello"}, 1},
		"header and body":   {[]string{"head", "body"}, 1},
		"with empty ones":   {[]string{"", "head", "", "body", ""}, 1},
		"many":              {slicesRepeat("x", 500), 1},
		"more than fits":    {slicesRepeat(strings.Repeat("y", 1000), 20), 2},
		"small, big, small": {[]string{"head", big, "tail"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			v := versions[1]
			server, client := v.configs(t)
			server.DynamicRecordSizingDisabled = true
			h := newHushed()
			p := playWith(asServer, server, client, h.part)
			p.conn.HighWater = 1 << 20
			k := p.begin(t)
			defer close(h.do)
			k.connected()
			k.settle()
			wire := ""
			k.sniff = func(p string) { wire += p }
			k.Do(func(c *conn.Conn) {
				var bufs [][]byte
				for _, b := range x.bufs {
					bufs = append(bufs, []byte(b))
				}
				_, err := c.Send(bufs...)
				assert.NoError(t, err)
				for i, b := range x.bufs {
					assert.Equal(t, b, string(bufs[i]), "the caller's memory is as it was")
				}
			})
			want := strings.Join(x.bufs, "")
			k.step()
			list, _ := records(wire)
			assert.Len(t, list, x.records)
			assert.Equal(t, want, k.peerReads(h, len(want)))
		})
	}
}

func slicesRepeat(s string, n int) (list []string) {
	for range n {
		list = append(list, s)
	}
	return list
}

func TestTLS12_HalfClose(t *testing.T) {
	v := versions[1]
	for _, as := range []role{asServer, asClient} {
		k, h := talking(t, v, as, conn.Config{HighWater: 1 << 20}, func(k *talk) {
			k.rec.Stay = true
			k.rec.Do = func(c *conn.Conn, call string) {
				if call == "OnEOF" {
					_, err := c.Send(bytes.Repeat([]byte("a"), 512<<10))
					assert.NoError(t, err)
					c.Close()
				}
			}
		})
		k.peer(h, func(c *stdtls.Conn) error { return errors.Join(writes("req")(c), c.CloseWrite()) })
		k.settle()
		assert.Len(t, k.peerReads(h, 512<<10), 512<<10)
		k.peer(h, readToEnd)
		k.ended = true
		k.FeedEOF()
		k.done()
		assert.NoError(t, k.ends.closed)
	}
}

// A layer above TLS may answer within Up.
func TestALayerAboveMayAnswerAtOnce(t *testing.T) {
	v := versions[1]
	h := newHushed()
	p := v.play(t, asServer, h.part)
	p.conn.Layers = []interceptor.Factory{p.layer, func() interceptor.Interceptor { return answering{} }}
	p.layer = nil
	k := p.begin(t)
	defer close(h.do)
	k.connected()
	k.peer(h, writes("one", "two"))
	k.settle()
	assert.Equal(t, "got onetwo", k.peerReads(h, 10))
	assert.Equal(t, "onetwo", k.rec.Received())
}

type answering struct{ interceptor.Pass }

func (answering) Up(l interceptor.Link, p []byte) error {
	if err := l.Down([][]byte{[]byte("got "), p}); err != nil {
		return err
	}
	return l.Up(p)
}

// Find finds the layer, and State is what crypto/tls says.
func TestState(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		p := v.play(t, as, nil)
		k := p.begin(t)
		layer, ok := interceptor.Find[*tls.Layer](k.Conn().Layers())
		require.True(t, ok)
		assert.Zero(t, layer.State())
		k.connected()
		state := layer.State()
		assert.True(t, state.HandshakeComplete)
		assert.Equal(t, v.number, state.Version)
		require.Len(t, k.ends.events, 1)
		assert.Same(t, layer, k.ends.events[0].(tls.Established).Layer)
		assert.Less(t, index(k.calls, "OnEvent"), index(k.calls, "OnConnected"))
	})
}
