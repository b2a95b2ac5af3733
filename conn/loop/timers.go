package loop

import (
	"math"
	"time"
)

// timed is what has a deadline. Its number lies in itself, so that moving a deadline searches nothing.
type timed interface {
	timer() *int32 // the number of its deadline, plus one; 0 if it has none
	expired()      // the deadline has come, and is no more
}

// timers is a heap of deadlines, the earliest first. Times are nanoseconds since the loop's base: half of time.Time,
// and all comparisons are of numbers.
//
// It is a heap and no wheel: it is exact, says when the loop must wake next, and what connections want moves seldom,
// for activity only stores a time stamp.
//
// Where in the heap a deadline is, is noted in a table of its own: moving a deadline past a dozen others, of as many
// connections that have been idle for long, touches no memory of theirs.
type timers struct {
	base time.Time
	heap []deadline
	at   []int32 // the index in the heap, by number
	who  []timed // by number; nil if it is free
	free []int32 // numbers
}

type deadline struct {
	when   int64
	number int32
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
	i := ts.index(who)
	when := int64(t.Sub(ts.base)) // it saturates
	switch {
	case t.IsZero():
		if i >= 0 {
			ts.remove(i)
		}
		return
	case i < 0:
		i = len(ts.heap)
		ts.heap = append(ts.heap, deadline{number: ts.number(who)})
	case ts.heap[i].when == when:
		return
	}
	ts.heap[i].when = when
	if !ts.up(i) {
		ts.down(i)
	}
}

// index is where in the heap the deadline of who is; -1 if there is none.
func (ts *timers) index(who timed) int {
	if n := *who.timer(); n > 0 {
		return int(ts.at[n-1])
	}
	return -1
}

// number gives who a number.
func (ts *timers) number(who timed) (n int32) {
	if last := len(ts.free) - 1; last >= 0 {
		n, ts.free = ts.free[last], ts.free[:last]
	} else {
		n = int32(len(ts.at))
		ts.at, ts.who = append(ts.at, 0), append(ts.who, nil)
	}
	ts.who[n] = who
	*who.timer() = n + 1
	return n
}

// soon reports whether who has a deadline that comes by t.
func (ts *timers) soon(who timed, t time.Time) bool {
	i := ts.index(who)
	return i >= 0 && ts.heap[i].when <= int64(t.Sub(ts.base))
}

// expire takes away the deadlines that have come by now, the earliest first, and tells whose they were. It ends even
// if each of them sets a new one that has come as well.
func (ts *timers) expire(now int64) {
	for n := len(ts.heap); n > 0 && len(ts.heap) > 0 && ts.heap[0].when <= now; n-- {
		who := ts.who[ts.heap[0].number]
		ts.remove(0)
		who.expired()
	}
}

func (ts *timers) remove(i int) {
	last := len(ts.heap) - 1
	n := ts.heap[i].number
	*ts.who[n].timer() = 0
	ts.who[n], ts.free = nil, append(ts.free, n)
	d := ts.heap[last]
	ts.heap = ts.heap[:last]
	if i < last {
		ts.put(i, d)
		if !ts.up(i) {
			ts.down(i)
		}
	}
	if last == 0 && cap(ts.heap) > keepQueue {
		ts.heap, ts.at, ts.who, ts.free = nil, nil, nil, nil
	}
}

func (ts *timers) put(i int, d deadline) {
	ts.heap[i] = d
	ts.at[d.number] = int32(i)
}

// up moves the deadline at i towards the top, down away from it; up reports whether it moved. Both note where it is.
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
