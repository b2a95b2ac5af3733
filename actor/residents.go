package actor

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// residents are the actors of a network that have no connection, from before they are spawned until nothing of them is
// left to do. The zero value is empty.
type residents struct {
	mu     sync.Mutex // guards what follows
	all    map[*resident]struct{}
	ending bool
	empty  chan struct{} // made when ending, closed when there are none left
}

// add reports whether there may be one more.
func (rs *residents) add(r *resident, closing *atomic.Bool) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if closing.Load() { // set before end is called
		return false
	}
	if rs.all == nil {
		rs.all = make(map[*resident]struct{})
	}
	rs.all[r] = struct{}{}
	return true
}

// remove forgets r, if it is known.
func (rs *residents) remove(r *resident) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if _, ok := rs.all[r]; !ok {
		return
	}
	delete(rs.all, r)
	if rs.ending && len(rs.all) == 0 {
		close(rs.empty)
	}
}

// end lets no more be added, and returns those that are left, also those that are being spawned.
func (rs *residents) end() (left []*resident) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !rs.ending {
		rs.ending = true
		rs.empty = make(chan struct{})
		if len(rs.all) == 0 {
			close(rs.empty)
		}
	}
	return slices.Collect(maps.Keys(rs.all))
}

// wait waits until none is left, or ctx ends, and returns how many are left. It comes after end.
func (rs *residents) wait(ctx context.Context) (left int) {
	select {
	case <-rs.empty: // set once, in end
		return 0
	default:
	}
	select {
	case <-rs.empty:
	case <-ctx.Done():
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return len(rs.all)
}

// names lists those that are left.
func (rs *residents) names() string {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var list []string
	for r := range rs.all {
		list = append(list, r.String())
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
