// Command chat is a server of rooms in which people talk, a line at a time; talk to it with nc or telnet.
//
//	TEXT          says it to all others in the room
//	/nick NAME    gives yourself a name
//	/join ROOM    goes to another room
//	/who          tells who is in the room
//	/quit         leaves
//
// Whoever does not read what the others say misses some of it, and is told how much. Whoever misses too much is thrown
// out. Nobody else notices: neither by waiting, nor by the memory that it costs.
//
// member.go is one connection, hub.go the actor that brings them together.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/conn/loop"
)

const (
	maxLine = 1024 // bytes of a line that comes in, without its end

	// systemBuffer is what the system may queue for a member, in bytes. It is memory as well, and by default the system
	// is generous.
	systemBuffer = 64 << 10

	// shutdownTimeout bounds the orderly end. It is longer than the default conn.Config.CloseTimeout, so that a silent
	// peer is given up by its own connection first.
	shutdownTimeout = 10 * time.Second
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 after a signal, 1 if the server cannot run, 2 if it was called wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:7671", "`address` to listen on, as HOST:PORT; port 0 takes a free one")
	loops := flags.Int("loops", 0, "`number` of event loops; 0 means one for each CPU")
	limit := flags.Int("limit", 1000, "`number` of lines that a member may miss in a row before it is thrown out")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "chat: unexpected argument %q: all settings are flags, see chat -help\n", flags.Arg(0))
		return 2
	}
	if *limit < 1 {
		fmt.Fprintf(stderr, "chat: -limit is %d: it must be 1 or more\n", *limit)
		return 2
	}
	if err := serve(*addr, *loops, *limit, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "chat: %v\n", err)
		return 1
	}
	return 0
}

// serve runs the server until SIGINT or SIGTERM.
func serve(addr string, loops, limit int, stdout, stderr io.Writer) error {
	// Signals first: one that comes right after the line below must already end the server in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	network, err := actor.New(nil, actor.Config{Loops: loops})
	if err != nil {
		return fmt.Errorf("cannot start with -loops %d: %w", loops, err)
	}
	// The hub is a plain actor, without a connection. The network runs it on a loop, as it does its connections.
	var h *hub
	pid, err := network.Spawn(func() proto.Actor { h = newHub(limit); return h }, actor.SpawnConfig{})
	if err != nil {
		return fmt.Errorf("cannot start the hub: %w", err)
	}
	logger := log.New(stderr, "chat: ", 0)
	newMember := func() actor.Actor { return &member{hub: pid, log: logger} }
	ln, err := network.Listen(ctx, addr, newMember, actor.ListenConfig{
		Conn: conn.Config{
			Split: frame.Lines(maxLine),
			// What a member says does not wait for what it hears: who cannot read the others may still call for help.
			ReadWaits: conn.Off,
		},
		Socket: loop.Options{WriteBuffer: systemBuffer},
	})
	if err != nil {
		return fmt.Errorf("wrong -addr: %w", err) // which names it, and what would do
	}
	fmt.Fprintf(stdout, "listening on %s\n", ln.Addr())
	<-ctx.Done()
	stop() // a second signal ends the process at once

	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	closed, aborted, err := network.Shutdown(ctx) // the hub last: its counts are final
	logger.Printf("shut down; lines said: %d, missed: %d; thrown out: %d; connections closed in order: %d, aborted: %d",
		h.said, h.allMissed, h.thrownOut, closed, aborted)
	return err
}
