//go:build linux

package actor_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
)

// A callback that blocks holds up its own connection, and neither others of its listener nor those of the loop.
func TestBlockingCallbacksHoldNobodyUp(t *testing.T) {
	f := way{}.start(t, actor.Config{Loops: 1})
	release := make(chan struct{})
	s := f.serve(actor.ListenConfig{Blocking: true}, func(p *probe) {
		p.onReceived = func(p *probe, data []byte) error {
			if string(data) == "wait" {
				<-release
			}
			_, err := p.Conn().Send(data)
			return err
		}
	})
	ordinary := f.serve(actor.ListenConfig{}, echoes)
	blocked, p := s.open()
	blocked.send("wait")
	for _, s := range []*server{s, ordinary} {
		c, _ := s.open()
		for range 100 {
			c.send("ping")
			c.expect("ping")
		}
		require.NoError(t, c.Close())
	}
	assert.NotContains(t, p.notes(), "OnSent 1")
	close(release)
	blocked.expect("wait")
	require.NoError(t, blocked.Close())
}

// Messages and a dialed connection, with turns of their own on both sides.
func TestBlockingOnBothSides(t *testing.T) {
	f := way{}.start(t, actor.Config{Loops: 1})
	s := f.serve(actor.ListenConfig{Blocking: true}, echoes)
	got := make(chan string, 1)
	p := &probe{onReceived: func(_ *probe, data []byte) error {
		got <- string(data)
		return nil
	}}
	f.call(s.Addr().String(), p, actor.DialConfig{Blocking: true})
	p.await(t, "OnConnected")
	answer, err := system.Root.RequestFuture(p.self, &actor.Write{Data: []byte("ping"), Ack: 7}, patience).Result()
	assert.NoError(t, err)
	assert.Equal(t, &actor.Written{Ack: 7}, answer)
	assert.Equal(t, "ping", <-got)
	system.Root.Send(p.self, new(actor.Close))
	p.await(t, "Stopped")
	assert.Equal(t, 1, p.count("OnClosed"))
}
