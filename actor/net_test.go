//go:build linux

package actor_test

import (
	"context"
	"io"
	"net"
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

func timeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestNET1_ShutdownClosesInOrder(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const each, size = 50, 200_000
		f := w.start(t, actor.Config{})
		var probes []*probe
		var clients []*peer
		var servers []*server
		for range 2 {
			s := f.serve(stuckConfig(), func(p *probe) {
				p.onReceived = func(p *probe, _ []byte) error {
					_, err := p.Conn().Send(pattern(size))
					return err
				}
			})
			servers = append(servers, s)
			for i := range each {
				c := s.dialWith(smallReader)
				p := s.next()
				p.await(t, "OnConnected")
				if i%2 == 0 {
					c.send("x")
					p.await(t, "OnThrottled") // it is pending
				}
				probes, clients = append(probes, p), append(clients, c)
			}
		}
		type result struct {
			got []byte
			err error
		}
		results := make(chan result, len(clients))
		shut := make(chan struct{})
		for _, c := range clients {
			go func() {
				<-shut
				got, err := c.rest(slow)
				_ = c.Close()
				results <- result{got, err}
			}()
		}
		began := time.Now()
		time.AfterFunc(10*time.Millisecond, func() { close(shut) })
		closed, aborted, err := f.Shutdown(timeout(t, 20*time.Second))
		require.NoError(t, err)
		assert.Equal(t, 2*each, closed)
		assert.Zero(t, aborted)
		assert.Less(t, time.Since(began), 15*time.Second)
		full := 0
		for range clients {
			r := <-results
			assert.NoError(t, r.err)
			if len(r.got) > 0 {
				full++
				assert.Equal(t, pattern(size), r.got)
			}
		}
		assert.Equal(t, each, full)
		for i, p := range probes {
			assert.NoError(t, p.err)
			assert.Equal(t, 1, p.count("OnClosed"))
			assert.Equal(t, 1-i%2, p.count("OnSent"))
		}
		for _, s := range servers {
			_, err := net.Dial("tcp", s.Addr().String())
			assert.ErrorIs(t, err, syscall.ECONNREFUSED)
			assert.Zero(t, s.Len())
		}
	})
}

// stuckAndOthers opens 10 connections with 256,000 bytes pending to clients that never read, and 90 to clients that
// close at FIN.
func stuckAndOthers(t *testing.T, f *fixture, cfg actor.ListenConfig) (stuck []*probe, left *sync.WaitGroup) {
	t.Helper()
	s := f.serve(cfg, func(p *probe) {
		p.onReceived = func(p *probe, _ []byte) error {
			_, err := p.Conn().Send(pattern(256_000))
			return err
		}
	})
	left = new(sync.WaitGroup)
	for i := range 100 {
		c := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnConnected")
		if i < 10 {
			c.send("x")
			p.await(t, "OnThrottled")
			stuck = append(stuck, p)
			continue
		}
		left.Go(func() {
			_, _ = c.rest(slow)
			_ = c.Close()
		})
	}
	return stuck, left
}

func TestNET2_ShutdownAbortsWhatIsLeft(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		for name, c := range map[string]struct {
			closeTimeout, patience time.Duration
			least, most            time.Duration
			closed, aborted        int
			err                    error
		}{
			"ctx ends":          {30 * time.Second, time.Second, time.Second, 1500 * time.Millisecond, 90, 10, context.DeadlineExceeded},
			"CloseTimeout ends": {300 * time.Millisecond, 30 * time.Second, 300 * time.Millisecond, time.Second, 90, 10, nil},
			"ctx has ended":     {30 * time.Second, -time.Second, 0, 500 * time.Millisecond, 0, 100, context.DeadlineExceeded},
		} {
			t.Run(name, func(t *testing.T) {
				f := w.start(t, actor.Config{})
				cfg := stuckConfig()
				cfg.Conn.CloseTimeout = c.closeTimeout
				stuck, left := stuckAndOthers(t, f, cfg)
				began := time.Now()
				closed, aborted, err := f.Shutdown(timeout(t, c.patience))
				took := time.Since(began)
				assert.ErrorIs(t, err, c.err)
				assert.Equal(t, c.closed, closed)
				assert.Equal(t, c.aborted, aborted)
				assert.GreaterOrEqual(t, took, c.least)
				assert.LessOrEqual(t, took, c.most)
				for _, p := range stuck {
					assert.Equal(t, []string{"OnSendFailed 1", "OnClosed", "Stopping", "Stopped"}, p.notes()[len(p.notes())-4:])
					var failed *conn.CloseError
					if assert.ErrorAs(t, p.err, &failed) && c.err != nil {
						assert.ErrorIs(t, p.err, net.ErrClosed)
					}
				}
				left.Wait()
			})
		}
	})
}

func TestNET3_ShutdownInAHandshake(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := actor.ListenConfig{}
		cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor { return silent{} }}
		starting := f.serve(cfg, nil)
		open := f.serve(actor.ListenConfig{}, nil)
		var inHandshake, connected []*probe
		for range 5 {
			starting.dial()
			p := starting.next()
			p.await(t, "Started")
			inHandshake = append(inHandshake, p)
			c, p := open.open()
			connected = append(connected, p)
			go func() {
				_, _ = c.rest(slow)
				_ = c.Close()
			}()
		}
		closed, aborted, err := f.Shutdown(timeout(t, patience))
		require.NoError(t, err)
		assert.Equal(t, 10, closed)
		assert.Zero(t, aborted)
		for _, p := range inHandshake {
			assert.Equal(t, []string{"Started", "OnConnectFailed", "Stopping", "Stopped"}, p.notes())
			var failed *conn.ConnectError
			require.ErrorAs(t, p.err, &failed)
			assert.Equal(t, conn.StageClosed, failed.Stage)
		}
		for _, p := range connected {
			assert.Equal(t, 1, p.count("OnClosed"))
			assert.NoError(t, p.err)
		}
	})
}

