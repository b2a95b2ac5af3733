//go:build linux

package actor_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/conn/loop"
	"github.com/galago-go/galago/interceptor"
)

// Floods: peers that send more than is taken.

// masked is a layer that changes every byte on the wire.
type masked struct{ interceptor.Pass }

func mask(b []byte) []byte {
	b = slices.Clone(b)
	for i := range b {
		b[i] ^= 0x2a
	}
	return b
}

func (masked) Up(l interceptor.Link, p []byte) error { return l.Up(mask(p)) }
func (masked) Down(l interceptor.Link, bufs [][]byte) error {
	return l.Down([][]byte{mask(slices.Concat(bufs...))})
}

func newMasked() interceptor.Interceptor { return masked{} }

// pumps sends 10 MiB through an echo server and back, from a dialed connection that sends whenever it may.
func pumps(t *testing.T, w way, layers ...interceptor.Factory) {
	pumpsWith(t, w, conn.Config{Layers: layers}, conn.Config{Layers: layers})
}

func pumpsWith(t *testing.T, w way, server, client conn.Config) {
	const size, chunk = 10 << 20, 50_000
	f := w.start(t, actor.Config{})
	small := loop.Options{ReadBuffer: 16 << 10, WriteBuffer: 16 << 10} // so that each side meets the other's pressure
	s := f.serve(actor.ListenConfig{Conn: server, Socket: small}, func(p *probe) {
		p.quiet = true
		echoes(p)
	})
	sent := 0
	pump := func(p *probe) {
		for sent < size && p.Conn().IsWriteable() {
			n := min(chunk, size-sent)
			_, err := p.Conn().Send(patternFrom(sent, n))
			assert.NoError(t, err)
			sent += n
		}
	}
	p := &probe{quiet: true, onConnected: pump, onUnthrottled: pump}
	p.onReceived = func(p *probe, data []byte) error {
		if !bytes.Equal(patternFrom(p.received-len(data), len(data)), data) {
			return errors.New("other bytes came back")
		}
		pump(p)
		if p.received == size {
			p.Conn().Close()
		}
		return nil
	}
	f.call(s.Addr().String(), p, actor.DialConfig{Conn: client, Socket: small})
	p.closedInOrder(t)
	assert.Equal(t, size, p.received)
	assert.Positive(t, p.count("OnThrottled"))
	q := s.next()
	q.closedInOrder(t)
	assert.Equal(t, size, q.received)
}

func TestBP13_TwoSidesDoNotWaitForEachOther(t *testing.T) {
	ways(t, func(t *testing.T, w way) { pumps(t, w) })
}

func TestLAY15_TwoSidesWithLayersDoNotWaitForEachOther(t *testing.T) {
	ways(t, func(t *testing.T, w way) { pumps(t, w, newMasked) })
}

func TestBP16_ClientsThatNeverRead(t *testing.T) {
	const rude, most = 100, 250 << 20
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		pending := make(chan int, rude)
		s := f.serve(stuckConfig(), func(p *probe) {
			p.quiet = true
			echoes(p)
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "how much?" {
					pending <- p.Conn().Stats().Pending
				}
			}
		})
		before := resident(t)
		var floods sync.WaitGroup
		var clients []*peer
		var probes []*probe
		for range rude {
			c := s.dialWith(smallReader)
			p := s.next()
			p.await(t, "OnConnected")
			clients, probes = append(clients, c), append(probes, p)
		}
		honest, _ := s.open()
		stop := make(chan struct{})
		for _, c := range clients {
			floods.Go(func() {
				request := pattern(16 << 10)
				for {
					_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
					_, err := c.Write(request)
					select {
					case <-stop:
						return
					default:
					}
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						assert.NoError(t, err)
						return
					}
				}
			})
		}
		for _, p := range probes {
			p.awaitN(t, 1, "OnThrottled", slow)
		}
		late := 0
		for range 50 {
			began := time.Now()
			honest.send("ping")
			honest.expect("ping")
			if time.Since(began) > 100*time.Millisecond {
				late++
			}
		}
		if !raceEnabled {
			assert.LessOrEqual(t, late, 5, "a busy machine may hold some up, but not one in ten")
		}
		for _, p := range probes {
			p.tell("how much?")
			assert.LessOrEqual(t, <-pending, maxPending)
		}
		if grown := resident(t) - before; !raceEnabled { // its own memory would be counted
			t.Logf("the process grew by %d MiB", grown>>20)
			assert.Less(t, grown, most)
		}
		close(stop)
		floods.Wait()
	})
}

func TestRES3_MemoryFollowsTheBytesReceived(t *testing.T) {
	const peers, announced, most = 100, 16 << 20, 10 << 20
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := actor.ListenConfig{Conn: conn.Config{Split: frame.Prefixed(4, announced), MaxFrame: announced}}
		held := make(chan uint64, peers)
		s := f.serve(cfg, func(p *probe) {
			p.receive = func(p *probe, ctx proto.Context) {
				if ctx.Message() == "how much?" {
					held <- p.Conn().Stats().BytesRead
				}
			}
		})
		first, _ := s.open() // what is made once is there
		first.send("x")
		before := resident(t)
		for range peers {
			c, p := s.open()
			c.send(string([]byte{1, 0, 0, 0}) + string(pattern(1024)))
			soon(t, func() bool { p.tell("how much?"); return <-held == 4+1024 }, "it was read")
			assert.Zero(t, p.count("OnReceived"))
		}
		if grown := resident(t) - before; !raceEnabled { // its own memory would be counted
			t.Logf("the process grew by %d KiB", grown>>10)
			assert.Less(t, grown, most)
		}
	})
}
