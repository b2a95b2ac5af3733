package actor

import (
	"testing"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
)

// Types that have an OnSent of their own, in every way in which a type can have one; and types that have not.
type (
	heirOf     struct{ Base }
	heirOfHeir struct{ heirOf }
	heirByPtr  struct{ *heirOf }
	heirOfMany struct {
		other
		heirOf
	}
	other    struct{ N int }
	shadowed struct {
		heirOf
		DeepOther
	}
	DeepOther struct{ Deeper }
	Deeper    struct{ sentHere }
	sentHere  struct{}
	Itself    struct {
		Base
		*Itself
	}
	pointerSelf struct {
		Base
		sent int
	}
	valueSelf struct{ *Base }
	forwards  struct {
		Base
		sent int
	}
	heirOfValue  struct{ valueSelf }
	heirOfPtr    struct{ pointerSelf }
	heirOfPtrPtr struct{ *pointerSelf }
	byInterface  struct{ Actor }
	besides      struct {
		Base
		sender
	}
	sender interface {
		OnSent(*conn.Conn, conn.SendToken)
	}
	generic[T any] struct {
		Base
		V T
	}
	genericHeir[T any] struct {
		Base
		V T
	}
	heirOfGeneric struct{ generic[int] }
	nearer        struct {
		deepBase
		sentHere
	}
	deepBase struct{ heirOfHeir }
)

func (other) OnThing()                                    {}
func (sentHere) OnSent(*conn.Conn, conn.SendToken)        {}
func (a *pointerSelf) OnSent(*conn.Conn, conn.SendToken)  { a.sent++ }
func (valueSelf) OnSent(*conn.Conn, conn.SendToken)       {}
func (a *forwards) OnSent(c *conn.Conn, t conn.SendToken) { a.Base.OnSent(c, t); a.sent++ }
func (g *generic[T]) OnSent(*conn.Conn, conn.SendToken)   {}
func (a *besides) OnSent(c *conn.Conn, t conn.SendToken)  { a.sender.OnSent(c, t) }

func TestWhoHearsOnSent(t *testing.T) {
	local := struct{ Base }{}
	for _, a := range []Actor{new(heirOf), new(heirOfHeir), heirByPtr{new(heirOf)}, &heirByPtr{new(heirOf)}, new(heirOfMany),
		new(shadowed), new(Itself), &local, new(genericHeirOfInt)} {
		assert.False(t, hearingOf(a).sent, "%T inherits it", a)
		assert.False(t, hearingOf(a).failed, "%T inherits the other, too", a)
	}
	for _, a := range []Actor{new(pointerSelf), new(valueSelf), new(forwards), new(heirOfValue),
		new(heirOfPtr), &heirOfPtrPtr{new(pointerSelf)}, heirOfPtrPtr{new(pointerSelf)}, &byInterface{new(heirOf)},
		byInterface{new(heirOf)}, &besides{sender: new(pointerSelf)}, new(generic[int]), new(generic[*other]),
		new(heirOfGeneric), new(nearer), new(genericHeir[int])} {
		assert.True(t, hearingOf(a).sent, "%T may have its own", a)
	}
	h := hearingOf(new(failHearer))
	assert.Equal(t, hearing{sent: false, failed: true}, h)
	assert.Equal(t, h, hearingOf(new(failHearer)), "asked again")
}

type genericHeirOfInt struct{ genericHeirBase }
type genericHeirBase struct{ Base }

type failHearer struct{ Base }

func (*failHearer) OnSendFailed(*conn.Conn, conn.SendToken) {}

// An echoer has no OnSent.
type echoer struct{ Base }

func (*echoer) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

func TestAnOutcomeThatNobodyHearsCostsNoTurn(t *testing.T) {
	r, src := newPlainRig(t, new(echoer))
	src.ready = true
	r.Ready(conn.Readable)
	assert.False(t, r.Turn(), "there is nothing to tell")
	stats := r.driver.Conn().Stats()
	assert.Equal(t, []uint64{1, 1}, []uint64{stats.Accepted, stats.Sent})
	assert.Equal(t, 64, src.written)

	r, src = newPlainRig(t, new(plain))
	src.ready = true
	r.Ready(conn.Readable)
	assert.True(t, r.Turn(), "plain has an OnSent")
	assert.Zero(t, r.driver.Conn().Stats().Sent, "it was not told yet")
}

