package loop

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
)

const (
	patience = 30 * time.Second // how long a test waits for what must come
	tooLate  = time.Second      // what comes after this was forgotten, and not held up by a busy machine
)

func newLoop(t testing.TB, cfg Config) *Loop {
	t.Helper()
	l, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// do runs f on l and waits for its end.
func do(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	require.True(t, l.Do(func() {
		defer close(done)
		f()
	}))
	await(t, done, "the function to run")
}

func await[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		require.FailNow(t, "waited in vain for "+what)
	}
	return v
}

// ways are the ways to wait for events: in the runtime's poller; in our own, should the runtime refuse; and without one,
// where package net has the sockets.
func ways(t *testing.T, f func(t *testing.T, cfg Config)) {
	t.Run("parked", func(t *testing.T) { f(t, Config{}) })
	t.Run("in the poller", func(t *testing.T) { f(t, Config{noParks: true}) })
	t.Run("portable", func(t *testing.T) { f(t, Config{Portable: true}) })
}

// A counter is a task that takes messages, which are only counted.
type counter struct {
	Link
	posted  atomic.Int64
	handled atomic.Int64
	all     *atomic.Int64
	want    int64
	done    chan struct{}
}

func (c *counter) String() string { return "a counter" }

func (c *counter) Turn(time.Time, *conn.Memory) bool {
	n := c.posted.Swap(0)
	c.handled.Add(n)
	if n > 0 && c.all.Add(n) == c.want {
		close(c.done)
	}
	return false
}

func TestMSG11_NoWakeUpIsLost(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		l := newLoop(t, cfg)
		const senders, each = 4, 50_000
		var all atomic.Int64
		done := make(chan struct{})
		tasks := make([]*counter, 8)
		for i := range tasks {
			tasks[i] = &counter{all: &all, want: senders * each, done: done}
		}
		var wg sync.WaitGroup
		for i := range senders {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 7))
				for range each {
					c := tasks[r.IntN(len(tasks))]
					c.posted.Add(1)
					l.Queue(c)
					// Gaps of all lengths, so that messages meet the loop awake, asleep, and on its way there.
					for n := r.IntN(1 << r.IntN(6)); n > 0; n-- {
						runtime.Gosched()
					}
					if r.IntN(20) == 0 { // when all do this, the loop has nothing to do
						answer := make(chan struct{})
						l.Do(func() { close(answer) })
						<-answer
					}
				}
			})
		}
		await(t, done, "all messages")
		wg.Wait()
		s := l.Stats()
		assert.Greater(t, s.Parks, uint64(100), "the loop hardly ever slept, so this proves little")
		assert.LessOrEqual(t, s.Wakes, s.Parks)
		t.Logf("%d parks, %d wakes", s.Parks, s.Wakes)
	})
}

// The first message of a burst wakes the loop; while it is busy with that, the others cost no system call.
func TestMSG11_ABurstCostsOneWake(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		l := newLoop(t, cfg)
		parked(t, l)
		before := l.Stats()
		burst := make(chan struct{})
		var all atomic.Int64
		done := make(chan struct{})
		tasks := make([]*counter, 10_000)
		for i := range tasks {
			tasks[i] = &counter{all: &all, want: int64(len(tasks)), done: done}
		}
		l.Queue(&step{do: func(time.Time) bool { <-burst; return false }})
		for _, c := range tasks {
			c.posted.Add(1)
			l.Queue(c)
		}
		close(burst)
		await(t, done, "the burst to be handled")
		assert.EqualValues(t, 1, l.Stats().Wakes-before.Wakes)
	})
}

// parked waits until the loop sleeps.
func parked(t testing.TB, l *Loop) {
	t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		l.mu.Lock()
		asleep := l.asleep
		l.mu.Unlock()
		if asleep {
			return
		}
		require.True(t, time.Now().Before(end), "the loop never sleeps")
	}
}

func TestMSG9_TurnsGoRound(t *testing.T) {
	l := newLoop(t, Config{})
	const tasks, turns = 100, 50
	var order []int
	done := make(chan struct{})
	do(t, l, func() {
		for i := range tasks {
			n := 0
			l.QueueLocal(&step{do: func(time.Time) bool {
				order = append(order, i)
				n++
				if len(order) == tasks*turns {
					close(done)
				}
				return n < turns
			}})
		}
	})
	await(t, done, "all turns")
	for k, i := range order {
		require.Equal(t, k%tasks, i, "turn %d: somebody got a second turn before all had one", k)
	}
}

