package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// A role is what a server does.
type role string

const (
	roleEcho   role = "echo"   // what each connection sends comes back
	roleFanout role = "fanout" // a byte from anybody makes it send a message to everybody
)

// kinds are the servers, each a function that listens on addr, calls ready, and serves until the process is killed.
var kinds = []struct {
	name         string
	echo, fanout func(addr string, ready func(addr string)) error
}{
	{"raw", serveRaw, fanoutRaw},
	{"net", serveNet, fanoutNet},
	{"galago", serveGalago, fanoutGalago},
}

func kindNames() string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return strings.Join(names, ",")
}

func serveCommand(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	kind := flags.String("kind", "", "`name` of the server, one of "+kindNames())
	as := flags.String("role", string(roleEcho), "`what` it does, echo or fanout")
	addr := flags.String("addr", "127.0.0.1:0", "`address` to listen on, IPv4")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if role(*as) != roleEcho && role(*as) != roleFanout {
		fmt.Fprintf(stderr, "bench: -role is %q: it must be echo or fanout\n", *as)
		return errUsage
	}
	for _, k := range kinds {
		if k.name != *kind {
			continue
		}
		serve := k.echo
		if role(*as) == roleFanout {
			serve = k.fanout
		}
		return serve(*addr, func(addr string) {
			fmt.Fprintf(stdout, "listening on %s\n", addr)
			if k.name != "raw" { // which leaves nobody else a processor
				go answerAll(os.Stdin, stdout)
			}
		})
	}
	fmt.Fprintf(stderr, "bench: -kind is %q: it must be one of %s\n", *kind, kindNames())
	return errUsage
}

// questions is the descriptor from which a server reads what it is asked.
const questions = 0

func answerAll(in io.Reader, out io.Writer) {
	for scan := bufio.NewScanner(in); scan.Scan(); {
		answer(out, scan.Text())
	}
}

// answer answers a question for one number, by its name.
func answer(out io.Writer, question string) {
	var m runtime.MemStats
	switch question {
	case "heap": // what is live; whatever else can be given back to the system is, then
		runtime.GC() // twice, for what a sync.Pool or a finalizer keeps survives once
		debug.FreeOSMemory()
		runtime.ReadMemStats(&m)
		fmt.Fprintf(out, "%s %d\n", question, m.HeapAlloc)
	case "mallocs":
		runtime.ReadMemStats(&m)
		fmt.Fprintf(out, "%s %d\n", question, m.Mallocs)
	default:
		fmt.Fprintf(out, "%s: nobody knows\n", question)
	}
}

// readSize is what each server reads at once at most, so that none has an advantage.
const readSize = 64 << 10

// serveNet is what most Go programs do: package net, a goroutine and a buffer for each connection.
func serveNet(addr string, ready func(addr string)) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ready(ln.Addr().String())
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			buf := make([]byte, readSize)
			for {
				n, err := nc.Read(buf)
				if err != nil {
					return
				}
				if _, err := nc.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// serveGalago is the server of examples/echo.
func serveGalago(addr string, ready func(addr string)) error {
	network, err := actor.New(nil, actor.Config{Loops: 1})
	if err != nil {
		return err
	}
	newEcho := func() actor.Actor { return new(echo) }
	ln, err := network.Listen(context.Background(), addr, newEcho, actor.ListenConfig{})
	if err != nil {
		return err
	}
	ready(ln.Addr().String())
	select {}
}

type echo struct{ actor.Base }

func (e *echo) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

// checkKinds returns the names in list, which is separated by commas, or an error that names the unknown one.
func checkKinds(list string) ([]string, error) {
	names := strings.Split(list, ",")
	for _, name := range names {
		name, _, _ := strings.Cut(name, "@")
		if !slices.Contains(strings.Split(kindNames(), ","), name) {
			return nil, fmt.Errorf("-rivals names %q: there are %s", name, kindNames())
		}
	}
	return names, nil
}
