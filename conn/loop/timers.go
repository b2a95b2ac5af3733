package loop

import (
	"math"
	"time"
)

// timed is what has a deadline. Its place lies in itself, so that moving a deadline searches nothing.
type timed interface {
	place() *int32 // its index in the heap, plus one; 0 if it is not there
	expired()      // the deadline has come, and is no more
}

// timers is a heap of deadlines, the earliest first. Times are nanoseconds since the loop's base: half of time.Time,
// and all comparisons are of numbers.
//
// It is a heap and no wheel: it is exact, says when the loop must wake next, and what connections want moves seldom,
// for activity only stores a time stamp.
type timers struct {
	base time.Time
	heap []deadline
}

type deadline struct {
	when int64
	who  timed
}

const never = math.MaxInt64

// clock returns the time as deadlines count it.
func (ts *timers) clock() int64 { return int64(time.Since(ts.base)) }

// next is when the earliest deadline comes, or never.
func (ts *timers) next() int64 {
	if len(ts.heap) == 0 {
		return never
	}
	return ts.heap[0].when
}

// set replaces who's deadline; the zero time takes it away.
func (ts *timers) set(who timed, t time.Time) {
	i := int(*who.place()) - 1
	when := int64(t.Sub(ts.base)) // it saturates
	switch {
	case t.IsZero():
		if i >= 0 {
			ts.remove(i)
		}
		return
	case i < 0:
		i = len(ts.heap)
		ts.heap = append(ts.heap, deadline{who: who})
	case ts.heap[i].when == when:
		return // as after most turns
	}
	ts.heap[i].when = when
	if !ts.up(i) {
		ts.down(i)
	}
}

// soon reports whether who has a deadline that comes by t.
func (ts *timers) soon(who timed, t time.Time) bool {
	i := *who.place() - 1
	return i >= 0 && ts.heap[i].when <= int64(t.Sub(ts.base))
}

// expire takes away the deadlines that have come by now, the earliest first, and tells whose they were. It ends even
// if each of them sets a new one that has come as well.
func (ts *timers) expire(now int64) {
	for n := len(ts.heap); n > 0 && len(ts.heap) > 0 && ts.heap[0].when <= now; n-- {
		who := ts.heap[0].who
		ts.remove(0)
		who.expired()
	}
}

func (ts *timers) remove(i int) {
	last := len(ts.heap) - 1
	*ts.heap[i].who.place() = 0
	d := ts.heap[last]
	ts.heap[last] = deadline{}
	ts.heap = ts.heap[:last]
	if i < last {
		ts.put(i, d)
		if !ts.up(i) {
			ts.down(i)
		}
	}
	if last == 0 && cap(ts.heap) > keepQueue {
		ts.heap = nil
	}
}

func (ts *timers) put(i int, d deadline) {
	ts.heap[i] = d
	*d.who.place() = int32(i + 1)
}

// up moves the deadline at i towards the top, down away from it; up reports whether it moved. Both note its place.
func (ts *timers) up(i int) (moved bool) {
	d := ts.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if ts.heap[parent].when <= d.when {
			break
		}
		ts.put(i, ts.heap[parent])
		i, moved = parent, true
	}
	ts.put(i, d)
	return moved
}

func (ts *timers) down(i int) {
	d := ts.heap[i]
	for {
		child := 2*i + 1
		if child >= len(ts.heap) {
			break
		}
		if right := child + 1; right < len(ts.heap) && ts.heap[right].when < ts.heap[child].when {
			child = right
		}
		if d.when <= ts.heap[child].when {
			break
		}
		ts.put(i, ts.heap[child])
		i = child
	}
	ts.put(i, d)
}