func TestMiddlewareHearsWhatTheActorDoesNot(t *testing.T) {
	var seen []string
	r, src := newPlainRig(t, new(echoer), proto.WithReceiverMiddleware(func(next proto.ReceiverFunc) proto.ReceiverFunc {
		return func(ctx proto.ReceiverContext, e *proto.MessageEnvelope) {
			if n, ok := e.Message.(*Notice); ok {
				seen = append(seen, n.String())
			}
			next(ctx, e)
		}
	}))
	echoTurn(r, src)
	assert.Equal(t, []string{"OnConnected", "OnSent 1"}, seen)
}

// A Write with Ack is answered when it is due, whatever its neighbours are.
func TestMSG1_WrittenComesThoughTheActorHearsNothing(t *testing.T) {
	r := newRig(t, new(echoer), conn.Config{HighWater: 1000}).connect()
	b := newInbox(t)
	r.sys.allowed = 0
	r.PostUserMessage(&Write{Data: []byte("one")})
	r.PostUserMessage(b.from(&Write{Data: []byte("two"), Ack: 2}))
	r.PostUserMessage(&Write{Data: []byte("three")})
	r.PostUserMessage(b.from(&Write{Data: []byte("four"), Ack: 4}))
	r.run()
	for _, step := range []struct {
		allowed int
		answers []any
		sent    uint64
	}{
		{3, nil, 1},
		{2, nil, 1},
		{1, []any{&Written{2}}, 2},
		{8, nil, 3},
		{1, []any{&Written{4}}, 4},
	} {
		r.sys.allowed = step.allowed
		r.Ready(conn.Writable)
		r.run()
		assert.Equal(t, step.answers, b.take(), "after %d bytes more", step.allowed)
		assert.Equal(t, step.sent, r.driver.Conn().Stats().Sent)
	}
	r.sys.allowed = 1000
	r.Ready(conn.Writable)
	r.PostUserMessage(b.from(&Write{Data: make([]byte, 2000), Ack: "written within Send"}))
	r.run()
	assert.Equal(t, []any(nil), b.take())
	r.sys.allowed = 1000
	r.Ready(conn.Writable)
	r.run()
	assert.Equal(t, []any{&Written{"written within Send"}}, b.take())
	r.PostUserMessage(b.from(&Write{Data: make([]byte, 2<<20), Ack: "refused"}))
	r.sys.allowed = 1000
	r.run()
	assert.Equal(t, []any{&WriteFailed{"refused", conn.ErrTooLarge}}, b.take())
	r.feed("echo")
	assert.False(t, r.Turn(), "after that nobody hears, as before")
}

// Whoever may be replaced by an actor that hears must not leave it the outcomes of Writes.
func TestMSG12_ASuccessorHearsOfNoWrite(t *testing.T) {
	s := newRigSupervisor(t)
	s.net.strategy = proto.NewOneForOneStrategy(10, 0, func(any) proto.Directive { return proto.RestartDirective })
	r := newRigOf(t, s, new(echoer), conn.Config{}).connect()
	r.sys.allowed = 0
	r.PostUserMessage(&Write{Data: []byte("write")})
	r.run()
	next := new(scribe)
	r.kind.newActor = func() Actor { return next }
	r.PostSystemMessage(new(proto.Restart))
	r.run()
	_, err := r.driver.Conn().Send([]byte("no turn"))
	assert.ErrorIs(t, err, conn.ErrNotReady)
	next.receive = func(ctx proto.Context) {
		if ctx.Message() == "send" {
			_, err = next.Conn().Send([]byte("send"))
			assert.NoError(t, err)
		}
	}
	r.PostUserMessage("send")
	r.run()
	r.sys.allowed = 100
	r.Ready(conn.Writable)
	r.run()
	assert.Equal(t, []string{"Receive *actor.Started", "Receive send", "OnSent 2"}, next.take())
}
