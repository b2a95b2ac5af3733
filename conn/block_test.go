package conn

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A socket that was reported to have room, and has none, does not change since when bytes wait.
func TestBytesWaitSinceTheFirstWriteInVain(t *testing.T) {
	var c Conn
	c.queue.pending = 1
	for _, step := range []struct {
		n       int
		now, at int64
	}{{0, 7, 7}, {0, 8, 7}, {3, 9, 9}, {0, 10, 9}, {0, 11, 9}} {
		c.now, c.queue.out = step.now, c.queue.out+uint64(step.n)
		c.block(step.n)
		assert.Equal(t, step.at, c.rare.blocked.at)
	}
}
