package loop

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
)

// A turn that wants more gets more, and then rests.
func TestADetachedThatWantsMoreGetsMore(t *testing.T) {
	e := newLoner(newLoop(t, Config{}))
	done := make(chan struct{})
	e.turn = func(time.Time, *conn.Memory) bool {
		if e.turns.Load() == 5 {
			close(done)
			return false
		}
		return true
	}
	e.Start()
	await(t, done, "the fifth turn")
	e.on(t, func() { e.turn = nil })
	assert.LessOrEqual(t, e.turns.Load(), int32(7))
}

// What happens during a turn is told before the next one: all of it, and once.
func TestADetachedIsToldEverythingOnce(t *testing.T) {
	e := newLoner(newLoop(t, Config{}))
	e.Start()
	e.on(t, func() {
		e.Detached.Ready(conn.Readable)
		e.Detached.Ready(conn.Writable)
		e.Detached.Due()
	})
	e.on(t, func() {})
	e.on(t, func() {})
	assert.Equal(t, conn.Readable|conn.Writable, await(t, e.ready, "readiness"))
	await(t, e.due, "the deadline")
	assert.Empty(t, e.ready)
	assert.Empty(t, e.due)
}

// A deadline that came is over: the same one may be asked for again, and one that was taken away does not come.
func TestADetachedMayAskForTheSameDeadlineAgain(t *testing.T) {
	l := newLoop(t, Config{})
	e, _ := lonerOf(t, l, ListenConfig{})
	at := time.Now().Add(time.Millisecond)
	for range 3 {
		e.on(t, func() { e.SetDeadline(at) })
		await(t, e.due, "the deadline")
	}
	for range 3 {
		e.Detached.Ready(conn.Readable) // other news bring no old deadline back
		e.on(t, func() {})
		do(t, l, func() { l.QueueLocal(e.Detached) })
		do(t, l, func() {})
	}
	assert.Empty(t, e.due)
	later := time.Now().Add(time.Hour)
	e.on(t, func() { e.SetDeadline(later) })
	timers := func() (n int) {
		do(t, l, func() { n = len(l.timers.heap) })
		return n
	}
	assert.Equal(t, 1, timers())
	e.on(t, func() {
		e.SetDeadline(later)
		e.mu.Lock()
		defer e.mu.Unlock()
		assert.Zero(t, e.errand, "what was asked for before costs nothing")
	})
	e.on(t, func() { e.SetDeadline(time.Time{}) })
	assert.Zero(t, timers())
	e.on(t, func() { e.SetDeadline(time.Now().Add(time.Hour)) })
	e.on(t, func() { assert.NoError(t, e.Detached.Close(true)) })
	assert.Zero(t, timers(), "closing takes it away")
}

// After Close nothing touches the socket, though the loop has not closed it yet.
func TestADetachedThatIsClosedIsClosedAtOnce(t *testing.T) {
	for _, portable := range []bool{false, true} {
		l := newLoop(t, Config{Portable: portable})
		e, _ := lonerOf(t, l, ListenConfig{})
		busy, goOn := make(chan struct{}), make(chan struct{})
		l.Do(func() { close(busy); <-goOn })
		await(t, busy, "the loop")
		e.on(t, func() {
			p := []byte("x")
			_, err := e.Unread()
			assert.NoError(t, err)
			info := e.Info()
			assert.NoError(t, e.Detached.Close(false))
			_, err = e.Read(p)
			assert.ErrorIs(t, err, net.ErrClosed)
			_, err = e.Write([][]byte{p})
			assert.ErrorIs(t, err, net.ErrClosed)
			_, err = e.Unread()
			assert.ErrorIs(t, err, net.ErrClosed)
			assert.ErrorIs(t, e.CloseWrite(), net.ErrClosed)
			assert.Equal(t, info, e.Info())
		})
		assert.Equal(t, 1, l.Load())
		close(goOn)
		do(t, l, func() {})
		assert.Zero(t, l.Load())
	}
}

// Of a burst of turns at once, a loop keeps the memory of a few; what is lent of the rest still counts.
func TestALoopKeepsFewDesks(t *testing.T) {
	l := newLoop(t, Config{})
	const many = 3 * keepDesks
	var inside, over sync.WaitGroup
	inside.Add(many)
	over.Add(many)
	goOn := make(chan struct{})
	for range many {
		e := newLoner(l)
		e.turn = func(time.Time, *conn.Memory) bool {
			inside.Done()
			<-goOn
			over.Done()
			return false
		}
		e.Start()
	}
	inside.Wait()
	close(goOn)
	over.Wait()
	l.workers.Wait()
	l.desksMu.Lock()
	defer l.desksMu.Unlock()
	assert.Len(t, l.desks, keepDesks)
}

// What the goroutines of a port say before the loop has a turn for it is all told.
func TestAPortedSocketIsToldEverythingOnce(t *testing.T) {
	l := newLoop(t, Config{Portable: true})
	e, far := pair(t, l, ListenConfig{})
	mustWrite(t, far, "x")
	e.until(t, conn.Readable)
	e.on(t, func() {
		e.about.ported.notify(conn.Readable)
		e.about.ported.notify(conn.Hangup)
	})
	assert.Equal(t, conn.Readable|conn.Hangup, await(t, e.ready, "readiness"))
	e.on(t, func() { e.about.ported.Turn(time.Now(), nil) })
	assert.Empty(t, e.ready)
	e.on(t, func() {
		e.about.ported.notify(conn.Readable)
		assert.NoError(t, e.Socket.Close(false))
	})
	e.on(t, func() {})
	assert.Empty(t, e.ready, "who closed hears no more")
}
