package loop

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Listening while the loop closes either works or is refused.
func TestListenAmongCloses(t *testing.T) {
	for _, portable := range []bool{false, true} {
		for range 20 {
			l, err := New(Config{Portable: portable})
			require.NoError(t, err)
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					ln, err := Listen(context.Background(), []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(*Accepted) {}})
					if err != nil {
						assert.ErrorIs(t, err, net.ErrClosed)
						return
					}
					defer func() { assert.NoError(t, ln.Close()) }()
				}
			})
			for doors := 0; doors == 0; runtime.Gosched() {
				l.mu.Lock()
				doors = len(l.doors)
				l.mu.Unlock()
			}
			assert.NoError(t, l.Close())
			wg.Wait()
		}
	}
}
