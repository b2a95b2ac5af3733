package tls_test

import (
	"bytes"
	stdtls "crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// A bareSocket is a backend that does as little as possible: what is measured is the connection.
type bareSocket struct {
	unread []byte
	wire   []byte
	posted chan func()
	keep   bool
}

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
		if b.keep {
			b.wire = append(b.wire, p...)
		}
	}
	return n, nil
}

func (b *bareSocket) Unread() (int, error)   { return len(b.unread), nil }
func (b *bareSocket) Arm(conn.Interest)      {}
func (b *bareSocket) CloseWrite() error      { return nil }
func (b *bareSocket) Close(bool) error       { return nil }
func (b *bareSocket) Post(f func())          { b.posted <- f }
func (b *bareSocket) Info() interceptor.Info { return interceptor.Info{} }

type bareEcho struct {
	conn.Defaults
	connected bool
	received  int
}

func (h *bareEcho) OnConnected(*conn.Conn) { h.connected = true }
func (h *bareEcho) OnReceived(c *conn.Conn, data []byte) error {
	h.received += len(data)
	_, err := c.Send(data)
	return err
}

// A memoryConn is what the crypto/tls of a peer has: what it writes is kept, what it reads was fed.
type memoryConn struct {
	in, out bytes.Buffer
}

