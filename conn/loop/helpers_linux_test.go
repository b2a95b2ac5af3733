package loop

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// An end is our end of a connection, with what it was told.
type end struct {
	Link
	Socket
	l         *Loop
	ln        *Listener
	ready     chan conn.Interest
	due       chan time.Time
	connected atomic.Int32
	turns     atomic.Int32
	turn      func(now time.Time) (more bool) // may be nil
	onReady   func(conn.Interest)             // may be nil
	slept     chan time.Duration              // may be nil
}

func newEnd(l *Loop) *end {
	return &end{l: l, ready: make(chan conn.Interest, 10_000), due: make(chan time.Time, 100)}
}

func (e *end) String() string { return "an end" }

func (e *end) Turn(now time.Time, _ *conn.Memory) bool {
	e.turns.Add(1)
	return e.turn != nil && e.turn(now)
}

func (e *end) Ready(i conn.Interest) {
	select {
	case e.ready <- i:
	default:
	}
	if e.onReady != nil {
		e.onReady(i)
	}
}

func (e *end) Connecting(int)           {}
func (e *end) Connected()               { e.connected.Add(1) }
func (e *end) Failed(conn.Stage, error) {}
func (e *end) Due()                     { e.due <- time.Now() }
func (e *end) Post(f func())            { e.l.Do(f) }

func (e *end) Slept(d time.Duration) bool {
	if e.slept != nil {
		e.slept <- d
	}
	return true
}

// until waits for an event that has all of i.
func (e *end) until(t testing.TB, i conn.Interest) (got conn.Interest) {
	t.Helper()
	for {
		if got = await(t, e.ready, "readiness"); got&i == i {
			return got
		}
	}
}

// A server is a listener whose connections are ends.
type server struct {
	*Listener
	ends chan *end
}

// serve listens and opens what it accepts; prepare, which may be nil, is called before.
func serve(t testing.TB, loops []*Loop, network, addr string, cfg ListenConfig, prepare func(*end)) *server {
	t.Helper()
	s := &server{ends: make(chan *end, 1000)}
	if cfg.Accept == nil {
		cfg.Accept = func(a *Accepted) {
			e := newEnd(a.Loop())
			e.ln = a.Listener()
			if prepare != nil {
				prepare(e)
			}
			if assert.NoError(t, e.Open(a, e)) {
				s.ends <- e
			}
		}
	}
	var err error
	s.Listener, err = Listen(context.Background(), loops, network, addr, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func dial(t testing.TB, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pair connects an end on l with a net.Conn.
func pair(t testing.TB, l *Loop, cfg ListenConfig) (*end, *net.TCPConn) {
	t.Helper()
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", cfg, nil)
	c := dial(t, s.Addr())
	e := await(t, s.ends, "the connection")
	require.NoError(t, s.Close())
	t.Cleanup(func() { _ = l.Do(func() { _ = e.Socket.Close(true) }) })
	return e, c.(*net.TCPConn)
}

// on runs f on e's loop and waits for its end.
func (e *end) on(t testing.TB, f func()) {
	t.Helper()
	do(t, e.l, f)
}

// readAll reads what there is now.
func (e *end) readAll(t testing.TB) (got []byte, err error) {
	e.on(t, func() {
		p := make([]byte, 1000)
		for {
			var n int
			n, err = e.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				return
			}
		}
	})
	return got, err
}

func mustWrite(t testing.TB, c io.Writer, s string) {
	t.Helper()
	_, err := io.WriteString(c, s)
	require.NoError(t, err)
}
