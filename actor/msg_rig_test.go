package actor

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

func TestMSG1_WrittenComesWhenTheSystemTookAll(t *testing.T) {
	r := newRig(t, new(scribe), conn.Config{}).connect()
	asker := newInbox(t)
	r.sys.allowed = 0
	r.PostUserMessage(asker.from(&Write{Data: make([]byte, 1024), Ack: 7}))
	r.PostUserMessage(asker.from(&Write{Data: make([]byte, 10)}))
	r.run()
	assert.Empty(t, asker.take(), "nothing was taken")
	r.sys.allowed = 1023
	r.driver.Ready(conn.Writable)
	r.run()
	assert.Empty(t, asker.take(), "one byte is missing")
	r.sys.allowed = 1000
	r.driver.Ready(conn.Writable)
	r.run()
	assert.Equal(t, []any{&Written{7}}, asker.take())
	r.PostUserMessage(asker.from(&Write{Ack: 8}))
	r.run()
	assert.Equal(t, []any{&Written{8}}, asker.take(), "an empty Write is answered, too")
}

// stubborn is a layer that is never ready.
type stubborn struct{ interceptor.Pass }

func (stubborn) Open(interceptor.Link) error { return nil }

func TestMSG2_RefusedWrites(t *testing.T) {
	asker := newInbox(t)
	refused := func(r *rig, size int, want error) {
		t.Helper()
		r.PostUserMessage(asker.from(&Write{Data: make([]byte, size), Ack: "x"}))
		r.Turn()
		assert.Equal(t, []any{&WriteFailed{"x", want}}, asker.take())
	}
	r := newRig(t, new(scribe), conn.Config{})
	refused(r, 1, conn.ErrNotConnected) // connecting

	r = newRig(t, new(scribe), conn.Config{Layers: []interceptor.Factory{func() interceptor.Interceptor { return stubborn{} }}})
	r.connect()
	refused(r, 1, conn.ErrNotReady)

	r = newRig(t, new(scribe), conn.Config{MaxPending: 100_000}).connect()
	r.PostUserMessage(asker.from(&Write{Data: []byte("before"), Ack: "ok"}))
	refused(r, 100_001, conn.ErrTooLarge)
	r.run()
	assert.Equal(t, []any{&Written{"ok"}}, asker.take(), "earlier sends are unaffected")

	r.sys.allowed = 0
	r.PostUserMessage(&Write{Data: make([]byte, 100_000)})
	r.Turn()
	refused(r, 1, conn.ErrNotWriteable)
	r.PostUserMessage(&Close{})
	refused(r, 1, conn.ErrNotConnected) // closing
	assert.Equal(t, "before", r.sys.out.String(), "no byte of a refused Write reaches the wire")
	assert.EqualValues(t, 1, r.driver.Conn().Stats().Refused)
}

func TestMSG4_EveryWriteIsAnsweredWhenThePeerResets(t *testing.T) {
	r := newRig(t, new(scribe), conn.Config{}).connect()
	asker := newInbox(t)
	r.sys.allowed = 5 * 10 // of 20 Writes, the first 5
	for i := range 20 {
		r.PostUserMessage(asker.from(&Write{Data: make([]byte, 10), Ack: i}))
	}
	r.run()
	for i := range 500 {
		r.PostUserMessage(asker.from(&Write{Data: make([]byte, 10), Ack: 20 + i}))
	}
	r.sys.inErr = errReset
	r.driver.Ready(conn.Readable | conn.Hangup)
	r.run()
	answers := asker.take()
	require.Len(t, answers, 520)
	seen := make(map[any]bool)
	lastWritten, firstFailed := -1, 1000
	for _, a := range answers {
		switch a := a.(type) {
		case *Written:
			seen[a.Ack] = true
			lastWritten = max(lastWritten, a.Ack.(int))
		case *WriteFailed:
			seen[a.Ack] = true
			firstFailed = min(firstFailed, a.Ack.(int))
			assert.ErrorIs(t, a.Err, conn.ErrNotConnected)
		}
	}
	assert.Len(t, seen, 520, "one answer each")
	assert.Equal(t, 4, lastWritten)
	assert.Equal(t, 5, firstFailed)
	require.Equal(t, gone, r.phase)
	r.PostUserMessage(asker.from(&Write{Ack: "late"}))
	assert.Equal(t, []any{&WriteFailed{"late", conn.ErrNotConnected}}, asker.take(), "after the end, too")
}

