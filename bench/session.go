package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/table"
)

// A session is one call of bench: it collects what its sub-commands measure.
type session struct {
	stdout, stderr io.Writer
	file           *result.File
	nested         bool // within all, which writes the files
}

func newSession(args []string, stdout, stderr io.Writer) *session {
	return &session{stdout: stdout, stderr: stderr, file: &result.File{Version: result.Version, Started: time.Now(), Command: args}}
}

// machine looks at the machine, once.
func (s *session) machine() result.Machine {
	if s.file.Machine.CPUs == 0 {
		s.file.Machine = result.ThisMachine("github.com/cloudwego/netpoll")
	}
	return s.file.Machine
}

// compare measures what spec says, prints a table, and keeps the result.
func (s *session) compare(ctx context.Context, set *settings, spec rounds.Spec) error {
	cfg := set.config()
	cfg.Progress = s.progress(spec.Name)
	spec.Command = set.args
	if set.tls {
		spec.Case += ", TLS"
		spec.Title += "; with TLS"
		spec.Notes = append(spec.Notes, "TLS: the servers speak it through crypto/tls, net by its Conn, with a certificate on P-256 "+
			"of their own; the clients do not check it, and begin every connection with a full handshake")
	}
	run, err := rounds.Run(ctx, cfg, spec)
	if err != nil {
		return fmt.Errorf("%s: %w", spec.Name, err)
	}
	return s.keep(run)
}

// keep prints a run, and adds it to what is written at the end.
func (s *session) keep(run *result.Run) error {
	if len(s.file.Runs) > 0 {
		fmt.Fprintln(s.stdout)
	}
	s.file.Runs = append(s.file.Runs, run)
	table.Head(s.stdout, run, s.machine())
	return table.Print(s.stdout, run)
}

// finish writes the files that were asked for. A promise that should have been kept and was not is an error.
func (s *session) finish(set *settings) error {
	if s.nested {
		return nil
	}
	var errs []error
	if set.json != "" {
		errs = append(errs, s.file.Save(set.json))
	}
	errs = append(errs, saveReport(s.file, set.html, set.png))
	for _, v := range s.file.Failed() {
		errs = append(errs, fmt.Errorf("%s did not keep a promise, %s: %s", v.Server, v.Promise, v.Says))
	}
	return errors.Join(errs...)
}

// progress returns what shows how far a run is: a bar on a terminal, else a line for each round. It does nothing by
// itself, so that it takes no processor while something is measured.
func (s *session) progress(name string) func(done, all int, doing string) {
	if f, ok := s.stderr.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return func(done, all int, doing string) {
			fmt.Fprintf(s.stderr, "%s: %s (%d of %d)\n", name, doing, done, all)
		}
	}
	var bar *progressbar.ProgressBar
	return func(done, all int, doing string) {
		if bar == nil {
			bar = progressbar.NewOptions(all, progressbar.OptionSetWriter(s.stderr), progressbar.OptionSetWidth(30),
				progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionShowCount())
		}
		bar.Describe(name + ": " + doing)
		bar.Set(done)
	}
}
