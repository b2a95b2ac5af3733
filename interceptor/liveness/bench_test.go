package liveness_test

import (
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A bareSocket is a backend that does as little as possible: the system takes all, and the peer sends arrived again when
// it is asked to.
type bareSocket struct{ arrived, unread []byte }

func (b *bareSocket) Read(p []byte) (int, error) {
	if len(b.unread) == 0 {
		return 0, conn.ErrWouldBlock
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	return n, nil
}

func (b *bareSocket) Write(bufs [][]byte) (n int, err error) {
	for _, p := range bufs {
		n += len(p)
	}
	return n, nil
}

func (b *bareSocket) Unread() (int, error)   { return len(b.unread), nil }
func (b *bareSocket) Arm(conn.Interest)      {}
func (b *bareSocket) CloseWrite() error      { return nil }
func (b *bareSocket) Close(bool) error       { return nil }
func (b *bareSocket) Post(func())            {}
func (b *bareSocket) Info() interceptor.Info { return interceptor.Info{} }

type echoing struct{ conn.Defaults }

func (echoing) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

// BenchmarkEchoTurn is the turn of a connection that answers 64 bytes: without a layer, with one that does nothing, and
// with those of this package. What they add to none is what an echo pays for them, beside the system calls.
func BenchmarkEchoTurn(b *testing.B) {
	payload := string(make([]byte, 64))
	for _, k := range []struct {
		name         string
		layer        interceptor.Factory
		first, every string
	}{
		{"none", nil, "", payload},
		{"pass", func() interceptor.Interceptor { return interceptor.Pass{} }, "", payload},
		{"passive", passive(b, liveness.Config{}), "", payload},
		{"framed", framed(b, liveness.Config{}), hello(h, 0), data(payload)},
	} {
		b.Run(k.name, func(b *testing.B) {
			b.ReportAllocs()
			cfg := conn.Config{}
			if k.layer != nil {
				cfg.Layers = []interceptor.Factory{k.layer}
			}
			var (
				d conn.Driver
				m conn.Memory
				s bareSocket
			)
			now := time.Now()
			d.Init(echoing{}, &s, &cfg)
			d.Hear(false)
			d.Connected()
			s.arrived = []byte(k.first)
			s.unread = s.arrived
			for range 5 {
				d.Ready(conn.Readable)
				d.Turn(now, &m, nil)
			}
			s.arrived = []byte(k.every)
			for b.Loop() {
				s.unread = s.arrived
				d.Ready(conn.Readable)
				d.Turn(now, &m, nil)
			}
			if n := d.Conn().Stats().Received; n < uint64(b.N) {
				b.Fatalf("%d of %d were received", n, b.N)
			}
		})
	}
}
