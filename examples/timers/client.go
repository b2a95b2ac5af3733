package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

var errLeft = errors.New("the server left without a bye")

// An attendant is a member that behaves.
type attendant struct {
	actor.Base
	name   string
	stdout io.Writer
	bye    bool
	done   chan error
}

// OnConnected logs in.
func (a *attendant) OnConnected(c *conn.Conn) {
	if _, err := c.Send([]byte("login " + a.name + "\n")); err != nil {
		c.Abort(err)
	}
}

// OnReceived prints what the server says, and answers its pings.
func (a *attendant) OnReceived(c *conn.Conn, line []byte) (err error) {
	fmt.Fprintf(a.stdout, "%s\n", line)
	switch {
	case string(line) == "ping":
		_, err = c.Send([]byte("pong\n"))
	case len(line) >= 3 && string(line[:3]) == "bye":
		a.bye = true // and the server's end follows, at which Base closes
	}
	return err
}

// OnConnectFailed is the only callback if there is no connection. The error says in which stage it failed; with
// Timeout, that it is StartTimeout which was over.
func (a *attendant) OnConnectFailed(_ *conn.Conn, err error) {
	var failed *conn.ConnectError
	if errors.As(err, &failed) && failed.Timeout() {
		err = fmt.Errorf("not connected to -to %q in time: %w", failed.Addr, failed.Err)
	}
	a.done <- err
}

// OnClosed is the last callback.
func (a *attendant) OnClosed(_ *conn.Conn, err error) {
	if err == nil && !a.bye {
		err = errLeft
	}
	a.done <- err
}

// attend connects, and returns when the connection has ended, and the network with it.
func attend(to, name string, l *limits, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	if err != nil {
		return err
	}
	a := &attendant{name: name, stdout: stdout, done: make(chan error, 1)}
	_, err = network.Dial(ctx, to, a, actor.DialConfig{Conn: conn.Config{
		Split:        frame.Lines(maxLine),
		StartTimeout: l.start, // for the look-up of a name, all attempts, and what handshakes there are
		CloseTimeout: l.end,
	}})
	if err == nil {
		select {
		case err = <-a.done:
		case <-ctx.Done():
			_, _, err = shutdown(network, l) // which closes the connection
			<-a.done
			return errors.Join(errors.New("interrupted"), err)
		}
	}
	_, _, ended := shutdown(network, l)
	return errors.Join(err, ended)
}
