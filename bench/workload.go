package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/serve"
)

// A workload is a sub-command that measures.
type workload struct {
	name, about string
	role        serve.Role // of the servers that are compared
	needsTLS    bool       // it has TLS, whether -tls is given or not
	defaults    defaults
	depthIs     string                         // what depth is a number of; if empty, "messages in flight on each connection"
	leastSize   int                            // bytes; if zero, 1
	flags       func(set *settings) []cli.Flag // of its own; may be nil
	check       func(set *settings) error      // of these; may be nil

	// run measures, and gives what comes of it to session.compare or session.keep.
	run func(ctx context.Context, s *session, set *settings) error
}

// defaults are those of the flags that most workloads have. What is 0 is no flag of the workload.
type defaults struct {
	conns, size, depth, rounds int
	duration                   time.Duration
}

// echoes reports whether an echo server will do for it.
func (w *workload) echoes() bool { return w.role == serve.Echo || w.role == serve.Frames }

func (w *workload) least() int { return max(1, w.leastSize) }

// command is w as a sub-command of bench.
func (w *workload) command(s *session) *cli.Command {
	set := new(settings)
	return &cli.Command{
		Name: w.name, Usage: w.about, Flags: set.flags(w),
		DisableSliceFlagSeparator: true, // a command may have a comma
		OnUsageError:              asUsageError,
		HideHelpCommand:           true,
		Action: func(ctx context.Context, c *cli.Command) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if err := set.validate(w); err != nil {
				return &usageError{err}
			}
			set.args = given(c)
			if err := w.run(ctx, s, set); err != nil {
				return err
			}
			return s.finish(set)
		},
	}
}

// given returns the sub-command and its flags as they were given, apart from those that say where results go.
func given(c *cli.Command) []string {
	args := []string{c.Name}
	for _, f := range c.Flags {
		name := f.Names()[0]
		if !f.IsSet() || name == "json" || name == "html" || name == "png" {
			continue
		}
		if many, ok := f.Get().([]string); ok {
			for _, v := range many {
				args = append(args, "-"+name, v)
			}
		} else if _, ok := f.Get().(bool); ok {
			args = append(args, "-"+name)
		} else {
			args = append(args, "-"+name, fmt.Sprint(f.Get()))
		}
	}
	return args
}
