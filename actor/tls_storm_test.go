//go:build linux

package actor_test

import (
	"context"
	stdtls "crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/tls"
)

// halfHello is a ClientHello, cut in the middle.
func halfHello(t *testing.T, cfg *tls.Config, whole bool) string {
	t.Helper()
	near, far := net.Pipe()
	go func() { _ = stdtls.Client(far, cfg).Handshake() }()
	buf := make([]byte, 16<<10)
	n, err := near.Read(buf)
	require.NoError(t, err)
	_ = near.Close()
	if whole {
		return string(buf[:n])
	}
	return string(buf[:n/2])
}

func TestTLS16_AHandshakeThatWaitsHoldsNobodyUp(t *testing.T) {
	ours := certify(t, "ours")
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{Loops: 1})
		entered := make(chan struct{}, 1)
		slowly := ours.server(func(c *tls.Config) {
			c.GetConfigForClient = func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) {
				entered <- struct{}{}
				<-time.After(500 * time.Millisecond)
				return nil, nil
			}
		})
		s := f.serve(serves(ours.server(nil)), echoes)
		c, _ := s.openTLS(ours.client(nil))
		slowServer := f.serve(serves(slowly), nil)
		raw := slowServer.dial()
		done := make(chan error, 1)
		go func() {
			nc := stdtls.Client(raw.TCPConn, ours.client(nil))
			done <- nc.Handshake()
		}()
		<-entered
		late := 0
		for range 100 {
			began := time.Now()
			c.send("ping")
			c.expect("ping")
			if time.Since(began) > 100*time.Millisecond {
				late++
			}
		}
		if !raceEnabled {
			assert.Zero(t, late, "round trips that took longer than 100 ms")
		}
		require.NoError(t, <-done)
	})
}

func TestTLS16_HalfOpenHandshakes(t *testing.T) {
	ours := certify(t, "ours")
	for _, whole := range []bool{false, true} {
		name := "half a hello"
		if whole {
			name = "a hello"
		}
		t.Run(name, func(t *testing.T) {
			waysInTurn(t, func(t *testing.T, w way) {
				n := 2000
				if raceEnabled {
					n = 200
				}
				f := w.start(t, actor.Config{})
				cfg := ours.client(nil)
				said := halfHello(t, cfg, whole)
				listen := serves(ours.server(nil))
				listen.Conn.StartTimeout = time.Minute
				s := f.serve(listen, func(p *probe) {
					p.quiet = true
					echoes(p)
				})
				var all []*peer
				for range n {
					c := s.dial()
					c.send(said)
					all = append(all, c)
				}
				soon(t, func() bool { return s.Len() == n }, "all are accepted")
				for range n {
					s.next()
				}
				if !whole && !w.portable { // where each connection has a goroutine that reads
					soon(t, func() bool { return takeCensus().goroutines < 200 }, "half a hello costs no goroutine")
				}
				for range 10 {
					began := time.Now()
					c, _ := s.openTLS(cfg)
					took := time.Since(began)
					c.send("hello")
					c.expect("hello")
					if !raceEnabled {
						assert.Less(t, took, time.Second)
					}
				}
				for _, c := range all {
					c.reset()
				}
				soon(t, func() bool { return s.Len() <= 10 }, "they are gone")
			})
		})
	}
}

func TestTLS17_CertificatesThatChange(t *testing.T) {
	first, second := certify(t, "first"), certify(t, "second")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		write := func(cert, key []byte) {
			require.NoError(t, os.WriteFile(certFile, cert, 0o600))
			require.NoError(t, os.WriteFile(keyFile, key, 0o600))
		}
		write(first.cert, first.pk)
		log := new(logBook)
		told := make(chan error, 10)
		r, err := tls.NewReloader(tls.ReloaderConfig{
			CertFile: certFile, KeyFile: keyFile, Interval: 10 * time.Millisecond,
			OnReload: func(err error) { told <- err }, Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		require.NoError(t, err)
		defer func() { _ = r.Close() }()
		s := f.serve(serves(&tls.Config{GetCertificate: r.GetCertificate}), echoes)
		shown := func() (*secret, string) {
			c, _ := s.openTLS(&tls.Config{InsecureSkipVerify: true})
			return c, c.ConnectionState().PeerCertificates[0].Subject.CommonName
		}
		open, name := shown()
		assert.Equal(t, "first", name)
		write(second.cert, second.pk)
		require.NoError(t, <-told)
		_, name = shown()
		assert.Equal(t, "second", name)
		open.send("still here")
		open.expect("still here")

		write([]byte("garbage"), []byte("garbage"))
		bad := <-told
		var e *tls.ReloadError
		require.ErrorAs(t, bad, &e)
		assert.Equal(t, certFile, e.File)
		_, name = shown()
		assert.Equal(t, "second", name)
		assert.Equal(t, 1, strings.Count(log.String(), "level=ERROR"))
		assert.Contains(t, log.String(), certFile)
	})
}

// What a callback of the Config does wrong is supervised like any failure of the connection, with the stack of who did it.
func TestSUP2_ACallbackOfTheHandshakeThatPanics(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(serves(&tls.Config{GetCertificate: func(*stdtls.ClientHelloInfo) (*tls.Certificate, error) {
			thisFunctionPanics("no certificate today")
			return nil, nil
		}}), nil)
		c := s.dial()
		c.send(halfHello(t, ours.client(nil), true))
		p := s.next()
		p.connectError(t)
		var panicked *actor.PanicError
		require.ErrorAs(t, p.err, &panicked)
		assert.Equal(t, "no certificate today", panicked.Value)
		assert.Contains(t, string(panicked.Stack), "thisFunctionPanics")
		soon(t, func() bool { return s.Len() == 0 }, "the slot is free")
	})
}

// Shutdown among handshakes leaves none (NET-3).
func TestNET3_ShutdownAmongHandshakes(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		hello := halfHello(t, ours.client(nil), true)
		s := f.serve(serves(ours.server(nil)), nil)
		var probes []*probe
		for i := range 5 {
			c := s.dial()
			c.send(hello[:len(hello)*i/4])
			probes = append(probes, s.next())
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, _, err := f.Shutdown(ctx)
		require.NoError(t, err)
		for _, p := range probes {
			assert.True(t, slices.Contains([]int{1}, p.count("OnConnectFailed")))
			assert.Zero(t, p.count("OnConnected"))
		}
	})
}
