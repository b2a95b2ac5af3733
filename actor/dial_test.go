//go:build linux

package actor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// call dials addr with a probe.
func (f *fixture) call(addr string, p *probe, cfg actor.DialConfig) *proto.PID {
	f.t.Helper()
	pid, err := f.Dial(context.Background(), addr, p, cfg)
	require.NoError(f.t, err)
	return pid
}

// connectError waits for the one callback of an attempt that failed, and returns what it was told.
func (p *probe) connectError(t testing.TB) *conn.ConnectError {
	t.Helper()
	p.await(t, "Stopped")
	assert.Equal(t, 1, p.count("OnConnectFailed"))
	assert.Zero(t, p.count("OnConnected"))
	assert.Zero(t, p.count("OnClosed"))
	var failed *conn.ConnectError
	require.ErrorAs(t, p.err, &failed)
	assert.NotEmpty(t, failed.Addr)
	return failed
}

// silentAddr returns an address that answers no connect: its queue is full.
func silentAddr(t testing.TB) string {
	t.Helper()
	return silentAt(t, netip.MustParseAddrPort("127.0.0.1:0"))
}

// silentAt is silentAddr at an address of the test's choice.
func silentAt(t testing.TB, at netip.AddrPort) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}))
	require.NoError(t, syscall.Listen(fd, 0))
	sa, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr := netip.AddrPortFrom(at.Addr(), uint16(sa.(*syscall.SockaddrInet4).Port)).String()
	nc, err := net.DialTimeout("tcp", addr, patience) // there is room for one
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	return addr
}

// deadAddr returns an address at which nobody listens.
func deadAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

// A resolver is a function that looks a name up.
type resolver func(ctx context.Context, host string) ([]netip.Addr, error)

var _ loop.Resolver = resolver(nil)

func (f resolver) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	return f(ctx, host)
}

func TestDIAL1_BothEndsKnowEachOther(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		type ends struct {
			local, remote string
			writeable     bool
		}
		look := func(into *ends) func(*probe) {
			return func(p *probe) {
				c := p.Conn()
				*into = ends{c.LocalAddr().String(), c.RemoteAddr().String(), c.IsWriteable()}
			}
		}
		var near, far ends
		s := f.serve(actor.ListenConfig{}, func(p *probe) { p.onConnected = look(&far) })
		p := &probe{onConnected: look(&near)}
		pid := f.call(s.Addr().String(), p, actor.DialConfig{})
		p.await(t, "OnConnected")
		q := s.next()
		q.await(t, "OnConnected")
		system.Root.Send(pid, new(actor.Close))
		p.await(t, "Stopped")
		q.await(t, "Stopped")
		assert.Equal(t, pid, p.self)
		assert.Equal(t, ends{near.local, s.Addr().String(), true}, near)
		assert.Equal(t, ends{near.remote, near.local, true}, far)
		for _, one := range []*probe{p, q} {
			assert.NoError(t, one.err)
			for _, what := range []string{"Started", "OnConnected", "OnClosed"} {
				assert.Equal(t, 1, one.count(what), what)
			}
		}
		assert.Equal(t, "Started", p.notes()[0])
		soon(t, func() bool { return s.Len() == 0 }, "its place is free")
	})
}

// pingPong lets a client that dialed host and a server at addr have a hundred rounds.
func pingPong(t *testing.T, f *fixture, network, addr, host string) (client, server *probe) {
	const rounds = 100
	split := conn.Config{Split: fixed(4)}
	send := func(p *probe, s string) { assert.NoError(t, echo(p, []byte(s))) }
	s := f.serveAt(addr, actor.ListenConfig{Conn: split, Network: network}, func(p *probe) {
		p.onReceived = func(p *probe, _ []byte) error { send(p, "Pong"); return nil }
	})
	_, port, err := net.SplitHostPort(s.Addr().String())
	require.NoError(t, err)
	p := &probe{onConnected: func(p *probe) { send(p, "Ping") }}
	p.onReceived = func(p *probe, _ []byte) error {
		if p.received < 4*rounds {
			send(p, "Ping")
		}
		return nil
	}
	f.call(net.JoinHostPort(host, port), p, actor.DialConfig{Conn: split, Network: network})
	q := s.next()
	p.awaitN(t, rounds, "OnReceived Pong", slow)
	stays(t, func() bool { return p.count("OnReceived") == rounds && q.count("OnReceived") == rounds }, "each frame once")
	assert.Equal(t, rounds, q.count("OnReceived Ping"))
	return p, q
}

