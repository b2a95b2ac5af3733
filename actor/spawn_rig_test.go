package actor

import (
	"log/slog"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// TestAnEndIsHeardOfBeforeTheBirth lets an actor end before whoever spawns it makes it a child: while options run the
// supervisor's lock is free, and the loop may be fast.
func TestAnEndIsHeardOfBeforeTheBirth(t *testing.T) {
	s := newRigSupervisor(t)
	s.net.log = slog.New(slog.DiscardHandler)
	lived := make(chan struct{})
	c := new(connection)
	option := proto.WithOnInit(func(ctx proto.Context) {
		c.PostSystemMessage(stopMessage)
		locked := make(chan struct{})
		go func() { // is the loop: the lock keeps the spawner where it is
			defer close(lived)
			s.mu.Lock()
			defer s.mu.Unlock()
			close(locked)
			assert.Eventually(t, func() bool {
				c.mail.mu.Lock()
				defer c.mail.mu.Unlock()
				return c.mail.state == mailOpen
			}, 30*time.Second, time.Millisecond)
			var mem conn.Memory
			for c.Turn(time.Now(), &mem) {
			}
			assert.Equal(t, gone, c.phase)
			for msg, ok := s.mail.nextSystem(); ok; msg, ok = s.mail.nextSystem() {
				s.inv.InvokeSystemMessage(msg)
			}
		}()
		<-locked
	})
	k := &kind{sup: s, newActor: func() Actor { return new(plain) }, giver: "", cfg: new(conn.Config),
		options: []proto.PropsOption{option}}
	c.kind = k.single(c, false)
	require.NoError(t, c.kind.equip(c))
	c.driver.Init(c, new(fakeSocket), k.cfg)
	require.NoError(t, s.spawn(c))
	<-lived
	s.Turn(time.Now(), nil)
	assert.Empty(t, s.ctx.Children(), "else Shutdown would wait for it")
	s.stop()
	s.Turn(time.Now(), nil)
}
