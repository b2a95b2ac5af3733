//go:build linux

package actor_test

import (
	"context"
	"log"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
)

func TestStallIsLogged(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		if w.blocking {
			w.cannot(t, "a turn beside the loop may take long")
		}
		f := w.start(t, actor.Config{StallWarning: 10 * time.Millisecond})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onReceived = func(*probe, []byte) error {
				late := time.After(30 * time.Millisecond)
				<-late // blocks the loop, as nobody should
				return nil
			}
		})
		c, p := s.open()
		c.send("x")
		soon(t, func() bool { return strings.Contains(f.log.String(), p.self.Id) }, "the actor is named")
		assert.Contains(t, f.log.String(), "held its event loop up")
	})
}

// Whatever had the turn has a name, and is not looked into: its goroutines go on.
func TestStallsAreLoggedByName(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{StallWarning: time.Nanosecond})
		s := f.serve(actor.ListenConfig{}, echoes)
		p := mirror()
		f.call(s.Addr().String(), p, actor.DialConfig{})
		p.await(t, "OnConnected")
		q := s.next()
		for range 50 {
			p.tell(&actor.Write{Data: []byte("there and back")})
		}
		q.awaitN(t, 50, "OnSent", patience)
		p.tell(&actor.Abort{})
		q.await(t, "Stopped")
		assert.Contains(t, f.log.String(), "of=")
		assert.NotContains(t, f.log.String(), "{", "no memory, but a name")
	})
}

func TestNewMakesItsOwnSystem(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		before := takeCensus()
		n, err := actor.New(nil, w.network(actor.Config{Loops: 1}))
		require.NoError(t, err)
		p := new(probe)
		echoes(p)
		cfg := w.listen(actor.ListenConfig{})
		ln, err := n.Listen(context.Background(), "127.0.0.1:0", func() actor.Actor { return p }, cfg)
		require.NoError(t, err)
		c := (&server{Listener: ln, t: t}).dial()
		c.send("ping")
		c.expect("ping")
		p.await(t, "OnReceived")
		assert.NotSame(t, system, n.System())
		n.System().Root.Send(p.self, &actor.Write{Data: []byte("from no actor")})
		c.expect("from no actor")
		fastAbort(t, n)
		c.reset()
		assert.Empty(t, before.wait())
	})
}

// A panic must not vanish because nobody thought of a logger: it goes where the program's records go. Warnings, stalls
// among them, are for who asks for them.
func TestWithoutALoggerErrorsGoToTheDefaultOne(t *testing.T) {
	book := new(logBook)
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(book, nil)))
	defer func() {
		slog.SetDefault(old)
		log.SetOutput(os.Stderr) // SetDefault redirects package log as well, and does not undo that
	}()
	n, err := actor.New(nil, actor.Config{Loops: 1, StallWarning: time.Nanosecond})
	require.NoError(t, err)
	defer func() {
		_, _, err := n.Shutdown(context.Background())
		assert.NoError(t, err)
	}()
	l, err := n.Listen(t.Context(), "127.0.0.1:0", func() actor.Actor { panic("no actor today") }, actor.ListenConfig{})
	require.NoError(t, err)
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	soon(t, func() bool { return strings.Contains(book.String(), "no actor today") }, "the panic is told")
	assert.Contains(t, book.String(), "level=ERROR")
	assert.NotContains(t, book.String(), "level=WARN")
}
