// Command bench measures galago beside other servers on the same machine, in the same run.
//
//	go run -C bench . echo
//
// Each server is a process of its own on a processor of its own; the load runs on another one. See README.md for how
// to read what it prints. It runs on Linux only.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// A command is one sub-command. run parses args itself.
type command struct {
	name, about string
	run         func(args []string, stdout, stderr io.Writer) error
}

var commands = []command{
	{"echo", "one message in flight on each connection: CPU per message, beside the rivals", echoCommand},
	{"accept", "connect, exchange one message, close: connections per CPU second", acceptCommand},
	{"fanout", "one actor writes to all connections: CPU, wake-ups and allocations per message", fanoutCommand},
	{"idle", "memory of a connection that does nothing", idleCommand},
	{"serve", "run one of the servers; the others start it", serveCommand},
}

// errUsage says that the command was called wrongly, and that this has been explained.
var errUsage = errors.New("usage")

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 1 if the measurement failed, 2 if it was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		for _, c := range commands {
			if c.name == args[0] {
				return exitCode(c.run(args[1:], stdout, stderr), stderr)
			}
		}
		fmt.Fprintf(stderr, "bench: unknown command %q\n", args[0])
	}
	fmt.Fprintln(stderr, "usage: bench COMMAND [flags]; bench COMMAND -help lists the flags")
	for _, c := range commands {
		fmt.Fprintf(stderr, "  %-8s %s\n", c.name, c.about)
	}
	return 2
}

func exitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintf(stderr, "bench: %v\n", err)
	return 1
}

// parse parses args, which must be flags only.
func parse(flags *flag.FlagSet, args []string, stderr io.Writer) error {
	flags.SetOutput(stderr)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "bench: unexpected argument %q: all settings are flags\n", flags.Arg(0))
		return errUsage
	}
	return nil
}
