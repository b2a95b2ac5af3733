package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// echoConfig sets up the command echo.
type echoConfig struct {
	conns, size, rounds int
	duration            time.Duration // of one measurement
	rivals              []string
}

// A sample is one measurement of one server.
type sample struct {
	messages int
	took     time.Duration
	cpu      cpuTime       // of the server
	load     time.Duration // processor time of the load
}

// perMessage returns the server's processor time for one message, in nanoseconds.
func (s sample) perMessage() float64 { return float64(s.cpu.total()) / float64(s.messages) }

func echoCommand(args []string, stdout, stderr io.Writer) error {
	var cfg echoConfig
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	flags.IntVar(&cfg.conns, "conns", 100, "`number` of connections")
	flags.IntVar(&cfg.size, "size", 64, "`bytes` in a message")
	flags.IntVar(&cfg.rounds, "rounds", 7, "`number` of rounds; each measures every rival once")
	flags.DurationVar(&cfg.duration, "duration", 2*time.Second, "`time` of one measurement")
	rivals := flags.String("rivals", kindNames(), "`names` of servers, with commas between; twice the same shows the noise")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	var err error
	if cfg.rivals, err = checkKinds(*rivals); err != nil {
		return err
	}
	if err := cfg.validate(); err != nil {
		return err
	}
	server, load, err := processors()
	if err != nil {
		return err
	}
	describe(stdout, &cfg, server, load)
	samples, err := measure(&cfg, server, load, stderr)
	if err != nil {
		return err
	}
	return report(stdout, &cfg, samples)
}

func (cfg *echoConfig) validate() error {
	switch {
	case cfg.conns < 1 || cfg.conns > 20_000:
		return fmt.Errorf("-conns is %d: it must be 1 to 20000", cfg.conns)
	case cfg.size < 1 || cfg.size > 1<<20:
		return fmt.Errorf("-size is %d: it must be 1 to 1048576 bytes", cfg.size)
	case cfg.rounds < 1:
		return fmt.Errorf("-rounds is %d: it must be 1 or more", cfg.rounds)
	case cfg.duration < 100*time.Millisecond:
		return fmt.Errorf("-duration is %v: it must be 100ms or more, as less measures chance", cfg.duration)
	}
	return nil
}

// measure returns, for each rival, one sample per round. Each round has its own order, so that what the machine does
// besides hits all alike.
func measure(cfg *echoConfig, serverCPU, loadCPU int, progress io.Writer) ([][]sample, error) {
	release, err := pin(loadCPU)
	if err != nil {
		return nil, err
	}
	defer release()
	samples := make([][]sample, len(cfg.rivals))
	for round := range cfg.rounds {
		fmt.Fprintf(progress, "round %d of %d\n", round+1, cfg.rounds)
		for _, i := range rand.Perm(len(cfg.rivals)) {
			s, err := measureOne(cfg, cfg.rivals[i], serverCPU)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", cfg.rivals[i], err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	return samples, nil
}

// measureOne starts a server, lets it run warm, and measures it.
func measureOne(cfg *echoConfig, kind string, serverCPU int) (sample, error) {
	server, err := startServer(kind, serverCPU)
	if err != nil {
		return sample{}, err
	}
	defer server.stop()
	l, err := connect(server.addr, cfg.conns, cfg.size)
	if err != nil {
		return sample{}, err
	}
	defer l.close()
	if err := l.start(); err != nil {
		return sample{}, err
	}
	if _, _, err := l.run(cfg.duration/8 + 50*time.Millisecond); err != nil {
		return sample{}, err
	}

	loadBefore := threadCPU()
	before, err := server.cpu()
	if err != nil {
		return sample{}, err
	}
	took, messages, err := l.run(cfg.duration)
	if err != nil {
		return sample{}, err
	}
	after, err := server.cpu()
	if err != nil {
		return sample{}, err
	}
	if messages == 0 {
		return sample{}, fmt.Errorf("no message came back in %v", took)
	}
	return sample{messages, took, after.minus(before), threadCPU() - loadBefore}, nil
}
