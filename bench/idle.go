package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

type idleConfig struct{ settings }

func idleCommand(args []string, stdout, stderr io.Writer) error {
	var cfg idleConfig
	if err := parse(cfg.flags("idle", 10_000, 3, 0), args, stderr); err != nil {
		return err
	}
	if err := cfg.validate(false); err != nil {
		return err
	}
	what := fmt.Sprintf("idle: memory of the server for each of %d connections, after one message of 64 bytes on each",
		cfg.conns)
	return compare(&cfg.settings, what, cfg.measure, idleTable, stdout, stderr)
}

// A footprint is what one idle connection costs, in bytes.
type footprint struct {
	rss  float64 // resident, when the last one has had its message
	rest float64 // resident, when the collector has run and given back to the system what it can
	heap float64 // live heap
}

var idleTable = table[footprint]{
	columns: []column[footprint]{
		{"RSS at rest", func(f footprint) float64 { return f.rest }, byteSize, nil},
		{"lowest", func(f footprint) float64 { return f.rest }, byteSize, lowest},
		{"highest", func(f footprint) float64 { return f.rest }, byteSize, highest},
		{"live heap", func(f footprint) float64 { return f.heap }, byteSize, nil},
		{"RSS at once", func(f footprint) float64 { return f.rss }, byteSize, nil},
	},
	ratioOf: func(f footprint) float64 { return f.rest },
	bases:   []string{"net"}, // raw has next to nothing: a ratio to it says nothing
}

// measure compares a server with few connections and with many.
func (cfg *idleConfig) measure(kind string, cpu int) (footprint, error) {
	server, err := startServer(roleEcho, kind, cpu)
	if err != nil {
		return footprint{}, err
	}
	defer server.stop()
	first, err := connect(server.addr, 1, 64) // what the first one makes the server set up is not for each of them
	if err != nil {
		return footprint{}, err
	}
	defer first.close()
	if err := first.once(); err != nil {
		return footprint{}, err
	}
	heap0, rss0, err := server.memory()
	if err != nil {
		return footprint{}, err
	}
	l, err := connect(server.addr, cfg.conns, 64)
	if err != nil {
		return footprint{}, err
	}
	defer l.close()
	if err := l.once(); err != nil {
		return footprint{}, err
	}
	atOnce, err := server.rss()
	if err != nil {
		return footprint{}, err
	}
	heap, rss, err := server.memory()
	if err != nil {
		return footprint{}, err
	}
	each := func(now, before uint64) float64 { return (float64(now) - float64(before)) / float64(cfg.conns) }
	return footprint{each(atOnce, rss0), each(rss, rss0), each(heap, heap0)}, nil
}

// memory returns the live heap, and what is resident afterwards.
func (s *server) memory() (heap, rss uint64, err error) {
	if heap, err = s.ask("heap"); err != nil {
		return 0, 0, err
	}
	rss, err = s.rss()
	return heap, rss, err
}

// rss returns how many bytes of the server are resident. Unlike /proc/PID/stat, which may lag behind by some pages for
// each processor, smaps_rollup counts.
func (s *server) rss() (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for scan := bufio.NewScanner(bytes.NewReader(b)); scan.Scan(); {
		if value, ok := strings.CutPrefix(scan.Text(), "Rss:"); ok {
			var kb uint64
			_, err := fmt.Sscanf(strings.TrimSpace(value), "%d kB", &kb)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("smaps_rollup has no Rss: %q", b)
}
