//go:build linux

package actor_test

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/tls"
)

// TLS on real sockets. What the layer does with bytes is tested in package tls.

// saying answers each client with words, and ends. It returns where.
func saying(t *testing.T, words string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(nc, words)
			_ = nc.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, nc)
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func TestTLS2_WhatIsNotTLS(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		p := new(probe)
		f.call(saying(t, "XXXXXXXXXX"), p, calls(ours.client(nil)))
		assert.ErrorContains(t, p.shakeError(t), `its first bytes are "XXXXX"`)
		assert.Zero(t, p.received)

		s := f.serve(serves(ours.server(nil)), echoes)
		for words, says := range map[string]string{
			"XXXXXXXXXX": `its first bytes are "XXXXX"`, "GET / HTTP/1.0\r\n\r\n": "the peer speaks plain HTTP",
		} {
			c := s.dial()
			c.send(words)
			require.NoError(t, c.CloseWrite())
			p := s.next()
			assert.ErrorContains(t, p.shakeError(t), says)
			assert.Zero(t, p.received)
		}
		c, _ := s.openTLS(ours.client(nil))
		c.send("hello")
		c.expect("hello")
	})
}

func TestTLS3_ThePeerIsSilent(t *testing.T) {
	const limit = 300 * time.Millisecond
	ours := certify(t, "ours")
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		tries := func(p *probe, ctx proto.Context) {
			switch {
			case ctx.Message() != "try":
			case p.Conn().State() == conn.StateConnecting:
				ctx.Send(ctx.Self(), "try")
			default:
				assert.False(t, p.Conn().IsWriteable())
				assert.Equal(t, conn.ErrNotReady, echo(p, []byte("x")))
				p.note("tried")
			}
		}
		cfg := serves(ours.server(nil))
		cfg.Conn.StartTimeout = limit
		pids := make(chan *proto.PID, 1)
		cfg.Props = []proto.PropsOption{proto.WithOnInit(func(ctx proto.Context) { pids <- ctx.Self() })}
		s := f.serve(cfg, func(p *probe) { p.receive = tries })
		before := takeCensus()
		began := time.Now()
		c := s.dial()
		system.Root.Send(<-pids, "try")
		p := s.next()
		p.await(t, "tried")
		assert.Equal(t, conn.StageTimeout, p.connectError(t).Stage)
		onTime(t, began, limit)
		assert.Zero(t, p.received)
		soon(t, func() bool { return s.Len() == 0 }, "the slot is free")
		c.reset()
		assert.Empty(t, before.wait())

		ln, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
		require.NoError(t, err)
		defer func() { _ = ln.Close() }()
		before = takeCensus()
		dial := calls(ours.client(nil))
		dial.Conn.StartTimeout = limit
		began = time.Now()
		q := &probe{receive: tries}
		system.Root.Send(f.call(ln.Addr().String(), q, dial), "try")
		q.await(t, "tried")
		assert.Equal(t, conn.StageTimeout, q.connectError(t).Stage)
		onTime(t, began, limit)
		assert.Empty(t, before.wait())
	})
}

func TestTLS4_WhoThePeerIs(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(serves(ours.server(nil)), nil)
		p := new(probe)
		f.call(s.Addr().String(), p, calls(ours.client(func(c *tls.Config) { c.ServerName = "not.localhost" })))
		shake := p.shakeError(t)
		assert.True(t, shake.Auth)
		var name x509.HostnameError
		assert.ErrorAs(t, shake, &name)
		theirs := s.next().shakeError(t)
		assert.True(t, theirs.Remote)
		assert.True(t, theirs.Auth)
		assert.ErrorContains(t, theirs, "bad certificate")

		demanding := f.serve(serves(ours.server(func(c *tls.Config) {
			c.ClientAuth, c.MaxVersion = stdtls.RequireAnyClientCert, stdtls.VersionTLS12
		})), nil)
		p = new(probe)
		f.call(demanding.Addr().String(), p, calls(ours.client(nil)))
		assert.True(t, p.shakeError(t).Remote)
		shake = demanding.next().shakeError(t)
		assert.True(t, shake.Auth)
		assert.False(t, shake.Remote)
	})
}

