package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

// maxNames bounds what strangers may store. Together with -max it bounds the memory of the store.
const maxNames = 1000

// What answers begin with. They are made once, so that an answer allocates nothing.
var (
	isOK      = []byte("ok")
	isValue   = []byte("ok ")
	isNone    = []byte("none")
	isUnknown = []byte("error: a request is set NAME VALUE, get NAME or del NAME")
	isFull    = fmt.Appendf(nil, "error: %d names are kept, and no more: del one first", maxNames)
)

// A store is what all connections share. They live on several event loops, which run at the same time, so it has a
// lock. A callback may take one: what must not be is to wait for long, and a map is quick.
type store struct {
	mu     sync.RWMutex
	values map[string][]byte // the bytes of a value never change: set puts new ones in their place
}

func (st *store) get(name []byte) (value []byte, ok bool) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	value, ok = st.values[string(name)]
	return value, ok
}

// set keeps copies: a request's bytes are the connection's own, and last as long as OnReceived.
func (st *store) set(name, value []byte) (full bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, known := st.values[string(name)]; !known && len(st.values) >= maxNames {
		return true
	}
	st.values[string(name)] = bytes.Clone(value)
	return false
}

func (st *store) del(name []byte) (ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	_, ok = st.values[string(name)]
	delete(st.values, string(name))
	return ok
}

// A server is what is known beyond one connection.
type server struct {
	store
	log      *log.Logger
	answered atomic.Int64
}

// session is one connection. Base closes it in order at the peer's end, so that all answers still arrive.
type session struct {
	actor.Base
	server *server
	head   []byte // scratch for the length of an answer
}

// OnReceived gets one request, whole, without its length.
//
// It answers with one Send, so it is never refused as not writeable: with ReadWaits, no request is delivered while too
// much is pending. A client may send ahead as much as it likes and read its answers late, or never: from then on it is
// its own requests that wait, in its own memory.
func (s *session) OnReceived(c *conn.Conn, request []byte) error {
	s.server.answered.Add(1)
	verb, rest, _ := bytes.Cut(request, []byte(" "))
	name, value, more := bytes.Cut(rest, []byte(" "))
	switch string(verb) { // the compiler makes no string of it
	case "get":
		if value, ok := s.server.get(rest); ok {
			return s.answer(c, isValue, value)
		}
		return s.answer(c, isNone, nil)
	case "set":
		if !more || len(name) == 0 {
			return s.answer(c, isUnknown, nil)
		}
		if s.server.set(name, value) {
			return s.answer(c, isFull, nil)
		}
		return s.answer(c, isOK, nil)
	case "del":
		if s.server.del(rest) {
			return s.answer(c, isOK, nil)
		}
		return s.answer(c, isNone, nil)
	}
	return s.answer(c, isUnknown, nil)
}

// answer sends a frame of two parts. Send takes several buffers as one unit, all or nothing, so they need not be put
// together first. The length goes to scratch of our own: a local array would be allocated anew for each answer, since
// Send passes its arguments on to layers that the compiler cannot see through.
func (s *session) answer(c *conn.Conn, word, value []byte) error {
	s.head = frame.AppendPrefix(s.head[:0], prefix, len(word)+len(value))
	_, err := c.Send(s.head, word, value)
	return err
}

// OnClosed tells ends that are no good ends, by their type: nobody has to search for words in a message.
func (s *session) OnClosed(c *conn.Conn, err error) {
	var end *conn.CloseError
	if !errors.As(err, &end) {
		return // nil: both directions ended in order
	}
	switch end.Cause {
	case conn.CauseFrame:
		// What follows such a length means nothing, so there is nothing left to talk about: the connection was reset,
		// and with it went the answers that were not written yet. The peer finds "connection reset by peer".
		var long *frame.Error
		if errors.As(err, &long) {
			s.server.log.Printf("%v: reset: it announced a frame of %d bytes, and -max is %d",
				c.RemoteAddr(), long.Len, long.Max)
			return
		}
	case conn.CauseTruncated:
		// The peer ended inside a frame. OnEOF heard of it first. The requests before that frame were answered, and the
		// connection was closed in order: only we know that something is missing.
		s.server.log.Printf("%v: closed: %v", c.RemoteAddr(), end.Err)
		return
	}
	s.server.log.Printf("%v: %v", c.RemoteAddr(), err)
}

// serve runs the server until SIGINT or SIGTERM.
func serve(addr string, loops, largest int, stdout, stderr io.Writer) error {
	// Signals first: one that comes right after the line below must already end the server in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	sv := &server{store: store{values: make(map[string][]byte)}, log: log.New(stderr, "framed: ", 0)}
	network, err := actor.New(nil, actor.Config{Loops: loops})
	if err != nil {
		return fmt.Errorf("cannot start with -loops %d: %w", loops, err)
	}
	cfg := framing(largest)
	cfg.ReadWaits = conn.On // which is also what Auto means for a connection that was accepted
	newSession := func() actor.Actor { return &session{server: sv} }
	ln, err := network.Listen(ctx, addr, newSession, actor.ListenConfig{Conn: cfg})
	if err != nil {
		return fmt.Errorf("wrong -addr: %w", err) // which names it, and what would do
	}
	fmt.Fprintf(stdout, "listening on %s\n", ln.Addr())
	<-ctx.Done()
	stop() // a second signal ends the process at once

	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	closed, aborted, err := network.Shutdown(ctx)
	sv.log.Printf("shut down; requests answered: %d; connections closed in order: %d, aborted: %d",
		sv.answered.Load(), closed, aborted)
	return err
}
