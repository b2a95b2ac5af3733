package main

import (
	"log/slog"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/examples/internal/program"
)

// A puppet stands for a connection: it keeps the Writes that the hub sends, and answers when the test says so.
type puppet struct {
	t      *testing.T
	sys    *proto.ActorSystem
	hub    *proto.PID
	pid    *proto.PID
	writes chan *actor.Write
}

// newPuppet makes a puppet that has entered, and drops what it heard of that.
func newPuppet(t *testing.T, sys *proto.ActorSystem, hub *proto.PID) *puppet {
	p := &puppet{t: t, sys: sys, hub: hub, writes: make(chan *actor.Write, 10_000)}
	p.pid = sys.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
		switch msg := ctx.Message().(type) {
		case *actor.Write:
			p.writes <- msg
		case chan struct{}:
			close(msg)
		}
	}))
	p.tell(new(enter))
	require.Regexp(t, "^\\* you are guest", p.hears())
	return p
}

// tell sends the hub a message in the puppet's name.
func (p *puppet) tell(msg any) { p.sys.Root.RequestWithCustomSender(p.hub, msg, p.pid) }

// hears takes the next line, and lets it count as written.
func (p *puppet) hears() string {
	p.t.Helper()
	w := p.take()
	p.tell(&actor.Written{Ack: w.Ack})
	return string(w.Data)
}

func (p *puppet) take() *actor.Write {
	p.t.Helper()
	select {
	case w := <-p.writes:
		return w
	case <-time.After(program.Patience):
		require.Fail(p.t, "no Write comes")
		return nil
	}
}

// sync returns when the hub has handled all that came before, and another member has got what the hub sent it then.
func (p *puppet) sync(other *puppet) {
	p.t.Helper()
	p.tell(&line{command: "/who"})
	require.Equal(p.t, "* in lobby: guest1 guest2\n", p.hears())
	done := make(chan struct{})
	p.sys.Root.Send(other.pid, done)
	<-done
}

// However fast the hub is, no more than maxWaiting lines are on the way to one member. Once it missed one, it misses
// all until those are settled; then it is told, and hears the others again.
func TestTheHubCountsWhatIsOnTheWay(t *testing.T) {
	quiet := func(*proto.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	sys := proto.NewActorSystem(proto.WithLoggerFactory(quiet))
	defer sys.Shutdown()
	h := newHub(1_000_000)
	hub := sys.Root.Spawn(proto.PropsFromProducer(func() proto.Actor { return h }))
	slow, loud := newPuppet(t, sys, hub), newPuppet(t, sys, hub)
	require.Equal(t, "* guest2 enters lobby\n", slow.hears())

	for range maxWaiting + 500 {
		loud.tell(&line{text: "x"})
	}
	loud.sync(slow)
	assert.Len(t, slow.writes, maxWaiting, "and 500 are missed")

	for range maxWaiting - 1 {
		assert.Equal(t, "guest2: x\n", slow.hears())
	}
	last := slow.take()
	loud.tell(&line{text: "y"})
	loud.sync(slow)
	assert.Empty(t, slow.writes, "one line is on the way: what comes before it is settled is missed as well")

	slow.tell(&actor.WriteFailed{Ack: last.Ack, Err: conn.ErrNotWriteable})
	assert.Equal(t, "* you missed 502 lines\n", slow.hears(), "500, y, and the one that was refused")
	loud.tell(&line{text: "z"})
	assert.Equal(t, "guest2: z\n", slow.hears())

	slow.tell(new(leave))
	loud.tell(&line{text: "nobody"})
	require.NoError(t, sys.Root.PoisonFuture(hub).Wait())
	assert.Empty(t, slow.writes)
	assert.Equal(t, []int{maxWaiting + 503, 502, 0}, []int{h.said, h.allMissed, h.thrownOut})
	assert.Len(t, h.seats, 1)
}
