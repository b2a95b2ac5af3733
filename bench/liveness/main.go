// Command liveness measures what it costs to watch connections, and how soon silence is noticed.
//
//	go run -C bench ./liveness             # all of it, in about three minutes
//	go run -C bench ./liveness idle        # processor time of idle connections, beside a bare epoll loop
//	go run -C bench ./liveness echo        # an echo with and without a layer
//	go run -C bench ./liveness storm       # every peer stops at once
//
// Linux only, with a C compiler for the bare loop. Figures are ratios of what was measured in the same run: at the same
// time (idle), or in turns (echo). Each is printed with the bar that it must not pass; if one does, the exit code is 1.
// Flags are listed by -help.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// settings are the flags.
type settings struct {
	conns, echoes int
	span          time.Duration
	rounds        int
	timeouts      []time.Duration
	strict        bool
	bare          string // the program
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		fmt.Fprintln(os.Stderr, "liveness:", child(os.Args[2:])) // it returns only if it fails
		os.Exit(1)
	}
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// command returns the exit code: 1 if something failed or passed its bar, 2 if it was called wrongly.
func command(args []string, stdout, stderr io.Writer) int {
	parts := map[string]func(*settings, *report) error{"idle": idle, "echo": echo, "storm": storm}
	todo := []string{"idle", "echo", "storm"}
	if len(args) > 0 && parts[args[0]] != nil {
		todo, args = args[:1], args[1:]
	}
	s := settings{timeouts: []time.Duration{10 * time.Second, 120 * time.Second}}
	flags := flag.NewFlagSet("liveness", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.conns, "conns", 9000, "idle connections, 9500 at most: each process has a descriptor for each")
	flags.IntVar(&s.echoes, "echoes", 100, "connections of echo")
	flags.DurationVar(&s.span, "span", 20*time.Second, "`time` of one measurement of idle; that of T = 120s takes twice as long")
	flags.IntVar(&s.rounds, "rounds", 12, "rounds of echo, of a second for each kind of server")
	only := flags.Duration("timeout", 0, "measure idle and storm with this T alone, and not with 10s and 120s")
	flags.BoolVar(&s.strict, "strict", true, "exit with 1 if a figure passes its bar")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	wrong := ""
	switch {
	case flags.NArg() > 0:
		wrong = fmt.Sprintf("unknown measurement %q: it must be idle, echo or storm, before all flags", flags.Arg(0))
	case s.conns < 1 || s.conns > 9500:
		wrong = fmt.Sprintf("-conns is %d: it must be 1 to 9500", s.conns)
	case s.echoes < 1 || s.echoes > 5000:
		wrong = fmt.Sprintf("-echoes is %d: it must be 1 to 5000", s.echoes)
	case s.span < time.Second || s.span > 2*time.Minute:
		wrong = fmt.Sprintf("-span is %v: it must be 1s to 2m", s.span)
	case s.rounds < 1 || s.rounds > 100:
		wrong = fmt.Sprintf("-rounds is %d: it must be 1 to 100", s.rounds)
	case *only < 0 || *only > 0 && *only < 100*time.Millisecond:
		wrong = fmt.Sprintf("-timeout is %v: it must be at least 100ms", *only)
	}
	if wrong != "" {
		fmt.Fprintf(stderr, "liveness: %s\n", wrong)
		return 2
	}
	if *only > 0 {
		s.timeouts = []time.Duration{*only}
	}
	dir, err := os.MkdirTemp("", "galago-liveness-")
	if err == nil {
		defer os.RemoveAll(dir)
		s.bare, err = buildBare(dir)
	}
	if err != nil {
		fmt.Fprintf(stderr, "liveness: %v\n", err)
		return 1
	}
	r := &report{out: stdout}
	for _, name := range todo {
		if err := parts[name](&s, r); err != nil {
			fmt.Fprintf(stderr, "liveness: %s: %v\n", name, err)
			return 1
		}
	}
	if s.strict && slices.Contains(r.passed, false) {
		return 1
	}
	return 0
}

// A report prints what was measured.
type report struct {
	out    io.Writer
	passed []bool // for each bar
}

func (r *report) say(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

// bar prints a figure with what it must not exceed.
func (r *report) bar(what string, figure, limit float64, unit string) {
	ok := figure <= limit
	r.passed = append(r.passed, ok)
	verdict := "kept"
	if !ok {
		verdict = "PASSED"
	}
	r.say("  %-46s %8.3f%s   at most %g%s: %s", what, figure, unit, limit, unit, verdict)
}
