package main

import (
	"errors"
	"fmt"
	"log"
	"strings"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// maxUnheard is how many lines of one member may wait for the hub. A mailbox has no bound, so whoever fills one that it
// does not empty itself must count.
const maxUnheard = 64

// What members tell the hub. They send it as requests, so the hub knows from whom it comes.
type (
	enter struct{}
	leave struct{}
	// line is what somebody typed: text, or one of the commands. The hub answers each with heard.
	line  struct{ command, text string }
	heard struct{}
)

// throwOut is what the hub tells a member that is too slow.
type throwOut struct{ missed int }

// A slowError is why a member was thrown out. It comes back in OnClosed, as the type that it is.
type slowError struct{ missed int }

func (e *slowError) Error() string {
	return fmt.Sprintf("too slow: it missed %d lines in a row", e.missed)
}

// A member is one connection. What the others say does not come by here: the hub sends it to the connection itself, as
// actor.Write.
type member struct {
	actor.Base
	hub     *proto.PID
	log     *log.Logger
	unheard int
}

// tell sends the hub a message, which will know this connection as its sender.
func (m *member) tell(msg any) { m.Context().Request(m.hub, msg) }

// OnConnected joins. Before that, Writes would be refused.
func (m *member) OnConnected(*conn.Conn) { m.tell(new(enter)) }

// OnReceived passes a line on. It is the connection's only during this call, so the hub gets a copy.
func (m *member) OnReceived(c *conn.Conn, data []byte) error {
	if c.State() == conn.StateClosing {
		return nil // after /quit
	}
	said := &line{text: strings.TrimSpace(strings.ToValidUTF8(string(data), "?"))}
	if strings.HasPrefix(said.text, "/") {
		said.command, said.text, _ = strings.Cut(said.text, " ")
	}
	switch {
	case said.command == "/quit":
		c.Close() // what the hub sent before is still written
		return nil
	case said.command == "" && said.text == "":
		return nil
	}
	m.tell(said)
	// Who talks faster than the hub can listen waits: first here, then in the system's buffers, then at home.
	if m.unheard++; m.unheard == maxUnheard {
		c.Pause()
	}
	return nil
}

// Receive gets the messages that are not for the connection itself.
func (m *member) Receive(ctx proto.Context) {
	switch msg := ctx.Message().(type) {
	case *heard:
		if m.unheard--; m.unheard == maxUnheard/2 {
			m.Conn().Resume()
		}
	case *throwOut:
		// Not Close: that would first wait until all is written, and waiting for this peer is what must end.
		m.Conn().Abort(&slowError{msg.missed})
	}
}

// OnClosed leaves, however it ended: with /quit, at the peer's end, by a failure, or thrown out.
func (m *member) OnClosed(c *conn.Conn, err error) {
	m.tell(new(leave))
	var slow *slowError
	switch {
	case errors.As(err, &slow):
		m.log.Printf("%v: thrown out: %v", c.RemoteAddr(), slow)
	case err != nil:
		m.log.Printf("%v: %v", c.RemoteAddr(), err)
	}
}
