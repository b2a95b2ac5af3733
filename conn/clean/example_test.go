package clean_test

import (
	"fmt"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/clean"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

var policy = clean.Policy{IdleAfter: time.Minute, MaxMessages: 1000, MaxAge: time.Hour}

// A query answers lines, for clients that ask for something now and then.
type query struct {
	conn.Defaults
	cleaner *clean.Cleaner
}

func (q *query) OnConnected(c *conn.Conn) {
	q.cleaner = policy.New()
	q.cleaner.Start(c)
}

func (q *query) OnReceived(c *conn.Conn, line []byte) error {
	if !q.cleaner.Message(c) {
		return nil
	}
	_, err := c.Send([]byte("answer\n"))
	return err
}

func (q *query) OnTimer(c *conn.Conn, t conn.TimerToken) { q.cleaner.Timer(c, t) }

func (q *query) OnClosed(_ *conn.Conn, _ error) { fmt.Println(q.cleaner.Err()) }

// A Cleaner ends a connection that asks for nothing any more, though its peer is well.
func ExampleCleaner() {
	r := conntest.New(&query{}, conn.Config{Split: frame.Lines(100)})
	r.Feed("what time is it?\n")
	r.Advance(59 * time.Second)
	fmt.Println(r.FIN())
	r.Feed("half a line is no use")
	r.Advance(time.Second)
	fmt.Println(r.FIN())
	r.FeedEOF()
	// Output:
	// false
	// true
	// clean: idle for too long (idle for 1m0s, 1m0s old, 1 messages)
}
