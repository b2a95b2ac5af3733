package tls

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A queue of goroutines that wait for places of a pool, one after the other.
type applicants struct {
	t     *testing.T
	pool  *Pool
	all   sync.WaitGroup
	mu    sync.Mutex
	order []string
}

// apply has one more wait, and returns when it is in line. When it has its place, it notes name and leaves.
func (a *applicants) apply(name string, again bool) *handshake {
	a.t.Helper()
	h := newHandshake(nil, nil, &options{pool: a.pool})
	a.all.Go(func() {
		a.pool.acquire(h, again)
		a.mu.Lock()
		a.order = append(a.order, name)
		a.mu.Unlock()
		h.release()
	})
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		a.pool.mu.Lock()
		waits := h.queued.in != nil
		a.pool.mu.Unlock()
		if waits {
			return h
		}
		require.True(a.t, time.Now().Before(end), "%s is not in line", name)
	}
}

// full is a pool of which all places are taken, by handshakes that leave when release is called. It never finds that
// they are stuck.
func full(t *testing.T, n int) (p *Pool, release func()) {
	t.Helper()
	p = NeverStuck(NewPool(n))
	var inside []*handshake
	for range n {
		h := newHandshake(nil, nil, &options{pool: p})
		p.acquire(h, false)
		require.True(t, h.holding)
		inside = append(inside, h)
	}
	return p, func() {
		for _, h := range inside {
			h.release()
		}
	}
}

// NeverStuck has p lend no more places than it has, however slow the machine is.
func NeverStuck(p *Pool) *Pool {
	p.watch = time.NewTimer(time.Hour)
	return p
}

func TestThePoolServesInOrderAndFinishesWhatWasBegun(t *testing.T) {
	p, release := full(t, 1)
	a := &applicants{t: t, pool: p}
	a.apply("1", false)
	a.apply("2", false)
	a.apply("3, again", true)
	a.apply("4", false)
	a.apply("5, again", true)
	release()
	a.all.Wait()
	assert.Equal(t, []string{"3, again", "5, again", "1", "2", "4"}, a.order)
	assert.Zero(t, p.busy)
}

// Who gives up while it waits takes no place along, nor if the place is on its way to it.
func TestWhoGivesUpTakesNoPlaceAlong(t *testing.T) {
	for range 200 {
		p, release := full(t, 1)
		a := &applicants{t: t, pool: p}
		first := a.apply("first", false)
		a.apply("second", false)
		go release() // at the same time, so that either comes first
		first.giveUp(errGaveUp)
		a.all.Wait()
		assert.Contains(t, a.order, "second")
		assert.Zero(t, p.busy)
		assert.True(t, p.fresh.empty())
	}
}

// Places whose holders wait for something else are lent out once more.
func TestAPoolThatIsStuckLendsMore(t *testing.T) {
	p := NewPool(2)
	var waiting sync.WaitGroup
	for range 7 {
		h := newHandshake(nil, nil, &options{pool: p})
		waiting.Go(func() { p.acquire(h, false) }) // and keeps it
	}
	waiting.Wait()
	assert.Equal(t, 7, p.busy)
	for range 7 {
		p.release()
	}
	assert.Zero(t, p.busy)
}

func TestALine(t *testing.T) {
	var l line
	list := func() (names []int) {
		for p := l.first; p != nil; p = p.next {
			names = append(names, p.of.off)
		}
		back := []int(nil)
		for p := l.last; p != nil; p = p.prev {
			back = append(back, p.of.off)
		}
		slices.Reverse(back)
		assert.Equal(t, names, back)
		assert.Equal(t, len(names), l.n)
		assert.Equal(t, len(names) == 0, l.empty())
		return names
	}
	assert.Nil(t, l.pop())
	var all []*place
	for i := range 4 {
		all = append(all, &place{of: &handshake{off: i}})
		l.push(all[i])
	}
	assert.Equal(t, []int{0, 1, 2, 3}, list())
	assert.True(t, all[1].leave())
	assert.False(t, all[1].leave())
	assert.Equal(t, []int{0, 2, 3}, list())
	assert.True(t, all[3].leave())
	assert.Equal(t, 0, l.pop().off)
	assert.Equal(t, []int{2}, list())
	l.push(all[1])
	assert.Equal(t, []int{2, 1}, list())
	l.pop()
	l.pop()
	assert.Empty(t, list())
}
