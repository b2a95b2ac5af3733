//go:build linux

package actor_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
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

// What package conn promises, once more on real sockets: reading, pausing, sending, back-pressure.

func TestSND1_OutcomeInALaterTurn(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		returned := false
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				tok, err := p.Conn().Send(data)
				assert.EqualValues(t, 1, tok)
				returned = true
				return err
			}
			p.onSent = func(*probe, conn.SendToken) { assert.True(t, returned) }
		})
		c, p := s.open()
		c.send("hello")
		c.expect("hello")
		p.await(t, "OnSent 1")
		stays(t, func() bool { return p.count("OnSent") == 1 }, "one outcome")
	})
}

func TestSND10_ALongChainOfSends(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const links = 20_000
		f := w.start(t, actor.Config{})
		depth := func() int { return runtime.Callers(0, make([]uintptr, 200)) }
		var at10 int
		done := make(chan int, 1)
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.onConnected = func(p *probe) { _, _ = p.Conn().Send([]byte("x")) }
			p.onSent = func(p *probe, tok conn.SendToken) {
				assert.EqualValues(t, p.sent, tok)
				switch tok {
				case 10:
					at10 = depth()
				case links:
					done <- depth()
					return
				}
				_, err := p.Conn().Send([]byte("x"))
				assert.NoError(t, err)
			}
		})
		c, _ := s.open()
		assert.Equal(t, strings.Repeat("x", links), string(c.take(links)))
		select {
		case d := <-done:
			assert.Equal(t, at10, d, "the stack does not grow")
		case <-time.After(slow):
			require.Fail(t, "the chain broke")
		}
	})
}

func TestSND20_ASendNeedsNoLaterEvent(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onConnected = func(p *probe) { _, _ = fmt.Fprintf(p.Conn(), "hi %d", 1) }
		})
		c, _ := s.open()
		c.expect("hi 1")
	})
}

func TestRCV1_Frames(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		c, p := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, nil).open()
		c.send("hi there, how are you???")
		p.awaitN(t, 6, "OnReceived", patience)
		assert.Equal(t, []string{"Started", "OnConnected", "OnReceived hi t", "OnReceived here", "OnReceived , ho", "OnReceived w ar",
			"OnReceived e yo", "OnReceived u???"}, p.notes())
	})
}

func TestRCV11_YieldLetsMessagesIn(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				p.Context().Send(p.self, "marker of "+string(data))
				return conn.Yield
			}
			p.receive = func(p *probe, ctx proto.Context) {
				if m, ok := ctx.Message().(string); ok {
					p.note(m)
				}
			}
		})
		c, p := s.open()
		var all strings.Builder
		for i := range 20 {
			fmt.Fprintf(&all, "%04d", i)
		}
		c.send(all.String())
		p.awaitN(t, 20, "marker", patience)
		place := make(map[string]int)
		for i, n := range p.notes() {
			place[n] = i
		}
		for i := range 18 {
			assert.Less(t, place[fmt.Sprintf("marker of %04d", i)], place[fmt.Sprintf("OnReceived %04d", i+2)])
		}
		assert.Equal(t, 20, p.count("OnReceived"))
	})
}

func TestRCV13_AFloodStarvesNobody(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{Loops: 1})
		var taken, atMarker atomic.Int64
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.onReceived = func(p *probe, data []byte) error {
				if data[0] == 'p' {
					return echo(p, data)
				}
				if taken.Add(int64(len(data))) == int64(len(data)) {
					p.Context().Send(p.self, "marker")
				}
				return nil
			}
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "marker" {
					atMarker.Store(taken.Load())
				}
			}
		})
		flood, _ := s.open()
		quiet, _ := s.open()
		flooded := make(chan error, 1)
		go func() {
			_, err := flood.Write(make([]byte, 10<<20))
			flooded <- err
		}()
		for done := false; !done; {
			select {
			case err := <-flooded:
				require.NoError(t, err)
				done = true
			default:
			}
			began := time.Now()
			quiet.send("ping")
			quiet.expect("ping")
			if !raceEnabled {
				assert.Less(t, time.Since(began), 100*time.Millisecond)
			}
		}
		soon(t, func() bool { return taken.Load() == 10<<20 }, "all is delivered")
		assert.LessOrEqual(t, atMarker.Load(), int64(131_072))
	})
}

func TestPAU1_PausedFromTheBeginning(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) { p.onConnected = func(p *probe) { p.Conn().Pause() } })
		c, p := s.open()
		c.send("the reply")
		stays(t, func() bool { return p.count("OnReceived") == 0 }, "it is paused")
		system.Root.Send(p.self, &actor.Resume{})
		p.await(t, "OnReceived the reply")
	})
}

func TestPAU3_PauseBetweenFrames(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				switch string(data) {
				case "one.", "two.", "five":
					p.Conn().Pause()
				case "ping":
					return echo(p, []byte("pong"))
				}
				return nil
			}
		})
		c, p := s.open()
		c.send("one.two.three--four.five"[:4] + "two.threfourfive")
		for _, n := range []int{1, 2, 5} {
			p.awaitN(t, n, "OnReceived", patience)
			stays(t, func() bool { return p.count("OnReceived") == n }, "it is paused")
			system.Root.Send(p.self, &actor.Resume{})
		}
		c.send("ping")
		c.expect("pong")
		assert.Equal(t, []string{"OnReceived one.", "OnReceived two.", "OnReceived thre", "OnReceived four", "OnReceived five",
			"OnReceived ping"}, p.notes()[2:8])
	})
}

