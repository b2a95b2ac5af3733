package conn_test

import (
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// A bareSocket is a backend that does as little as possible: what is measured is the connection. The peer sends arrived
// again after each call of peerSends; the system takes room bytes, or all if it is negative.
type bareSocket struct {
	arrived []byte
	unread  []byte
	room    int
	written int
}

func (b *bareSocket) peerSends() { b.unread = b.arrived }

func (b *bareSocket) Read(p []byte) (int, error) {
	if len(b.unread) == 0 {
		return 0, conn.ErrWouldBlock
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	return n, nil
}

func (b *bareSocket) Write(bufs [][]byte) (int, error) {
	n := 0
	for _, p := range bufs {
		n += len(p)
	}
	if b.room >= 0 {
		n = min(n, b.room)
		b.room -= n
	}
	if n == 0 {
		return 0, conn.ErrWouldBlock
	}
	b.written += n
	return n, nil
}

func (b *bareSocket) Unread() (int, error)   { return len(b.unread), nil }
func (b *bareSocket) Arm(conn.Interest)      {}
func (b *bareSocket) CloseWrite() error      { return nil }
func (b *bareSocket) Close(bool) error       { return nil }
func (b *bareSocket) Post(func())            {}
func (b *bareSocket) Info() interceptor.Info { return interceptor.Info{} }

// A bareConn is a connection on a bareSocket, open and warm. Its time stands still until it is moved.
type bareConn struct {
	d   conn.Driver
	b   bareSocket
	m   *conn.Memory
	now time.Time
}

func openBare(h conn.Handler, cfg *conn.Config, m *conn.Memory, arrived []byte) *bareConn {
	c := &bareConn{m: m, now: time.Unix(1_000_000, 0)}
	c.b = bareSocket{arrived: arrived, room: -1}
	c.d.Init(h, &c.b, cfg)
	c.d.Connected()
	for c.turn(nil) {
	}
	return c
}

func (c *bareConn) turn(f func(*conn.Conn)) (more bool) { return c.d.Turn(c.now, c.m, f) }

// echoTurn lets the peer send, and takes the turn in which that is answered.
func (c *bareConn) echoTurn() (more bool) {
	c.b.peerSends()
	c.d.Ready(conn.Readable)
	return c.turn(nil)
}

// A bareEcho sends back what it receives, and counts what is told.
type bareEcho struct {
	conn.Defaults
	received, sent, throttled, unthrottled, idle, timers int
}

func (h *bareEcho) OnReceived(c *conn.Conn, data []byte) error {
	h.received++
	_, err := c.Send(data)
	return err
}

func (h *bareEcho) OnSent(*conn.Conn, conn.SendToken)   { h.sent++ }
func (h *bareEcho) OnThrottled(*conn.Conn)              { h.throttled++ }
func (h *bareEcho) OnUnthrottled(*conn.Conn)            { h.unthrottled++ }
func (h *bareEcho) OnIdle(*conn.Conn)                   { h.idle++ }
func (h *bareEcho) OnTimer(*conn.Conn, conn.TimerToken) { h.timers++ }

// BenchmarkEchoTurn is a turn that reads 64 bytes, delivers, sends and writes them, and tells the outcome of the one
// before: a connection under load has one turn for each message.
func BenchmarkEchoTurn(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(64)
	h := new(bareEcho)
	c := openBare(h, new(conn.Config), new(conn.Memory), make([]byte, 64))
	for b.Loop() {
		c.echoTurn()
	}
	if h.received != b.N || h.sent < b.N-1 {
		b.Fatalf("of %d echoes, %d were received and %d sent", b.N, h.received, h.sent)
	}
}

// A bareFramer answers each frame with one Send, of its prefix and itself, and has no OnSent to speak of.
type bareFramer struct {
	conn.Defaults
	head     []byte
	received int
}

func (h *bareFramer) OnReceived(c *conn.Conn, body []byte) error {
	h.received++
	h.head = frame.AppendPrefix(h.head[:0], 4, len(body))
	_, err := c.Send(h.head, body)
	return err
}

const piped = 64 // frames in a turn

// newPiped connects a bareFramer to a peer that has as many frames of 64 bytes on the way.
func newPiped() (*bareFramer, *bareConn) {
	var arrived []byte
	for range piped {
		arrived = append(frame.AppendPrefix(arrived, 4, 60), make([]byte, 60)...)
	}
	h := new(bareFramer)
	c := openBare(h, &conn.Config{Split: frame.Prefixed(4, 64)}, new(conn.Memory), arrived)
	c.d.Hear(false)
	return h, c
}

// BenchmarkPipelinedTurn is a turn that reads 64 frames of 64 bytes, answers each with one Send, and writes once.
func BenchmarkPipelinedTurn(b *testing.B) {
	b.ReportAllocs()
	h, c := newPiped()
	b.SetBytes(int64(len(c.b.arrived)))
	for b.Loop() {
		c.echoTurn()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*piped), "ns/frame")
	if h.received != b.N*piped || c.b.written != b.N*len(c.b.arrived) {
		b.Fatalf("in %d turns %d frames were received and %d bytes written", b.N, h.received, c.b.written)
	}
}

// BenchmarkSettlingTurn is a turn that only tells the outcome of a send.
func BenchmarkSettlingTurn(b *testing.B) {
	b.ReportAllocs()
	const batch = 1024 // connections, so that their sends are not measured
	var (
		h     bareEcho
		m     conn.Memory
		cfg   conn.Config
		conns [batch]*bareConn
	)
	for i := range conns {
		conns[i] = openBare(&h, &cfg, &m, make([]byte, 64))
	}
	b.ResetTimer()
	for left := b.N; left > 0; left -= batch {
		b.StopTimer()
		now := conns[:min(left, batch)]
		for _, c := range now {
			c.echoTurn()
		}
		b.StartTimer()
		for _, c := range now {
			c.turn(nil)
		}
	}
	if h.sent != b.N {
		b.Fatalf("of %d sends, %d were settled", b.N, h.sent)
	}
}
