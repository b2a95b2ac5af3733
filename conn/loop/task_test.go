package loop

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// A step is a function as a task: it may be queued again and again.
type step struct {
	Link
	do func(now time.Time) (more bool)
}

func (s *step) String() string { return "a step" }

func (s *step) Turn(now time.Time, _ *conn.Memory) bool { return s.do(now) }

func TestQueueIsFirstInFirstOut(t *testing.T) {
	var q queue
	var twin []Task
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		// Long runs of one kind, so that it grows, wraps around, and becomes empty.
		for n := r.IntN(300); n > 0; n-- {
			s := &step{}
			q.push(s)
			twin = append(twin, s)
		}
		for n := r.IntN(310); n > 0 && len(twin) > 0; n-- {
			require.Same(t, twin[0], q.pop())
			twin = twin[1:]
		}
		require.Equal(t, len(twin), q.n)
		if len(twin) > 3000 {
			break
		}
	}
}

func TestQueueLetsGoOfMemoryAndTasks(t *testing.T) {
	var q queue
	for range keepQueue + 1 {
		q.push(&step{})
	}
	for i := range q.n {
		q.pop()
		if q.n > 0 {
			assert.Nil(t, q.ring[i], "what was taken is kept alive by the ring")
		}
	}
	assert.Nil(t, q.ring, "the ring of a burst is kept")
}

func TestLinkIsInOneQueueAtMost(t *testing.T) {
	var k Link
	assert.True(t, k.want())
	assert.False(t, k.want(), "queued twice")
	assert.True(t, k.begin())
	assert.False(t, k.want(), "queued during its turn")
	assert.True(t, k.end(false), "a wish during the turn was lost")
	assert.True(t, k.begin())
	assert.False(t, k.end(false), "queued again though nobody asked")
	assert.True(t, k.want())
	assert.True(t, k.begin())
	assert.True(t, k.end(true), "more was not heard")
	k.drop()
	assert.False(t, k.begin(), "a dropped task got a turn")
	assert.False(t, k.want(), "a dropped task was queued")
}
