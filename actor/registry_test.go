package actor

import (
	"fmt"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is registered before the registry shrinks, and after, is found.
func TestAShrunkenRegistryLosesNobody(t *testing.T) {
	sys := proto.NewActorSystem()
	defer sys.Shutdown()
	var pids []*proto.PID
	spawn := func(n int) {
		for range n {
			pid, err := sys.Root.SpawnNamed(proto.PropsFromFunc(func(c proto.Context) {
				if _, ok := c.Message().(string); ok {
					c.Respond("here")
				}
			}), fmt.Sprint("number ", len(pids)))
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	spawn(100)
	shrinkRegistry(sys)
	shrinkRegistry(sys) // again is nothing
	spawn(100)
	for _, pid := range pids {
		answer, err := sys.Root.RequestFuture(&proto.PID{Address: pid.Address, Id: pid.Id}, "who is there", 5*time.Second).Result()
		require.NoError(t, err, pid.Id)
		assert.Equal(t, "here", answer)
	}
	_, err := sys.Root.SpawnNamed(proto.PropsFromFunc(func(proto.Context) {}), "number 7")
	assert.ErrorIs(t, err, proto.ErrNameExists)
	_, found := sys.ProcessRegistry.Get(sys.NewLocalPID("eventstream"))
	assert.True(t, found)
	buckets := sys.ProcessRegistry.LocalPIDs.LocalPIDs
	assert.Len(t, buckets, registryBuckets)
	n := 0
	for _, b := range buckets {
		n += b.Count()
	}
	assert.GreaterOrEqual(t, n, len(pids))
	for _, pid := range pids {
		require.NoError(t, sys.Root.StopFuture(pid).Wait())
	}
}

// Somebody's own actor system stays as it is: others may know its buckets.
func TestTheRegistryOfAnotherSystemStaysAsItIs(t *testing.T) {
	sys := proto.NewActorSystem()
	defer sys.Shutdown()
	before := len(sys.ProcessRegistry.LocalPIDs.LocalPIDs)
	n, err := New(sys, Config{Loops: 1})
	require.NoError(t, err)
	_, _, err = n.Shutdown(t.Context())
	require.NoError(t, err)
	assert.Len(t, sys.ProcessRegistry.LocalPIDs.LocalPIDs, before)
}
