package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type fanoutConfig struct{ settings }

func fanoutCommand(args []string, stdout, stderr io.Writer) error {
	var cfg fanoutConfig
	if err := parse(cfg.flags("fanout", 1000, 7, 2*time.Second), args, stderr); err != nil {
		return err
	}
	if err := cfg.validate(true); err != nil {
		return err
	}
	what := fmt.Sprintf("fanout: one sender, bursts of one message of %d bytes to each of %d connections", len(news), cfg.conns)
	return compare(&cfg.settings, what, cfg.measure, fanoutTable, stdout, stderr)
}

// A spread is one measurement of one server that sends to many.
type spread struct {
	sample  // counts messages
	bursts  int
	sleeps  uint64 // times that a thread of the server waited
	wakes   uint64 // writes to eventfds
	mallocs uint64
}

func perBurst(n func(spread) uint64) func(spread) float64 {
	return func(s spread) float64 { return float64(n(s)) / float64(s.bursts) }
}

var fanoutTable = table[spread]{
	columns: []column[spread]{
		{"CPU/message", spread.per, micros, nil},
		{"user", spread.user, micros, nil},
		{"system", spread.system, micros, nil},
		{"lowest", spread.per, micros, lowest},
		{"highest", spread.per, micros, highest},
		{"messages/s", spread.rate, whole, nil},
		{"sleeps/burst", perBurst(func(s spread) uint64 { return s.sleeps }), exact, nil},
		{"wakes/burst", perBurst(func(s spread) uint64 { return s.wakes }), exact, nil},
		{"allocations/message", func(s spread) float64 { return float64(s.mallocs) / float64(s.count) }, exact, nil},
		{"server busy", spread.serverBusy, percent, nil},
	},
	ratioOf: spread.per,
}

func (cfg *fanoutConfig) measure(kind string, cpu int) (s spread, err error) {
	server, err := startServer(roleFanout, kind, cpu)
	if err != nil {
		return s, err
	}
	defer server.stop()
	l, err := connect(server.addr, cfg.conns, len(news))
	if err != nil {
		return s, err
	}
	defer l.close()
	a := audience{load: l}
	for i := range l.clients {
		l.clients[i].message = news
	}
	if err := a.hear(); err != nil { // each is told when it takes part
		return s, err
	}
	if _, _, err := a.run(warm(cfg.duration)); err != nil {
		return s, err
	}

	before, err := server.counts()
	if err != nil {
		return s, err
	}
	bursts := a.bursts
	if s.sample, err = server.metered(func() (time.Duration, int, error) { return a.run(cfg.duration) }); err != nil {
		return s, err
	}
	after, err := server.counts()
	if err != nil {
		return s, err
	}
	s.bursts = a.bursts - bursts
	s.sleeps, s.wakes, s.mallocs = after[0]-before[0], after[1]-before[1], after[2]-before[2]
	return s, nil
}

// An audience is a set of clients that receive.
type audience struct {
	*load
	bursts int
}

// run has burst after burst sent for d. A burst begins when all have heard the one before.
func (a *audience) run(d time.Duration) (took time.Duration, messages int, err error) {
	begin, before := time.Now(), a.messages
	for time.Since(begin) < d {
		a.clients[0].unsent = news[:1]
		if err := a.clients[0].flush(); err != nil {
			return 0, 0, err
		}
		if err := a.hear(); err != nil {
			return 0, 0, err
		}
		a.bursts++
	}
	return time.Since(begin), a.messages - before, nil
}

// hear waits until each client has the message.
func (a *audience) hear() error {
	for left := len(a.clients); left > 0; {
		_, err := a.poll(0, func(c *client) error {
			whole, err := a.receive(c)
			if whole {
				c.got = 0
				left--
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// counts returns how often threads of the server have slept so far, how much was written to its eventfds and not read,
// and how many allocations there were. A loop of galago never reads its eventfd, so what is written to it stays.
func (s *server) counts() (n [3]uint64, err error) {
	proc := fmt.Sprintf("/proc/%d", s.cmd.Process.Pid)
	if n[0], err = sumOf(filepath.Join(proc, "task", "*", "status"), "voluntary_ctxt_switches:", "%d"); err != nil {
		return n, err
	}
	if n[1], err = sumOf(filepath.Join(proc, "fdinfo", "*"), "eventfd-count:", "%x"); err != nil {
		return n, err
	}
	n[2], err = s.ask("mallocs")
	return n, err
}

// sumOf adds up what lines that begin with key say, in all files that match pattern.
func sumOf(pattern, key, format string) (sum uint64, err error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return 0, err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it was closed, or the thread has ended
		}
		for scan := bufio.NewScanner(bytes.NewReader(b)); scan.Scan(); {
			if value, ok := strings.CutPrefix(scan.Text(), key); ok {
				var n uint64
				if _, err := fmt.Sscanf(strings.TrimSpace(value), format, &n); err != nil {
					return 0, fmt.Errorf("%s says %q: %w", name, scan.Text(), err)
				}
				sum += n
			}
		}
	}
	return sum, nil
}
