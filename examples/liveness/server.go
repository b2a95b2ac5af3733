package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// shutdownTimeout bounds the orderly end.
const shutdownTimeout = 10 * time.Second

// An oracle answers once.
type oracle struct {
	actor.Base
	then string
	sent conn.SendToken
}

// OnReceived answers with what was asked.
func (o *oracle) OnReceived(c *conn.Conn, data []byte) (err error) {
	if o.sent == 0 {
		o.sent, err = c.Send(data)
	}
	return err
}

// OnSent comes when the answer is on its way.
func (o *oracle) OnSent(c *conn.Conn, _ conn.SendToken) {
	switch o.then {
	case "close":
		c.Close()
	case "die":
		os.Exit(3) // no more than the system says goodbye
	case "hang":
		select {} // as with a lock that nobody gives back; the system goes on, and the connection stays open
	}
}

// serve runs the server until SIGINT or SIGTERM.
func serve(addr, then string, cfg conn.Config, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{})
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	newOracle := func() actor.Actor { return &oracle{then: then} }
	ln, err := network.Listen(ctx, addr, newOracle, actor.ListenConfig{Conn: cfg})
	if err != nil {
		return fmt.Errorf("wrong -addr: %w", err)
	}
	fmt.Fprintf(stdout, "listening on %s\n", ln.Addr())
	<-ctx.Done()
	stop() // a second signal ends the process at once, should it hang
	closed, aborted, err := shutdown(network)
	fmt.Fprintf(stderr, "liveness: shut down; connections closed in order: %d, aborted: %d\n", closed, aborted)
	return err
}

// shutdown closes what is open, and waits for the end.
func shutdown(network *actor.Network) (closed, aborted int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return network.Shutdown(ctx)
}
