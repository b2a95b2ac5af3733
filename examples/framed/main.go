// Command framed keeps values by name, and talks about them in frames: it is the server and, with -to, the client.
//
// A frame is its length, 4 bytes, big-endian, and that many bytes. One frame is one request or one answer, so a value
// may hold any byte, and neither side ever searches for the end of a message. A client need not wait for an answer
// before it sends the next request: answers come in the order of the requests.
//
//	set NAME VALUE   ok
//	get NAME         ok VALUE, or none
//	del NAME         ok, or none
//
// server.go shows how frames are cut, answered and limited, client.go how to send ahead without being refused.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

const (
	prefix = 4 // bytes of the length before each frame

	minFrame = 64 // bytes: room for every answer that holds no value
	maxFrame = 16 << 20

	// shutdownTimeout bounds the orderly end. It is longer than the default conn.Config.CloseTimeout, so that a silent
	// peer is given up by its own connection first.
	shutdownTimeout = 10 * time.Second
)

// framing is what both sides agree on. Two limits belong together: the split function refuses a length as soon as it
// has come, before any byte of such a frame is kept; MaxFrame bounds what a connection keeps for whatever function.
func framing(largest int) conn.Config {
	return conn.Config{
		Split:      frame.Prefixed(prefix, largest),
		MaxFrame:   largest,
		MaxPending: prefix + largest, // the largest frame must fit into one Send
	}
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run returns the exit code: 0 after a signal, or when every request was answered; 1 if that cannot be; 2 if the
// program was called wrongly.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("framed", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:7670", "`address` to listen on, as HOST:PORT; port 0 takes a free one")
	to := flags.String("to", "", "`address` of a server to send the lines of the standard input to, as HOST:PORT")
	largest := flags.Int("max", 64<<10, fmt.Sprintf("`bytes` of the largest frame, %d to %d; the same on both sides",
		minFrame, maxFrame))
	loops := flags.Int("loops", 0, "`number` of event loops of the server; 0 means one for each CPU")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	if err := check(flags, *largest); err != nil {
		fmt.Fprintf(stderr, "framed: %v\n", err)
		return 2
	}
	var err error
	if *to == "" {
		err = serve(*addr, *loops, *largest, stdout, stderr)
	} else {
		err = talk(*to, *largest, stdin, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "framed: %v\n", err)
		return 1
	}
	return 0
}

// check finds what cannot be meant.
func check(flags *flag.FlagSet, largest int) (err error) {
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: all settings are flags, see framed -help", flags.Arg(0))
	}
	if largest < minFrame || largest > maxFrame {
		return fmt.Errorf("-max is %d: it must be %d to %d", largest, minFrame, maxFrame)
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if given["to"] && (given["addr"] || given["loops"]) {
		err = errors.New("-to makes a client, -addr and -loops are for a server: give the one or the others")
	}
	return err
}