func TestPAU7_ResetWhilePaused(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) { p.onConnected = func(p *probe) { p.Conn().Pause() } })
		c, p := s.open()
		c.send("unread")
		c.reset()
		p.awaitN(t, 1, "OnClosed", time.Second)
		var closed *conn.CloseError
		require.ErrorAs(t, p.err, &closed)
		assert.ErrorIs(t, p.err, syscall.ECONNRESET)
		assert.Zero(t, p.count("OnReceived"))
	})
}

func TestPAU8_FINWhilePaused(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) { p.onConnected = func(p *probe) { p.Conn().Pause() } })
		c, p := s.open()
		require.NoError(t, c.CloseWrite())
		p.awaitN(t, 1, "OnClosed", time.Second)
		assert.Equal(t, []string{"Started", "OnConnected", "OnEOF", "OnClosed"}, p.notes()[:4])
		assert.NoError(t, p.err)
	})
}

func TestPAU9_FINBehindUnreadBytes(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.onConnected = func(p *probe) { p.Conn().Pause() }
		})
		c, p := s.open()
		_, err := c.Write(pattern(10_000))
		require.NoError(t, err)
		require.NoError(t, c.CloseWrite())
		before := f.LoopStats()
		stays(t, func() bool { return p.count("OnEOF") == 0 }, "the end waits behind the bytes")
		assert.Less(t, f.LoopStats().Parks-before.Parks, uint64(10), "the loops sleep")
		system.Root.Send(p.self, &actor.Resume{})
		p.await(t, "Stopped")
		assert.Equal(t, 10_000, p.received)
		assert.NoError(t, p.err)
	})
}

func TestBP1_ThrottledAndUnthrottled(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(stuckConfig(), func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				_, err := p.Conn().Send(pattern(256_000))
				assert.False(t, p.Conn().IsWriteable())
				_, again := p.Conn().Send([]byte("x"))
				assert.Equal(t, conn.ErrNotWriteable, again)
				assert.Greater(t, p.Conn().Stats().Pending, 65_536)
				return err
			}
			p.onUnthrottled = func(p *probe) { assert.True(t, p.Conn().IsWriteable()) }
		})
		c := s.dialWith(smallReader)
		p := s.next()
		c.send("ready")
		p.await(t, "OnThrottled")
		stays(t, func() bool { return p.count("OnUnthrottled")+p.count("OnSent") == 0 && p.count("OnThrottled") == 1 }, "it is full")
		got := make([]byte, 256_000)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		assert.Equal(t, pattern(256_000), got)
		p.awaitN(t, 1, "OnSent 1", slow)
		assert.Equal(t, 1, p.count("OnUnthrottled"))
	})
}

func TestBP12_ReadWaits(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const frames, size = 40, 50_000
		f := w.start(t, actor.Config{})
		cfg := stuckConfig()
		cfg.Conn.Split = fixed(4)
		s := f.serve(cfg, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				_, err := p.Conn().Send(pattern(size))
				assert.NoError(t, err, "no send is refused")
				return err
			}
		})
		c := s.dialWith(smallReader)
		p := s.next()
		c.send(strings.Repeat("more", frames))
		p.await(t, "OnThrottled")
		stays(t, func() bool { return p.count("OnReceived") < 10 }, "reading waits")
		got, want := make([]byte, size), pattern(size)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
		for range frames {
			_, err := io.ReadFull(c, got)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		assert.Equal(t, frames, p.count("OnReceived"))
	})
}

func TestBP14_AnEventForWritingDoesNotLeaveReadingDeaf(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(stuckConfig(), func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if string(data) == "ready" {
					_, err := p.Conn().Send(pattern(256_000))
					return err
				}
				return nil
			}
			p.onThrottled = func(p *probe) { p.Conn().Pause() }
			p.onUnthrottled = func(p *probe) { p.Conn().Resume() }
		})
		c := s.dialWith(smallReader)
		p := s.next()
		c.send("ready")
		p.await(t, "OnThrottled")
		require.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
		_, err := io.ReadFull(c, make([]byte, 256_000))
		require.NoError(t, err)
		p.await(t, "OnSent")
		c.send("ping")
		p.await(t, "OnReceived ping")
	})
}

// posting is a layer that other goroutines post to.
type posting struct {
	interceptor.Pass
	link chan interceptor.Link
}

func (l *posting) Open(k interceptor.Link) error {
	l.link <- k
	k.Ready()
	return nil
}

func TestLAY10_PostFromOtherGoroutines(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		const senders, each = 4, 1000
		f := w.start(t, actor.Config{})
		links := make(chan interceptor.Link, 1)
		cfg := actor.ListenConfig{}
		cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor { return &posting{link: links} }}
		c, p := f.serve(cfg, nil).open()
		link := <-links
		var running sync.WaitGroup
		var last [senders]int // written in turns only: the race detector would tell
		ran := 0
		for n := range senders {
			running.Go(func() {
				for i := range each {
					link.Post(func() error {
						assert.Equal(t, i, last[n])
						last[n]++
						if ran++; ran == senders*each {
							link.Raise("done")
						}
						return nil
					})
				}
			})
		}
		running.Wait()
		p.await(t, "OnEvent")
		why := errors.New("posted")
		link.Post(func() error { return why })
		p.await(t, "Stopped")
		assert.ErrorIs(t, p.err, why)
		var closed *conn.CloseError
		require.ErrorAs(t, p.err, &closed)
		assert.Equal(t, conn.CauseLayer, closed.Cause)
		link.Post(func() error { assert.Fail(t, "it never runs"); return nil })
		c.expectReset()
	})
}
