package conn_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// An echo server, whole: what is not said here, Defaults does.
type echoHandler struct{ conn.Defaults }

func (echoHandler) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

// A Rig stands for the socket and the clock; in production, package actor runs the same handler.
func Example() {
	r := conntest.New(echoHandler{}, conn.Config{})
	r.Feed("hello")
	fmt.Println(r.Wire())
	// Output: hello
}

// A sender fills the connection until Send says why not, and goes on when OnUnthrottled says so.
type pump struct {
	conn.Defaults
	left int
}

func (p *pump) OnConnected(c *conn.Conn)   { p.fill(c) }
func (p *pump) OnUnthrottled(c *conn.Conn) { p.fill(c) }

func (p *pump) fill(c *conn.Conn) {
	for ; p.left > 0; p.left-- {
		if _, err := c.Send(make([]byte, 1000)); err == conn.ErrNotWriteable {
			fmt.Println("pending:", c.Stats().Pending)
			return // nothing was taken; OnUnthrottled follows
		}
	}
	c.Close() // what was accepted still arrives
}

func ExampleConn_Send() {
	p := &pump{left: 10}
	r := conntest.New(p, conn.Config{HighWater: 4000, LowWater: 1000}, conntest.Dialed())
	r.Allow(0) // a peer that does not read
	r.Connected()
	r.Allow(20_000) // now it does
	fmt.Println("written:", len(r.Wire()), "FIN:", r.FIN())
	// Output:
	// pending: 5000
	// written: 10000 FIN: true
}

// A protocol with a length before each message, and a deadline for the first one.
type greeter struct {
	conn.Defaults
	first conn.TimerToken
}

func (g *greeter) OnConnected(c *conn.Conn) { g.first = c.StartTimer(3 * time.Second) }

func (g *greeter) OnReceived(c *conn.Conn, msg []byte) error {
	c.StopTimer(g.first)
	fmt.Printf("message %q\n", msg)
	return nil
}

func (g *greeter) OnTimer(c *conn.Conn, _ conn.TimerToken) {
	c.Abort(errors.New("no greeting within three seconds"))
}

func (g *greeter) OnClosed(_ *conn.Conn, err error) { fmt.Println(err) }

func ExampleConn_StartTimer() {
	cfg := conn.Config{Split: frame.Prefixed(2, 1000), MaxFrame: 1000}
	r := conntest.New(&greeter{}, cfg)
	r.Feed("\x00\x05he", "llo")
	r.Advance(time.Minute)

	r = conntest.New(&greeter{}, cfg)
	r.Feed("\x00")
	r.Advance(time.Minute)
	// Output:
	// message "hello"
	// conn: connection ended: aborted: no greeting within three seconds
}

// A socket that gets one message and keeps what is written to it.
type oneShot struct{ in, out string }

func (s *oneShot) Read(p []byte) (int, error) {
	if s.in == "" {
		return 0, conn.ErrWouldBlock
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *oneShot) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		s.out += string(b)
		n += len(b)
	}
	return n, nil
}

func (s *oneShot) Unread() (int, error)   { return len(s.in), nil }
func (s *oneShot) Arm(conn.Interest)      {}
func (s *oneShot) CloseWrite() error      { return nil }
func (s *oneShot) Close(bool) error       { return nil }
func (s *oneShot) Post(func())            {}
func (s *oneShot) Info() interceptor.Info { return interceptor.Info{} }

// What a shell does: it notes what the socket reports, and takes turns while there is reason to.
func ExampleDriver() {
	var (
		d conn.Driver
		m conn.Memory
		b = &oneShot{in: "ping"}
	)
	d.Init(echoHandler{}, b, &conn.Config{})
	d.Connected() // the socket is connected, and may be readable
	for now := time.Now(); d.Turn(now, &m, nil); now = time.Now() {
	}
	fmt.Println(b.out)
	// Output: ping
}
