package conn_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// A librarian looks each request up somewhere else, and takes the next one when the answer has come.
type librarian struct{ conn.Defaults }

func (librarian) OnReceived(c *conn.Conn, request []byte) error {
	fmt.Printf("looking up %q\n", request)
	c.Pause() // what follows stays where it is: in the socket, and the peer is slowed down
	return nil
}

// Pause holds OnReceived back, Resume lets it go on. No byte is lost.
func ExampleConn_Pause() {
	r := conntest.New(librarian{}, conn.Config{Split: frame.Lines(100)})
	r.Feed("dune\nemma\n")
	r.Do(func(c *conn.Conn) { // in production: a message that brings the answer
		c.Send([]byte("found\n"))
		c.Resume()
	})
	fmt.Printf("%q\n", r.Wire())
	// Output:
	// looking up "dune"
	// looking up "emma"
	// "found\n"
}

// rot13 is a layer that anybody can read.
type rot13 struct{ interceptor.Pass }

func rotated(p []byte) []byte {
	return bytes.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return 'a' + (r-'a'+13)%26
		case r >= 'A' && r <= 'Z':
			return 'A' + (r-'A'+13)%26
		}
		return r
	}, p)
}

func (rot13) Up(l interceptor.Link, p []byte) error { return l.Up(rotated(p)) }

func (rot13) Down(l interceptor.Link, bufs [][]byte) error {
	return l.Down([][]byte{rotated(bytes.Join(bufs, nil))})
}

// A starter pushes the layer when its peer asks for it.
type starter struct {
	conn.Defaults
	agreed conn.SendToken
}

func (s *starter) OnReceived(c *conn.Conn, line []byte) (err error) {
	if string(line) != "START" {
		_, err = c.Send([]byte("you said "), line, []byte("\n"))
		return err
	}
	c.Pause() // a command that was sent along must not be taken for a protected one
	s.agreed, err = c.Send([]byte("go ahead\n"))
	return err
}

func (s *starter) OnSent(c *conn.Conn, t conn.SendToken) {
	if t != s.agreed {
		return
	}
	c.Resume()
	if err := c.Upgrade(func() interceptor.Interceptor { return rot13{} }); err != nil {
		c.Abort(err)
	}
}

func (s *starter) OnClosed(_ *conn.Conn, err error) { fmt.Println(err) }

// Upgrade pushes a layer onto an open connection, as STARTTLS does; but not where plain bytes came ahead of it.
func ExampleConn_Upgrade() {
	cfg := conn.Config{Split: frame.Lines(100)}
	r := conntest.New(&starter{}, cfg)
	r.Feed("START\n")
	fmt.Printf("%q\n", r.Wire())
	r.Feed("uryyb\n") // hello
	fmt.Printf("%q\n", r.Wire())

	r = conntest.New(&starter{}, cfg)
	r.Feed("START\nDELETE ALL\n") // from somebody between the two, perhaps
	// Output:
	// "go ahead\n"
	// "lbh fnvq uryyb\n"
	// conn: connection ended: aborted: conn: upgrade refused: 11 bytes are read but not delivered; the peer sent ahead
}

// Close ends in order: what was accepted is written, FIN follows, and the peer's end is waited for.
func ExampleConn_Close() {
	rec := &conntest.Recorder{}
	r := conntest.New(rec, conn.Config{})
	r.Allow(4) // then the socket is full
	r.Do(func(c *conn.Conn) {
		c.Send([]byte("last words"))
		c.Close()
	})
	fmt.Printf("%q FIN: %t\n", r.Wire(), r.FIN())
	r.Allow(100)
	fmt.Printf("%q FIN: %t\n", r.Wire(), r.FIN())
	r.FeedEOF()
	fmt.Println(rec.Calls())
	// Output:
	// "last" FIN: false
	// " words" FIN: true
	// [OnConnected OnSent 1 OnEOF OnClosed]
}

// Abort drops what is queued, and resets. OnClosed says why.
func ExampleConn_Abort() {
	rec := &conntest.Recorder{}
	r := conntest.New(rec, conn.Config{})
	r.Allow(4)
	r.Do(func(c *conn.Conn) {
		c.Send([]byte("last words"))
		c.Abort(errors.New("enough"))
	})
	for _, call := range rec.Calls() {
		fmt.Println(call)
	}
	// Output:
	// OnConnected
	// OnSendFailed 1
	// OnClosed conn: connection ended: aborted: enough
}

// Stats count what a connection did: here, that its peer does not read.
func ExampleConn_Stats() {
	r := conntest.New(echoHandler{}, conn.Config{HighWater: 10})
	r.Allow(0)
	r.Feed("a peer that ", "does not read")
	s := r.Conn().Stats()
	fmt.Println("read", s.BytesRead, "accepted", s.Accepted, "sent", s.Sent, "pending", s.Pending, "throttles", s.Throttles)
	fmt.Println("waiting in the socket:", r.Unread()) // ReadWaits: the peer is slowed down
	// Output:
	// read 12 accepted 1 sent 0 pending 12 throttles 1
	// waiting in the socket: 13
}
