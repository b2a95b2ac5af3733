package conn

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRingAgainstASlice(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		var q ring[*int]
		var twin []*int
		grow := 2 + r.IntN(4) // how likely a push is
		for i := range 400 {
			if r.IntN(6) < grow || len(twin) == 0 {
				v := &i
				q.push(v)
				twin = append(twin, v)
			} else {
				require.Same(t, twin[0], q.pop())
				twin = twin[1:]
			}
			require.Equal(t, len(twin), q.n)
			for i, v := range twin {
				require.Same(t, v, *q.at(i))
			}
			size := len(q.buf)
			require.Zero(t, size&(size-1), "%d is no power of two", size)
			kept := 0
			for _, v := range q.buf {
				if v != nil {
					kept++
				}
			}
			require.Equal(t, len(twin), kept, "a popped item is kept alive")
		}
	}
}

func TestRingDoublesOnlyWhenFull(t *testing.T) {
	var q ring[int]
	assert.Nil(t, q.buf, "an unused ring has no memory")
	for i := range 4 {
		q.push(i)
	}
	assert.Len(t, q.buf, 4)
	for i := range 1000 { // round and round, never more than four
		q.push(i)
		q.pop()
		if i == 0 {
			assert.Len(t, q.buf, 8)
		}
	}
	assert.Len(t, q.buf, 8)
}

func TestRingsLendWhatCameBack(t *testing.T) {
	var m Memory
	a := m.notices.get(&m)
	assert.Equal(t, ringSize, m.InUse())
	a.push(notice{kind: noticeIdle})
	m.notices.give(&m, a)
	assert.Zero(t, m.InUse())
	b := m.notices.get(&m)
	assert.Same(t, a, b)
	assert.Zero(t, b.n, "it comes back empty")
	for _, n := range b.buf {
		assert.Zero(t, n, "and keeps nothing alive")
	}
	b.push(notice{kind: noticeTimer, token: 7})
	assert.Equal(t, uint64(7), b.pop().token)
}

func TestRingsKeepNoMoreThanIsUseful(t *testing.T) {
	var m Memory
	big := m.ledgers.get(&m)
	for range keepItems + 1 {
		big.push(sendEnd{})
	}
	m.ledgers.give(&m, big)
	assert.Empty(t, m.ledgers.free, "a ring of more than %d items goes to the collector", keepItems)

	var lent []*ring[sendEnd]
	for i := range keepSlots/4 + 10 {
		r := m.ledgers.get(&m)
		r.push(sendEnd{})
		lent = append(lent, r)
		if i == 0 {
			for range 8 { // this one takes the place of four
				r.push(sendEnd{})
			}
		}
	}
	for _, r := range lent {
		m.ledgers.give(&m, r)
	}
	assert.Len(t, m.ledgers.free, keepSlots/4-3)
	assert.Equal(t, keepSlots, m.ledgers.slots)
	assert.Zero(t, m.InUse())
	for range lent {
		m.ledgers.get(&m)
	}
	assert.Zero(t, m.ledgers.slots)
}
