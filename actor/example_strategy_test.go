package actor_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

// A tally numbers the lines it gets. There is one that it does not survive.
type tally struct {
	actor.Base
	lines int
}

func (k *tally) OnReceived(c *conn.Conn, line []byte) error {
	if string(line) == "boom" {
		panic("cannot count that")
	}
	k.lines++
	_, err := fmt.Fprintf(c, "%d %s\n", k.lines, line)
	return err
}

// A strategy decides what becomes of a connection whose actor panicked. Here, a new actor goes on with the same stream;
// without a strategy, that connection would be aborted, and the others would not notice.
func ExampleConfig() {
	ctx := context.Background()
	network, err := actor.New(nil, actor.Config{
		Loops: 1,
		Strategy: proto.NewOneForOneStrategy(3, time.Minute, func(reason any) proto.Directive {
			fmt.Println(reason)
			return proto.RestartDirective
		}),
	})
	must(err)
	ln, err := network.Listen(ctx, "127.0.0.1:0", func() actor.Actor { return new(tally) }, actor.ListenConfig{
		Conn: conn.Config{Split: frame.Lines(1024)},
	})
	must(err)
	client, err := net.Dial("tcp", ln.Addr().String())
	must(err)
	fmt.Fprint(client, "one\ntwo\nboom\nthree\n")
	answers := bufio.NewScanner(client)
	var lines []string
	for len(lines) < 3 && answers.Scan() {
		lines = append(lines, answers.Text())
	}
	fmt.Println(lines)
	must(client.Close())
	_, _, err = network.Shutdown(ctx)
	must(err)
	// Output:
	// actor: panic: cannot count that
	// [1 one 2 two 1 three]
}
