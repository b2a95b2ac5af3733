// Command oping measures how long an answer takes, and tells what becomes of the other side meanwhile: it is a server that
// answers pings; with -to it is a client that sends them, and prints statistics as ping does.
//
// A server that is slow is not yet down, and one that is down may come back. What the client is told of its server is a line
// that begins with suspect, down or up, and says after how long; pings that wait meanwhile are answered late, or count as
// lost. The server tells the same of its clients. So both print
//
//	suspect after 0.750s without a word from 127.0.0.1:7674
//	down after 1.000s without a word from 127.0.0.1:7674
//	up after 2.113s: 127.0.0.1:7674 is back
//
// The server also has a policy, which is no matter of liveness: with -clean-after it closes the connection of a client that
// asks for nothing any more, however alive it is.
//
// A ping is a line "ping N", the answer "pong N". client.go has the statistics, server.go the cleaner.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

const maxLine = 64 // bytes

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: for a server, 0 after a signal. For a client, 0 if every ping was answered, 1 if not. 1 also
// if the program cannot run; 2 if it was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	var p pinging
	flags := flag.NewFlagSet("oping", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:7674", "`address` to listen on, as HOST:PORT; port 0 takes a free one")
	to := flags.String("to", "", "`address` of a server to ping, as HOST:PORT, instead of being one")
	timeout := flags.Duration("timeout", 2*time.Second, "`time` of silence after which the other side is down")
	cleanAfter := flags.Duration("clean-after", 0, "`time` after which the server closes a connection that asks for nothing; 0: never")
	flags.DurationVar(&p.interval, "interval", time.Second, "`time` from one ping to the next")
	flags.IntVar(&p.count, "count", 4, "`number` of pings; 0: until a signal")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	layer, err := liveness.Framed(liveness.Config{Timeout: *timeout})
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: all settings are flags, see oping -help", flags.Arg(0))
	case *cleanAfter < 0:
		err = fmt.Errorf("-clean-after is %v: it must be 0 (never) or a time such as 10s", *cleanAfter)
	case p.interval <= 0:
		err = fmt.Errorf("-interval is %v: it must be a time above 0, such as 200ms", p.interval)
	case p.count < 0:
		err = fmt.Errorf("-count is %d: it must be 0 (until a signal) or a number of pings", p.count)
	case err != nil:
		err = fmt.Errorf("wrong -timeout: %w", err)
	}
	if err != nil {
		fmt.Fprintf(stderr, "oping: %v\n", err)
		return 2
	}
	cfg := conn.Config{Layers: []interceptor.Factory{layer}, Split: frame.Lines(maxLine)}
	out := &printer{w: stdout}
	lost := 0
	if *to == "" {
		err = serve(*addr, *cleanAfter, cfg, out, stderr)
	} else {
		p.patience = *timeout
		lost, err = p.run(*to, cfg, out)
	}
	if err != nil {
		fmt.Fprintf(stderr, "oping: %v\n", err)
	}
	if err != nil || lost > 0 {
		return 1
	}
	return 0
}

// A printer prints lines for connections on several loops.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// liveness prints what a layer tells of a peer. What it does not decide, the configuration does: the connection is kept.
func (p *printer) liveness(peer string, ev any) {
	switch ev := ev.(type) {
	case liveness.PeerSuspect:
		p.say("suspect after %.3fs without a word from %s%s", ev.Silent.Seconds(), peer, why(ev.Cause))
	case liveness.PeerDown:
		p.say("down after %.3fs without a word from %s%s", ev.Silent.Seconds(), peer, why(ev.Cause))
	case liveness.PeerUp:
		p.say("up after %.3fs: %s is back", ev.DownFor.Seconds(), peer)
	}
}

func why(c liveness.Cause) string {
	if c == liveness.Silence {
		return ""
	}
	return ": " + c.String()
}
