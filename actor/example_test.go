package actor_test

import (
	"context"
	"fmt"
	"io"
	"net"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

type echoServer struct{ actor.Base }

func (e *echoServer) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

// An echo server, and a client that talks to it.
func Example() {
	ctx := context.Background()
	network, err := actor.New(nil, actor.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := network.Listen(ctx, "127.0.0.1:0", func() actor.Actor { return new(echoServer) }, actor.ListenConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(client, "hello")
	_ = client.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(client) // the server closes once it has echoed everything
	fmt.Printf("%s\n", answer)
	_ = client.Close()
	_, aborted, err := network.Shutdown(ctx)
	fmt.Println(aborted, err)
	// Output:
	// hello
	// 0 <nil>
}

// A visitor counts itself, in memory that it shares with its host.
type visitor struct {
	actor.Base
	host *host
}

func (v *visitor) OnConnected(c *conn.Conn) {
	v.host.arrived()
	c.Close()
}

// A host lives on a loop without a connection, and dials from there. What it shares with its connections needs no lock.
type host struct {
	network *actor.Network
	addr    string
	guests  int
	done    chan string
}

func (h *host) Receive(ctx proto.Context) {
	if _, ok := ctx.Message().(*proto.Started); !ok {
		return
	}
	here := actor.DialConfig{Loop: actor.LoopOf(ctx)}
	for range 3 {
		if _, err := h.network.Dial(context.Background(), h.addr, &visitor{host: h}, here); err != nil {
			h.done <- err.Error()
		}
	}
}

func (h *host) arrived() {
	if h.guests++; h.guests == 3 {
		h.done <- "all are there"
	}
}

// An actor without a connection that dials on its own loop.
func ExampleNetwork_Spawn() {
	network, err := actor.New(nil, actor.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	newEcho := func() actor.Actor { return new(echoServer) }
	ln, err := network.Listen(context.Background(), "127.0.0.1:0", newEcho, actor.ListenConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan string, 3)
	newHost := func() proto.Actor { return &host{network: network, addr: ln.Addr().String(), done: done} }
	if _, err := network.Spawn(newHost, actor.SpawnConfig{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-done)
	_, _, err = network.Shutdown(context.Background())
	fmt.Println(err)
	// Output:
	// all are there
	// <nil>
}
