package actor_test

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

// A caller asks one question, and closes when it has the answer.
type caller struct {
	actor.Base
	question, answer string
	done             chan error
}

func (k *caller) OnConnected(c *conn.Conn) {
	if _, err := c.Send([]byte(k.question), []byte("\n")); err != nil {
		c.Abort(err)
	}
}

func (k *caller) OnReceived(c *conn.Conn, line []byte) error {
	k.answer = string(line) // a copy: line is ours during this call only
	c.Close()
	return nil
}

// One of these two comes, and it is the last call.
func (k *caller) OnConnectFailed(_ *conn.Conn, err error) { k.done <- err }
func (k *caller) OnClosed(_ *conn.Conn, err error)        { k.done <- err }

// A client: Dial does not wait, the callbacks tell what came of it.
func ExampleNetwork_Dial() {
	ctx := context.Background()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	must(err)
	lines := conn.Config{Split: frame.Lines(1024)}
	newShouter := func() actor.Actor { return new(shouter) }
	ln, err := network.Listen(ctx, "127.0.0.1:0", newShouter, actor.ListenConfig{Conn: lines})
	must(err)

	k := &caller{question: "anybody there?", done: make(chan error, 1)}
	_, err = network.Dial(ctx, ln.Addr().String(), k, actor.DialConfig{Conn: lines})
	must(err) // a bad address or configuration; whatever the network says goes to OnConnectFailed
	must(<-k.done)
	fmt.Println(k.answer)

	_, _, err = network.Shutdown(ctx)
	must(err)
	// Output: ANYBODY THERE?
}

// A connection that was made by other means becomes an actor, as if it had been accepted.
func ExampleNetwork_Adopt() {
	ctx := context.Background()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	must(err)
	lines := conn.Config{Split: frame.Lines(1024)}
	newShouter := func() actor.Actor { return new(shouter) }
	ln, err := network.Listen(ctx, "127.0.0.1:0", newShouter, actor.ListenConfig{Conn: lines})
	must(err)

	nc, err := net.Dial("tcp", ln.Addr().String())
	must(err)
	k := &caller{question: "who is it?", done: make(chan error, 1)}
	_, err = network.Adopt(nc, k, actor.DialConfig{Conn: lines}) // from here on nc belongs to k's connection
	must(err)
	fmt.Println(<-k.done, k.answer)

	_, _, err = network.Shutdown(ctx)
	must(err)
	// Output: <nil> WHO IS IT?
}

// Shutdown closes what is open, in order, and says how many ended in which way.
func ExampleNetwork_Shutdown() {
	ctx := context.Background()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	must(err)
	ln, err := network.Listen(ctx, "127.0.0.1:0", func() actor.Actor { return new(shouter) }, actor.ListenConfig{})
	must(err)
	client, err := net.Dial("tcp", ln.Addr().String())
	must(err)
	fmt.Fprint(client, "bye")
	answer := make([]byte, 4)
	_, err = io.ReadFull(client, answer)
	must(err)

	go func() {
		_, _ = io.Copy(io.Discard, client) // until the server's end; then the client ends, too
		_ = client.Close()
	}()
	closed, aborted, err := network.Shutdown(ctx)
	fmt.Println(closed, aborted, err)
	// Output: 1 0 <nil>
}
