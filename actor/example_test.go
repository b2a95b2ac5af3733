package actor_test

import (
	"context"
	"fmt"
	"io"
	"net"

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