func TestNET3_AbortInAHandshake(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := actor.ListenConfig{}
		cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor { return silent{} }}
		s := f.serve(cfg, nil)
		c := s.dial()
		p := s.next()
		p.await(t, "Started")
		closed, aborted, err := f.Shutdown(timeout(t, -1))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Zero(t, closed)
		assert.Equal(t, 1, aborted)
		assert.ErrorIs(t, p.err, net.ErrClosed)
		c.expectReset()
	})
}

func TestNET4_ShutdownTwiceAndAtOnce(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		for range 10 {
			c, _ := s.open()
			go func() {
				_, _ = c.rest(slow)
				_ = c.Close()
			}()
		}
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				closed, aborted, err := f.Shutdown(timeout(t, patience))
				assert.NoError(t, err)
				assert.Equal(t, 10, closed)
				assert.Zero(t, aborted)
				assert.Zero(t, s.Len(), "all is closed when it returns")
			})
		}
		running.Wait()
		closed, aborted, err := f.Shutdown(timeout(t, -1))
		assert.NoError(t, err, "nothing was left when ctx ended")
		assert.Equal(t, 10, closed)
		assert.Zero(t, aborted)
		_, err = f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor { return new(probe) }, actor.ListenConfig{})
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestNET4_PatienceOfTheSecondCallEnds(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		c, p := f.serve(stuckConfig(), nil).open()
		_ = c // it never ends by itself
		first := make(chan error)
		go func() {
			_, _, err := f.Shutdown(context.Background())
			first <- err
		}()
		soon(t, func() bool { // the first call is at work
			_, err := f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor { return new(probe) }, actor.ListenConfig{})
			return err != nil
		}, "it is being shut down")
		_, aborted, err := f.Shutdown(timeout(t, -1))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, aborted)
		assert.NoError(t, <-first)
		assert.Error(t, p.err)
	})
}

func TestNET5_NothingIsLeft(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		before := takeCensus()
		other := system.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
			if ctx.Message() == "ping" {
				ctx.Respond("pong")
			}
		}))
		defer system.Root.Stop(other)
		addr := "127.0.0.1:0"
		for range 3 {
			n, err := actor.New(system, w.network(actor.Config{}))
			require.NoError(t, err)
			made := make(chan *probe, 9)
			ln, err := n.Listen(t.Context(), addr, func() actor.Actor {
				p := new(probe)
				made <- p
				return p
			}, w.listen(actor.ListenConfig{}))
			require.NoError(t, err, "a new network can listen on the same port at once")
			addr = ln.Addr().String()
			c := (&server{Listener: ln, t: t}).dial()
			soon(t, func() bool { return len(made) == 1 && ln.Len() == 1 }, "it is accepted")
			fastAbort(t, n)
			c.reset()
			assert.Empty(t, before.wait(), "no goroutine and no descriptor is left")
			require.Len(t, made, 1)
			parents, known := system.ProcessRegistry.Get(system.NewLocalPID("galago"))
			assert.False(t, known, "%v", parents)
			answer, err := system.Root.RequestFuture(other, "ping", patience).Result()
			require.NoError(t, err)
			assert.Equal(t, "pong", answer, "other actors of the system live on")
		}
	})
}

func TestNET6_ShutdownUnderLoad(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		var after atomic.Int64
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			echoes(p)
			p.quiet = true
			p.onClosed = func(*probe, error) {
				if f.Closing() {
					after.Add(1)
				}
			}
			p.onFailed = p.onClosed
		})
		addr := s.Addr().String()
		var running sync.WaitGroup
		var rounds atomic.Int64
		stop := make(chan struct{})
		client := func() (refused bool) {
			nc, err := net.DialTimeout("tcp", addr, patience)
			if err != nil {
				return true
			}
			defer nc.Close()
			assert.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
			if _, err := io.WriteString(nc, "ping"); err != nil {
				return false
			}
			buf, err := io.ReadAll(io.LimitReader(nc, 4))
			if err == nil && len(buf) > 0 {
				assert.Equal(t, "ping", string(buf), "a whole answer or none")
				rounds.Add(1)
			}
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			var slow net.Error
			assert.False(t, err != nil && asNetError(err, &slow) && slow.Timeout(), "a client hangs")
			return false
		}
		for range 8 {
			running.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if client() {
						return
					}
				}
			})
		}
		soon(t, func() bool { return rounds.Load() > 500 }, "clients come and go")
		closed, aborted, err := f.Shutdown(timeout(t, patience))
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			running.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(time.Second):
			close(stop)
			assert.Fail(t, "clients hang for longer than 1 s")
			<-done
		}
		// Shutdown may begin after a connection was counted and before its handler looks. There are eight.
		assert.GreaterOrEqual(t, after.Load(), int64(closed+aborted))
		assert.LessOrEqual(t, after.Load()-int64(closed+aborted), int64(8))
	})
}

func asNetError(err error, target *net.Error) bool {
	e, ok := err.(net.Error)
	*target = e
	return ok
}

func TestNET4_ListenWhileShuttingDown(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		before := descriptors()
		cfg := actor.ListenConfig{}
		cfg.Socket.Control = func(string, string, syscall.RawConn) error { // in the middle of Listen
			_, _, err := f.Shutdown(timeout(t, patience))
			return err
		}
		_, err := f.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor { return new(probe) }, cfg)
		assert.ErrorIs(t, err, net.ErrClosed)
		if w.portable { // there loops have no descriptors
			before++
		}
		assert.Less(t, descriptors(), before, "no port is open, and no loop")
	})
}
