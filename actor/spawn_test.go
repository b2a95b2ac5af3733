//go:build linux

package actor_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// whileSpawned returns an option that calls f while the first actor with it is spawned.
func whileSpawned(f func()) proto.PropsOption {
	var done atomic.Bool
	return proto.WithOnInit(func(proto.Context) {
		if done.CompareAndSwap(false, true) {
			f()
		}
	})
}

func TestAnOptionMayDialAndSpawn(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	s := f.serve(actor.ListenConfig{}, nil)
	addr := s.Addr().String()
	inner, outer := new(probe), new(probe)
	l := new(lodger)
	option := whileSpawned(func() {
		f.call(addr, inner, actor.DialConfig{Loop: 1})
		_, err := f.Spawn(func() proto.Actor { return l }, actor.SpawnConfig{Loop: 1})
		assert.NoError(t, err)
	})
	f.call(addr, outer, actor.DialConfig{Props: []proto.PropsOption{option}})
	inner.await(t, "OnConnected")
	outer.await(t, "OnConnected")
	l.await(t, "Started")

	// The same on the loop, for an accepted connection.
	third := new(probe)
	option = whileSpawned(func() { f.call(addr, third, actor.DialConfig{}) })
	front := f.serve(actor.ListenConfig{Props: []proto.PropsOption{option}}, nil)
	front.open()
	third.await(t, "OnConnected")
}

func TestShutdownWhileAnOptionRuns(t *testing.T) {
	for name, patient := range map[string]bool{"in order": true, "out of patience": false} {
		t.Run(name, func(t *testing.T) {
			f := start(t, actor.Config{Loops: 1})
			addr := silentAddr(t) // it does not end by itself
			running, release := make(chan struct{}), make(chan struct{})
			option := whileSpawned(func() {
				close(running)
				<-release
			})
			p := new(probe)
			dialed := make(chan struct{})
			go func() {
				defer close(dialed)
				cfg := actor.DialConfig{Conn: conn.Config{StartTimeout: time.Hour}, Props: []proto.PropsOption{option}}
				_, err := f.Dial(context.Background(), addr, p, cfg)
				assert.NoError(t, err)
			}()
			<-running
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				if !patient {
					cancel()
				}
				_, _, err := f.Shutdown(ctx)
				if patient {
					assert.NoError(t, err)
				} else {
					assert.ErrorIs(t, err, context.Canceled)
				}
			}()
			soon(t, f.Ending, "nobody is told any more")
			select {
			case <-ended:
				assert.Fail(t, "it does not wait for the actor that is being spawned")
			default:
			}
			close(release)
			<-dialed
			p.await(t, "Stopped")
			<-ended
			assert.Equal(t, 1, p.count("OnConnectFailed"))
		})
	}
}
