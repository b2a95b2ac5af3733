package loop

import (
	"context"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Close in order that the loop had no turn for any more is still in order: what was written arrives.
func TestALoopThatClosesDoesWhatTurnsWished(t *testing.T) {
	l, err := New(Config{})
	require.NoError(t, err)
	got := make(chan *loner, 1)
	ln, err := Listen(context.Background(), []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(a *Accepted) {
		e := newLoner(l)
		assert.NoError(t, e.Open(a))
		e.Start()
		got <- e
	}})
	require.NoError(t, err)
	far := dial(t, ln.Addr())
	e := await(t, got, "the connection")
	await(t, e.joined, "Connected")
	inTurn, goOn, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	written := 0
	e.Post(func() {
		close(inTurn)
		<-goOn
		for err := error(nil); err == nil; { // more than the peer has room for
			var n int
			n, err = e.Write([][]byte{make([]byte, 64<<10)})
			written += n
		}
		assert.NoError(t, e.CloseWrite())
		assert.NoError(t, e.Detached.Close(false))
	})
	await(t, inTurn, "the turn")
	go func() { closed <- l.Close() }()
	<-l.done // nobody takes turns on the loop now
	close(goOn)
	assert.NoError(t, await(t, closed, "Close"))
	n, err := io.Copy(io.Discard, far)
	assert.NoError(t, err)
	assert.EqualValues(t, written, n)
}

// What is to be adopted is closed if the loop is closed first.
func TestAClosedLoopAdoptsNothing(t *testing.T) {
	for _, when := range []string{"before", "meanwhile"} {
		l, err := New(Config{})
		require.NoError(t, err)
		near, far := net.Pipe()
		e := newLoner(l)
		inTurn, goOn := make(chan struct{}), make(chan struct{})
		l.Do(func() {
			close(inTurn)
			<-goOn
			for began := time.Now(); time.Since(began) < 2*maxSpan; { // then the loop gives no more turns in this round
			}
		})
		await(t, inTurn, "the turn")
		closed := make(chan error, 1)
		if when == "meanwhile" { // it is queued, and the loop takes no more turns
			e.Detached.Adopt(near)
		}
		go func() { closed <- l.Close() }()
		for closing := false; !closing; runtime.Gosched() {
			l.mu.Lock()
			closing = l.closing
			l.mu.Unlock()
		}
		close(goOn)
		assert.NoError(t, await(t, closed, "Close"))
		if when == "before" {
			e.Detached.Adopt(near)
		}
		_ = far.SetReadDeadline(time.Now().Add(time.Second))
		_, err = far.Read(make([]byte, 1))
		assert.Same(t, io.EOF, err, when)
	}
}