// The host name may have addresses of both families; the listener has one of them.
func TestDIAL2_AHundredRoundsByHostName(t *testing.T) {
	ways(t, func(t *testing.T, w way) { pingPong(t, w.start(t, actor.Config{}), "tcp", "127.0.0.1:0", "localhost") })
}

func TestDIAL3_OneFamily(t *testing.T) {
	for network, ip := range map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"} {
		t.Run(network, func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				p, q := pingPong(t, w.start(t, actor.Config{}), network, net.JoinHostPort(ip, "0"), ip)
				for _, one := range []*probe{p, q} {
					far := make(chan netip.AddrPort, 1)
					one.tell(func() { far <- one.Conn().RemoteAddr() })
					assert.Equal(t, ip, (<-far).Addr().String())
				}
			})
		})
	}
}

func TestDIAL4_NobodyListens(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		addr := deadAddr(t)
		before := descriptors()
		p := new(probe)
		f.call(addr, p, actor.DialConfig{})
		failed := p.connectError(t)
		assert.Equal(t, conn.StageDial, failed.Stage)
		assert.ErrorIs(t, failed, syscall.ECONNREFUSED)
		assert.ErrorContains(t, failed, addr)
		w.closed(t, before)
	})
}

func TestDIAL5_ANameWithoutAddress(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		unknown := &net.DNSError{Err: "no such host", Name: "nobody.invalid", IsNotFound: true}
		f.SetResolver(resolver(func(context.Context, string) ([]netip.Addr, error) { return nil, unknown }))
		var sockets atomic.Int32
		cfg := actor.DialConfig{}
		cfg.Socket.Control = func(string, string, syscall.RawConn) error { sockets.Add(1); return nil }
		p := new(probe)
		f.call("nobody.invalid:7669", p, cfg)
		failed := p.connectError(t)
		assert.Equal(t, conn.StageDNS, failed.Stage)
		assert.ErrorIs(t, failed, unknown)
		assert.Zero(t, sockets.Load())
	})
}

func TestDIAL7_StartTimeout(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		for name, hangs := range map[string]bool{"silent target": false, "silent resolver": true} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{})
				addr := silentAddr(t)
				if hangs {
					addr = "slow.example:7669"
					f.SetResolver(resolver(func(ctx context.Context, _ string) ([]netip.Addr, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					}))
				}
				before := descriptors()
				p := new(probe)
				began := time.Now()
				f.call(addr, p, actor.DialConfig{Conn: conn.Config{StartTimeout: 300 * time.Millisecond}})
				failed := p.connectError(t)
				took := time.Since(began)
				assert.Equal(t, conn.StageTimeout, failed.Stage)
				assert.True(t, failed.Timeout())
				assert.GreaterOrEqual(t, took, 300*time.Millisecond)
				assert.LessOrEqual(t, took, time.Second)
				w.closed(t, before)
			})
		}
	})
}

func TestDIAL8_TheDeadlineEndsWithReadiness(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		p := new(probe)
		f.call(s.Addr().String(), p, actor.DialConfig{Conn: conn.Config{StartTimeout: 200 * time.Millisecond}})
		p.await(t, "OnConnected")
		time.Sleep(400 * time.Millisecond) // the deadline passes
		stays(t, func() bool { return p.count("On") == p.count("OnConnected")+p.count("OnEvent") }, "nothing else comes")
	})
}

// endsInConnecting dials a silent target and does end in the first OnEvent.
func endsInConnecting(t *testing.T, f *fixture, end func(*conn.Conn)) {
	t.Helper()
	before := descriptors()
	inside := true
	p := &probe{onEvent: func(p *probe, ev any) {
		assert.Equal(t, conn.Connecting{Inflight: 1}, ev)
		end(p.Conn())
		inside = false
	}}
	p.onFailed = func(*probe, error) { assert.False(t, inside) }
	began := time.Now()
	addr := silentAddr(t)
	held := descriptors() - before // by the silent target itself
	f.call(addr, p, actor.DialConfig{Conn: conn.Config{StartTimeout: 30 * time.Second}})
	failed := p.connectError(t)
	assert.Equal(t, conn.StageClosed, failed.Stage)
	assert.ErrorIs(t, failed, net.ErrClosed)
	assert.Equal(t, []string{"Started", "OnEvent", "OnConnectFailed", "Stopping", "Stopped"}, p.notes())
	assert.Less(t, time.Since(began), patience)
	f.way.closed(t, before+held)
}

func TestDIAL11_CloseWhileConnecting(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		endsInConnecting(t, w.start(t, actor.Config{}), (*conn.Conn).Close)
	})
}

