package conn

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor"
)

func TestMemoryBufferClasses(t *testing.T) {
	for _, c := range []struct{ want, size int }{
		{1, 64}, {2, 64}, {64, 64},
		{65, 128}, {128, 128}, {129, 256},
		{4095, 4096}, {4096, 4096}, {4097, 8192},
		{1<<maxClass - 1, 1 << maxClass}, {1 << maxClass, 1 << maxClass},
		{1<<maxClass + 1, 1<<maxClass + 1}, // too large for a class: exactly what was asked for
		{1_000_000, 1_000_000},
	} {
		var m Memory
		b := m.buffer(c.want)
		assert.Empty(t, b)
		assert.Equal(t, c.size, cap(b), "a buffer for %d bytes", c.want)
		assert.Equal(t, c.size, m.InUse())
		m.giveBuffer(b[:c.want])
		assert.Zero(t, m.InUse())

		again := m.buffer(c.want)
		assert.Empty(t, again, "what comes back is lent empty")
		if c.want <= 1<<maxClass {
			assert.Same(t, &b[:1][0], &again[:1][0], "a buffer for %d bytes is lent again", c.want)
		}
	}
}

func TestMemoryKeepsNoMoreThanItsBound(t *testing.T) {
	for class := minClass; class <= maxClass; class++ {
		var m Memory
		var lent [][]byte
		for range keepBytes>>class + 5 {
			lent = append(lent, m.buffer(1<<class))
		}
		for _, b := range lent {
			m.giveBuffer(b)
		}
		assert.Len(t, m.sized[class], keepBytes>>class, "buffers of %d bytes", 1<<class)
		assert.Zero(t, m.InUse())
	}

	var m Memory
	var blocks []*block
	for range keepBytes/blockSize + 5 {
		blocks = append(blocks, m.block())
	}
	assert.Equal(t, len(blocks)*blockSize, m.InUse())
	for _, b := range blocks {
		m.giveBlock(b)
	}
	assert.Len(t, m.blocks, keepBytes/blockSize)
	assert.Zero(t, m.InUse())

	var sets []*timerSet
	for range keepItems + 5 {
		sets = append(sets, m.timerSet())
	}
	for _, s := range sets {
		m.giveTimerSet(s)
	}
	assert.Len(t, m.timers, keepItems)
	big := &timerSet{list: make([]timer, keepItems+1)}
	m.timers = nil
	m.giveTimerSet(big)
	assert.Empty(t, m.timers, "a long list goes to the collector")
}

// What a connection gives back must not stay reachable through the free list, nor carry its bytes on.
func TestMemoryLendsCleanThings(t *testing.T) {
	var m Memory
	b := m.block()
	b.next, b.lo, b.hi = new(block), 3, 5
	m.giveBlock(b)
	again := m.block()
	require.Same(t, b, again)
	assert.Nil(t, again.next)
	assert.Zero(t, again.lo)
	assert.Zero(t, again.hi)
	assert.Nil(t, m.blocks[:1][0], "the free list forgets what it lends")

	s := m.timerSet()
	s.list = append(s.list, timer{1, 2})
	m.giveTimerSet(s)
	assert.Empty(t, m.timerSet().list)

	m.giveBuffer(m.buffer(100))
	m.buffer(100)
	assert.Nil(t, m.sized[7][:1][0], "the free list forgets what it lends")
}

func TestMemoryTakesBackOnlyWhatItLent(t *testing.T) {
	var m Memory
	m.giveBuffer(nil)
	assert.Zero(t, m.InUse())
	m.lend(100)
	m.giveBuffer(make([]byte, 0, 100)) // no size of ours: it is not kept
	for class, free := range m.sized {
		assert.Empty(t, free, "class %d", class)
	}
}

func TestMemoryForgetsABufferThatIsStillRead(t *testing.T) {
	var m Memory
	b := m.buffer(100)
	m.forgetBuffer(b)
	assert.Zero(t, m.InUse())
	assert.NotSame(t, &b[:1][0], &m.buffer(100)[:1][0], "it is not lent again")
}

