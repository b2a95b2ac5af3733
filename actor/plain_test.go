//go:build linux

package actor_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
)

// Who forgets the pointer means the same: a message that nobody handles would be a Write without an answer.
func TestMSG1_MessagesThatAreNoPointers(t *testing.T) {
	f := start(t, actor.Config{})
	s := f.serve(actor.ListenConfig{}, echoes)
	c, p := s.open()
	ask := func(msg any) any {
		answer, err := system.Root.RequestFuture(p.self, msg, patience).Result()
		require.NoError(t, err)
		return answer
	}
	assert.Equal(t, &actor.Written{Ack: 1}, ask(actor.Write{Data: []byte("plain"), Ack: 1}))
	c.expect("plain")
	system.Root.Send(p.self, actor.Pause{})
	assert.Equal(t, &actor.Written{Ack: 2}, ask(actor.Write{Data: []byte("paused"), Ack: 2}))
	c.expect("paused")
	c.send("later")
	stays(t, func() bool { return p.count("OnReceived") == 0 }, "it is paused")
	system.Root.Send(p.self, actor.Resume{})
	c.expect("later")
	system.Root.Send(p.self, actor.Close{})
	_, err := c.rest(patience)
	assert.NoError(t, err)
	require.NoError(t, c.Close())
	p.await(t, "Stopped")
	assert.NoError(t, p.err)

	_, p = s.open()
	system.Root.Send(p.self, actor.Abort{Err: assert.AnError})
	p.await(t, "Stopped")
	assert.ErrorIs(t, p.err, assert.AnError)
}
