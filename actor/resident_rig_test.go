package actor

import (
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newResidentRig spawns an actor without a connection on a loop that takes no turns by itself.
func newResidentRig(t testing.TB, receive func(proto.Context)) (*resident, *proto.PID) {
	t.Helper()
	n := newRigSupervisor(t).net
	pid, err := n.Spawn(func() proto.Actor { return proto.ReceiveFunc(receive) }, SpawnConfig{Loop: 1})
	require.NoError(t, err)
	left := n.residents.end()
	require.Len(t, left, 1)
	r := left[0]
	t.Cleanup(func() {
		r.PostSystemMessage(stopMessage)
		r.turns()
		assert.Empty(t, n.residents.end(), "nothing of it is left to do")
		n.sups[0].stop()
		n.sups[0].Turn(time.Now(), nil)
	})
	return r, pid
}

// turns takes all turns that are due.
func (r *resident) turns() (count int) {
	for count = 1; r.Turn(time.Time{}, nil); count++ {
	}
	return count
}

func TestAMessageForAResidentAllocatesNothing(t *testing.T) {
	handled := 0
	r, pid := newResidentRig(t, func(ctx proto.Context) {
		if _, ok := ctx.Message().(*int); ok {
			handled++
		}
	})
	r.turns()
	var msg any = new(int)
	allocs := testing.AllocsPerRun(10_000, func() {
		for range 10 {
			System.Root.Send(pid, msg)
		}
		r.turns()
	})
	assert.Zero(t, allocs)
	assert.Equal(t, 10*10_001, handled)
}

func TestATurnOfAResidentHandles64Messages(t *testing.T) {
	handled := 0
	r, pid := newResidentRig(t, func(ctx proto.Context) {
		if _, ok := ctx.Message().(int); ok {
			handled++
		}
	})
	r.turns()
	for i := range 3 * messagesPerTurn {
		System.Root.Send(pid, i)
	}
	assert.Equal(t, 3*messagesPerTurn, r.UserMessageCount())
	assert.True(t, r.Turn(time.Time{}, nil), "it wants another one")
	assert.Equal(t, messagesPerTurn, handled)
	assert.Equal(t, 2, r.turns())
	assert.Equal(t, 3*messagesPerTurn, handled)
}

func TestSystemMessagesOfAResidentGoBeforeEachMessage(t *testing.T) {
	var got []string
	r, pid := newResidentRig(t, func(ctx proto.Context) {
		switch m := ctx.Message().(type) {
		case string:
			got = append(got, m)
			if m == "first" {
				ctx.Stop(ctx.Self())
			}
		case *proto.Stopped:
			got = append(got, "Stopped")
		}
	})
	letters := 0
	sub := System.EventStream.Subscribe(func(ev any) {
		if d, ok := ev.(*proto.DeadLetterEvent); ok && d.PID.Equal(pid) {
			letters++
		}
	})
	defer System.EventStream.Unsubscribe(sub)
	System.Root.Send(pid, "first")
	System.Root.Send(pid, "second")
	r.turns()
	assert.Equal(t, []string{"first", "Stopped"}, got)
	assert.Equal(t, 1, letters, "what it left")
	System.Root.Send(pid, "third")
	assert.Equal(t, 2, letters, "what comes too late")
}

func TestASuspendedResidentRests(t *testing.T) {
	handled := 0
	r, pid := newResidentRig(t, func(ctx proto.Context) { handled++ })
	r.turns()
	r.PostSystemMessage(new(proto.SuspendMailbox))
	System.Root.Send(pid, "held")
	assert.False(t, r.Turn(time.Time{}, nil), "else it would keep the loop busy")
	assert.Equal(t, 1, handled)
	r.PostSystemMessage(new(proto.ResumeMailbox))
	r.turns()
	assert.Equal(t, 2, handled)
}

func TestAStopThatWaitsForChildrenIsNotUndone(t *testing.T) {
	var got []string
	release := make(chan struct{})
	var child *proto.PID
	r, _ := newResidentRig(t, func(ctx proto.Context) {
		switch m := ctx.Message().(type) {
		case *proto.Started:
			got = append(got, "Started")
			child = ctx.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
				if _, ok := ctx.Message().(*proto.Stopping); ok {
					<-release
				}
			}))
		case *proto.Terminated:
			assert.Equal(t, child, m.Who)
			got = append(got, "Terminated")
		case *proto.Restarting:
			got = append(got, "Restarting")
		case *proto.Stopped:
			got = append(got, "Stopped")
		}
	})
	r.turns()
	r.PostSystemMessage(stopMessage)
	r.PostSystemMessage(new(proto.Restart))
	r.PostSystemMessage(stopMessage)
	r.turns()
	assert.Equal(t, []string{"Started"}, got, "it waits for the child")
	close(release)
	require.Eventually(t, r.mail.hasSystem, 30*time.Second, time.Millisecond)
	r.turns()
	assert.Equal(t, []string{"Started", "Terminated", "Stopped"}, got)
}

// BenchmarkResidentMessage is one message of 64 in a turn, posting included.
func BenchmarkResidentMessage(b *testing.B) {
	r, _ := newResidentRig(b, func(proto.Context) {})
	var msg any = new(int)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		r.PostUserMessage(msg)
		if n++; n%messagesPerTurn == 0 {
			r.Turn(time.Time{}, nil)
		}
	}
}
