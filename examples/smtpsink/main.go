// Command smtpsink is a mail server that delivers nothing: it takes mail for anybody from anybody, keeps the latest of it
// in memory, and prints a line for each. It is there to try out programs that send mail.
//
// It speaks SMTP as of RFC 5321, with PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES, and STARTTLS as of RFC 3207. A
// certificate that comes from files may be replaced while it runs.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/examples/internal/selfsigned"
	"github.com/galago-go/galago/tls"
)

const (
	maxConns        = 1000
	idleTimeout     = 5 * time.Minute  // as RFC 5321 has it, in 4.5.3.2.7
	shutdownTimeout = 10 * time.Second // longer than the default of conn.Config.CloseTimeout
	reloadInterval  = time.Second      // between two looks at the files of -cert and -key
)

// settings are what the flags say.
type settings struct {
	addr, cert, key, name string
	size, memory          int
	whole                 bool
}

func (s *settings) wrong() string {
	switch {
	case (s.cert == "") != (s.key == ""):
		return "-cert and -key go together"
	case s.size < 1:
		return fmt.Sprintf("-size is %d: it must be 1 or more", s.size)
	case s.memory/2 < s.size:
		return fmt.Sprintf("-memory is %d: it must be at least twice -size, which is %d", s.memory, s.size)
	}
	return ""
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 after a signal, 1 if the server cannot run, 2 if it was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("smtpsink", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var s settings
	flags.StringVar(&s.addr, "addr", "127.0.0.1:2525", "`address` to listen on, as HOST:PORT; port 0 takes a free one")
	flags.StringVar(&s.cert, "cert", "", "`file` with the certificate and those that it rests on, in PEM; if none, one is made at start")
	flags.StringVar(&s.key, "key", "", "`file` with the key of the certificate, in PEM")
	flags.StringVar(&s.name, "name", "localhost", "`name` of this server, as it greets")
	flags.IntVar(&s.size, "size", 1<<20, "`bytes` of the largest mail")
	flags.IntVar(&s.memory, "memory", 64<<20, "`bytes` for all mail, what is arriving and what is kept; the oldest makes room")
	flags.BoolVar(&s.whole, "whole", false, "print whole mails, not a line for each")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	wrong := s.wrong()
	if flags.NArg() > 0 {
		wrong = fmt.Sprintf("unexpected argument %q: all settings are flags, see smtpsink -help", flags.Arg(0))
	}
	if wrong != "" {
		fmt.Fprintf(stderr, "smtpsink: %s\n", wrong)
		return 2
	}
	if err := serve(&s, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "smtpsink: %v\n", err)
		return 1
	}
	return 0
}

// tlsConfig says which certificate is shown: what the files hold, also if that changes, or else one that is made. Close ends the
// looking at the files.
func (s *settings) tlsConfig(stderr io.Writer) (cfg *tls.Config, closer io.Closer, err error) {
	if s.cert == "" {
		pair, err := selfsigned.New()
		return &tls.Config{Certificates: []tls.Certificate{pair}}, io.NopCloser(nil), err
	}
	files, err := tls.NewReloader(tls.ReloaderConfig{
		CertFile: s.cert,
		KeyFile:  s.key,
		Interval: reloadInterval,
		Logger:   slog.New(slog.NewTextHandler(stderr, nil)),
	})
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{GetCertificate: files.GetCertificate}, files, nil
}

// serve runs the server until SIGINT or SIGTERM.
func serve(s *settings, stdout, stderr io.Writer) error {
	// Signals first: one that comes right after the line below must already end the server in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	secure, files, err := s.tlsConfig(stderr)
	if err != nil {
		return err
	}
	defer files.Close()
	sv := &server{
		name: s.name,
		size: s.size,
		// One Factory for all connections: a Server makes a layer for each.
		tls:   tls.Server(secure),
		store: newStore(s.memory),
		log:   log.New(stderr, "smtpsink: ", 0),
	}
	network, err := actor.New(nil, actor.Config{})
	if err != nil {
		return err
	}
	newSession := func() actor.Actor { return &session{server: sv} }
	ln, err := network.Listen(ctx, s.addr, newSession, actor.ListenConfig{
		Conn:     conn.Config{Split: lines, IdleTimeout: idleTimeout},
		MaxConns: maxConns,
	})
	if err != nil {
		return fmt.Errorf("wrong -addr: %w", err) // which names it, and what would do
	}
	fmt.Fprintf(stdout, "listening on %s\n", ln.Addr())
	sv.store.print(ctx, stdout, s.whole)

	ending, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	closed, aborted, err := network.Shutdown(ending)
	sv.store.printNew(stdout, s.whole)
	mails, bytes := sv.store.accepted()
	sv.log.Printf("shut down; mails: %d, bytes: %d; connections closed in order: %d, aborted: %d", mails, bytes, closed, aborted)
	return err
}
