//go:build linux

package actor_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// Many goroutines dial at once, and callbacks dial from loops, while accepted actors are spawned and restarted beside
// them.
func TestDialFromEverywhere(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const dialers, each = 4, 25
		f := w.start(t, actor.Config{Strategy: proto.NewOneForOneStrategy(1000, time.Minute,
			func(any) proto.Directive { return proto.RestartDirective })})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(*probe, []byte) error { panic("restart me") }
		})
		done := make(chan *probe, 2*dialers*each)
		for range dialers {
			go func() {
				for range each {
					p := &probe{onConnected: func(p *probe) {
						_, err := p.Conn().Send([]byte("x"))
						assert.NoError(t, err)
						q := new(probe)
						_, err = f.Dial(context.Background(), s.Addr().String(), q, actor.DialConfig{})
						assert.NoError(t, err)
						done <- q
					}}
					_, err := f.Dial(context.Background(), s.Addr().String(), p, actor.DialConfig{})
					assert.NoError(t, err)
					done <- p
				}
			}()
		}
		seen := make(map[string]bool)
		for range 2 * dialers * each {
			p := <-done
			p.awaitN(t, 1, "OnConnected", slow)
			seen[p.self.Id] = true
		}
		assert.Len(t, seen, 2*dialers*each, "each has a PID of its own")
		soon(t, func() bool { return s.Len() == 2*dialers*each }, "the other ends")
	})
}

// A dialed actor is its own successor: it goes on with its state and its stream.
func TestDialedActorIsItsOwnSuccessor(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{Strategy: proto.NewOneForOneStrategy(10, time.Minute,
			func(any) proto.Directive { return proto.RestartDirective })})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				_, err := p.Conn().Send(data)
				return err
			}
		})
		p := &probe{onReceived: func(p *probe, data []byte) error {
			if p.received == 1 {
				panic("once")
			}
			return nil
		}}
		pid := f.call(s.Addr().String(), p, actor.DialConfig{})
		p.await(t, "OnConnected")
		system.Root.Send(pid, &actor.Write{Data: []byte("1")})
		p.awaitN(t, 2, "Started", patience)
		system.Root.Send(pid, &actor.Write{Data: []byte("2")})
		p.await(t, "OnReceived 2")
		assert.Equal(t, 1, p.count("OnConnected"))
		system.Root.Send(pid, new(actor.Close))
		p.await(t, "Stopped")
		assert.NoError(t, p.err)
		assert.Equal(t, 2, p.received, "the same value saw both")
	})
}

// Dialed connections with sends pending end in order: the server gets all of it, and then the end.
func TestNET1_ShutdownClosesDialed(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const count, size = 20, 200_000
		f := w.start(t, actor.Config{})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = ln.Close() }()
		cfg := actor.DialConfig{Socket: loop.Options{WriteBuffer: 16 << 10}}
		var probes []*probe
		var ends []*peer
		for i := range count {
			p := &probe{onConnected: func(p *probe) {
				if i%2 == 0 {
					_, err := p.Conn().Send(pattern(size))
					assert.NoError(t, err)
				}
			}}
			f.call(ln.Addr().String(), p, cfg)
			nc, err := ln.Accept()
			require.NoError(t, err)
			end := &peer{nc.(*net.TCPConn), t}
			t.Cleanup(end.reset)
			require.NoError(t, end.SetReadBuffer(4096))
			p.await(t, "OnConnected")
			probes, ends = append(probes, p), append(ends, end)
		}
		results := make(chan int, count)
		for _, end := range ends {
			go func() {
				assert.NoError(t, end.SetReadDeadline(time.Now().Add(slow)))
				got, err := io.ReadAll(end)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(got, pattern(len(got))))
				assert.NoError(t, end.Close())
				results <- len(got)
			}()
		}
		closed, aborted, err := f.Shutdown(timeout(t, 20*time.Second))
		assert.NoError(t, err)
		assert.Equal(t, count, closed)
		assert.Zero(t, aborted)
		full := 0
		for range count {
			if n := <-results; n > 0 {
				assert.Equal(t, size, n)
				full++
			}
		}
		assert.Equal(t, count/2, full)
		for i, p := range probes {
			assert.NoError(t, p.err)
			assert.Equal(t, 1, p.count("OnClosed"))
			assert.Equal(t, 1-i%2, p.count("OnSent"))
		}
	})
}

func TestNET3_ShutdownWhileDialing(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		for name, hurry := range map[string]bool{"in order": false, "at once": true} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{})
				silent := silentAddr(t)
				s := f.serve(actor.ListenConfig{}, nil)
				var dials, open []*probe
				for range 5 {
					p := new(probe)
					f.call(silent, p, actor.DialConfig{})
					p.await(t, "OnEvent")
					q := new(probe)
					f.call(s.Addr().String(), q, actor.DialConfig{})
					q.await(t, "OnConnected")
					s.next().await(t, "OnConnected")
					dials, open = append(dials, p), append(open, q)
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if hurry {
					cancel()
				}
				closed, aborted, err := f.Shutdown(ctx)
				if hurry {
					assert.ErrorIs(t, err, context.Canceled)
					assert.Equal(t, 15, aborted)
				} else {
					assert.NoError(t, err)
					assert.Equal(t, 15, closed)
					assert.Zero(t, aborted)
				}
				for i := range dials {
					assert.Equal(t, conn.StageClosed, dials[i].connectError(t).Stage)
					assert.Equal(t, 1, open[i].count("OnClosed"))
					assert.Zero(t, open[i].count("OnConnectFailed"))
				}
			})
		}
	})
}

func TestNET4_DialAndAdoptAfterShutdown(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		near, far := tcpPair(t)
		fastShutdown(t, f.Network)
		p := new(probe)
		pid, err := f.Dial(context.Background(), far.LocalAddr().String(), p, actor.DialConfig{})
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Nil(t, pid)
		pid, err = f.Adopt(near, p, actor.DialConfig{})
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Nil(t, pid)
		assert.Empty(t, p.notes())
		_, err = near.Write([]byte("still mine"))
		require.NoError(t, err)
		far.expect("still mine")
	})
}

// Dials that race with Shutdown are refused, or have their one last callback before it returns.
func TestNET4_DialsDuringShutdown(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		addr := deadAddr(t)
		first, ended := make(chan struct{}), make(chan []*probe)
		go func() {
			var started []*probe
			for {
				p := new(probe)
				_, err := f.Dial(context.Background(), addr, p, actor.DialConfig{})
				if err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					assert.Empty(t, p.notes())
					ended <- started
					return
				}
				if started = append(started, p); len(started) == 10 {
					close(first)
				}
			}
		}()
		<-first
		fastShutdown(t, f.Network)
		for _, p := range <-ended {
			assert.Equal(t, 1, p.count("OnConnectFailed"))
			assert.Equal(t, 1, p.count("Stopped"))
		}
	})
}
