// Command swarm tries to break galago, and checks all that it promises while it does.
//
//	go run -C bench ./swarm -duration 1m -v
//
// In one process, over loopback and unix sockets, it keeps many connections alive whose ends send random sizes, read
// slowly, pause, panic, close, half-close and abort at random, with layers that hold, damage and fail. Both ends are
// galago actors, or one of them is a witness, which uses package net. Each byte is known by its place, so each end
// checks all that it gets; each callback is checked against what was done; and when both ends have ended, what one says
// is compared with what the other says. Networks come and go, and nothing may be left of them.
//
// All parameters are flags. What an end does follows from -seed. After a failure it prints the first violations and the
// command line to run it again, and exits with 1.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command returns the exit code: 1 after a violation, 2 if it was called wrongly.
func command(args []string, stdout, stderr io.Writer) int {
	set, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "swarm: %v\n", err)
		return 2
	}
	r := &run{set: &set, rep: newReport()}
	if set.verbose {
		r.rep.live = stderr
	}
	r.all()
	return r.finish(stdout, stderr)
}

// finish prints what came of the run, and returns the exit code.
func (r *run) finish(stdout, stderr io.Writer) int {
	r.rep.table(stdout)
	if r.rep.violations.Load() > 0 {
		fmt.Fprintf(stderr, "swarm: violations:\n%s\nswarm: run it again with:\n%s\n", r.rep.problems(), r.set.commandLine())
		return 1
	}
	return 0
}