func TestTLS5_WhatWasAgreedOn(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		var there []tls.ConnectionState
		s := f.serve(serves(ours.server(func(c *tls.Config) { c.NextProtos = []string{"h2"} })), func(p *probe) {
			p.onEvent = func(p *probe, ev any) {
				st, ok := state(ev)
				assert.True(t, ok)
				there = append(there, st)
			}
			p.onReceived = echo
		})
		cfg := calls(ours.client(func(c *tls.Config) {
			c.NextProtos = []string{"h2", "http/1.1"}
			c.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
		}))
		for _, again := range []bool{false, true} {
			var here []tls.ConnectionState
			p := &probe{
				onEvent: func(p *probe, ev any) {
					if st, ok := state(ev); ok { // and not Connecting
						here = append(here, st)
					}
				},
				onConnected: func(p *probe) { assert.NoError(t, echo(p, []byte("hello"))) },
				onReceived:  func(p *probe, data []byte) error { p.Conn().Close(); return nil },
			}
			f.call(s.Addr().String(), p, cfg)
			p.closedInOrder(t)
			q := s.next()
			q.closedInOrder(t)
			assert.Equal(t, 1, p.count("OnSent 1"))
			require.Len(t, here, 1)
			st := there[len(there)-1]
			for _, st := range []tls.ConnectionState{here[0], st} {
				assert.EqualValues(t, stdtls.VersionTLS13, st.Version)
				assert.NotZero(t, st.CipherSuite)
				assert.Equal(t, "localhost", st.ServerName)
				assert.Equal(t, "h2", st.NegotiatedProtocol)
				assert.Equal(t, again, st.DidResume)
			}
		}
		assert.Len(t, there, 2)
	})
}

func TestTLS6_FramesAndALargeSend(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		const frames, size, big = 100, 1000, 262_144
		cfg := serves(ours.server(nil))
		cfg.Conn.Split = fixed(size)
		n := 0
		s := f.serve(cfg, func(p *probe) {
			p.quiet = true
			p.onReceived = func(p *probe, data []byte) error {
				assert.Equal(t, bytes.Repeat([]byte{byte(n)}, size), data)
				n++
				return nil
			}
		})
		p := &probe{onConnected: func(p *probe) {
			var all []byte
			for i := range frames {
				all = append(all, bytes.Repeat([]byte{byte(i)}, size)...)
			}
			_, err := p.Conn().Send(all)
			assert.NoError(t, err)
			p.Conn().Close()
		}}
		f.call(s.Addr().String(), p, calls(ours.client(nil)))
		p.closedInOrder(t)
		s.next().closedInOrder(t)
		assert.Equal(t, frames, n)

		s = f.serve(serves(ours.server(nil)), func(p *probe) {
			p.onConnected = func(p *probe) {
				_, err := p.Conn().Send(pattern(big))
				assert.NoError(t, err)
			}
		})
		c := s.dialWith(smallReader).over(ours.client(nil))
		got := make([]byte, big)
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		assert.Equal(t, pattern(big), got)
		q := s.next()
		q.awaitN(t, 1, "OnSent", slow)
		assert.Equal(t, 1, q.count("OnSent"))
	})
}

func TestTLS7_BetweenFramesOfOneRecord(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := serves(ours.server(nil))
		cfg.Conn.Split = fixed(4)
		s := f.serve(cfg, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if p.received == 4 {
					p.Context().Send(p.self, "marker")
				}
				return conn.Yield
			}
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "marker" {
					p.note("marker")
				}
			}
		})
		c, p := s.openTLS(ours.client(nil))
		c.send("aaaabbbbccccddddeeee")
		p.await(t, "OnReceived eeee")
		notes := strings.Join(p.notes(), ",")
		assert.Less(t, strings.Index(notes, ",marker"), strings.Index(notes, "OnReceived cccc"))
		assert.Equal(t, 5, p.count("OnReceived"))

		s = f.serve(cfg, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				switch p.received / 4 {
				case 1, 2, 5:
					p.Conn().Pause()
				case 6:
					return echo(p, data)
				}
				return nil
			}
		})
		c, p = s.openTLS(ours.client(nil))
		c.send("aaaabbbbccccddddeeee")
		for _, n := range []int{1, 2, 5} {
			p.awaitN(t, n, "OnReceived", patience)
			stays(t, func() bool { return p.count("OnReceived") == n }, "nothing arrives while paused")
			p.tell(&actor.Resume{})
		}
		c.send("ffff")
		c.expect("ffff")
	})
}

