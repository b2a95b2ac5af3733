package actor

import (
	"runtime"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// TestStopWaitsForChildren looks at an actor between Stopping and Stopped: its connection has ended, messages still
// arrive, and nothing can bring it back.
func TestStopWaitsForChildren(t *testing.T) {
	for name, inTerminated := range map[string]func(){"": func() {}, "panic": func() { panic("while stopping") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			s := new(scribe)
			s.receive = func(ctx proto.Context) {
				switch ctx.Message().(type) {
				case *proto.Started:
					ctx.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
						if _, ok := ctx.Message().(*proto.Stopping); ok {
							<-release
						}
					}))
				case *proto.Terminated:
					inTerminated()
				}
			}
			r := newRig(t, s, conn.Config{}).connect()
			watcher, asker := newInbox(t), newInbox(t)
			r.PostSystemMessage(&proto.Watch{Watcher: watcher.pid})
			r.PostSystemMessage(stopMessage)
			r.goTurn()
			assert.Equal(t, []string{"Receive *actor.Started", "OnConnected", "OnClosed", "Receive *actor.Stopping"}, s.take())
			r.PostSystemMessage(new(proto.Restart))
			r.PostSystemMessage(stopMessage)
			r.PostUserMessage("mail")
			r.PostUserMessage(asker.from(&Write{Data: []byte("x"), Ack: 1}))
			r.goTurn()
			assert.Equal(t, []string{"Receive mail"}, s.take())
			assert.Equal(t, []any{&WriteFailed{1, conn.ErrNotConnected}}, asker.take())
			assert.Empty(t, watcher.take())
			close(release)
			require.Eventually(t, r.mail.hasSystem, 5*time.Second, time.Millisecond, "the child ends")
			for r.phase != gone {
				r.goTurn()
			}
			assert.Equal(t, []string{"Receive *actor.Terminated", "Receive *actor.Stopped"}, s.take())
			require.Len(t, watcher.msgs, 1)
			assert.IsType(t, new(proto.Terminated), watcher.msgs[0])
			r.superviseAll()
			assert.Empty(t, r.sup.ctx.Children())
		})
	}
}

func TestChildrenEndEvenIfStoppingBreaksOff(t *testing.T) {
	ended := make(chan struct{})
	s := new(scribe)
	s.receive = func(ctx proto.Context) {
		switch ctx.Message().(type) {
		case *proto.Started:
			ctx.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
				if _, ok := ctx.Message().(*proto.Stopped); ok {
					close(ended)
				}
			}))
		case *proto.Stopping:
			runtime.Goexit()
		}
	}
	r := newRig(t, s, conn.Config{}).connect()
	r.PostSystemMessage(stopMessage)
	r.goTurn()
	r.goTurn()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		require.Fail(t, "the child goes on")
	}
	require.Eventually(t, r.mail.hasSystem, 5*time.Second, time.Millisecond)
	r.goTurn()
	assert.Equal(t, gone, r.phase)
}

// goTurn takes a turn on a goroutine of its own, which runtime.Goexit may end.
func (r *rig) goTurn() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Turn()
	}()
	<-done
}

func TestARestartBehindTheEndMeansNothing(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	r.PostSystemMessage(stopMessage)
	r.PostSystemMessage(new(proto.Restart))
	r.run()
	assert.Equal(t, []string{"Receive *actor.Started", "OnConnected", "OnClosed", "Receive *actor.Stopping", "Receive *actor.Stopped"},
		s.take())
	r.PostSystemMessage(new(proto.Restart))
	r.run()
	assert.Empty(t, s.take())
}

func TestWatchOfAnActorThatIsGone(t *testing.T) {
	r := newRig(t, new(scribe), conn.Config{}).connect()
	early, late := newInbox(t), newInbox(t)
	r.PostSystemMessage(stopMessage)
	r.PostSystemMessage(&proto.Watch{Watcher: early.pid}) // it is behind the end when the turn takes it
	r.run()
	r.PostSystemMessage(&proto.Watch{Watcher: late.pid})
	for _, w := range []*inbox{early, late} {
		require.Len(t, w.msgs, 1)
		assert.Equal(t, r.self().Id, w.msgs[0].(*proto.Terminated).Who.Id)
	}
}

func TestAValueIsFreeWhenWatchersHear(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	watcher := newInbox(t)
	watcher.hook = func(any) { assert.Nil(t, s.Conn()) }
	r.PostSystemMessage(&proto.Watch{Watcher: watcher.pid})
	r.PostSystemMessage(stopMessage)
	r.run()
	assert.Len(t, watcher.msgs, 1)
}

func TestTheSupervisorCannotBeStoppedByOthers(t *testing.T) {
	s := new(scribe)
	r := newRig(t, s, conn.Config{}).connect()
	parent := r.sup.ctx.Self()
	var letters int
	sub := System.EventStream.Subscribe(func(ev any) {
		if d, ok := ev.(*proto.DeadLetterEvent); ok && d.PID.Equal(parent) {
			letters++
		}
	})
	defer System.EventStream.Unsubscribe(sub)
	s.take()
	System.Root.Stop(parent)
	System.Root.Poison(parent)
	System.Root.Send(parent, "hello")
	for _, msg := range []any{new(proto.Restart), new(proto.SuspendMailbox), new(proto.ResumeMailbox)} {
		r.sup.PostSystemMessage(msg)
	}
	r.run()
	assert.Empty(t, s.take())
	assert.Equal(t, 2, letters)
	_, known := System.ProcessRegistry.Get(parent)
	assert.True(t, known)
}

func TestConnAndContextOfAnActor(t *testing.T) {
	s := new(scribe)
	assert.Nil(t, s.Conn(), "before there is a connection")
	assert.Nil(t, s.Context())
	var self *proto.PID
	s.onReceived = func([]byte) error {
		self = s.Context().Self()
		return nil
	}
	r := newRig(t, s, conn.Config{}).connect()
	assert.Nil(t, s.Context(), "outside its turns")
	r.feed("x")
	r.run()
	assert.Equal(t, r.self(), self)
	r.PostSystemMessage(stopMessage)
	r.run()
	assert.Nil(t, s.Conn())
	assert.Nil(t, s.Context())

	again := newRig(t, s, conn.Config{}) // a value may be used again when its connection has ended
	assert.NotNil(t, s.Conn())
	assert.Error(t, again.kind.equip(new(connection)), "but not before")
}