func TestMSG8_OrderOfATurn(t *testing.T) {
	const waiting = 200
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	r.PostUserMessage(&Write{Data: []byte("not the owner's")})
	s.receive = func(ctx proto.Context) {
		if ctx.Message() == "send" {
			_, err := s.Conn().Send([]byte("0123456789"))
			assert.NoError(t, err)
		}
	}
	r.PostUserMessage("send")
	r.Turn() // its OnSent is due now
	s.take()
	r.sys.writes = nil

	for i := range waiting {
		r.PostUserMessage(i)
	}
	r.feed("ten bytes!")
	r.PostSystemMessage(&proto.Terminated{Who: System.NewLocalPID("somebody")})
	require.True(t, r.Turn())
	calls := s.take()
	assert.Equal(t, []string{"Receive *actor.Terminated", "OnSent 2", "OnReceived ten bytes!"}, calls[:3])
	assert.Equal(t, wantMails(0, 64), calls[3:])

	r.feed("more bytes")
	require.True(t, r.Turn())
	calls = s.take()
	assert.Equal(t, "OnReceived more bytes", calls[0], "data is before message 65")
	assert.Equal(t, wantMails(64, 128), calls[1:])

	require.True(t, r.Turn())
	assert.Equal(t, wantMails(128, 192), s.take())
	require.False(t, r.Turn())
	assert.Equal(t, wantMails(192, 200), s.take())
}

func wantMails(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("Receive %d", i))
	}
	return list
}

func TestMSG8_OneWriteForATurnsMessages(t *testing.T) {
	r := newRig(t, new(scribe), conn.Config{}).connect()
	for range 100 {
		r.PostUserMessage(&Write{Data: make([]byte, 100)})
	}
	r.Turn()
	assert.Equal(t, []int{6400}, r.sys.writes)
	r.Turn()
	assert.Equal(t, []int{6400, 3600}, r.sys.writes)
}

func TestMSG8_SystemMessagesGoBeforeEachMessage(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	s.receive = func(ctx proto.Context) {
		if n, ok := ctx.Message().(int); ok && n%2 == 0 {
			r.PostSystemMessage(&proto.Terminated{Who: System.NewLocalPID("somebody")})
		}
	}
	s.take()
	for i := range 4 {
		r.PostUserMessage(i)
	}
	r.Turn()
	assert.Equal(t, []string{"Receive 0", "Receive *actor.Terminated", "Receive 1", "Receive 2", "Receive *actor.Terminated", "Receive 3"},
		s.take())
}

func TestMSG12_TheHandlerHearsOfItsOwnSendsOnly(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	asker := newInbox(t)
	s.receive = func(ctx proto.Context) {
		if ctx.Message() == "send" {
			tok, err := s.Conn().Send([]byte("S"))
			s.note("token %d %v", tok, err)
		}
	}
	s.take()
	for _, msg := range []any{
		"send", asker.from(&Write{Data: []byte("a"), Ack: 1}), &Write{Data: []byte("b")}, &Write{Data: []byte("c")}, "send",
		&Write{}, asker.from(&Write{Data: []byte("d")}), &Write{Data: []byte("e"), Ack: "nobody asks"}, "send",
	} {
		r.PostUserMessage(msg)
	}
	r.run()
	assert.Equal(t, []string{"Receive send", "token 1 <nil>", "Receive send", "token 5 <nil>", "Receive send", "token 9 <nil>",
		"OnSent 1", "OnSent 5", "OnSent 9"}, s.take())
	assert.Equal(t, []any{&Written{1}}, asker.take())
	assert.Equal(t, "SabcSdeS", r.sys.out.String())

	r.sys.allowed = 0
	r.PostUserMessage(&Write{Data: []byte("f")})
	r.PostUserMessage(asker.from(&Write{Data: []byte("g"), Ack: 2}))
	r.PostUserMessage("send")
	r.PostUserMessage(&Abort{Err: errors.New("enough")})
	r.run()
	assert.Equal(t, []string{"Receive send", "token 12 <nil>", "OnSendFailed 12", "OnClosed",
		"Receive *actor.Stopping", "Receive *actor.Stopped"},
		s.take())
	assert.Equal(t, []any{&WriteFailed{2, conn.ErrNotConnected}}, asker.take())
}