// twoRecords sends two records in one write.
func twoRecords(t *testing.T, s *server, cfg *tls.Config) (*secret, *probe) {
	t.Helper()
	raw := s.dial()
	joined := &joiner{Conn: raw.TCPConn}
	c := &secret{stdtls.Client(joined, cfg), raw, t}
	require.NoError(t, c.SetDeadline(time.Now().Add(slow)))
	require.NoError(t, c.Handshake())
	p := s.next()
	joined.on = true
	c.send("first")
	c.send("other")
	joined.on = false
	if _, err := raw.Write(joined.buf); err != nil { // a server that aborts at once may be faster
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	return c, p
}

// A joiner keeps what is written while it is on.
type joiner struct {
	net.Conn
	on  bool
	buf []byte
}

func (j *joiner) Write(p []byte) (int, error) {
	if !j.on {
		return j.Conn.Write(p)
	}
	j.buf = append(j.buf, p...)
	return len(p), nil
}

func TestTLS8_CloseAndAbortInTheFirstOfTwoRecords(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := serves(ours.server(nil))
		cfg.Conn.Split = fixed(5)
		end := func(how func(c *conn.Conn)) func(p *probe) {
			return func(p *probe) {
				p.onReceived = func(p *probe, _ []byte) error { how(p.Conn()); return nil }
			}
		}
		s := f.serve(cfg, end((*conn.Conn).Close))
		c, p := twoRecords(t, s, ours.client(nil))
		_, err := io.Copy(io.Discard, c)
		require.NoError(t, err)
		assert.Equal(t, 2, p.count("OnReceived"))
		assert.Zero(t, p.count("OnClosed"), "the peer has not closed")
		require.NoError(t, c.Close())
		p.closedInOrder(t)

		s = f.serve(cfg, end(func(c *conn.Conn) { c.Abort(nil) }))
		_, p = twoRecords(t, s, ours.client(nil))
		assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
		assert.Equal(t, 1, p.count("OnReceived"))

		s = f.serve(cfg, func(p *probe) { p.onConnected = func(p *probe) { p.Conn().Abort(nil) } })
		_, p = twoRecords(t, s, ours.client(nil))
		assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
		assert.Equal(t, "Started,OnEvent,OnConnected,OnClosed,Stopping,Stopped", strings.Join(p.notes(), ","))
	})
}

func TestTLS9_FiveSendsUnderPressure(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		for _, abort := range []bool{false, true} {
			f := w.start(t, actor.Config{})
			cfg := stuckConfig()
			cfg.Conn.Layers = serves(ours.server(nil)).Conn.Layers
			s := f.serve(cfg, func(p *probe) {
				p.onReceived = func(p *probe, _ []byte) error {
					for range 3 {
						assert.NoError(t, echo(p, []byte("hi")))
					}
					_, err := p.Conn().Send(pattern(large))
					assert.NoError(t, err)
					assert.Greater(t, p.Conn().Stats().Pending, highWater)
					return nil
				}
				p.onUnthrottled = func(p *probe) {
					if p.count("OnUnthrottled") > 1 {
						return
					}
					_, err := p.Conn().Send(pattern(large))
					assert.NoError(t, err)
					if abort {
						p.Conn().Abort(nil)
					}
				}
			})
			c := s.dialWith(smallReader).over(ours.client(nil))
			p := s.next()
			c.send("ready")
			p.await(t, "OnThrottled")
			if abort {
				_, _ = io.Copy(io.Discard, c)
				assert.Equal(t, conn.CauseAbort, p.closeError(t).Cause)
				assert.Equal(t, 5, p.count("OnSent ")+p.count("OnSendFailed"))
				assert.Equal(t, 1, p.count("OnSendFailed 5"))
				continue // the law has seen that no OnSent comes behind an OnSendFailed
			}
			got := make([]byte, 6+2*large)
			_, err := io.ReadFull(c, got)
			require.NoError(t, err)
			assert.Equal(t, "hihihi"+string(pattern(large))+string(pattern(large)), string(got))
			p.awaitN(t, 5, "OnSent", slow)
			assert.Equal(t, 5, p.count("OnSent"))
			assert.Zero(t, p.count("OnSendFailed"))
		}
	})
}

