package conntest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
)

// A login lets three guesses pass, and gives each peer a minute.
type login struct {
	conn.Defaults
	guesses int
}

func (l *login) OnConnected(c *conn.Conn) { c.StartTimer(time.Minute) }

func (l *login) OnReceived(c *conn.Conn, line []byte) error {
	answer := "no\n"
	if string(line) == "sesame" {
		answer = "welcome\n"
	} else if l.guesses++; l.guesses == 3 {
		return errors.New("too many guesses")
	}
	_, err := c.Send([]byte(answer))
	return err
}

func (l *login) OnTimer(c *conn.Conn, _ conn.TimerToken) { c.Close() }

// One test, and all that a peer, a system and a clock can do to a handler. In a test, give New the option Checked(t).
func ExampleRig() {
	cfg := conn.Config{Split: frame.Lines(100)}

	r := conntest.New(&login{}, cfg)
	r.Feed("open\n", "ses", "ame\n") // the peer sends, in three pieces
	fmt.Printf("%q\n", r.Wire())
	r.Advance(time.Minute) // the timer comes
	fmt.Println("FIN:", r.FIN(), r.Conn().State())
	r.FeedEOF() // the peer ends, too
	fmt.Println(r.Closed())

	r = conntest.New(&login{}, cfg)
	r.Feed("a\nb\nc\nsesame\n") // all at once
	fmt.Printf("%q\n", r.Wire())
	fmt.Println(r.Closed())
	// Output:
	// "no\nwelcome\n"
	// FIN: true Closing
	// true false
	// ""
	// true true
}

// A handler meets a peer that is gone, and a system that takes no more.
func ExampleRig_Reset() {
	rec := &conntest.Recorder{}
	r := conntest.New(rec, conn.Config{})
	r.Allow(0)
	r.Do(func(c *conn.Conn) { c.Send([]byte("in vain")) })
	r.Reset()
	fmt.Println(strings.Join(rec.Calls(), "\n"))
	// Output:
	// OnConnected
	// OnSendFailed 1
	// OnClosed conn: connection ended: read: connection reset by peer
}

// In a file such as scripts_test.go. It runs every testdata/*.txt; "go test -rewrite" writes down what came of them.
func ExampleRunScripts() {
	testScripts := func(t *testing.T) { conntest.RunScripts(t, "testdata") }
	_ = testScripts // func TestScripts(t *testing.T) { ... }
}

// A shell checks its backend against the contract of conn.Backend, as package loop does.
func ExampleTestBackend() {
	newPair := func(t *testing.T) conntest.Pair {
		// Connect two sockets, which the Cleanup of t closes, and say how turns are taken for them.
		return conntest.Pair{ /* Near, Far, Turn, Ready */ }
	}
	testBackend := func(t *testing.T) { conntest.TestBackend(t, newPair) }
	_ = testBackend // func TestBackend(t *testing.T) { ... }
}
