package conn

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A ledgerTwin knows for each wire byte who caused it: a send, or 0 for the layers.
type ledgerTwin struct {
	bytes   []SendToken
	ends    []int // of each send, by token-1
	written int
	settled SendToken
}

func (l *ledgerTwin) own() (n int) {
	for _, t := range l.bytes[l.written:] {
		if t == 0 {
			n++
		}
	}
	return n
}

// wrote takes n bytes and returns the sends that are whole then.
func (l *ledgerTwin) wrote(n int) (settled []SendToken) {
	l.written += n
	for int(l.settled) < len(l.ends) && l.ends[l.settled] <= l.written {
		l.settled++
		settled = append(settled, l.settled)
	}
	return settled
}

func TestLedgerAgainstItsTwin(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		var m Memory
		var l ledger
		var twin ledgerTwin
		add := func(n int, who SendToken) {
			for range n {
				twin.bytes = append(twin.bytes, who)
			}
		}
		for range 150 {
			switch r.IntN(6) {
			case 5: // the turn ends, and m is lent to others
				l.endTurn(&m)
				require.Empty(t, m.ends)
			case 0, 1: // a send, of no bytes at times; an empty one on an empty wire settles by itself, see Conn.open
				n := r.IntN(6)
				if n == 0 && twin.written == len(twin.bytes) {
					break
				}
				token := SendToken(len(twin.ends) + 1)
				add(n, token)
				twin.ends = append(twin.ends, len(twin.bytes))
				l.open(&m, token, uint64(len(twin.bytes)))
			case 2: // bytes of a layer
				n := 1 + r.IntN(5)
				add(n, 0)
				l.addOwn(&m, n, uint64(len(twin.bytes)))
			default: // the system takes some
				from := twin.written
				n := r.IntN(len(twin.bytes) - from + 1)
				if n == 0 {
					break
				}
				want := twin.wrote(n)
				first, last := l.wrote(&m, uint64(from), uint64(from+n))
				var got []SendToken
				for ; first <= last; first++ {
					got = append(got, first)
				}
				require.Equal(t, want, got, "seed %d: what %d bytes settle", seed, n)
			}
			require.Equal(t, twin.settled, l.settled, "seed %d", seed)
			require.Equal(t, twin.own(), l.own, "seed %d: the layers' bytes", seed)
			require.Equal(t, twin.written < len(twin.bytes), l.ring != nil || len(m.ends) > 0,
				"seed %d: memory is borrowed while something is open", seed)
			require.True(t, l.ring == nil || len(m.ends) == 0, "seed %d: it is in one place", seed)
		}
		l.clear(&m)
		require.Zero(t, m.InUse())
	}
}

func TestLedgerTable(t *testing.T) {
	type step struct {
		do          func(l *ledger, m *Memory) (first, last SendToken)
		first, last SendToken // first > last: nothing is settled
		own         int
	}
	open := func(t SendToken, end uint64) func(*ledger, *Memory) (SendToken, SendToken) {
		return func(l *ledger, m *Memory) (SendToken, SendToken) { l.open(m, t, end); return 1, 0 }
	}
	own := func(n int, end uint64) func(*ledger, *Memory) (SendToken, SendToken) {
		return func(l *ledger, m *Memory) (SendToken, SendToken) { l.addOwn(m, n, end); return 1, 0 }
	}
	wrote := func(from, to uint64) func(*ledger, *Memory) (SendToken, SendToken) {
		return func(l *ledger, m *Memory) (SendToken, SendToken) { return l.wrote(m, from, to) }
	}
	for name, steps := range map[string][]step{
		"one send, byte by byte": {
			{open(1, 3), 1, 0, 0}, {wrote(0, 1), 1, 0, 0}, {wrote(1, 2), 1, 0, 0}, {wrote(2, 3), 1, 1, 0},
		},
		"three sends, the second cut": {
			{open(1, 3), 1, 0, 0}, {open(2, 6), 1, 0, 0}, {open(3, 9), 1, 0, 0}, {wrote(0, 7), 1, 2, 0}, {wrote(7, 9), 3, 3, 0},
		},
		"an empty send comes with the one before it": {
			{open(1, 3), 1, 0, 0}, {open(2, 3), 1, 0, 0}, {wrote(0, 2), 1, 0, 0}, {wrote(2, 3), 1, 2, 0},
		},
		"bytes of a layer belong to no send": {
			{own(5, 5), 1, 0, 5}, {open(1, 8), 1, 0, 5}, {own(2, 10), 1, 0, 7},
			{wrote(0, 4), 1, 0, 3}, {wrote(4, 8), 1, 1, 2}, {wrote(8, 10), 2, 1, 0},
		},
		"an empty send behind bytes of a layer waits for them": {
			{own(5, 5), 1, 0, 5}, {open(1, 5), 1, 0, 5}, {wrote(0, 4), 1, 0, 1}, {wrote(4, 5), 1, 1, 0},
		},
		"a layer's bytes in two pieces are one run": {
			{own(5, 5), 1, 0, 5}, {own(5, 10), 1, 0, 10}, {wrote(0, 10), 1, 0, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var l ledger
			var m Memory
			for i, s := range steps {
				first, last := s.do(&l, &m)
				assert.Equal(t, s.first <= s.last, first <= last, "step %d", i)
				if s.first <= s.last {
					assert.Equal(t, [2]SendToken{s.first, s.last}, [2]SendToken{first, last}, "step %d", i)
				}
				assert.Equal(t, s.own, l.own, "step %d", i)
			}
			assert.Nil(t, l.ring)
			assert.Zero(t, m.InUse())
		})
	}
}

func TestLedgerMergesWhatEndsTogether(t *testing.T) {
	var l ledger
	for token := SendToken(1); token <= 1000; token++ {
		l.open(nil, token, 7)
	}
	assert.Equal(t, 1, l.ring.n, "a thousand sends that end at one byte take one entry")
	first, last := l.wrote(nil, 0, 7)
	assert.Equal(t, [2]SendToken{1, 1000}, [2]SendToken{first, last})
}