func TestTLS10_CloseNotifyIsTheLastRecord(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := stuckConfig()
		cfg.Conn.Layers = serves(ours.server(nil)).Conn.Layers
		s := f.serve(cfg, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				_, err := p.Conn().Send(pattern(large))
				assert.Positive(t, p.Conn().Stats().Pending)
				p.Conn().Close()
				p.Conn().Close()
				return err
			}
		})
		tap := &tapped{Conn: s.dialWith(smallReader).TCPConn}
		c := stdtls.Client(tap, ours.client(nil))
		require.NoError(t, c.SetDeadline(time.Now().Add(slow)))
		_, err := io.WriteString(c, "go")
		require.NoError(t, err)
		tap.came = nil // what comes now is data, and the goodbye
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(pattern(large), got))
		rest, err := io.ReadAll(tap.Conn)
		require.NoError(t, err)
		assert.Empty(t, rest, "FIN follows the goodbye")
		const alertLen = 5 + 2 + 1 + 16
		alerts := 0
		for p := tap.came; len(p) > 0; {
			n := 5 + int(p[3])<<8 + int(p[4])
			if n == alertLen {
				alerts++
				assert.Len(t, p, n, "it is the last record")
			}
			p = p[n:]
		}
		assert.Equal(t, 1, alerts)
		require.NoError(t, c.Close())
		s.next().closedInOrder(t)
	})
}

// A tapped keeps what comes.
type tapped struct {
	net.Conn
	came []byte
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.came = append(c.came, p[:n]...)
	return n, err
}

func TestTLS11_GoodbyeOrNot(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(serves(ours.server(nil)), nil)
		c, p := s.openTLS(ours.client(nil))
		c.send("ten bytes.")
		require.NoError(t, c.CloseWrite())
		require.NoError(t, c.raw.CloseWrite())
		_, err := io.Copy(io.Discard, c)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
		assert.Equal(t, 10, p.received)
		assert.Equal(t, 1, p.count("OnEOF"))

		c, p = s.openTLS(ours.client(nil))
		c.send("ten bytes.")
		require.NoError(t, c.raw.CloseWrite())
		closed := p.closeError(t)
		assert.Equal(t, conn.CauseTruncated, closed.Cause)
		assert.ErrorIs(t, closed, io.ErrUnexpectedEOF)
		assert.Equal(t, 10, p.received)
		assert.Equal(t, 1, p.count("OnEOF"))
	})
}

func TestTLS12_HalfClose(t *testing.T) {
	const size = 512 << 10
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(serves(ours.server(nil)), func(p *probe) {
			p.quiet = true
			p.onEOF = func(p *probe) {
				_, err := p.Conn().Send(pattern(size))
				assert.NoError(t, err)
				p.Conn().Close()
			}
		})
		p := &probe{quiet: true, onConnected: func(p *probe) {
			assert.NoError(t, echo(p, []byte("req")))
			p.Conn().CloseWrite()
			assert.Equal(t, conn.ErrNotConnected, echo(p, []byte("more")))
		}}
		p.onReceived = func(p *probe, data []byte) error {
			if !bytes.Equal(patternFrom(p.received-len(data), len(data)), data) {
				return errors.New("other bytes came")
			}
			return nil
		}
		f.call(s.Addr().String(), p, calls(ours.client(nil)))
		p.closedInOrder(t)
		assert.Equal(t, size, p.received)
		q := s.next()
		q.closedInOrder(t)
		assert.Equal(t, 3, q.received)
	})
}

func TestLAY15_TwoSidesWithTLSDoNotWaitForEachOther(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		pumpsWith(t, w, layered(tls.Server(ours.server(nil))), layered(tls.Client(ours.client(nil))))
	})
}

func TestRES2_IdleTLSConnectionsCostNoGoroutine(t *testing.T) {
	ours := certify(t, "ours")
	waysInTurn(t, func(t *testing.T, w way) {
		if w.portable {
			w.cannot(t, "there each connection has a goroutine that reads")
		}
		n := 1000
		if raceEnabled {
			n = 200
		}
		f := w.start(t, actor.Config{})
		s := f.serve(serves(ours.server(nil)), func(p *probe) { p.quiet = true })
		before := takeCensus().goroutines
		cfg := ours.client(nil)
		var all []*secret
		for range n {
			c := s.dial().over(cfg)
			s.next().await(t, "OnConnected")
			all = append(all, c)
		}
		for end := time.Now().Add(patience); takeCensus().goroutines > before; runtime.Gosched() {
			require.True(t, time.Now().Before(end), "goroutines are left of the handshakes")
		}
		for _, c := range all {
			c.raw.reset()
		}
		soon(t, func() bool { return s.Len() == 0 }, "all have ended")
	})
}
