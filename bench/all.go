package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// everything is what all runs: each row of the table of speeds, as a call of a sub-command.
var everything = []string{
	"echo -conns 100",
	"echo -conns 1000",
	"echo -conns 100 -size 16384",
	"pipeline -depth 16",
	"pipeline -depth 64",
	"bulk",
	"fanout",
	"fanout -depth 16",
	"idle",
	"accept",
	"latency",
	"mixed",
	"scale",
	"storm",
	"backpressure",
}

// allCommand runs everything, one after the other, and keeps it in one file.
func (s *session) allCommand() *cli.Command {
	set := new(settings)
	var less string
	return &cli.Command{
		Name: "all", Usage: "all of these, with durations that make sense: about twelve minutes",
		OnUsageError: asUsageError, HideHelpCommand: true, DisableSliceFlagSeparator: true,
		Description: "It runs\n\n   bench " + strings.Join(everything, "\n   bench ") + "\n\neach with the flags given here, and but for backpressure with -noise.",
		Flags: []cli.Flag{
			number(&set.rounds, "rounds", 5, "`number` of rounds of each"),
			&cli.DurationFlag{Name: "duration", Destination: &set.duration, Value: 800 * time.Millisecond, Usage: "`time` of one measurement, where there is one"},
			&cli.StringSliceFlag{Name: "rival", Destination: &set.more, Usage: "`NAME=COMMAND`: add another server, where an echo server will do"},
			flag(&set.quiet, "no-noise", "no noise control"),
			flag(&set.tls, "tls", "TLS on each connection, where there can be"),
			text(&set.serverCPUs, "server-cpus", "", "as in the others, but for scale"),
			text(&set.loadCPUs, "load-cpus", "", "as in the others, but for fanout and scale"),
			text(&less, "only", "", "`names` of the sub-commands to run, with commas between (default: all)"),
			text(&set.json, "json", "", "write all figures to a `file`"),
			text(&set.html, "html", "", "write a report to a `file`"),
			text(&set.png, "png", "", "write each plot of the report into a `directory`"),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if err := noArguments(c); err != nil {
				return err
			}
			calls, err := chosen(less)
			if err = errors.Join(err, checkOutputs(set.html, set.png)); err != nil {
				return &usageError{err}
			}
			err = s.everything(ctx, set, c, calls)
			if len(s.file.Runs) == 0 {
				return err
			}
			return errors.Join(err, s.finish(set)) // what was measured before a failure is kept
		},
	}
}

// chosen returns those of everything whose names are in a list.
func chosen(list string) (calls []string, err error) {
	if list == "" {
		return everything, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		known := false
		for _, call := range everything {
			if first, _, _ := strings.Cut(call, " "); first == name {
				calls, known = append(calls, call), true
			}
		}
		if !known {
			err = errors.Join(err, fmt.Errorf("-only names %q, which is nothing that all runs", name))
		}
	}
	return calls, err
}

// everything runs the sub-commands. The first that was called wrongly ends it, and so does the first that fails.
func (s *session) everything(ctx context.Context, set *settings, c *cli.Command, calls []string) error {
	for _, call := range calls {
		args := append(strings.Fields(call), set.handedOn(c, strings.Fields(call)[0])...)
		sub := &session{stdout: s.stdout, stderr: s.stderr, file: s.file, nested: true}
		if err := sub.command().Run(ctx, append([]string{"bench"}, args...)); err != nil {
			return err
		}
	}
	return nil
}

// handedOn returns the flags that a sub-command gets from all.
func (set *settings) handedOn(c *cli.Command, name string) (args []string) {
	w := find(name)
	give := func(flag string, ok bool) {
		if ok {
			args = append(args, "-"+flag, fmt.Sprint(c.Value(flag)))
		}
	}
	measures := w != backpressureWork // which has steps, and a script of its own
	give("rounds", measures)
	give("duration", measures && w.defaults.duration > 0)
	give("server-cpus", set.serverCPUs != "" && w != scaleWork)
	give("load-cpus", set.loadCPUs != "" && w != scaleWork && w != fanoutWork)
	if !set.quiet && measures {
		args = append(args, "-noise")
	}
	if set.tls {
		args = append(args, "-tls")
	}
	for _, r := range set.more {
		if w.echoes() && (set.tls || !w.needsTLS) {
			args = append(args, "-rival", r)
		}
	}
	return args
}

func find(name string) *workload {
	for _, w := range workloads {
		if w.name == name {
			return w
		}
	}
	panic("BUG: all runs " + name)
}
