package actor_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// A subscriber is a connection that others write to. It tells its PID when it can be.
type subscriber struct {
	actor.Base
	up chan *proto.PID
}

func (s *subscriber) OnConnected(*conn.Conn) { s.up <- s.Context().Self() }

// Receive gets messages of any kind, in turns of the connection: so it may use it.
func (s *subscriber) Receive(ctx proto.Context) {
	if price, ok := ctx.Message().(float64); ok {
		fmt.Fprintf(s.Conn(), "%.2f\n", price)
	}
}

// serveOne runs a server for one client, and f with the client's connection and the PID of its actor.
func serveOne(f func(sys *proto.ActorSystem, pid *proto.PID, client net.Conn)) {
	ctx := context.Background()
	sys := proto.NewActorSystem(proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	defer sys.Shutdown()
	network, err := actor.New(sys, actor.Config{Loops: 1})
	must(err)
	up := make(chan *proto.PID, 1)
	ln, err := network.Listen(ctx, "127.0.0.1:0", func() actor.Actor { return &subscriber{up: up} }, actor.ListenConfig{})
	must(err)
	client, err := net.Dial("tcp", ln.Addr().String())
	must(err)
	f(sys, <-up, client)
	must(client.Close())
	_, _, err = network.Shutdown(ctx)
	must(err)
}

// A connection is an actor like any other: it has a PID, and Receive gets what it is sent.
func ExampleBase() {
	serveOne(func(sys *proto.ActorSystem, pid *proto.PID, client net.Conn) {
		sys.Root.Send(pid, 12.5)
		line, err := bufio.NewReader(client).ReadString('\n')
		fmt.Printf("%q %v\n", line, err)
	})
	// Output: "12.50\n" <nil>
}

// Anybody may write to a connection. With Ack, the answer says what came of it: exactly one, for each Write.
func ExampleWrite() {
	serveOne(func(sys *proto.ActorSystem, pid *proto.PID, client net.Conn) {
		for _, w := range []*actor.Write{
			{Data: []byte("hello\n"), Ack: "the greeting"},
			{Data: make([]byte, 2<<20), Ack: "the film"}, // more than conn.Config.MaxPending
		} {
			answer, err := sys.Root.RequestFuture(pid, w, time.Minute).Result()
			must(err)
			switch answer := answer.(type) {
			case *actor.Written:
				fmt.Println("written:", answer.Ack)
			case *actor.WriteFailed:
				fmt.Println("failed:", answer.Ack, answer.Err == conn.ErrTooLarge)
			}
		}
		line, err := bufio.NewReader(client).ReadString('\n')
		fmt.Printf("%q %v\n", line, err)
	})
	// Output:
	// written: the greeting
	// failed: the film true
	// "hello\n" <nil>
}