func TestDIAL11_AbortWhileConnecting(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		endsInConnecting(t, w.start(t, actor.Config{}), func(c *conn.Conn) { c.Abort(errors.New("no need any more")) })
	})
}

func TestDIAL11_TwoAttemptsInFlight(t *testing.T) {
	for name, end := range map[string]func(*conn.Conn){
		"Close": (*conn.Conn).Close, "Abort": func(c *conn.Conn) { c.Abort(errors.New("no need any more")) },
	} {
		t.Run(name, func(t *testing.T) {
			waysInTurn(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				first := netip.MustParseAddrPort(silentAddr(t))
				second := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), first.Port())
				silentAt(t, second)
				f.SetResolver(resolver(func(context.Context, string) ([]netip.Addr, error) {
					return []netip.Addr{first.Addr(), second.Addr()}, nil
				}))
				before := descriptors()
				inside := true
				p := &probe{onEvent: func(p *probe, ev any) {
					if ev == (conn.Connecting{Inflight: 2}) {
						if !w.portable { // there goroutines open them, soon
							assert.Equal(t, before+2, descriptors())
						}
						end(p.Conn())
						inside = false
					}
				}}
				p.onFailed = func(*probe, error) { assert.False(t, inside) }
				began := time.Now()
				f.call(fmt.Sprint("two.example:", first.Port()), p, actor.DialConfig{Conn: conn.Config{StartTimeout: slow}})
				assert.Equal(t, conn.StageClosed, p.connectError(t).Stage)
				assert.Less(t, time.Since(began), patience)
				assert.Equal(t, []string{"Started", "OnEvent", "OnEvent", "OnConnectFailed", "Stopping", "Stopped"}, p.notes())
				w.closed(t, before)
			})
		})
	}
}

func TestDIAL11_MessagesWhileConnecting(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		for name, msg := range map[string]any{"Close": new(actor.Close), "Abort": new(actor.Abort)} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{})
				p := new(probe)
				pid := f.call(silentAddr(t), p, actor.DialConfig{})
				p.await(t, "OnEvent")
				system.Root.Send(pid, msg)
				assert.Equal(t, conn.StageClosed, p.connectError(t).Stage)
			})
		}
	})
}

func TestDIAL12_SendWhileConnecting(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		var early error
		var token conn.SendToken
		writeable := true
		p := new(probe)
		p.onEvent = func(p *probe, ev any) {
			if ev != (conn.Connecting{Inflight: 1}) {
				return // the second one may have succeeded already
			}
			_, early = p.Conn().Send([]byte("x"))
			writeable = p.Conn().IsWriteable()
		}
		p.onConnected = func(p *probe) {
			var err error
			token, err = p.Conn().Send([]byte("y"))
			assert.NoError(t, err)
		}
		// The first address never answers, so that there is an attempt to hear of; the second one does, 250 ms later.
		_, port, err := net.SplitHostPort(silentAddr(t))
		require.NoError(t, err)
		far, err := f.Listen(context.Background(), "127.0.0.2:"+port, func() actor.Actor { return new(probe) }, actor.ListenConfig{})
		require.NoError(t, err)
		f.SetResolver(resolver(func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}, nil
		}))
		f.call("two.example:"+port, p, actor.DialConfig{})
		p.await(t, "OnSent 1")
		assert.Equal(t, conn.ErrNotConnected, early)
		assert.False(t, writeable)
		assert.Equal(t, conn.SendToken(1), token)
		soon(t, func() bool { return far.Len() == 1 }, "the other end")
	})
}

func TestDIAL15_TheContextEndsTheAttempt(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		addr := silentAddr(t)
		before := descriptors()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		p := new(probe)
		_, err := f.Dial(ctx, addr, p, actor.DialConfig{})
		require.NoError(t, err)
		p.await(t, "OnEvent")
		cancel()
		failed := p.connectError(t)
		assert.Equal(t, conn.StageDial, failed.Stage)
		assert.ErrorIs(t, failed, context.Canceled)
		w.closed(t, before)

		late := new(probe)
		_, err = f.Dial(ctx, addr, late, actor.DialConfig{})
		require.NoError(t, err)
		assert.ErrorIs(t, late.connectError(t), context.Canceled)
	})
}

func TestDIAL15_TheContextEndsLater(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		p := new(probe)
		_, err := f.Dial(ctx, s.Addr().String(), p, actor.DialConfig{})
		require.NoError(t, err)
		p.await(t, "OnConnected")
		cancel()
		stays(t, func() bool { return p.count("OnClosed")+p.count("OnConnectFailed") == 0 }, "it lives on")
	})
}
