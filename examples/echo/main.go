// Command echo sends back what it receives, on any number of connections.
//
// A client that sends without reading is slowed down, not stored: while more than 64 KiB wait to be written to it,
// nothing more is read from it. See conn.Config.ReadWaits.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/examples/internal/selfsigned"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// shutdownTimeout bounds the orderly end. It is longer than the default conn.Config.CloseTimeout, so that a silent
// peer is given up by its own connection first.
const shutdownTimeout = 10 * time.Second

// echo is one connection. What is not written here, the embedded Base does: at the peer's end it closes in order.
type echo struct{ actor.Base }

// OnReceived queues the bytes; they are written once, at the end of the turn.
func (e *echo) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 after a signal, 1 if the server cannot run, 2 if it was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:7669", "`address` to listen on, as HOST:PORT; port 0 takes a free one")
	var cfg config
	flags.IntVar(&cfg.loops, "loops", 0, "`number` of event loops; 0 means one for each CPU")
	flags.BoolVar(&cfg.blocking, "blocking", false, "give each connection turns on a goroutine of its own, that may block")
	flags.BoolVar(&cfg.portable, "portable", false, "use package net, not the system's poller, as other systems than Linux do")
	flags.BoolVar(&cfg.tls, "tls", false, "speak TLS; without -cert and -key, with a certificate made at start")
	flags.StringVar(&cfg.cert, "cert", "", "`file` with the certificate and those that it rests on, in PEM")
	flags.StringVar(&cfg.key, "key", "", "`file` with the key of the certificate, in PEM")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "echo: unexpected argument %q: all settings are flags, see echo -help\n", flags.Arg(0))
		return 2
	}
	if err := serve(*addr, cfg, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "echo: %v\n", err)
		return 1
	}
	return 0
}

// config is how the server does it. What it does is the same.
type config struct {
	loops              int
	blocking, portable bool
	tls                bool
	cert, key          string
}

// layers are what the connections have between them and the socket.
func (c *config) layers() ([]interceptor.Factory, error) {
	switch {
	case !c.tls && c.cert == "" && c.key == "":
		return nil, nil
	case (c.cert == "") != (c.key == ""):
		return nil, errors.New("-cert and -key go together")
	}
	pair, err := selfsigned.Pair(c.cert, c.key)
	if err != nil {
		return nil, err
	}
	return []interceptor.Factory{tls.Server(&tls.Config{Certificates: []tls.Certificate{pair}})}, nil
}

// serve runs the server until SIGINT or SIGTERM.
func serve(addr string, cfg config, stdout, stderr io.Writer) error {
	// Signals first: one that comes right after the line below must already end the server in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	layers, err := cfg.layers()
	if err != nil {
		return err
	}
	network, err := actor.New(nil, actor.Config{Loops: cfg.loops, Portable: cfg.portable})
	if err != nil {
		return fmt.Errorf("cannot start with -loops %d: %w", cfg.loops, err)
	}
	ln, err := network.Listen(ctx, addr, func() actor.Actor { return new(echo) }, actor.ListenConfig{
		Conn:     conn.Config{Layers: layers},
		Blocking: cfg.blocking,
	})
	if err != nil {
		return fmt.Errorf("wrong -addr: %w", err) // which names it, and what would do
	}
	fmt.Fprintf(stdout, "listening on %s\n", ln.Addr())
	<-ctx.Done()
	stop() // a second signal ends the process at once

	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	closed, aborted, err := network.Shutdown(ctx)
	fmt.Fprintf(stderr, "echo: shut down; connections closed in order: %d, aborted: %d\n", closed, aborted)
	return err
}
