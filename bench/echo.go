package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// echoConfig sets up the command echo.
type echoConfig struct {
	settings
	size int
}

func echoCommand(args []string, stdout, stderr io.Writer) error {
	var cfg echoConfig
	flags := cfg.flags("echo", 100, 7, 2*time.Second)
	flags.IntVar(&cfg.size, "size", 64, "`bytes` in a message")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if err := errors.Join(cfg.validate(true), checkSize(cfg.size)); err != nil {
		return err
	}
	what := fmt.Sprintf("echo: %d bytes, %d connections with one message in flight each", cfg.size, cfg.conns)
	return compare(&cfg.settings, what, cfg.measure, echoTable, stdout, stderr)
}

var echoTable = table[sample]{
	columns: []column[sample]{
		{"CPU/message", sample.per, micros, nil},
		{"user", sample.user, micros, nil},
		{"system", sample.system, micros, nil},
		{"lowest", sample.per, micros, lowest},
		{"highest", sample.per, micros, highest},
		{"messages/s", sample.rate, whole, nil},
		{"server busy", sample.serverBusy, percent, nil},
		{"load busy", sample.loadBusy, percent, nil},
	},
	ratioOf: sample.per,
	warn:    warnOfLoad,
}

func checkSize(size int) error {
	if size < 1 || size > 1<<20 {
		return fmt.Errorf("-size is %d: it must be 1 to 1048576 bytes", size)
	}
	return nil
}

// measure starts a server, lets it run warm, and measures it.
func (cfg *echoConfig) measure(kind string, cpu int) (sample, error) {
	server, err := startServer(roleEcho, kind, cpu)
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
	if _, _, err := l.run(warm(cfg.duration)); err != nil {
		return sample{}, err
	}
	return server.metered(func() (time.Duration, int, error) { return l.run(cfg.duration) })
}
