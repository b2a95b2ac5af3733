package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// kinds are the servers, each a function that listens on addr, calls ready, and serves until the process is killed.
var kinds = []struct {
	name  string
	serve func(addr string, ready func(addr string)) error
}{
	{"raw", serveRaw},
	{"net", serveNet},
	{"galago", serveGalago},
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
	addr := flags.String("addr", "127.0.0.1:0", "`address` to listen on, IPv4")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	for _, k := range kinds {
		if k.name == *kind {
			return k.serve(*addr, func(addr string) { fmt.Fprintf(stdout, "listening on %s\n", addr) })
		}
	}
	fmt.Fprintf(stderr, "bench: -kind is %q: it must be one of %s\n", *kind, kindNames())
	return errUsage
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
		if !slices.Contains(strings.Split(kindNames(), ","), name) {
			return nil, fmt.Errorf("-rivals names %q: there are %s", name, kindNames())
		}
	}
	return names, nil
}
