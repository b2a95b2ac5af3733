//go:build linux

package actor_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

func TestRES1_EveryEndGivesEverythingBack(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		const limit, clients = 10, 200
		type end struct {
			name   string
			layer  interceptor.Factory
			onData func(p *probe) error
			peer   func(c net.Conn)
		}
		finish := func(c net.Conn) {
			_, _ = io.Copy(io.Discard, c)
		}
		for _, e := range []end{
			{name: "FIN", peer: func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite(); finish(c) }},
			{name: "reset", peer: func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }},
			{name: "Close", onData: func(p *probe) error { p.Conn().Close(); return nil }, peer: finish},
			{name: "Abort", onData: func(p *probe) error { p.Conn().Abort(nil); return nil }, peer: finish},
			{name: "CloseTimeout", onData: func(p *probe) error { p.Conn().Close(); return nil }, peer: func(c net.Conn) {
				for _, err := c.Write([]byte("more")); err == nil; _, err = c.Write([]byte("more")) {
					runtime.Gosched()
				}
			}},
			{name: "StartTimeout", layer: func() interceptor.Interceptor { return silent{} }, peer: finish},
			{name: "handshake", layer: func() interceptor.Interceptor { return failing{} }, peer: finish},
			{name: "error", onData: func(*probe) error { return errors.New("no more") }, peer: finish},
			{name: "panic", onData: func(*probe) error { panic("told to") }, peer: finish},
			{name: "stop", onData: func(p *probe) error { p.Context().Stop(p.self); return nil }, peer: finish},
		} {
			t.Run(e.name, func(t *testing.T) {
				f := w.start(t, actor.Config{})
				var phase atomic.Int32
				cfg := actor.ListenConfig{MaxConns: limit}
				cfg.Conn.CloseTimeout = 20 * time.Millisecond
				cfg.Conn.StartTimeout = 20 * time.Millisecond
				cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor {
					if e.layer == nil || phase.Load() > 0 {
						return interceptor.Pass{}
					}
					return e.layer()
				}}
				s := f.serve(cfg, func(p *probe) {
					p.onReceived = func(p *probe, data []byte) error {
						if data[0] == '!' && e.onData != nil {
							return e.onData(p)
						}
						return echo(p, data)
					}
				})
				before := takeCensus()
				var running sync.WaitGroup
				places := make(chan struct{}, 2*limit)
				for range clients {
					places <- struct{}{}
					running.Go(func() {
						defer func() { <-places }()
						c, err := net.Dial("tcp", s.Addr().String())
						if err != nil { // a reset may come while it connects
							return
						}
						defer c.Close()
						_ = c.SetDeadline(time.Now().Add(slow))
						_, _ = io.WriteString(c, "!")
						e.peer(c)
					})
				}
				running.Wait()
				soon(t, func() bool { return s.Len() == 0 }, "the live count is 0")
				assert.Empty(t, before.wait())
				phase.Store(1)
				var served sync.WaitGroup
				for range limit {
					served.Go(func() {
						c, err := net.Dial("tcp", s.Addr().String())
						if !assert.NoError(t, err) {
							return
						}
						defer c.Close()
						_ = c.SetDeadline(time.Now().Add(patience))
						_, _ = io.WriteString(c, "ping")
						buf := make([]byte, 4)
						_, err = io.ReadFull(c, buf)
						assert.NoError(t, err)
					})
				}
				served.Wait()
			})
		}
	})
}

// Dials that come to nothing are ends, too.
func TestRES1_DialsGiveEverythingBack(t *testing.T) {
	const dials, atOnce = 200, 10
	for name, cancelled := range map[string]bool{"refused": false, "cancelled": true} {
		t.Run(name, func(t *testing.T) {
			waysInTurn(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(actor.ListenConfig{MaxConns: atOnce}, echoes)
				addr := deadAddr(t)
				if cancelled {
					addr = silentAddr(t)
				}
				before := takeCensus()
				for range dials / atOnce {
					ctx, cancel := context.WithCancel(t.Context())
					var probes []*probe
					for range atOnce {
						p := new(probe)
						_, err := f.Dial(ctx, addr, p, actor.DialConfig{})
						require.NoError(t, err)
						probes = append(probes, p)
					}
					if cancelled {
						for _, p := range probes {
							p.await(t, "OnEvent")
						}
						cancel()
					}
					for _, p := range probes {
						assert.Equal(t, conn.StageDial, p.connectError(t).Stage)
					}
					cancel()
				}
				assert.Empty(t, before.wait())
				for range atOnce {
					p := &probe{onConnected: func(p *probe) { assert.NoError(t, echo(p, []byte("ping"))) }}
					f.call(s.Addr().String(), p, actor.DialConfig{})
					p.await(t, "OnReceived ping")
				}
			})
		})
	}
}

// TestFLT6 takes the descriptor away before it can be registered with the poller.
func TestFLT6_RegisteringFails(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		if w.portable {
			w.cannot(t, "it has no poller, and package net owns the descriptors")
		}
		f := w.start(t, actor.Config{Loops: 1})
		var clients atomic.Int32
		client := make(chan string, 1)
		s := f.serve(actor.ListenConfig{MaxConns: 1}, func(p *probe) {
			echoes(p)
			if clients.Add(1) == 1 {
				closePeerOf(<-client)
			}
		})
		nc, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		client <- nc.LocalAddr().String()
		p := s.next()
		p.await(t, "Stopped")
		assert.Equal(t, []string{"Started", "OnConnectFailed", "Stopping", "Stopped"}, p.notes())
		assert.ErrorIs(t, p.err, syscall.EBADF)
		c := s.dial()
		c.send("served?")
		c.expect("served?")
	})
}

