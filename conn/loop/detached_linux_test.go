package loop

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

// A loner owns a Detached.
type loner struct {
	*Detached
	Link
	ready   chan conn.Interest
	posts   chan func()
	joined  chan struct{}
	failed  chan error
	due     chan time.Time
	slept   chan time.Duration
	turns   atomic.Int32
	turning atomic.Int32 // turns at this moment
	turn    func(now time.Time, m *conn.Memory) (more bool)
}

func newLoner(l *Loop) *loner {
	e := &loner{ready: make(chan conn.Interest, 1000), posts: make(chan func(), 100_000), joined: make(chan struct{}, 1),
		failed: make(chan error, 1), due: make(chan time.Time, 10), slept: make(chan time.Duration, 10)}
	e.Detached = NewDetached(l, e)
	return e
}

func (e *loner) link() *Link                    { return &e.Link }
func (e *loner) Connecting(int)                 {}
func (e *loner) Connected()                     { e.joined <- struct{}{} }
func (e *loner) Due()                           { e.due <- time.Now() }
func (e *loner) Ready(i conn.Interest)          { e.ready <- i }
func (e *loner) String() string                 { return "a loner" }
func (e *loner) Failed(_ conn.Stage, err error) { e.failed <- err }
func (e *loner) Slept(d time.Duration) bool     { e.slept <- d; return true }
func (e *loner) Post(f func())                  { e.posts <- f; e.Queue() }

func (e *loner) Turn(now time.Time, m *conn.Memory) (more bool) {
	e.turns.Add(1)
	if e.turning.Add(1) != 1 {
		panic("two turns at once")
	}
	defer e.turning.Add(-1)
	for {
		select {
		case f := <-e.posts:
			f()
			continue
		default:
		}
		return e.turn != nil && e.turn(now, m)
	}
}

// on runs f in a turn of e and waits for its end.
func (e *loner) on(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	e.Post(func() { defer close(done); f() })
	await(t, done, "the function")
}

// lonerOf connects a loner on l. The other end is an end on a loop of its own, once it is asked for.
func lonerOf(t *testing.T, l *Loop, cfg ListenConfig) (e *loner, dialed func() *end) {
	t.Helper()
	got := make(chan *loner, 1)
	cfg.Accept = func(a *Accepted) {
		e := newLoner(l)
		assert.NoError(t, e.Open(a))
		e.Start()
		got <- e
	}
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", cfg, nil)
	c := dial(t, s.Addr())
	e = await(t, got, "the connection")
	await(t, e.joined, "Connected")
	require.NoError(t, s.Close())
	t.Cleanup(func() { e.on(t, func() { _ = e.Detached.Close(true) }) })
	return e, func() *end { return takeOver(t, newLoop(t, Config{}), c) }
}

func TestSHL1_BackendWithTurnsOfItsOwn(t *testing.T) {
	ways(t, testDetachedBackend)
}

func testDetachedBackend(t *testing.T, cfg Config) {
	conntest.TestBackend(t, func(t *testing.T) conntest.Pair {
		near, dialed := lonerOf(t, newLoop(t, cfg), ListenConfig{})
		far := dialed()
		return conntest.Pair{
			Near: near,
			Far:  far,
			Turn: func(b conn.Backend, f func()) {
				if e, ok := b.(*loner); ok {
					e.on(t, f)
				} else {
					far.on(t, f)
				}
			},
			Ready: func(b conn.Backend) (i conn.Interest) {
				ready := far.ready
				if b == conn.Backend(near) {
					ready = near.ready
				}
				timeout := time.After(time.Millisecond)
				for {
					select {
					case got := <-ready:
						i |= got
						continue
					case <-timeout:
					}
					return i
				}
			},
		}
	})
}

// While a turn blocks, the loop goes on, and what happens is told when the turn is over.
func TestADetachedTurnMayBlock(t *testing.T) {
	l := newLoop(t, Config{})
	e, dialed := lonerOf(t, l, ListenConfig{})
	far := dialed()
	inside, release := make(chan struct{}), make(chan struct{})
	e.Post(func() { close(inside); <-release })
	await(t, inside, "the turn")
	for len(e.ready) > 0 {
		<-e.ready
	}
	do(t, l, func() {}) // the loop is free
	before := e.turns.Load()
	far.on(t, func() {
		_, err := far.Write([][]byte{[]byte("x")})
		assert.NoError(t, err)
	})
	e.Queue()
	other, _ := pair(t, l, ListenConfig{})
	other.on(t, func() {})
	assert.Equal(t, before, e.turns.Load())
	assert.Empty(t, e.ready)
	close(release)
	for await(t, e.ready, "readiness")&conn.Readable == 0 {
	}
	e.on(t, func() {
		p := make([]byte, 9)
		n, err := e.Read(p)
		assert.NoError(t, err)
		assert.Equal(t, "x", string(p[:n]))
	})
}

// An idle one has no goroutine; a deadline and Goexit bring turns all the same.
func TestADetachedHasAGoroutineInTurnsOnly(t *testing.T) {
	l := newLoop(t, Config{})
	e, _ := lonerOf(t, l, ListenConfig{})
	idle := func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return !e.running
	}
	require.Eventually(t, idle, patience, time.Millisecond)
	start := time.Now()
	e.on(t, func() { e.SetDeadline(start.Add(20 * time.Millisecond)) })
	assert.GreaterOrEqual(t, await(t, e.due, "the deadline").Sub(start), 20*time.Millisecond)
	e.Post(func() { runtime.Goexit() })
	e.on(t, func() {})
	require.Eventually(t, idle, patience, time.Millisecond)
}

// A panic in a turn is reported with its owner, and there are no more turns.
func TestADetachedThatPanicsIsReported(t *testing.T) {
	var who Task
	reported := make(chan any, 1)
	l := newLoop(t, Config{Panicked: func(t Task, value any, _ []byte) {
		who = t
		reported <- value
	}})
	e := newLoner(l)
	e.Start()
	e.Post(func() { panic("oh") })
	assert.Equal(t, "oh", await(t, reported, "the panic"))
	assert.Same(t, e, who)
	before := e.turns.Load()
	e.Queue()
	do(t, l, func() {})
	assert.Equal(t, before, e.turns.Load())
}

// Nothing happens before Start, nor once the loop is closed.
func TestADetachedStartsAndEndsWithItsLoop(t *testing.T) {
	l, err := New(Config{})
	require.NoError(t, err)
	e := newLoner(l)
	e.Queue()
	do(t, l, func() {})
	assert.Zero(t, e.turns.Load())
	require.NoError(t, l.Close())
	e.Start()
	assert.Zero(t, e.turns.Load())
	e.mu.Lock()
	defer e.mu.Unlock()
	assert.False(t, e.running)
}
