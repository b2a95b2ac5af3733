package loop

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A bell is something with a deadline.
type bell struct {
	at   int32
	ring func()
}

func (b *bell) timer() *int32 { return &b.at }

func (b *bell) expired() { b.ring() }

func TestTimersAgreeWithAPlainList(t *testing.T) {
	base := time.Now()
	ts := timers{base: base}
	bells := make([]*bell, 200)
	when := make([]int64, len(bells)) // never if there is none
	var rung []int
	for i := range bells {
		bells[i] = &bell{ring: func() { rung = append(rung, i) }}
		when[i] = never
	}
	r := rand.New(rand.NewPCG(3, 4))
	now := int64(0)
	for range 20000 {
		i := r.IntN(len(bells))
		switch r.IntN(4) {
		case 0:
			ts.set(bells[i], time.Time{})
			when[i] = never
			require.False(t, ts.soon(bells[i], base.Add(time.Hour)))
		case 1, 2:
			when[i] = now + r.Int64N(1000) - 100
			ts.set(bells[i], base.Add(time.Duration(when[i])))
			ts.set(bells[i], base.Add(time.Duration(when[i]))) // again, as after a turn that changed nothing
			at := now + r.Int64N(1000) - 100
			require.Equal(t, when[i] <= at, ts.soon(bells[i], base.Add(time.Duration(at))))
		default:
			now += r.Int64N(50)
			var want []int64
			for j := range when {
				if when[j] <= now {
					want = append(want, when[j])
				}
			}
			slices.Sort(want)
			rung = rung[:0]
			ts.expire(now)
			got := make([]int64, len(rung))
			for k, j := range rung {
				got[k] = when[j]
				when[j] = never
			}
			require.Equal(t, len(want), len(got))
			require.True(t, slices.Equal(want, got), "deadlines come in order of time")
		}
		require.Equal(t, slices.Min(when), ts.next())
	}
	for _, b := range bells {
		ts.set(b, time.Time{})
		assert.Zero(t, b.at)
	}
	assert.Empty(t, ts.heap)
}

// A deadline that is further away than time can be counted is no deadline, and none in the past either.
func TestTMR13_HugeDeadlinesDoNotOverflow(t *testing.T) {
	base := time.Now()
	ts := timers{base: base}
	rung := 0
	for _, d := range []time.Time{
		base.Add(math.MaxInt64),
		base.Add(math.MaxInt64).Add(math.MaxInt64),
		time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		ts.set(&bell{ring: func() { rung++ }}, d)
	}
	ts.expire(int64(10 * 365 * 24 * time.Hour))
	assert.Zero(t, rung)
	assert.Greater(t, ts.next(), int64(100*365*24*time.Hour))

	past := 0
	ts.set(&bell{ring: func() { past++ }}, time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC))
	ts.expire(0)
	assert.Equal(t, 1, past, "a deadline of long ago has come")
}

func TestExpireEndsThoughOneAlwaysWantsMore(t *testing.T) {
	base := time.Now()
	ts := timers{base: base}
	n := 0
	b := &bell{}
	b.ring = func() { n++; ts.set(b, base) }
	ts.set(b, base)
	ts.expire(1)
	assert.Equal(t, 1, n)
}

func TestSlotsAreReusedBetweenBatchesOnly(t *testing.T) {
	var ss slots
	for i := range 3 * slotsPerPage {
		s := new(Socket)
		index, gen := ss.add(s)
		require.EqualValues(t, i, index)
		s.slot = index
		require.Same(t, s, ss.find(index, gen))
	}
	ss.remove(5)
	assert.Nil(t, ss.find(5, 0), "a socket that left was found")
	fresh := new(Socket)
	index, _ := ss.add(fresh)
	assert.EqualValues(t, 3*slotsPerPage, index, "a slot was reused in the batch in which it was freed")
	ss.recycle()
	index, gen := ss.add(fresh)
	assert.EqualValues(t, 5, index)
	assert.EqualValues(t, 1, gen)
	assert.Nil(t, ss.find(5, 0), "what was said of the socket before found this one")
	assert.Same(t, fresh, ss.find(5, 1))
	assert.Nil(t, ss.find(-7, 0))
	assert.Nil(t, ss.find(100*slotsPerPage, 0))
	assert.Equal(t, 3*slotsPerPage+1, ss.open)
}
