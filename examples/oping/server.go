package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/clean"
)

// shutdownTimeout bounds the orderly end.
const shutdownTimeout = 10 * time.Second

var errNoPing = errors.New(`a line must be "ping N"`)

// A responder answers the pings of one client.
type responder struct {
	actor.Base
	out     *printer
	cleaner *clean.Cleaner
	peer    string
	answer  []byte
}

// OnConnected begins to count.
func (r *responder) OnConnected(c *conn.Conn) {
	r.peer = c.RemoteAddr().String()
	r.cleaner.Start(c)
}

// OnReceived answers a ping. Only this counts as use: keepalives never come here.
func (r *responder) OnReceived(c *conn.Conn, line []byte) error {
	if !r.cleaner.Message(c) {
		return nil // the connection is closing already
	}
	n, ok := bytes.CutPrefix(line, []byte("ping "))
	if !ok {
		return errNoPing
	}
	r.answer = append(append(append(r.answer[:0], "pong "...), n...), '\n')
	_, err := c.Send(r.answer)
	return err
}

// OnTimer is the cleaner's: there is no other timer.
func (r *responder) OnTimer(c *conn.Conn, t conn.TimerToken) { r.cleaner.Timer(c, t) }

// OnEvent tells what the layer noticed. The connection is kept, whatever it is.
func (r *responder) OnEvent(_ *conn.Conn, ev any) { r.out.liveness(r.peer, ev) }

// OnClosed tells if it was the cleaner.
func (r *responder) OnClosed(_ *conn.Conn, _ error) {
	if err := r.cleaner.Err(); err != nil {
		r.out.say("cleaned %s: %v", r.peer, err)
	}
}

// serve runs the server until SIGINT or SIGTERM.
func serve(addr string, cleanAfter time.Duration, cfg conn.Config, out *printer, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{})
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	policy := clean.Policy{IdleAfter: cleanAfter}
	newResponder := func() actor.Actor { return &responder{out: out, cleaner: policy.New()} }
	ln, err := network.Listen(ctx, addr, newResponder, actor.ListenConfig{Conn: cfg})
	if err != nil {
		return fmt.Errorf("wrong -addr: %w", err)
	}
	out.say("listening on %s", ln.Addr())
	<-ctx.Done()
	stop() // a second signal ends the process at once
	closed, aborted, err := shutdown(network)
	fmt.Fprintf(stderr, "oping: shut down; connections closed in order: %d, aborted: %d\n", closed, aborted)
	return err
}

// shutdown closes what is open, and waits for the end.
func shutdown(network *actor.Network) (closed, aborted int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return network.Shutdown(ctx)
}
