package loop

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

func TestBackend(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		conntest.TestBackend(t, func(t *testing.T) conntest.Pair {
			near, c := pair(t, newLoop(t, cfg), ListenConfig{})
			far := takeOver(t, newLoop(t, cfg), c)
			return conntest.Pair{
				Near: near,
				Far:  far,
				// Posted functions and f pass the same queue of the loop.
				Turn: func(b conn.Backend, f func()) { b.(*end).on(t, f) },
				Ready: func(b conn.Backend) (i conn.Interest) {
					e := b.(*end)
					timeout := time.After(time.Millisecond)
					for {
						select {
						case got := <-e.ready:
							i |= got
							continue
						case <-timeout:
						}
						return i
					}
				},
			}
		})
	})
}

// Read, Write and Close of an end are those of its socket.
var _ conn.Backend = (*end)(nil)

// takeOver opens an end on the client's side of a connection.
func takeOver(t *testing.T, l *Loop, c net.Conn) *end {
	if l.portable() {
		e := newEnd(l)
		do(t, l, func() { assert.NoError(t, e.Adopt(c, l, e)) })
		return e
	}
	fd, err := duplicate(c.(syscall.Conn))
	require.NoError(t, err)
	remote := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	require.NoError(t, c.Close())
	e := newEnd(l)
	do(t, l, func() {
		l.load.Add(1)
		assert.NoError(t, e.Open(&Accepted{loop: l, remote: remote, number: int32(fd) + 1}, e))
	})
	return e
}
