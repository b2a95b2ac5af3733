// Command liveness shows what a client learns of a server that lets go: it is a server that answers each client once, and
// then does as -then says; with -to it is a client that asks once, and waits for a second answer, which never comes. It
// does not wait for ever.
//
//	close   the server closes the connection: the client is told at once
//	die     the server's process ends, without a word: the client is told at once that the stream was cut short
//	hang    the server's process hangs, and its system goes on answering for it: the client is told after its -timeout
//	stay    the server stays connected, and shows that it is there: the client is told nothing
//
// Each line that the client prints begins with the time since it was connected. server.go is a server that needs not know
// of any of this, but for the layer in its configuration; client.go decides what to do about a server that is down.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

var endings = []string{"close", "die", "hang", "stay"}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 after a signal, or when the server had ended in order; 1 if the program cannot run, or the
// client lost its server; 2 if it was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("liveness", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:7673", "`address` to listen on, as HOST:PORT; port 0 takes a free one")
	to := flags.String("to", "", "`address` of a server to ask, as HOST:PORT, instead of being one")
	timeout := flags.Duration("timeout", 2*time.Second, "`time` of silence after which the other side is down")
	then := flags.String("then", "close", "what the server does when it has answered: "+strings.Join(endings, ", "))
	patience := flags.Duration("keep", 0, "`time` for which the client keeps a connection whose server is down, in the hope that it comes back")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	layer, err := liveness.Framed(liveness.Config{Timeout: *timeout})
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: all settings are flags, see liveness -help", flags.Arg(0))
	case !slices.Contains(endings, *then):
		err = fmt.Errorf("-then is %q: it must be one of %s", *then, strings.Join(endings, ", "))
	case *patience < 0:
		err = fmt.Errorf("-keep is %v: it must be 0, or a time such as 10s", *patience)
	case err != nil:
		err = fmt.Errorf("wrong -timeout: %w", err)
	}
	if err != nil {
		fmt.Fprintf(stderr, "liveness: %v\n", err)
		return 2
	}
	cfg := conn.Config{Layers: []interceptor.Factory{layer}}
	if *to == "" {
		err = serve(*addr, *then, cfg, stdout, stderr)
	} else {
		err = ask(*to, *patience, cfg, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "liveness: %v\n", err)
		return 1
	}
	return 0
}
