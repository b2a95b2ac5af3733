package conn_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

// A polite handler answers each line, and says why it closed.
type polite struct{ conn.Defaults }

func (polite) OnReceived(c *conn.Conn, line []byte) error {
	_, err := c.Send([]byte("hello, "), line, []byte("\n"))
	return err
}

func (polite) OnClosed(_ *conn.Conn, err error) { fmt.Println("closed:", err) }

// The settings of a protocol of short lines. Those that are not set have their defaults.
func ExampleConfig() {
	cfg := conn.Config{
		Split:       frame.Lines(20),
		HighWater:   4 << 10,         // a peer that does not read costs no more than this
		MaxPending:  1 << 10,         // and one answer
		IdleTimeout: 2 * time.Minute, // Defaults closes then
	}
	if err := cfg.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	r := conntest.New(polite{}, cfg)
	r.Feed("Ada\nGra", "ce\n")
	fmt.Print(r.Wire())
	r.Advance(time.Hour) // the peer is silent, and does not end either

	r = conntest.New(polite{}, cfg)
	r.Feed(strings.Repeat("x", 1000))
	// Output:
	// hello, Ada
	// hello, Grace
	// closed: conn: connection ended: timeout: waiting for the peer's end took longer than Config.CloseTimeout, 5s
	// closed: conn: connection ended: frame: frame: too long: 1000 bytes, and at most 20 are accepted: raise the limit, or see whether both sides frame alike
}

// Validate names every value that cannot work, and what would.
func ExampleConfig_Validate() {
	cfg := conn.Config{HighWater: 1000, LowWater: 2000, CloseTimeout: -time.Second}
	fmt.Println(cfg.Validate())
	// Output:
	// conn: Config.LowWater is 2000: it must be at most HighWater, 1000
	// conn: Config.CloseTimeout is -1s: it must be 0 (for 5 s) or a positive duration
}

// upload is a header line, then a body of as many bytes as it says.
type upload struct {
	conn.Defaults
	body int // -1 while the header is due
}

func (u *upload) OnReceived(c *conn.Conn, data []byte) error {
	if u.body < 0 {
		if _, err := fmt.Sscanf(string(data), "PUT %d", &u.body); err != nil || u.body < 1 {
			return errors.New("a header that says nothing")
		}
		c.SetSplit(frame.Fixed(u.body)) // from the next byte on
		return nil
	}
	fmt.Printf("a body of %d bytes: %s\n", u.body, data)
	u.body = -1
	c.SetSplit(frame.Lines(100))
	return nil
}

// The framing may change between two frames of one read.
func ExampleConn_SetSplit() {
	r := conntest.New(&upload{body: -1}, conn.Config{Split: frame.Lines(100)})
	r.Feed("PUT 5\nhelloPUT 11\nthe ", "end\n\nof it")
	// Output:
	// a body of 5 bytes: hello
	// a body of 11 bytes: the end
	//
	// of
}

// A SendError says why nothing was accepted, and so what to wait for.
func ExampleSendError() {
	r := conntest.New(conn.Defaults{}, conn.Config{HighWater: 10, MaxPending: 100})
	r.Allow(0) // the peer does not read
	r.Do(func(c *conn.Conn) {
		for _, n := range []int{101, 20, 1} {
			_, err := c.Send(bytes.Repeat([]byte("x"), n))
			fmt.Println(n, err)
		}
		c.Close()
		_, err := c.Send([]byte("too late"))
		fmt.Println(err)
	})
	// Output:
	// 101 conn: too large: more than Config.MaxPending, split it
	// 20 <nil>
	// 1 conn: not writeable: too much is pending, wait for OnUnthrottled
	// conn: not connected
}