// A task that always wants more does not keep one waiting that another goroutine queued: not for a single turn.
func TestMSG9_ABusyTaskKeepsNobodyWaiting(t *testing.T) {
	l := newLoop(t, Config{})
	var other atomic.Bool
	b := &step{do: func(time.Time) bool { other.Store(true); return false }}
	turns := 0
	done := make(chan bool)
	l.Queue(&step{do: func(time.Time) bool {
		turns++
		switch turns {
		case 100:
			queued := make(chan struct{})
			go func() { l.Queue(b); close(queued) }()
			<-queued
		case 101:
			done <- other.Load()
			return false
		}
		return true
	}})
	assert.True(t, await(t, done, "the busy task"), "the busy task had two turns before the other had one")
}

func TestATurnWantedDuringATurnIsGiven(t *testing.T) {
	l := newLoop(t, Config{})
	done := make(chan struct{})
	n := 0
	s := &step{}
	s.do = func(time.Time) bool {
		n++
		switch n {
		case 1:
			l.QueueLocal(s)
			l.QueueLocal(s)
		case 2:
			close(done)
		}
		return false
	}
	l.Queue(s)
	await(t, done, "the second turn")
	do(t, l, func() {})
	do(t, l, func() { assert.Equal(t, 2, n, "two wishes in one turn are one turn") })
}

// Time is read for each turn, also between two that come after the same poll: or deadlines would come early.
func TestTimeIsReadForEachTurn(t *testing.T) {
	for _, long := range []time.Duration{maxSpan / 4, 100 * maxSpan} {
		l := newLoop(t, Config{})
		begun := time.Now()
		var first, second time.Time
		done := make(chan struct{})
		do(t, l, func() {
			l.QueueLocal(&step{do: func(now time.Time) bool {
				first = now
				for time.Since(now) < long {
				}
				return false
			}})
			l.QueueLocal(&step{do: func(now time.Time) bool {
				second = now
				assert.Equal(t, now, l.Now())
				close(done)
				return false
			}})
		})
		await(t, done, "both turns")
		assert.False(t, first.Before(begun))
		assert.GreaterOrEqual(t, second.Sub(first), long)
	}
}

// Once it has had its turn, nothing of the loop keeps a task alive.
func TestNothingKeepsATask(t *testing.T) {
	l := newLoop(t, Config{})
	var gone atomic.Int32
	const tasks = 20
	turns := make(chan struct{}, tasks)
	for range tasks {
		s := &step{do: func(time.Time) bool { turns <- struct{}{}; return false }}
		runtime.AddCleanup(s, func(*atomic.Int32) { gone.Add(1) }, &gone)
		l.Queue(s)
	}
	for range tasks {
		await(t, turns, "the turn")
	}
	parked(t, l)
	for end := time.Now().Add(patience); gone.Load() < tasks; runtime.GC() {
		if !assert.True(t, time.Now().Before(end), "%d of %d tasks are kept", tasks-gone.Load(), tasks) {
			break
		}
	}
}

func TestStalledTellsOfALongTurn(t *testing.T) {
	type stall struct {
		task Task
		d    time.Duration
	}
	stalls := make(chan stall, 10)
	l := newLoop(t, Config{
		StallWarning: 20 * time.Millisecond,
		Stalled:      func(task Task, d time.Duration) { stalls <- stall{task, d} },
	})
	do(t, l, func() {})
	long := &step{do: func(now time.Time) bool {
		for time.Since(now) < 25*time.Millisecond {
		}
		return false
	}}
	l.Queue(long)
	s := await(t, stalls, "the warning")
	assert.Same(t, long, s.task)
	assert.GreaterOrEqual(t, s.d, 20*time.Millisecond)
	assert.Empty(t, stalls)
}

func TestGoexitInATurnEndsNeitherLoopNorTask(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		cfg.Panicked = func(task Task, v any, _ []byte) { assert.Fail(t, "this is no panic", "%v: %v", task, v) }
		l := newLoop(t, cfg)
		turns := make(chan int, 10)
		n := 0
		bad := &step{do: func(time.Time) bool {
			n++
			turns <- n
			if n == 1 {
				runtime.Goexit()
			}
			return false
		}}
		beside := make(chan struct{})
		do(t, l, func() {
			l.QueueLocal(bad)
			l.QueueLocal(&step{do: func(time.Time) bool { close(beside); return false }})
		})
		await(t, beside, "the task beside it")
		assert.Equal(t, 1, await(t, turns, "the first turn"))
		assert.Equal(t, 2, await(t, turns, "the turn that it missed"))
		l.Queue(bad)
		assert.Equal(t, 3, await(t, turns, "another turn"))
		l.Do(runtime.Goexit)
		do(t, l, func() {})
	})
}