func (m *memoryConn) Read(p []byte) (int, error) {
	if m.in.Len() == 0 {
		return 0, again{}
	}
	return m.in.Read(p)
}
func (m *memoryConn) Write(p []byte) (int, error)      { return m.out.Write(p) }
func (m *memoryConn) Close() error                     { return nil }
func (m *memoryConn) LocalAddr() net.Addr              { return nil }
func (m *memoryConn) RemoteAddr() net.Addr             { return nil }
func (m *memoryConn) SetDeadline(time.Time) error      { return nil }
func (m *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (m *memoryConn) SetWriteDeadline(time.Time) error { return nil }

type again struct{}

func (again) Error() string   { return "again" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// A switchConn is a net.Pipe for the handshake and a memoryConn afterwards.
type switchConn struct {
	net.Conn
	*memoryConn
	over bool
}

func (s *switchConn) Read(p []byte) (int, error) {
	if s.over {
		return s.memoryConn.Read(p)
	}
	return s.Conn.Read(p)
}
func (s *switchConn) Write(p []byte) (int, error) {
	if s.over {
		return s.memoryConn.Write(p)
	}
	return s.Conn.Write(p)
}
func (s *switchConn) Close() error                       { return nil }
func (s *switchConn) LocalAddr() net.Addr                { return nil }
func (s *switchConn) RemoteAddr() net.Addr               { return nil }
func (s *switchConn) SetDeadline(time.Time) error        { return nil }
func (s *switchConn) SetReadDeadline(t time.Time) error  { return nil }
func (s *switchConn) SetWriteDeadline(t time.Time) error { return nil }

// BenchmarkEchoTurn is a turn that reads a message, delivers, sends and writes it.
func BenchmarkEchoTurn(b *testing.B) {
	for _, size := range []int{64, 16 << 10} {
		b.Run(fmt.Sprintf("size=%d/plain", size), func(b *testing.B) { benchPlain(b, size) })
		b.Run(fmt.Sprintf("size=%d/layer", size), func(b *testing.B) { benchLayer(b, size) })
		b.Run(fmt.Sprintf("size=%d/crypto", size), func(b *testing.B) { benchCrypto(b, size) })
	}
}

const batch = 256

func inBatches(b *testing.B, prepare func(n int), one func()) {
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= batch {
		b.StopTimer()
		n := min(left, batch)
		prepare(n)
		b.StartTimer()
		for range n {
			one()
		}
	}
}

func benchPlain(b *testing.B, size int) {
	var d conn.Driver
	s := new(bareSocket)
	h := new(bareEcho)
	var m conn.Memory
	d.Init(h, s, new(conn.Config))
	d.Hear(false)
	d.Connected()
	now := time.Unix(1e6, 0)
	for d.Turn(now, &m, nil) {
	}
	msg := make([]byte, size)
	inBatches(b, func(int) {}, func() {
		s.unread = msg
		d.Ready(conn.Readable)
		d.Turn(now, &m, nil)
	})
}

func serverConfig(t testing.TB) *stdtls.Config {
	return &stdtls.Config{Certificates: []stdtls.Certificate{certificate(t)}}
}

func benchLayer(b *testing.B, size int) {
	var d conn.Driver
	s := &bareSocket{posted: make(chan func(), 16), keep: true}
	h := new(bareEcho)
	var m conn.Memory
	cfg := &conn.Config{Layers: []interceptor.Factory{tls.Server(serverConfig(b))}}
	d.Init(h, s, cfg)
	d.Hear(false)
	d.Connected()
	now := time.Unix(1e6, 0)
	for d.Turn(now, &m, nil) {
	}
	near, far := net.Pipe()
	mem := new(memoryConn)
	sc := &switchConn{Conn: far, memoryConn: mem}
	client := stdtls.Client(sc, &stdtls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	fromClient := make(chan []byte)
	go func() {
		for {
			p := make([]byte, 64<<10)
			n, err := near.Read(p)
			if err != nil {
				return
			}
			fromClient <- p[:n]
		}
	}()
	for !h.connected {
		select {
		case p := <-fromClient:
			s.unread = append(s.unread, p...)
			d.Ready(conn.Readable)
		case f := <-s.posted:
			f()
		}
		for d.Turn(now, &m, nil) {
		}
		if len(s.wire) > 0 {
			w := s.wire
			s.wire = nil
			go near.Write(w)
		}
	}
	require.NoError(b, <-done)
	sc.over = true
	s.keep = false
	near.Close()
	msg := make([]byte, size)
	for range 2000 { // beyond dynamic record sizing
		client.Write(msg)
		s.unread = mem.out.Next(mem.out.Len())
		d.Ready(conn.Readable)
		for d.Turn(now, &m, nil) {
		}
	}
	var wires [][]byte
	before := h.received
	inBatches(b, func(n int) {
		wires = wires[:0]
		mem.out.Reset()
		for range n {
			client.Write(msg)
			wires = append(wires, bytes.Clone(mem.out.Next(mem.out.Len())))
		}
	}, func() {
		s.unread = wires[0]
		wires = wires[1:]
		d.Ready(conn.Readable)
		d.Turn(now, &m, nil)
	})
	require.Equal(b, b.N*size, h.received-before)
}

// benchCrypto is crypto/tls alone: a read and a write.
func benchCrypto(b *testing.B, size int) {
	near, far := net.Pipe()
	cm, sm := new(memoryConn), new(memoryConn)
	cc, ss := &switchConn{Conn: far, memoryConn: cm}, &switchConn{Conn: near, memoryConn: sm}
	client := stdtls.Client(cc, &stdtls.Config{InsecureSkipVerify: true})
	server := stdtls.Server(ss, serverConfig(b))
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	require.NoError(b, client.Handshake())
	require.NoError(b, <-done)
	// the tickets
	go func() { io.Copy(io.Discard, far) }()
	cc.over, ss.over = true, true
	msg, buf := make([]byte, size), make([]byte, 64<<10)
	for range 2000 {
		client.Write(msg)
		sm.in.Write(cm.out.Next(cm.out.Len()))
		for sm.in.Len() > 0 {
			server.Read(buf)
		}
		server.Write(msg)
		sm.out.Reset()
	}
	var wires [][]byte
	inBatches(b, func(n int) {
		wires = wires[:0]
		for range n {
			client.Write(msg)
			wires = append(wires, bytes.Clone(cm.out.Next(cm.out.Len())))
		}
	}, func() {
		sm.in = *bytes.NewBuffer(wires[0])
		wires = wires[1:]
		n, err := server.Read(buf)
		if n != size || err != nil {
			b.Fatal(n, err)
		}
		server.Write(buf[:n])
		sm.out.Reset()
	})
}
