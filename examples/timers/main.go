// Command timers shows each way in which a connection can take too long: it is a server whose members must log in, and
// show now and then that they are alive; with -to it is such a member.
//
//	login NAME   the server expects it within -login, and answers "welcome NAME"
//	ping         the server says it when nothing was heard or said for -ping
//	pong         the server expects it, or any other line, within -grace after a ping
//	bye WHY      the server says it before it closes: at the latest when -session is over
//
// What happens is printed, a line each, with the time since the connection began. server.go shows timers and the idle
// timeout, client.go the time-out for connecting.
//
// A timer is a value in its connection. The event loop sleeps until the first of them all, or until something comes; so
// none of them needs a goroutine or a time.Timer of its own.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// limits are the times that the flags set.
type limits struct {
	login   time.Duration // from connecting to a login
	ping    time.Duration // without a byte in or out, until the server asks
	grace   time.Duration // from a ping to a pong
	session time.Duration // from connecting to the end, whatever happens
	end     time.Duration // conn.Config.CloseTimeout
	start   time.Duration // conn.Config.StartTimeout
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 after a signal, or when the member was sent away in order; 1 if the program cannot run,
// or the member lost its server; 2 if it was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	var l limits
	flags := flag.NewFlagSet("timers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:7672", "`address` to listen on, as HOST:PORT; port 0 takes a free one")
	to := flags.String("to", "", "`address` of a server to log in at, as HOST:PORT, instead of being one")
	name := flags.String("name", "guest", "`name` to log in with")
	flags.DurationVar(&l.login, "login", 2*time.Second, "`time` in which a member must log in")
	flags.DurationVar(&l.ping, "ping", 10*time.Second, "`time` without a byte after which a member is asked for a sign")
	flags.DurationVar(&l.grace, "grace", 5*time.Second, "`time` in which it must give one")
	flags.DurationVar(&l.session, "session", time.Hour, "`time` after which a member must go")
	flags.DurationVar(&l.end, "end", 5*time.Second, "`time` in which a connection must close once it was told to")
	flags.DurationVar(&l.start, "start", 10*time.Second, "`time` in which a member must be connected")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	wrong := ""
	if flags.NArg() > 0 {
		wrong = fmt.Sprintf("unexpected argument %q: all settings are flags, see timers -help", flags.Arg(0))
	}
	flags.VisitAll(func(f *flag.Flag) {
		// For conn.Config zero means its default, and a timer may be due at once. Here a zero is more likely a mistake.
		if d, ok := f.Value.(flag.Getter).Get().(time.Duration); ok && d <= 0 {
			wrong = fmt.Sprintf("-%s is %v: it must be a time above 0, such as 500ms", f.Name, d)
		}
	})
	if wrong != "" {
		fmt.Fprintf(stderr, "timers: %s\n", wrong)
		return 2
	}
	var err error
	if *to == "" {
		err = serve(*addr, &l, stdout, stderr)
	} else {
		err = attend(*to, *name, &l, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "timers: %v\n", err)
		return 1
	}
	return 0
}
