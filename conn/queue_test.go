package conn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A queueTwin is a write queue without blocks.
type queueTwin struct {
	all []byte // everything ever pushed or skipped
	out int
}

func (q *queueTwin) push(p []byte)   { q.all = append(q.all, p...) }
func (q *queueTwin) waiting() []byte { return q.all[q.out:] }
func (q *queueTwin) wrote(n int)     { q.out += n }

func numbered(from, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte((from + i) * 31 >> 3)
	}
	return p
}

// compareQueues checks q against twin, the blocks that it borrowed included.
func compareQueues(t *testing.T, q *writeQueue, twin *queueTwin, m *Memory) {
	t.Helper()
	require.Equal(t, len(twin.waiting()), q.pending, "pending")
	require.Equal(t, uint64(twin.out), q.out, "out")
	require.Equal(t, uint64(len(twin.all)), q.end(), "end")
	list, total := q.bufs(nil)
	joined := bytes.Join(list, nil)
	require.Len(t, joined, total)
	require.True(t, bytes.HasPrefix(twin.waiting(), joined), "the bytes to write")
	require.True(t, len(joined) == q.pending || len(list) == maxBufs, "%d of %d bytes in %d buffers", len(joined), q.pending,
		len(list))
	for _, b := range list {
		require.NotEmpty(t, b)
	}
	blocks := 0
	for b := q.head; b != nil; b = b.next {
		blocks++
	}
	require.Equal(t, q.pending == 0, blocks == 0, "%d blocks for %d bytes", blocks, q.pending)
	if m != nil {
		require.Equal(t, blocks*blockSize, m.InUse())
	}
}

func TestWriteQueueAgainstItsTwin(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := new(Memory)
		if seed%4 == 3 {
			m = nil // a nil Memory works too
		}
		q, twin := new(writeQueue), new(queueTwin)
		for range 200 {
			switch r.IntN(7) {
			case 0, 1, 2:
				p := numbered(len(twin.all), []int{0, 1, 100, len(block{}.data), len(block{}.data) + 1, 40_000}[r.IntN(6)])
				q.push(m, p)
				twin.push(p)
				clear(p) // the queue has a copy
			case 3, 4:
				_, total := q.bufs(nil)
				n := r.IntN(total + 1)
				q.wrote(m, n)
				twin.wrote(n)
			case 5:
				if q.pending == 0 {
					n := r.IntN(1000)
					q.skip(n)
					twin.push(numbered(len(twin.all), n))
					twin.wrote(n)
				}
			case 6:
				if r.IntN(8) == 0 {
					q.clear(m)
					twin.all = twin.all[:twin.out]
				}
			}
			compareQueues(t, q, twin, m)
		}
		q.clear(m)
		twin.all = twin.all[:twin.out]
		compareQueues(t, q, twin, m)
	}
}

func TestWriteQueueFillsBlocks(t *testing.T) {
	room := len(block{}.data)
	for _, c := range []struct{ push, blocks int }{
		{0, 0}, {1, 1}, {room, 1}, {room + 1, 2}, {2 * room, 2}, {2*room + 1, 3},
	} {
		t.Run(fmt.Sprint(c.push), func(t *testing.T) {
			var m Memory
			var q writeQueue
			for range c.push { // one by one fills as well as all at once
				q.push(&m, []byte{1})
			}
			list, total := q.bufs(nil)
			assert.Len(t, list, c.blocks)
			assert.Equal(t, c.push, total)
			assert.Equal(t, c.blocks*blockSize, m.InUse())
			if c.push > 0 {
				q.wrote(&m, c.push-1)
				assert.Equal(t, blockSize, m.InUse(), "one byte is left")
				q.wrote(&m, 1)
			}
			assert.Zero(t, m.InUse(), "an empty queue holds no block")
		})
	}
}

func TestWriteQueueGivesNoMoreBuffersThanOneWriteTakes(t *testing.T) {
	var q writeQueue
	p := make([]byte, (maxBufs+3)*len(block{}.data))
	q.push(nil, p)
	list, total := q.bufs(nil)
	assert.Len(t, list, maxBufs)
	assert.Equal(t, maxBufs*len(block{}.data), total)
	q.wrote(nil, total)
	_, total = q.bufs(nil)
	assert.Equal(t, 3*len(block{}.data), total, "the rest follows in the next write")
}

// bufs appends: a caller may pass scratch that is full of something else.
func TestWriteQueueAppendsToTheListGiven(t *testing.T) {
	var q writeQueue
	q.push(nil, []byte("abc"))
	scratch := make([][]byte, 0, 4)
	list, _ := q.bufs(scratch)
	require.Len(t, list, 1)
	assert.Same(t, &scratch[:1][0], &list[0], "no memory of its own")
}
