package conntest_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

// shouter answers each line in upper case. It gives up on peers that are too slow to listen.
type shouter struct {
	conn.Defaults
	timer conn.TimerToken
}

func (s *shouter) OnReceived(c *conn.Conn, line []byte) error {
	_, err := c.Send([]byte(strings.ToUpper(string(line)) + "\n"))
	return err
}

func (s *shouter) OnThrottled(c *conn.Conn)   { s.timer = c.StartTimer(time.Minute) }
func (s *shouter) OnUnthrottled(c *conn.Conn) { c.StopTimer(s.timer) }

func (s *shouter) OnTimer(c *conn.Conn, _ conn.TimerToken) { c.Abort(errors.New("too slow")) }

// A handler is tested as it runs: bytes in, bytes out, the peer slow or gone, time passing.
func Example() {
	r := conntest.New(&shouter{}, conn.Config{Split: frame.Lines(100), HighWater: 10})

	r.Feed("hello\nwor", "ld\n")
	fmt.Printf("%q\n", r.Wire())

	r.Allow(0) // the peer stops reading
	r.Feed("is anybody there?\n")
	r.Advance(59 * time.Second)
	fmt.Println(r.Conn().State())
	r.Advance(time.Second)
	fmt.Println(r.Closed())
	// Output:
	// "HELLO\nWORLD\n"
	// Connected
	// true true
}

func ExampleRig_Advance() {
	rec := &conntest.Recorder{Stay: true}
	r := conntest.New(rec, conn.Config{IdleTimeout: 5 * time.Second})
	r.Advance(16 * time.Second)
	fmt.Println(strings.Join(rec.Calls(), ", "))
	// Output: OnConnected, OnIdle, OnIdle, OnIdle
}

func ExampleRig_Allow() {
	rec := &conntest.Recorder{}
	r := conntest.New(rec, conn.Config{})
	r.Allow(7) // then the socket is full
	r.Do(func(c *conn.Conn) {
		c.Send([]byte("first"))
		c.Send([]byte("second"))
	})
	fmt.Printf("%q %q\n", r.Wire(), rec.Calls())
	r.Allow(100)
	fmt.Printf("%q %q\n", r.Wire(), rec.Calls())
	// Output:
	// "firstse" ["OnConnected" "OnSent 1"]
	// "cond" ["OnSent 2"]
}

func ExampleManual() {
	rec := &conntest.Recorder{}
	r := conntest.New(rec, conn.Config{}, conntest.Manual())
	r.Turn()
	r.Feed("ping")
	r.Do(func(c *conn.Conn) { c.Send([]byte("pong")) })
	fmt.Println(rec.Calls())
	r.Turn()
	fmt.Println(rec.Calls())
	r.Turn() // the outcome comes in a later turn
	fmt.Println(rec.Calls())
	// Output:
	// [OnConnected]
	// [OnReceived "ping"]
	// [OnSent 1]
}

func ExampleRecorder() {
	rec := &conntest.Recorder{
		Do: func(c *conn.Conn, call string) {
			if call == `OnReceived "quit"` {
				c.Close()
			}
		},
	}
	r := conntest.New(rec, conn.Config{})
	r.Feed("quit")
	r.FeedEOF()
	for _, call := range rec.Calls() {
		fmt.Println(call)
	}
	fmt.Println("broken promises:", len(rec.Violations()))
	// Output:
	// OnConnected
	// OnReceived "quit"
	// OnEOF
	// OnClosed
	// broken promises: 0
}
