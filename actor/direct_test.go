package actor

import (
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// Where nobody sees them pass, callbacks do not go through Proto.Actor's invoker. What follows would notice.

func TestACallbackIsAMessageWhereMiddlewareSeesIt(t *testing.T) {
	var seen []string
	var message any
	s := new(scribe)
	s.onReceived = func([]byte) error {
		message = s.Context().Message()
		return nil
	}
	r := newRig(t, s, conn.Config{}, proto.WithReceiverMiddleware(func(next proto.ReceiverFunc) proto.ReceiverFunc {
		return func(c proto.ReceiverContext, e *proto.MessageEnvelope) {
			switch m := e.Message.(type) {
			case *Notice:
				seen = append(seen, m.String())
			case *Readable:
				seen = append(seen, "reading")
			}
			next(c, e)
		}
	}))
	r.connect()
	r.feed("x")
	r.run()
	assert.Equal(t, []string{"OnConnected", "reading", "reading"}, seen)
	assert.IsType(t, new(Readable), message, "what the context calls the message that is being handled")
	assert.False(t, r.direct())
}

// sleepy is an actor with a receive timeout.
type sleepy struct {
	Base
	reads    int
	timeouts chan int
}

func (s *sleepy) OnConnected(*conn.Conn) { s.Context().SetReceiveTimeout(200 * time.Millisecond) }

func (s *sleepy) OnReceived(*conn.Conn, []byte) error {
	s.reads++
	return nil
}

func (s *sleepy) Receive(ctx proto.Context) {
	if _, ok := ctx.Message().(*proto.ReceiveTimeout); ok {
		s.timeouts <- s.reads
		ctx.CancelReceiveTimeout()
	}
}

func TestReadingPutsAReceiveTimeoutOff(t *testing.T) {
	s := &sleepy{timeouts: make(chan int, 8)}
	r := newRig(t, s, conn.Config{}).connect()
	require.False(t, r.direct(), "a timeout was set in OnConnected")
	for until := time.Now().Add(500 * time.Millisecond); time.Now().Before(until); {
		r.feed("x")
		r.run()
	}
	require.Empty(t, s.timeouts, "there was never a pause of 200 ms")
	assert.Eventually(t, func() bool { r.run(); return len(s.timeouts) == 1 }, 5*time.Second, time.Millisecond)
	assert.Equal(t, s.reads, <-s.timeouts)
	assert.True(t, r.direct(), "it was cancelled")
}
