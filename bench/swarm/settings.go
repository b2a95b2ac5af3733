package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// settings are all parameters of a run. Each is a flag.
type settings struct {
	seed     uint64
	duration time.Duration
	epoch    time.Duration
	bound    time.Duration
	conns    int
	total    int
	rate     float64
	loops    int
	nets     string
	sizes    int
	sends    int
	think    time.Duration
	heap     int
	verbose  bool
	portable bool
	blocking bool

	witness, adopt, early                   float64
	abort, stop, closing, half, cut, fail   float64
	panics, pause, yield, slow, idle, hasty float64
	layers, fault, write, oversize, tls     float64
}

// defaults are moderate: they leave a machine with two processors room for other work.
func defaults() settings {
	return settings{
		seed: rand.Uint64() >> 32, duration: time.Minute, epoch: 20 * time.Second, bound: time.Minute,
		conns: 100, nets: "tcp,unix", sizes: 256 << 10, sends: 12, think: 40 * time.Millisecond,
		witness: 0.2, adopt: 0.05, early: 0.02,
		abort: 0.06, stop: 0.04, closing: 0.08, half: 0.3, cut: 0.04, fail: 0.02,
		panics: 0.15, pause: 0.3, yield: 0.1, slow: 0.2, idle: 0.1, hasty: 0.03,
		layers: 0.4, fault: 0.25, write: 0.3, oversize: 0.05, tls: 0.3,
	}
}

// flags are the settings as flags, each with its present value as default.
func (s *settings) flags() *flag.FlagSet {
	f := flag.NewFlagSet("swarm", flag.ContinueOnError)
	f.Uint64Var(&s.seed, "seed", s.seed, "what all scripts and bytes follow from; if not given, random")
	f.DurationVar(&s.duration, "duration", s.duration, "time in which connections are begun")
	f.DurationVar(&s.epoch, "epoch", s.epoch, "life of one network; then it is shut down and leaks are looked for")
	f.DurationVar(&s.bound, "bound", s.bound, "a connection that lives longer is a failure")
	f.IntVar(&s.conns, "conns", s.conns, "connections at a time")
	f.IntVar(&s.total, "total", s.total, "connections in all; if 0, as many as there is time for")
	f.Float64Var(&s.rate, "rate", s.rate, "connections begun per second at most; if 0, as soon as there is room")
	f.IntVar(&s.loops, "loops", s.loops, "event loops; if 0, one for each CPU")
	f.StringVar(&s.nets, "net", s.nets, "kinds of sockets: tcp, unix, or both with a comma")
	f.IntVar(&s.sizes, "sizes", s.sizes, "bytes in the longest chunk; most are much shorter")
	f.IntVar(&s.sends, "sends", s.sends, "chunks that an end sends, about half of them on average")
	f.DurationVar(&s.think, "think", s.think, "longest pause between two bursts of an end")
	f.IntVar(&s.heap, "heap", s.heap, "MiB that the heap may grow by; if 0, 64 and one for each connection")
	f.BoolVar(&s.portable, "portable", s.portable, "loops on package net: Config.Portable")
	f.BoolVar(&s.blocking, "blocking", s.blocking, "turns on goroutines of their own: Blocking")
	f.BoolVar(&s.verbose, "v", s.verbose, "print progress every few seconds")
	for _, share := range s.shares() {
		f.Float64Var(share.p, share.name, *share.p, share.about)
	}
	return f
}

// A share is a probability from 0 to 1.
type share struct {
	name  string
	p     *float64
	about string
}

func (s *settings) shares() []share {
	return []share{
		{"witness", &s.witness, "connections with package net at one end"},
		{"adopt", &s.adopt, "dialed ones that package net dials, and galago adopts"},
		{"early", &s.early, "dialed ones that are closed or aborted before they are connected"},
		{"abort", &s.abort, "ends that abort, at any time"},
		{"stop", &s.stop, "ends whose actor is stopped or poisoned from outside, at any time"},
		{"close", &s.closing, "ends that close before they have sent all, by themselves or told from outside"},
		{"half", &s.half, "ends that close one direction first"},
		{"cut", &s.cut, "ends that close inside a chunk"},
		{"fail", &s.fail, "ends that return an error from OnReceived"},
		{"panic", &s.panics, "ends that panic in some callbacks; they are stopped, resumed or restarted"},
		{"pause", &s.pause, "ends that pause now and then, by themselves or told from outside"},
		{"yield", &s.yield, "ends that yield now and then"},
		{"slow", &s.slow, "ends that read slowly"},
		{"idle", &s.idle, "ends with an idle timeout"},
		{"hasty", &s.hasty, "ends with a short CloseTimeout"},
		{"layers", &s.layers, "listeners whose connections have layers"},
		{"tls", &s.tls, "listeners that speak TLS; witnesses do by crypto/tls"},
		{"fault", &s.fault, "ends with layers whose layers break or corrupt"},
		{"write", &s.write, "ends for which another actor writes too"},
		{"oversize", &s.oversize, "ends that try to send more than MaxPending"},
	}
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (settings, error) {
	s := defaults()
	f := s.flags()
	f.SetOutput(stderr)
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q: all settings are flags", f.Arg(0))
	}
	return s, s.validate()
}

// validate names each value that cannot work.
func (s *settings) validate() error {
	var errs []error
	bad := func(name string, value any, want string) {
		errs = append(errs, fmt.Errorf("-%s is %v: it must be %s", name, value, want))
	}
	for _, share := range s.shares() {
		if !(*share.p >= 0 && *share.p <= 1) {
			bad(share.name, *share.p, "a share from 0 to 1")
		}
	}
	atLeast := func(name string, value, least int) {
		if value < least {
			bad(name, value, fmt.Sprintf("%d or more", least))
		}
	}
	atLeast("conns", s.conns, 1)
	atLeast("total", s.total, 0)
	atLeast("loops", s.loops, 0)
	atLeast("sizes", s.sizes, 1)
	atLeast("sends", s.sends, 1)
	atLeast("heap", s.heap, 0)
	if s.sizes > maxSizes {
		bad("sizes", s.sizes, fmt.Sprintf("at most %d", maxSizes))
	}
	if !(s.rate >= 0) {
		bad("rate", s.rate, "0 or connections per second")
	}
	for name, d := range map[string]time.Duration{"duration": s.duration, "epoch": s.epoch, "bound": s.bound} {
		if d <= 0 {
			bad(name, d, "a positive duration")
		}
	}
	if s.think < 0 {
		bad("think", s.think, "0 or a positive duration")
	}
	for _, n := range s.networks() {
		if n != "tcp" && n != "unix" {
			bad("net", s.nets, "tcp, unix, or tcp,unix")
		}
	}
	return errors.Join(errs...)
}

// maxSizes bounds -sizes: a chunk must fit one Send.
const maxSizes = 1<<20 - 1<<10

func (s *settings) networks() []string { return strings.Split(s.nets, ",") }

// commandLine is the command that runs these settings again, without those that are as they would be anyway.
func (s *settings) commandLine() string {
	usual := defaults()
	was := make(map[string]string)
	usual.flags().VisitAll(func(f *flag.Flag) { was[f.Name] = f.Value.String() })
	line := fmt.Sprintf("go run -C bench ./swarm -seed %d", s.seed)
	s.flags().VisitAll(func(f *flag.Flag) {
		if v := f.Value.String(); f.Name != "seed" && v != was[f.Name] {
			line += fmt.Sprintf(" -%s=%s", f.Name, v)
		}
	})
	return line
}
