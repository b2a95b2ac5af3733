package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

// settings are the flags of a workload.
type settings struct {
	args []string // the sub-command and its flags as they were given

	conns, size, depth, rounds int
	duration                   time.Duration
	list                       string   // of -rivals
	more                       []string // of -rival
	noise, tls                 bool
	serverCPUs, loadCPUs       string
	json, html, png            string

	idle, rate int // of mixed; of latency and storm
	storm      int
	direction  string        // of bulk
	quiet      bool          // of all
	work       time.Duration // of scale
	pressed    pressed       // of backpressure

	rivals  []rounds.Rival
	servers proc.CPUs
	loads   proc.CPUs
}

// flags makes the flags of w; what is 0 in its defaults is no flag of it.
func (set *settings) flags(w *workload) []cli.Flag {
	d := w.defaults
	all := []cli.Flag{
		number(&set.conns, "conns", d.conns, "`number` of connections"),
		number(&set.size, "size", d.size, "`bytes` in a message"),
		number(&set.depth, "depth", d.depth, "`number` of "+cmp.Or(w.depthIs, "messages in flight on each connection")),
		number(&set.rounds, "rounds", d.rounds, "`number` of rounds; each measures every rival once"),
		&cli.DurationFlag{Name: "duration", Destination: &set.duration, Value: d.duration, Usage: "`time` of one measurement"},
		text(&set.list, "rivals", "", "`names` of servers, with commas between; NAME@PROGRAM is that of another build of this "+
			"program (default: "+strings.Join(serve.Names(w.role), ",")+")"),
		&cli.StringSliceFlag{Name: "rival", Destination: &set.more, Usage: "`NAME=COMMAND`: add another server, which takes " +
			"-addr HOST:PORT and prints \"listening on HOST:PORT\"; may be repeated"},
		flag(&set.noise, "noise", "measure the last of -rivals twice, to see what the machine alone makes of a difference"),
		flag(&set.tls, "tls", "TLS on each connection; beside package net, with crypto/tls"),
		text(&set.serverCPUs, "server-cpus", "", "`list` of processors for the server, as in 0,2-3 (default: the first)"),
		text(&set.loadCPUs, "load-cpus", "", "`list` of processors for the load, with a thread on each (default: the second)"),
		text(&set.json, "json", "", "write all figures to a `file`"),
		text(&set.html, "html", "", "write a report to a `file`"),
		text(&set.png, "png", "", "write each plot of the report into a `directory`"),
	}
	var flags []cli.Flag
	absent := map[string]bool{"conns": d.conns == 0, "size": d.size == 0, "depth": d.depth == 0, "duration": d.duration == 0}
	for _, f := range all {
		if !absent[f.Names()[0]] {
			flags = append(flags, f)
		}
	}
	if w.flags != nil {
		flags = append(flags, w.flags(set)...)
	}
	return flags
}

func number(to *int, name string, value int, usage string) cli.Flag {
	return &cli.IntFlag{Name: name, Destination: to, Value: value, Usage: usage}
}

func text(to *string, name, value, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Destination: to, Value: value, Usage: usage}
}

func flag(to *bool, name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Destination: to, Usage: usage}
}

// validate works out what follows from the flags. The error names each value that cannot work.
func (set *settings) validate(w *workload) (err error) {
	set.tls = set.tls || w.needsTLS
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	d := w.defaults
	check(d.conns == 0 || set.conns >= 1 && set.conns <= 20_000, "-conns is %d: it must be 1 to 20000", set.conns)
	check(d.size == 0 || set.size >= w.least() && set.size <= 1<<20, "-size is %d: it must be %d to 1048576 bytes", set.size, w.least())
	check(d.depth == 0 || set.depth >= 1 && set.depth <= 1024, "-depth is %d: it must be 1 to 1024", set.depth)
	check(set.rounds >= 1 && set.rounds <= 1000, "-rounds is %d: it must be 1 to 1000", set.rounds)
	check(d.duration == 0 || set.duration >= 100*time.Millisecond && set.duration <= time.Minute,
		"-duration is %v: it must be 100ms to 1m, as less measures chance", set.duration)
	if err := set.processors(); err != nil {
		errs = append(errs, err)
	}
	if set.rivals, err = rounds.Rivals(set.everybody(w), set.more, w.role); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, set.checkTLS(w))
	errs = append(errs, checkOutputs(set.html, set.png))
	if w.check != nil {
		errs = append(errs, w.check(set))
	}
	return errors.Join(errs...)
}

// everybody returns the list of rivals, with the noise control. If nobody gave a list, it is all that play the role, and
// speak TLS if that is wanted.
func (set *settings) everybody(w *workload) string {
	if set.list == "" {
		set.list = strings.Join(slices.DeleteFunc(serve.Names(w.role), func(name string) bool {
			return set.tls && !canTLS(name)
		}), ",")
	}
	if !set.noise {
		return set.list
	}
	last := set.list[strings.LastIndexByte(set.list, ',')+1:]
	return set.list + "," + last
}

// checkTLS refuses rivals of this build that do not speak TLS, if that is wanted.
func (set *settings) checkTLS(w *workload) error {
	for _, r := range set.rivals {
		if set.tls && r.Kind != "" && r.Program == "" && !canTLS(r.Kind) {
			can := slices.DeleteFunc(serve.Names(w.role), func(name string) bool { return !canTLS(name) })
			return fmt.Errorf("-tls: %s has no TLS yet: leave -tls out, or name servers that have it: -rivals %s",
				r.Kind, strings.Join(can, ","))
		}
	}
	return nil
}

func canTLS(kind string) bool {
	k, _ := serve.Find(kind)
	return k.TLS
}

// processors finds those of server and load. They are the same if there is only one.
func (set *settings) processors() error {
	available, err := proc.Available()
	if err != nil {
		return err
	}
	set.servers, set.loads = available[:1], available[min(1, len(available)-1):][:1]
	var errs [2]error
	if set.serverCPUs != "" {
		set.servers, errs[0] = cpus("-server-cpus", set.serverCPUs, available)
	}
	if set.loadCPUs != "" {
		set.loads, errs[1] = cpus("-load-cpus", set.loadCPUs, available)
	}
	if set.conns > 0 && set.conns < len(set.loads) {
		return fmt.Errorf("-load-cpus %s: each needs a connection, and -conns is %d", set.loadCPUs, set.conns)
	}
	return errors.Join(errs[:]...)
}

func cpus(name, list string, available proc.CPUs) (proc.CPUs, error) {
	c, err := proc.ParseCPUs(list, available)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return c, err
}

func (set *settings) config() rounds.Config {
	return rounds.Config{Rivals: set.rivals, Rounds: set.rounds, Duration: set.duration,
		ServerCPUs: set.servers, LoadCPUs: set.loads, TLS: set.tls}
}
