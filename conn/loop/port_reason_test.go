package loop

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

// A hurriedConn is a faultyConn whose reads wait until their deadline is moved into the past.
type hurriedConn struct {
	*faultyConn
	hurried chan struct{}
	once    sync.Once
}

func (c *hurriedConn) SetReadDeadline(at time.Time) error {
	if !at.IsZero() && at.Before(time.Now()) {
		c.once.Do(func() { close(c.hurried) })
	}
	return nil
}

// A connection dies of one thing, and the system tells it once. Whoever asks second, the reader or the writer, is told
// of an end or of a broken pipe. That must not be taken for the reason, even if it is heard first.
func TestPortWaitsForTheReason(t *testing.T) {
	for _, test := range []struct {
		name          string
		read, written error
		want          error
	}{
		{"the reader has it", syscall.ETIMEDOUT, syscall.EPIPE, syscall.ETIMEDOUT},
		{"the writer has it", io.EOF, syscall.ETIMEDOUT, syscall.ETIMEDOUT},
		{"nobody has it", os.ErrDeadlineExceeded, syscall.EPIPE, syscall.EPIPE},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &hurriedConn{faultyConn: newFaultyConn(), hurried: make(chan struct{})}
			first := true
			c.read = func([]byte) (int, error) {
				if first {
					first = false
					select {
					case <-c.hurried:
					case <-c.gone:
					}
					return 0, test.read
				}
				<-c.gone
				return 0, os.ErrClosed
			}
			c.write = func([]byte) (int, error) { return 0, test.written }
			e := unstartedPort(t, c)
			e.plain, e.timed = true, true
			e.start(&e.workers)
			_, err := e.write([][]byte{{1}})
			require.Equal(t, conn.ErrWouldBlock, err)
			e.until(t, conn.Readable|conn.Hangup)
			_, err = e.unread()
			assert.ErrorIs(t, err, test.want)
			_, err = e.read(make([]byte, 1))
			assert.ErrorIs(t, err, test.want)
			_, err = e.write([][]byte{{1}})
			assert.ErrorIs(t, err, test.want)
		})
	}
}

// A cornerConn is a faultyConn whose writes wait until their deadline is moved into the past.
type cornerConn struct {
	*faultyConn
	hurried chan struct{}
	once    sync.Once
}

func (c *cornerConn) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() && at.Before(time.Now()) {
		c.once.Do(func() { close(c.hurried) })
	}
	return nil
}

// The reader brings more than anybody has read yet, and so waits for room, as soon as the writer is done; the writer meets
// the end at this very moment, and asks what the reader knows. Both must not wait for each other: the owner may read
// nothing more before it is told.
func TestPortAsksNoReaderThatWaitsForRoom(t *testing.T) {
	c := &cornerConn{faultyConn: newFaultyConn(), hurried: make(chan struct{})}
	full, writing := make(chan struct{}), make(chan struct{})
	arrived := 0
	c.read = func(b []byte) (int, error) {
		if arrived += len(b); arrived <= portLarge {
			return len(b), nil
		}
		close(full)
		<-writing
		c.read = func([]byte) (int, error) { <-c.gone; return 0, os.ErrClosed }
		return len(b), nil
	}
	c.write = func([]byte) (int, error) {
		close(writing)
		<-c.hurried
		return 0, syscall.ECONNRESET
	}
	e := unstartedPort(t, c)
	e.plain, e.timed = true, true
	e.start(&e.workers)
	await(t, full, "so much that there is no room for more")
	_, err := e.write([][]byte{{1}})
	require.Equal(t, conn.ErrWouldBlock, err)
	e.until(t, conn.Hangup)
	_, err = e.unread()
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

// A deafenedConn is one end of a net.Pipe that refuses to write once the deadline of that is moved into the past, while the
// peer neither ends nor says anything: as that of a Unix socket does whose peer has shut down reading.
type deafenedConn struct {
	net.Conn
	writing, hurried chan struct{}
	once             sync.Once
}

func (c *deafenedConn) Write([]byte) (int, error) {
	close(c.writing)
	<-c.hurried
	return 0, syscall.EPIPE
}

func (c *deafenedConn) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() && at.Before(time.Now()) {
		c.once.Do(func() { close(c.hurried) })
	}
	return nil
}

// The writer fails while the reader, which has just read something, waits for what becomes of the write. Then the writer
// hurries a read that has not begun, and the reader must not take the deadline away again when it begins: nothing may ever
// come.
func TestPortReaderBeginsHurried(t *testing.T) {
	near, far := net.Pipe()
	t.Cleanup(func() { assert.NoError(t, far.Close()) })
	c := &deafenedConn{Conn: near, writing: make(chan struct{}), hurried: make(chan struct{})}
	e := unstartedPort(t, c)
	e.plain, e.timed = true, true
	e.start(&e.workers)
	_, err := e.write([][]byte{{1}})
	require.Equal(t, conn.ErrWouldBlock, err)
	await(t, c.writing, "the writer")
	_, err = far.Write([]byte("last"))
	require.NoError(t, err)
	e.until(t, conn.Hangup)
	b := make([]byte, 8)
	n, err := e.read(b)
	require.NoError(t, err)
	assert.Equal(t, "last", string(b[:n]))
	_, err = e.read(b)
	assert.ErrorIs(t, err, syscall.EPIPE)
	_, err = e.write([][]byte{{1}})
	assert.ErrorIs(t, err, syscall.EPIPE)
}