// batch is a proto.MessageBatch.
type batch []any

func (b batch) GetMessages() []any { return b }

func TestMSG7_ABatchIsItsElementsAndThenItself(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	asker := newInbox(t)
	s.take()
	writes := batch{&Write{Data: []byte("1")}, &Write{Data: []byte("2"), Ack: "two"}, batch{&Write{Data: []byte("3")}, "inner"}}
	r.PostUserMessage(writes)
	r.run()
	assert.Equal(t, "123", r.sys.out.String())
	assert.Equal(t, []string{"Receive inner", "Receive actor.batch", "Receive actor.batch"}, s.take())
	r.PostUserMessage(asker.from(writes))
	r.run()
	assert.Equal(t, "123123", r.sys.out.String())
	assert.Equal(t, []any{&Written{"two"}}, asker.take(), "who sent the batch sent its Writes")
}

func TestMiddlewareSeesEverythingAndKeepsNothingBack(t *testing.T) {
	var seen []string
	look := func(pass bool) proto.PropsOption {
		return proto.WithReceiverMiddleware(func(next proto.ReceiverFunc) proto.ReceiverFunc {
			return func(ctx proto.ReceiverContext, env *proto.MessageEnvelope) {
				switch m := env.Message.(type) {
				case *Notice:
					seen = append(seen, m.String())
				case string:
					return
				default:
					seen = append(seen, fmt.Sprintf("%T", m))
				}
				if pass {
					next(ctx, env)
				}
			}
		})
	}
	s := new(scribe)
	r := newRig(t, s, conn.Config{}, look(true)).connect()
	r.feed("data")
	r.PostUserMessage(&Write{Data: []byte("x")})
	r.PostUserMessage("kept back")
	r.PostUserMessage(&Close{})
	r.sys.inErr = nil
	r.run()
	assert.Equal(t, "*actor.Started,OnConnected,*actor.Readable,*actor.Readable,*actor.Write,*actor.Close,OnSent 1",
		strings.Join(seen, ","))
	assert.Equal(t, []string{"Receive *actor.Started", "OnConnected", "OnReceived data"}, s.take())

	seen = nil
	s = new(scribe)
	r = newRig(t, s, conn.Config{}, look(false)).connect()
	r.feed("data")
	r.run()
	r.PostSystemMessage(stopMessage)
	r.run()
	assert.Equal(t, []string{"OnConnected", "OnReceived data", "OnClosed"}, s.take(), "promises hold without middleware's help")
	assert.Equal(t, gone, r.phase)
}

func TestBrokenMiddlewareCannotStrandAnActor(t *testing.T) {
	for where, wrong := range map[string]func(any) bool{
		"every message": func(any) bool { return true },
		"Stopping":      func(m any) bool { _, ok := m.(*proto.Stopping); return ok },
		"Stopped":       func(m any) bool { _, ok := m.(*proto.Stopped); return ok },
		"notices":       func(m any) bool { _, ok := m.(*Notice); return ok },
		"reading":       func(m any) bool { _, ok := m.(*Readable); return ok },
	} {
		t.Run(where, func(t *testing.T) {
			middleware := proto.WithReceiverMiddleware(func(next proto.ReceiverFunc) proto.ReceiverFunc {
				return func(ctx proto.ReceiverContext, env *proto.MessageEnvelope) {
					if wrong(env.Message) {
						panic("in middleware")
					}
					next(ctx, env)
				}
			})
			s := new(scribe)
			r := newRig(t, s, conn.Config{}, middleware).connect()
			r.feed("data")
			r.run()
			r.PostSystemMessage(stopMessage)
			r.run()
			assert.Equal(t, gone, r.phase)
			calls := strings.Join(s.take(), ",")
			assert.Equal(t, 1, strings.Count(calls, "OnClosed")+strings.Count(calls, "OnConnectFailed"), "%s", calls)
			assert.Len(t, r.sys.ends, 1, "the socket was closed")
			assert.Empty(t, r.sup.ctx.Children(), "the supervisor has no child left")
			_, known := System.ProcessRegistry.Get(r.self())
			assert.False(t, known)
		})
	}
}