func TestANilMemoryLendsFromTheHeap(t *testing.T) {
	var m *Memory
	assert.Equal(t, 100, cap(m.buffer(100)))
	m.giveBuffer(m.buffer(100))
	m.forgetBuffer(m.buffer(100))
	m.giveBlock(m.block())
	m.giveTimerSet(m.timerSet())
	m.giveNoticeRing(m.noticeRing())
	m.giveLedgerRing(m.ledgerRing())
	bufs := [][]byte{{1}, {2}}
	args := m.argScratch(bufs)
	assert.Equal(t, bufs, args)
	assert.NotSame(t, &bufs[0], &args[0])
}

func TestArgScratchIsACopyAndIsUsedAgain(t *testing.T) {
	var m Memory
	bufs := [][]byte{{1}, {2}, {3}}
	a := m.argScratch(bufs)
	assert.Equal(t, bufs, a)
	assert.NotSame(t, &bufs[0], &a[0])
	assert.Same(t, &a[0], &m.argScratch(bufs[:2])[0])

	many := m.argScratch(make([][]byte, keepArgs+1))
	assert.Len(t, many, keepArgs+1)
	assert.Less(t, cap(m.args), keepArgs, "one Send of very many buffers leaves no large scratch behind")
}

// InUse is the sum of what is out, whatever is lent in which order.
func TestMemoryInUseAgainstASum(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 5))
		var m Memory
		sum := 0
		var give []func()
		lent := func(n int, back func()) {
			sum += n
			give = append(give, func() { sum -= n; back() })
		}
		for range 300 {
			switch r.IntN(9) {
			case 0, 1:
				b := m.buffer(1 + r.IntN(1<<r.IntN(19)))
				lent(cap(b), func() { m.giveBuffer(b) })
			case 2:
				b := m.block()
				lent(blockSize, func() { m.giveBlock(b) })
			case 3:
				s := m.timerSet()
				lent(timerSetSize, func() { m.giveTimerSet(s) })
			case 4:
				q := m.noticeRing()
				lent(ringSize, func() { m.giveNoticeRing(q) })
			case 5:
				q := m.ledgerRing()
				lent(ringSize, func() { m.giveLedgerRing(q) })
			default:
				if len(give) > 0 {
					i := r.IntN(len(give))
					give[i]()
					give = append(give[:i], give[i+1:]...)
				}
			}
			require.Equal(t, sum, m.InUse(), "seed %d", seed)
		}
		for _, f := range give {
			f()
		}
		require.Zero(t, m.InUse(), "seed %d", seed)
	}
}

// A breakingLayer panics when a Send passes through it.
type breakingLayer struct{ interceptor.Pass }

func (breakingLayer) Open(l interceptor.Link) error { l.Ready(); return nil }

func (breakingLayer) Down(interceptor.Link, [][]byte) error { panic("a bug") }

// What a Send that broke off leaves in the memory would make the next connection take a layer's bytes for its owner's.
func TestASendThatPanicsLeavesTheMemoryAsItWas(t *testing.T) {
	var d Driver
	var m Memory
	cfg := Config{Layers: []interceptor.Factory{func() interceptor.Interceptor { return breakingLayer{} }}}
	d.Init(Defaults{}, new(quietSocket), &cfg)
	d.Connected()
	now := time.Unix(1_700_000_000, 0)
	for d.Turn(now, &m, nil) {
	}
	assert.PanicsWithValue(t, "a bug", func() {
		d.Turn(now, &m, func(c *Conn) {
			defer func() { assert.False(t, m.sending) }()
			_, _ = c.Send([]byte("x"))
		})
	})
	require.Equal(t, StateConnected, d.Conn().State())
}

// No Memory is how a connection knows that it is between turns, where Send answers ErrNotReady. A turn without one would
// only fail once it reads, or writes.
func TestATurnWithoutAMemoryFailsAtOnce(t *testing.T) {
	var d Driver
	d.Init(Defaults{}, new(quietSocket), new(Config))
	now := time.Unix(1_700_000_000, 0)
	assert.PanicsWithValue(t, "conn: a turn needs a Memory", func() { d.Begin(now, nil) })
	assert.PanicsWithValue(t, "conn: a turn needs a Memory", func() { d.Turn(now, nil, nil) })
	require.True(t, d.Pending(), "nothing has begun")
	var m Memory
	d.Connected()
	for d.Turn(now, &m, nil) {
	}
	require.Equal(t, StateConnected, d.Conn().State())
}
