package main

import (
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
	"github.com/galago-go/galago/interceptor/liveness"
)

// An asker asks once, and waits.
type asker struct {
	actor.Base
	stdout   io.Writer
	patience time.Duration
	began    time.Time
	done     chan error
}

// say prints a line of the time line.
func (a *asker) say(format string, args ...any) {
	fmt.Fprintf(a.stdout, "%.3fs %s\n", time.Since(a.began).Seconds(), fmt.Sprintf(format, args...))
}

// OnConnected comes when the server's layer has said hello, too: it is known then how patient the server is.
func (a *asker) OnConnected(c *conn.Conn) {
	a.began = time.Now()
	layer, _ := liveness.Of(c.Layers())
	s := layer.Status()
	a.say("connected; this side waits for %v, the server for %v", s.Timeout, s.PeerTimeout)
	if _, err := c.Send([]byte("are you there?")); err != nil {
		c.Abort(err)
	}
}

// OnReceived gets the answer. The layer's keepalives never come here.
func (a *asker) OnReceived(_ *conn.Conn, data []byte) error {
	a.say("answer: %s", data)
	return nil
}

// OnEvent is told of silence, and decides. The layer ends nothing by itself.
func (a *asker) OnEvent(c *conn.Conn, ev any) {
	switch ev := ev.(type) {
	case liveness.PeerSuspect:
		a.say("suspect: silent for %.3fs", ev.Silent.Seconds())
	case liveness.PeerDown:
		a.say("down: silent for %.3fs", ev.Silent.Seconds())
		if ev.Repeat == 0 && a.patience > 0 {
			ev.KeepFor(a.patience)
		} else {
			c.Abort(ev.Err())
		}
	case liveness.PeerUp:
		a.say("up: it was down for %.3fs", ev.DownFor.Seconds())
	}
}

// OnEOF comes at once if the server has closed, and at once if its process has died. Then err says that it took no leave.
func (a *asker) OnEOF(c *conn.Conn, err error) {
	if err == nil && c.State() != conn.StateClosing {
		a.say("end: the server has closed")
	}
	a.Base.OnEOF(c, err) // which closes
}

// OnConnectFailed is the only callback if there is no connection.
func (a *asker) OnConnectFailed(_ *conn.Conn, err error) { a.done <- err }

// OnClosed is the last callback.
func (a *asker) OnClosed(_ *conn.Conn, err error) {
	if err != nil {
		a.say("lost: %v", err)
	}
	a.done <- err
}

// ask returns when the connection has ended, and the network with it.
func ask(to string, patience time.Duration, cfg conn.Config, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	if err != nil {
		return err
	}
	a := &asker{stdout: stdout, patience: patience, done: make(chan error, 1)}
	if _, err = network.Dial(ctx, to, a, actor.DialConfig{Conn: cfg}); err == nil {
		select {
		case err = <-a.done:
		case <-ctx.Done():
			_, _, err = shutdown(network) // which closes the connection
			<-a.done
			return errors.Join(errors.New("interrupted"), err)
		}
	}
	_, _, ended := shutdown(network)
	return errors.Join(err, ended)
}
