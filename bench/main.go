// Command bench measures galago beside other servers on the same machine, in the same run.
//
//	go run -C bench . echo
//
// Each server is a process of its own on processors of its own; the load runs on others. See README.md for how to read
// what it prints. It runs on Linux only.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/urfave/cli/v3"
)

// workloads are the sub-commands that measure, in the order in which they are shown.
var workloads = []*workload{echoWork, pipelineWork, bulkWork, fanoutWork, idleWork, acceptWork, mixedWork, scaleWork, latencyWork,
	stormWork, backpressureWork}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 1 if the measurement failed, 2 if bench was called wrongly.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := newSession(args, stdout, stderr)
	err := s.command().Run(ctx, append([]string{"bench"}, args...))
	if usage := new(usageError); errors.As(err, &usage) {
		fmt.Fprintf(stderr, "bench: %v\nbench: bench help lists the commands, bench COMMAND -help its flags\n", usage.err)
		return 2
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// A usageError says that bench was called wrongly, and what would do.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// command is bench with its sub-commands.
func (s *session) command() *cli.Command {
	root := &cli.Command{
		Name: "bench", Usage: "measures galago beside other servers",
		UsageText: "bench COMMAND [flags]",
		Writer:    s.stdout, ErrWriter: s.stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run does that
		OnUsageError:   asUsageError,
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return &usageError{fmt.Errorf("there is no command %q", c.Args().First())}
			}
			return &usageError{errors.New("which command?")}
		},
	}
	for _, w := range workloads {
		root.Commands = append(root.Commands, w.command(s))
	}
	root.Commands = append(root.Commands, s.allCommand(), s.reportCommand(), s.serveCommand())
	return root
}

func asUsageError(_ context.Context, _ *cli.Command, err error, _ bool) error {
	return &usageError{err}
}

// noArguments refuses what is no flag.
func noArguments(c *cli.Command) error {
	if c.Args().Present() {
		return &usageError{fmt.Errorf("unexpected argument %q: all settings are flags", c.Args().First())}
	}
	return nil
}