func TestANoticeSurvivesBrokenMiddleware(t *testing.T) {
	for _, way := range []string{"OnConnected", "OnSent 1"} {
		broken := false
		middleware := proto.WithReceiverMiddleware(func(next proto.ReceiverFunc) proto.ReceiverFunc {
			return func(ctx proto.ReceiverContext, env *proto.MessageEnvelope) {
				if n, ok := env.Message.(*Notice); ok && n.String() == way && !broken {
					broken = true
					panic("in middleware")
				}
				next(ctx, env)
			}
		})
		s := new(scribe)
		r := newRig(t, s, conn.Config{}, middleware)
		r.sup.net.strategy = proto.NewOneForOneStrategy(1, 0, func(any) proto.Directive { return proto.ResumeDirective })
		r.connect()
		s.receive = func(ctx proto.Context) {
			if ctx.Message() == "send" {
				_, err := s.Conn().Send([]byte("x"))
				assert.NoError(t, err)
			}
		}
		r.PostUserMessage("send")
		r.run()
		assert.True(t, broken)
		assert.Equal(t, []string{"Receive *actor.Started", "OnConnected", "Receive send", "OnSent 1"}, s.take())
	}
}

func TestNothingComesBehindTheLastCallback(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	r.PostUserMessage(&Abort{})
	require.True(t, r.Turn())
	s.take()
	asker := newInbox(t)
	r.PostUserMessage("mail")
	r.PostUserMessage(asker.from("a question"))
	r.run()
	assert.Equal(t, []string{"OnClosed", "Receive *actor.Stopping", "Receive *actor.Stopped"}, s.take())
	assert.Equal(t, []any{&proto.DeadLetterResponse{}}, asker.take())
}

func TestASuspendedActorDoesNotConnect(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{})
	r.PostSystemMessage(new(proto.SuspendMailbox))
	r.connect()
	assert.Equal(t, conn.StateConnecting, r.driver.Conn().State())
	assert.Equal(t, []string{"Receive *actor.Started"}, s.take())
	r.PostSystemMessage(new(proto.ResumeMailbox))
	r.run()
	assert.Equal(t, []string{"OnConnected"}, s.take())
}

func TestForeignNoticesMeanNothing(t *testing.T) {
	s := &scribe{onReceived: func([]byte) error { return conn.Yield }}
	r := newRig(t, s, conn.Config{Split: func(data []byte, _ bool) (int, []byte, error) {
		if len(data) == 0 {
			return 0, nil, nil
		}
		return 1, data[:1], nil
	}}).connect()
	s.take()
	r.feed("ab")
	r.PostUserMessage(&Notice{})
	r.PostUserMessage(&Readable{})
	r.Turn()
	assert.Equal(t, []string{"OnReceived a"}, s.take())
	r.run()
	assert.Equal(t, []string{"OnReceived b"}, s.take())
}

// contexts is an actor that looks at its context in a callback.
type contexts struct {
	Base
	self *proto.PID
}

func (c *contexts) OnReceived(*conn.Conn, []byte) error {
	c.self = c.Context().Self()
	return nil
}

func TestAnActorHasItsOwnContext(t *testing.T) {
	keepBack := proto.WithReceiverMiddleware(func(proto.ReceiverFunc) proto.ReceiverFunc {
		return func(proto.ReceiverContext, *proto.MessageEnvelope) {}
	})
	sup := newRigSupervisor(t)
	other := newRigOf(t, sup, new(contexts), conn.Config{}).connect()
	a := new(contexts)
	r := newRigOf(t, sup, a, conn.Config{}, keepBack).connect()
	other.PostUserMessage("mail")
	other.run()
	r.feed("x")
	r.run()
	assert.Equal(t, r.self(), a.self)
}
