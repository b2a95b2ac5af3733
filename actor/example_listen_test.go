package actor_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

// must is for what cannot fail in an example.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A shouter answers each line in upper case.
type shouter struct{ actor.Base }

func (s *shouter) OnReceived(c *conn.Conn, line []byte) error {
	_, err := c.Send(bytes.ToUpper(line), []byte("\n"))
	return err
}

// A server of lines: OnReceived gets one at a time, in whatever pieces they came.
func ExampleNetwork_Listen() {
	ctx := context.Background()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	must(err)
	ln, err := network.Listen(ctx, "127.0.0.1:0", func() actor.Actor { return new(shouter) }, actor.ListenConfig{
		MaxConns: 1000,
		Conn:     conn.Config{Split: frame.Lines(1024)},
	})
	must(err)

	client, err := net.Dial("tcp", ln.Addr().String())
	must(err)
	fmt.Fprint(client, "hel")
	fmt.Fprint(client, "lo\nworld\n")
	answers := bufio.NewScanner(client)
	for range 2 {
		answers.Scan()
		fmt.Println(answers.Text())
	}
	must(client.Close())

	_, _, err = network.Shutdown(ctx)
	must(err)
	// Output:
	// HELLO
	// WORLD
}

// The error of Listen says what cannot work, and what would.
func ExampleNetwork_Listen_wrong() {
	ctx := context.Background()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	must(err)
	_, err = network.Listen(ctx, "127.0.0.1:70000", func() actor.Actor { return new(shouter) }, actor.ListenConfig{
		MaxConns: -1,
	})
	fmt.Println(err)
	_, _, err = network.Shutdown(ctx)
	must(err)
	// Output:
	// actor: ListenConfig.MaxConns is -1: it must be 0 (for 100,000) or a number of connections
	// actor: loop: the address to listen at is "127.0.0.1:70000": it must be host:port with a port from 0, for a free one, to 65535
}
