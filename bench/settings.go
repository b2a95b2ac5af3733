package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"
)

// settings are what all measurements have in common.
type settings struct {
	conns, rounds int
	duration      time.Duration // of one measurement; 0 if it takes as long as it takes
	rivals        []string

	list string // the flag of rivals
}

// flags makes the flags of command name. If duration is 0, there is none for it.
func (s *settings) flags(name string, conns, rounds int, duration time.Duration) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.IntVar(&s.conns, "conns", conns, "`number` of connections")
	flags.IntVar(&s.rounds, "rounds", rounds, "`number` of rounds; each measures every rival once")
	if duration > 0 {
		flags.DurationVar(&s.duration, "duration", duration, "`time` of one measurement")
	}
	flags.StringVar(&s.list, "rivals", kindNames(), "`names` of servers, with commas between; twice the same shows the noise, "+
		"NAME@PROGRAM is that of another build of this program")
	return flags
}

// validate returns an error that names each value that cannot work.
func (s *settings) validate(timed bool) (err error) {
	var errs []error
	if s.rivals, err = checkKinds(s.list); err != nil {
		errs = append(errs, err)
	}
	if s.conns < 1 || s.conns > 20_000 {
		errs = append(errs, fmt.Errorf("-conns is %d: it must be 1 to 20000", s.conns))
	}
	if s.rounds < 1 || s.rounds > 1000 {
		errs = append(errs, fmt.Errorf("-rounds is %d: it must be 1 to 1000", s.rounds))
	}
	if timed && (s.duration < 100*time.Millisecond || s.duration > time.Minute) {
		errs = append(errs, fmt.Errorf("-duration is %v: it must be 100ms to 1m, as less measures chance", s.duration))
	}
	return errors.Join(errs...)
}

// compare measures all rivals in interleaved rounds and prints a table. what says in a line what is measured.
func compare[T any](s *settings, what string, one func(kind string, cpu int) (T, error), t table[T],
	stdout, stderr io.Writer) error {
	server, load, err := processors()
	if err != nil {
		return err
	}
	describe(stdout, s, what, server, load)
	release, err := pin(load)
	if err != nil {
		return err
	}
	defer release()
	samples := make([][]T, len(s.rivals))
	for round := range s.rounds {
		fmt.Fprintf(stderr, "round %d of %d\n", round+1, s.rounds)
		// Each round has its own order, so that what the machine does besides hits all alike.
		for _, i := range rand.Perm(len(s.rivals)) {
			x, err := one(s.rivals[i], server)
			if err != nil {
				return fmt.Errorf("%s: %w", s.rivals[i], err)
			}
			samples[i] = append(samples[i], x)
		}
	}
	return t.print(stdout, s.rivals, samples)
}

// describe says what is going to be measured, on what machine.
func describe(w io.Writer, s *settings, what string, server, load int) {
	fmt.Fprintln(w, what)
	fmt.Fprintf(w, "%d rounds in random order", s.rounds)
	if s.duration > 0 {
		fmt.Fprintf(w, ", %v for each server in each round", s.duration)
	}
	fmt.Fprintf(w, "\nserver on processor %d with GOMAXPROCS=1, load on processor %d\n", server, load)
	if server == load {
		fmt.Fprintln(w, "WARNING: there is only one processor: server and load share it")
	}
	fmt.Fprintf(w, "%s, Linux %s, %s\n\n", runtime.Version(), firstLine("/proc/sys/kernel/osrelease"), cpuModel())
}
