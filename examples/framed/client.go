package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

const (
	connectTimeout = 10 * time.Second // for the look-up and the connect together
	answerTimeout  = 10 * time.Second // without a byte, while an answer is due
)

var (
	errSilent = fmt.Errorf("the server has not answered for %v", answerTimeout)
	errEarly  = errors.New("the server ended the connection too early")
)

// client is one connection. A goroutine sends it requests, for reading the standard input blocks; the answers come
// here.
type client struct {
	actor.Base
	connected chan struct{}
	done      chan error
	stdout    io.Writer

	asked    atomic.Int64 // requests; the goroutine counts them
	answered int64
	noMore   *noMore // nil while requests may come
}

// noMore is what the goroutine sends behind its last request. Messages keep their order.
type noMore struct{ err error }

// OnConnected lets the goroutine begin: a Write that comes earlier is refused.
func (cl *client) OnConnected(*conn.Conn) { close(cl.connected) }

// Receive hears of the end of the input. What was sent before is written first, then FIN. The answers still come.
func (cl *client) Receive(ctx proto.Context) {
	if m, ok := ctx.Message().(*noMore); ok {
		cl.noMore = m
		cl.Conn().CloseWrite()
	}
}

// OnReceived gets one answer. Printing it may block, which a callback must not do where others share its loop. Here
// nobody does, and it is what we want: while we cannot print, we do not read.
func (cl *client) OnReceived(_ *conn.Conn, answer []byte) error {
	cl.answered++
	_, err := fmt.Fprintf(cl.stdout, "%s\n", answer)
	return err
}

// OnIdle gives up a server that owes something. If it does not, it is the user who takes time, and may.
func (cl *client) OnIdle(c *conn.Conn) {
	if cl.noMore != nil || cl.answered < cl.asked.Load() {
		c.Abort(errSilent)
	}
}

// OnConnectFailed is the only callback if there is no connection.
func (cl *client) OnConnectFailed(_ *conn.Conn, err error) { cl.done <- err }

// OnClosed is the last callback. A connection that ended in order may still have ended too early.
func (cl *client) OnClosed(_ *conn.Conn, err error) {
	asked := cl.asked.Load()
	switch {
	case err == nil && cl.noMore != nil && cl.answered == asked:
		cl.done <- cl.noMore.err
		return
	case err == nil:
		err = errEarly
	}
	cl.done <- fmt.Errorf("%w; answered: %d of %d requests", err, cl.answered, asked)
}

// ask sends each line of the input as a request, without waiting for answers. It runs on a goroutine of its own.
func (cl *client) ask(root *proto.RootContext, pid *proto.PID, largest int, stdin io.Reader) {
	lines := bufio.NewScanner(stdin)
	lines.Buffer(nil, largest+len("\n"))
	for lines.Scan() {
		body := lines.Bytes()
		request := make([]byte, 0, prefix+len(body)) // of its own: the connection keeps it until it is written
		request = append(frame.AppendPrefix(request, prefix, len(body)), body...)
		cl.asked.Add(1)
		// Because of Ack, an answer comes when the system took the bytes. Who waits for it is never faster than the
		// network, and never refused as not writeable.
		answer, err := root.RequestFuture(pid, &actor.Write{Data: request, Ack: true}, -1).Result()
		if _, written := answer.(*actor.Written); err != nil || !written {
			return // the connection has ended, and OnClosed says why
		}
	}
	err := lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("line %d of the input is longer than -max, %d bytes: raise it on both sides",
			cl.asked.Load()+1, largest)
	}
	root.Send(pid, &noMore{err})
}

// talk connects, and returns when the connection has ended, and the network with it.
func talk(to string, largest int, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	if err != nil {
		return err
	}
	cfg := framing(largest)
	cfg.StartTimeout, cfg.IdleTimeout = connectTimeout, answerTimeout
	cl := &client{stdout: stdout, connected: make(chan struct{}), done: make(chan error, 1)}
	pid, err := network.Dial(ctx, to, cl, actor.DialConfig{Conn: cfg})
	if err != nil {
		return errors.Join(err, shutdown(network))
	}
	connected := cl.connected
	for {
		select {
		case <-connected:
			connected = nil // once
			// It may still wait for input when the connection has ended; then it ends with the process.
			go cl.ask(network.System().Root, pid, largest, stdin)
		case err = <-cl.done:
			return errors.Join(err, shutdown(network))
		case <-ctx.Done():
			err = shutdown(network) // which closes the connection
			<-cl.done
			return errors.Join(errors.New("interrupted"), err)
		}
	}
}

func shutdown(network *actor.Network) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	_, _, err := network.Shutdown(ctx)
	return err
}
