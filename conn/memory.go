package conn

import (
	"math/bits"
	"time"
)

const (
	readBuffer = 64 << 10 // bytes one turn reads at most
	madeBuffer = 2 * readBuffer
	maxBufs    = 256 // buffers one Backend.Write is given at most

	minClass  = 6       // the smallest buffer lent for held bytes is 1<<minClass
	maxClass  = 17      // the largest one that is kept for reuse
	keepArgs  = 1 << 10 // a Send of more buffers than this is not copied to scratch
	keepHelds = 1 << 12 // so many without their buffers are kept for reuse
	keepEnds  = 1 << 12 // after a turn of more sends than this, the list of their ends is let go
	keepBytes = 1 << 20 // of each kind and size, this much is kept for reuse; the rest goes to the collector
)

// Memory is what the connections of one loop share: a read buffer, scratch, and free blocks for what is held or
// pending. Two turns must not use it at once. The zero Memory is ready to use; nil is none.
//
// A connection borrows from the Memory of its turn and gives back, to that of a later turn, as soon as it needs the
// block no more.
type Memory struct {
	read   []byte // filled by the reading of a turn
	made   []byte // what layers made of that, if they did so here
	in     []byte // read or made; bytes lo to hi of it are not delivered yet
	lo, hi int

	reading bool // the reading of a turn is on the stack
	giving  bool // OnReceived is on the stack
	sending bool // a Send is passing down the layers

	ends []sendEnd // of sends of this turn, while the connection's ledger has no ring

	args [][]byte // scratch for the buffers of one Send
	iov  [][]byte // scratch for the buffers of one Write

	helds   []*held
	sized   [maxClass + 1][][]byte // buffers for held bytes, by the logarithm of their size
	blocks  []*block
	notices rings[notice]
	ledgers rings[sendEnd]
	timers  []*timerSet
	lent    int

	now time.Time // of this turn: layers ask often
}

// InUse returns how many bytes of blocks are lent now. Once every connection that took its turns with m is idle or
// over, it is 0; if they take turns with several Memories, the sum is.
func (m *Memory) InUse() int { return m.lent }

// What lends and takes back works with a nil m, too, from the heap: between turns, where a connection may be aborted or
// a layer may pass something down, there is no Memory.

// buffer lends an empty buffer for at least n bytes.
func (m *Memory) buffer(n int) []byte {
	class := max(bits.Len(uint(n-1)), minClass)
	if m == nil || class > maxClass {
		b := make([]byte, 0, n)
		m.lend(cap(b))
		return b
	}
	m.lend(1 << class)
	if free := m.sized[class]; len(free) > 0 {
		b := free[len(free)-1]
		free[len(free)-1] = nil
		m.sized[class] = free[:len(free)-1]
		return b
	}
	return make([]byte, 0, 1<<class)
}

// giveBuffer takes back what buffer lent; b may be nil.
func (m *Memory) giveBuffer(b []byte) {
	if cap(b) == 0 {
		return
	}
	m.lend(-cap(b))
	class := bits.Len(uint(cap(b) - 1))
	if m == nil || class > maxClass || cap(b) != 1<<class || len(m.sized[class])<<class >= keepBytes {
		return
	}
	m.sized[class] = append(m.sized[class], b[:0])
}

// held is bytes that a connection holds between two turns. It goes with its buffer, so InUse counts that alone.
type held struct {
	buf []byte
	off int // the first off bytes of buf are delivered
}

// heldBytes lends an empty held with a buffer for at least n bytes.
func (m *Memory) heldBytes(n int) *held {
	if m == nil || len(m.helds) == 0 {
		return &held{buf: m.buffer(n)}
	}
	h := m.helds[len(m.helds)-1]
	m.helds = m.helds[:len(m.helds)-1]
	h.buf = m.buffer(n)
	return h
}

// giveHeldBytes takes back what heldBytes lent.
func (m *Memory) giveHeldBytes(h *held) {
	m.giveBuffer(h.buf)
	*h = held{}
	if m != nil && len(m.helds) < keepHelds {
		m.helds = append(m.helds, h)
	}
}

// forgetBuffer leaves a lent buffer to the collector, for bytes of it are still being read.
func (m *Memory) forgetBuffer(b []byte) { m.lend(-cap(b)) }

func (m *Memory) block() *block {
	m.lend(blockSize)
	if m == nil || len(m.blocks) == 0 {
		return new(block)
	}
	b := m.blocks[len(m.blocks)-1]
	m.blocks[len(m.blocks)-1] = nil
	m.blocks = m.blocks[:len(m.blocks)-1]
	return b
}

func (m *Memory) giveBlock(b *block) {
	m.lend(-blockSize)
	if m == nil || len(m.blocks)*blockSize >= keepBytes {
		return
	}
	b.next, b.lo, b.hi = nil, 0, 0
	m.blocks = append(m.blocks, b)
}

func (m *Memory) timerSet() *timerSet {
	m.lend(timerSetSize)
	if m == nil || len(m.timers) == 0 {
		return new(timerSet)
	}
	s := m.timers[len(m.timers)-1]
	m.timers = m.timers[:len(m.timers)-1]
	return s
}

func (m *Memory) giveTimerSet(s *timerSet) {
	m.lend(-timerSetSize)
	if m == nil || cap(s.list) > keepItems || len(m.timers) >= keepItems {
		return
	}
	s.list = s.list[:0]
	m.timers = append(m.timers, s)
}

func (m *Memory) lend(n int) {
	if m != nil {
		m.lent += n
	}
}

// noticeRing and ledgerRing are how a connection reaches the rings of m, which may be nil.
func (m *Memory) noticeRing() *ring[notice] {
	if m == nil {
		return new(ring[notice])
	}
	return m.notices.get(m)
}

func (m *Memory) giveNoticeRing(r *ring[notice]) {
	if m != nil {
		m.notices.give(m, r)
	}
}

func (m *Memory) ledgerRing() *ring[sendEnd] {
	if m == nil {
		return new(ring[sendEnd])
	}
	return m.ledgers.get(m)
}

func (m *Memory) giveLedgerRing(r *ring[sendEnd]) {
	if m != nil {
		m.ledgers.give(m, r)
	}
}

func (m *Memory) clearEnds() {
	if m.ends = m.ends[:0]; cap(m.ends) > keepEnds {
		m.ends = nil
	}
}

// argScratch returns a copy of bufs in scratch. Handing bufs itself to an interface method would make every caller of
// Send allocate its argument list.
func (m *Memory) argScratch(bufs [][]byte) [][]byte {
	if m == nil || len(bufs) > keepArgs {
		return append([][]byte(nil), bufs...)
	}
	m.args = append(m.args[:0], bufs...)
	return m.args
}