// closePeerOf closes the descriptor of this process whose peer is addr.
func closePeerOf(addr string) {
	for fd := range 1000 {
		sa, err := syscall.Getpeername(fd)
		if in, ok := sa.(*syscall.SockaddrInet4); err == nil && ok &&
			netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)).String() == addr {
			_ = syscall.Close(fd)
			return
		}
	}
}

// rawClients opens plain sockets, which cost this process nothing but descriptors.
func rawClients(t *testing.T, s *server, n int) (closeAll func()) {
	t.Helper()
	var fds []int
	closeAll = func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
		fds = nil
	}
	t.Cleanup(closeAll)
	to := &syscall.SockaddrInet4{Port: s.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	for range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		fds = append(fds, fd)
		require.NoError(t, syscall.Connect(fd, to))
	}
	return closeAll
}

// bare is an actor with nothing in it.
type bare struct{ actor.Base }

func TestRES2_IdleConnectionsCostNoGoroutine(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		if w.portable {
			w.cannot(t, "there each connection has a goroutine that reads")
		}
		const n = 1000
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) { p.quiet = true })
		before := runtime.NumGoroutine()
		closeAll := rawClients(t, s, n)
		soon(t, func() bool { return s.Len() == n }, "all are accepted")
		for range n {
			s.next().await(t, "OnConnected")
		}
		assert.LessOrEqual(t, runtime.NumGoroutine(), before)
		closeAll()
		soon(t, func() bool { return s.Len() == 0 }, "all have ended")
	})
}

func TestRES5_MemoryOfIdleConnections(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		if raceEnabled {
			t.Skip("the race detector's own memory is counted")
		}
		const most = 2000
		var limit syscall.Rlimit
		require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
		n := min(10_000, (int(limit.Cur)-500)/2) // this process holds both ends
		require.Greater(t, n, 200)
		f := w.start(t, actor.Config{})
		var connected, cleaned atomic.Int32
		ln, err := f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor {
			b := new(countedBare)
			b.connected = &connected
			runtime.AddCleanup(b, func(c *atomic.Int32) { c.Add(1) }, &cleaned)
			return b
		}, actor.ListenConfig{})
		require.NoError(t, err)
		s := &server{Listener: ln, t: t}
		closeAll := rawClients(t, s, 100) // what is made once is there
		soon(t, func() bool { return connected.Load() == 100 }, "they are connected")
		before := resident(t)
		closeMore := rawClients(t, s, n)
		require.Eventually(t, func() bool { return int(connected.Load()) == n+100 }, slow, time.Millisecond)
		grown := resident(t) - before
		t.Logf("%d bytes for each idle connection", grown/n)
		if !w.portable && !w.blocking { // there a connection has goroutines, or a second half on the loop
			assert.Less(t, grown/n, most)
		}
		closeAll()
		closeMore()
		require.Eventually(t, func() bool { return ln.Len() == 0 }, slow, time.Millisecond)
		runtime.GC()
		runtime.GC()
		soon(t, func() bool { return int(cleaned.Load()) == n+100 }, "nothing keeps an actor alive")
	})
}

type countedBare struct {
	actor.Base
	connected *atomic.Int32
}

func (b *countedBare) OnConnected(*conn.Conn) { b.connected.Add(1) }

func TestRES5_APIDKeepsNoActorAlive(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		var connected, cleaned atomic.Int32
		var pid atomic.Pointer[proto.PID]
		ln, err := f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor {
			b := &countedBare{connected: &connected}
			runtime.AddCleanup(b, func(c *atomic.Int32) { c.Add(1) }, &cleaned)
			return b
		}, actor.ListenConfig{Props: []proto.PropsOption{proto.WithOnInit(func(ctx proto.Context) { pid.Store(ctx.Self()) })}})
		require.NoError(t, err)
		c := (&server{Listener: ln, t: t}).dial()
		soon(t, func() bool { return connected.Load() == 1 }, "it is connected")
		system.Root.Send(pid.Load(), "hello") // now the PID knows the process
		c.reset()
		soon(t, func() bool { return ln.Len() == 0 }, "it has ended")
		soon(t, func() bool { runtime.GC(); return cleaned.Load() == 1 }, "the actor is garbage")
		runtime.KeepAlive(pid.Load())
	})
}

// resident returns how many bytes of this process are in memory, when garbage is gone.
func resident(t *testing.T) int {
	t.Helper()
	runtime.GC()
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kb << 10
}

func TestRES6_ChildrenInheritNothing(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		c, p := s.open()
		child := exec.Command("cat") // lives until its input ends
		input, err := child.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		defer func() {
			_ = input.Close()
			_ = child.Wait()
		}()
		addr := s.Addr().String()
		require.NoError(t, s.Close())
		system.Root.Send(p.self, &actor.Close{})
		rest, err := c.rest(patience)
		assert.NoError(t, err, "the peer sees FIN")
		assert.Empty(t, rest)
		again, err := f.Listen(t.Context(), addr, func() actor.Actor { return new(bare) }, actor.ListenConfig{})
		require.NoError(t, err, "the port is free while the child runs")
		assert.NoError(t, again.Close())
	})
}