func TestPanicInATurnEndsThatTaskOnly(t *testing.T) {
	type report struct {
		task  Task
		value any
		stack string
	}
	reports := make(chan report, 10)
	l := newLoop(t, Config{Panicked: func(task Task, v any, stack []byte) {
		reports <- report{task, v, string(stack)}
	}})
	n := 0
	bad := &step{do: func(time.Time) bool {
		n++
		panicsOnPurpose()
		return true
	}}
	l.Queue(bad)
	r := await(t, reports, "the report")
	assert.Same(t, bad, r.task)
	assert.Equal(t, "on purpose", r.value)
	assert.Contains(t, r.stack, "panicsOnPurpose")
	l.Queue(bad)
	do(t, l, func() { l.QueueLocal(bad) })
	do(t, l, func() {})
	do(t, l, func() { assert.Equal(t, 1, n, "it got another turn") })
	assert.Empty(t, reports)
}

func panicsOnPurpose() { panic("on purpose") }

func TestCloseWaitsForTheTurnAndDropsTheRest(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		l, err := New(cfg)
		require.NoError(t, err)
		inTurn, goOn := make(chan struct{}), make(chan struct{})
		var ended atomic.Bool
		l.Queue(&step{do: func(time.Time) bool {
			close(inTurn)
			<-goOn
			ended.Store(true)
			return true
		}})
		await(t, inTurn, "the turn")
		closed := make(chan struct{})
		for range 2 {
			go func() {
				assert.NoError(t, l.Close())
				assert.True(t, ended.Load(), "Close returned before the turn")
				closed <- struct{}{}
			}()
		}
		close(goOn)
		await(t, closed, "Close")
		await(t, closed, "the other Close")
		assert.False(t, l.Do(func() {}), "Do on a closed loop")
		l.Queue(&step{do: func(time.Time) bool { assert.Fail(t, "a turn on a closed loop"); return false }})
		assert.NoError(t, l.Close())
	})
}

// Many goroutines that post while the loop closes: nothing hangs, nothing is written to a descriptor that is gone.
func TestCloseAmongPosts(t *testing.T) {
	for range 50 {
		l, err := New(Config{})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for l.Do(func() {}) {
				}
			})
		}
		assert.NoError(t, l.Close())
		wg.Wait()
	}
}

func TestTMR13_AParkedLoopWakesForDeadlines(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		l := newLoop(t, cfg)
		rung := make(chan time.Duration, 10)
		var start time.Time
		ring := func() { rung <- time.Since(start) }
		never, moved, soon, late := &bell{ring: ring}, &bell{ring: ring}, &bell{ring: ring}, &bell{ring: ring}
		stopped := &bell{ring: func() { assert.Fail(t, "a deadline that was taken away came") }}
		do(t, l, func() {
			start = time.Now()
			l.timers.set(never, start.Add(math.MaxInt64))
			l.timers.set(stopped, start.Add(200*time.Millisecond)) // far enough to be taken away in time
			l.timers.set(moved, start.Add(150*time.Millisecond))
			l.timers.set(soon, start.Add(50*time.Millisecond))
		})
		do(t, l, func() {
			l.timers.set(stopped, time.Time{})
			l.timers.set(moved, start.Add(250*time.Millisecond))
		})
		for _, want := range []time.Duration{50 * time.Millisecond, 250 * time.Millisecond} {
			got := await(t, rung, "the deadline")
			assert.GreaterOrEqual(t, got, want, "early")
			assert.Less(t, got, want+tooLate, "late")
		}
		do(t, l, func() { // after the others have passed, an earlier one than the file was told
			start = time.Now()
			l.timers.set(late, start.Add(20*time.Millisecond))
		})
		got := await(t, rung, "one more")
		assert.GreaterOrEqual(t, got, 20*time.Millisecond)
		assert.Less(t, got, tooLate)
		assert.Empty(t, rung)
		parked(t, l) // and does not spin because of a time that has passed
		do(t, l, func() { l.timers.set(never, time.Time{}) })
		parked(t, l)
	})
}

func TestWakeUpsAndDeadlinesDoNotAllocate(t *testing.T) {
	ways(t, func(t *testing.T, cfg Config) {
		l := newLoop(t, cfg)
		handled := make(chan struct{}, 1)
		b := &bell{ring: func() {}}
		s := &step{do: func(now time.Time) bool {
			l.timers.set(b, now.Add(time.Hour))
			handled <- struct{}{}
			return false
		}}
		round := func() {
			l.Queue(s)
			<-handled
		}
		for range 100 {
			round()
		}
		assert.Zero(t, testing.AllocsPerRun(1000, round))
	})
}

func TestLeastGoesRoundAmongEquals(t *testing.T) {
	loops := []*Loop{{}, {}, {}}
	loops[0].load.Store(5)
	loops[1].load.Store(3)
	loops[2].load.Store(3)
	assert.Same(t, loops[1], Least(loops, 0))
	assert.Same(t, loops[1], Least(loops, 1))
	assert.Same(t, loops[2], Least(loops, 2))
	assert.Equal(t, 3, loops[2].Load())
}
