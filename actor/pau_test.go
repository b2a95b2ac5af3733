//go:build linux

package actor_test

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// Pause and Resume, on real sockets; see flow_test.go, too.

const readBuffer = 64 << 10 // bytes that one turn reads at most

func TestPAU2_ResumeDeliversNothingItself(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		returned := true
		s := f.serve(actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}}, func(p *probe) {
			p.onReceived = func(p *probe, _ []byte) error {
				assert.True(t, returned, "inside Resume")
				p.Conn().Pause()
				return nil
			}
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "resume" {
					returned = false
					p.Conn().Resume()
					returned = true
				}
			}
		})
		c, p := s.open()
		c.send("one.two.thre")
		for n := range 3 {
			p.awaitN(t, n+1, "OnReceived", patience)
			turn := make(chan struct{})
			p.tell(func() { close(turn) })
			<-turn
			assert.Equal(t, n+1, p.count("OnReceived"), "it is paused, though more was read")
			p.tell("resume")
		}
		c.send("four")
		p.await(t, "OnReceived four")
	})
}

func TestPAU5_PauseWithAFullReadBuffer(t *testing.T) {
	const size = 4 * readBuffer
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		busy, release := make(chan struct{}), make(chan struct{})
		var read, frames atomic.Uint64
		var got []byte
		cfg := actor.ListenConfig{Conn: conn.Config{Split: fixed(4)}, Socket: loop.Options{ReadBuffer: 2 * size}}
		s := f.serve(cfg, func(p *probe) {
			p.quiet = true
			p.onReceived = func(p *probe, data []byte) error {
				if got = append(got, data...); frames.Add(1) == 1 {
					read.Store(p.Conn().Stats().BytesRead)
					p.Conn().Pause()
					p.note("paused")
				}
				return nil
			}
			p.receive = func(_ *probe, ctx proto.Context) {
				if ctx.Message() == "block" {
					close(busy)
					<-release
				}
			}
		})
		c, p := s.open()
		p.tell("block")
		<-busy
		_, err := c.Write(pattern(size))
		require.NoError(t, err)
		soon(t, func() bool { return unsent(t, c) == 0 }, "all of it lies in the other socket")
		close(release)
		p.await(t, "paused")
		if !w.portable { // there a turn gets what was read ahead, which may be less
			assert.EqualValues(t, readBuffer, read.Load(), "no byte of the buffer is free")
		}
		stays(t, func() bool { return frames.Load() == 1 && p.count("On") == 1 }, "nothing comes, and it does not end")
		p.tell(&actor.Resume{})
		require.NoError(t, c.CloseWrite())
		p.closedInOrder(t)
		assert.Equal(t, pattern(size), got)
	})
}

func TestPAU10_PauseStopsReadingOnly(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(stuckConfig(), func(p *probe) {
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "go" {
					p.Conn().Pause()
					_, err := p.Conn().Send(pattern(256_000))
					assert.NoError(t, err)
					assert.Greater(t, p.Conn().Stats().Pending, 65_536)
				}
			}
		})
		c := s.dialWith(smallReader)
		p := s.next()
		p.await(t, "OnConnected")
		p.tell("go")
		p.await(t, "OnThrottled")
		c.send("it does not hear this")
		assert.Equal(t, pattern(256_000), c.take(256_000))
		p.await(t, "OnUnthrottled")
		p.await(t, "OnSent 1")
		stays(t, func() bool { return p.count("OnReceived") == 0 }, "it is paused")
	})
}

func TestPAU11_APauseStopsTheSystemFromBeingDrained(t *testing.T) {
	const size = 64 << 20
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		read := make(chan uint64, 2)
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.onReceived = func(p *probe, _ []byte) error {
				p.Conn().Pause()
				read <- p.Conn().Stats().BytesRead
				return nil
			}
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "how much?" {
					read <- p.Conn().Stats().BytesRead
				}
			}
		})
		c, p := s.open()
		c.send("first")
		before := <-read
		chunk, pushed := pattern(1<<20), 0
		for pushed < size {
			require.NoError(t, c.SetWriteDeadline(time.Now().Add(hold)))
			n, err := c.Write(chunk)
			if pushed += n; err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				break
			}
		}
		assert.Less(t, pushed, size, "the peer stalls")
		p.tell("how much?")
		assert.LessOrEqual(t, <-read-before, uint64(readBuffer))
		assert.Zero(t, p.count("OnClosed"))
	})
}

func TestPAU12_APausedServerClosesInOrder(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			p.onReceived = func(p *probe, _ []byte) error {
				p.Conn().Pause()
				for i := range 60 {
					_, err := p.Conn().Send(patternFrom(i*1000, 1000))
					assert.NoError(t, err)
				}
				p.Conn().Close()
				return nil
			}
		})
		c, p := s.open()
		c.send("go")
		got, err := c.rest(patience)
		require.NoError(t, err)
		assert.Equal(t, pattern(60_000), got)
		require.NoError(t, c.Close())
		p.closedInOrder(t)
		assert.Equal(t, 60, p.sent)
	})
}
