package conn

// blockSize is what one block of the write queue takes in memory, a size class of the allocator.
const blockSize = 8 << 10

// A block is a piece of a write queue: bytes lo to hi of data wait to be written.
type block struct {
	next   *block
	lo, hi int
	data   [blockSize - 24]byte
}

// A writeQueue holds the bytes that were accepted and are not written yet, in wire order. Five functions change it:
// push, pushAll, wrote, skip, clear.
type writeQueue struct {
	head, tail *block
	out        uint64 // bytes written since the connection began: the offset of the first byte in the queue
	pending    int    // bytes in the queue
}

// end is the offset behind the last byte accepted.
func (q *writeQueue) end() uint64 { return q.out + uint64(q.pending) }

// pushAll copies bufs, of total bytes, to the end of the queue.
func (q *writeQueue) pushAll(m *Memory, bufs [][]byte, total int) {
	if b := q.tail; b != nil && len(b.data)-b.hi >= total { // as nearly always, if there is anything in it
		q.pending += total
		hi := b.hi
		for _, p := range bufs {
			hi += copy(b.data[hi:], p)
		}
		b.hi = hi
		return
	}
	for _, p := range bufs {
		q.push(m, p)
	}
}

// push copies p to the end of the queue.
func (q *writeQueue) push(m *Memory, p []byte) {
	q.pending += len(p)
	for len(p) > 0 {
		if q.tail == nil || q.tail.hi == len(q.tail.data) {
			b := m.block()
			if q.tail == nil {
				q.head = b
			} else {
				q.tail.next = b
			}
			q.tail = b
		}
		n := copy(q.tail.data[q.tail.hi:], p)
		q.tail.hi += n
		p = p[n:]
	}
}

// bufs appends the oldest bytes of the queue to list, maxBufs buffers at most, and returns how many bytes that is.
func (q *writeQueue) bufs(list [][]byte) ([][]byte, int) {
	total := 0
	for b := q.head; b != nil && len(list) < maxBufs; b = b.next {
		list = append(list, b.data[b.lo:b.hi])
		total += b.hi - b.lo
	}
	return list, total
}

// wrote takes off the n oldest bytes: the system has them.
func (q *writeQueue) wrote(m *Memory, n int) {
	q.out += uint64(n)
	q.pending -= n
	for n > 0 {
		b := q.head
		k := min(n, b.hi-b.lo)
		b.lo += k
		n -= k
		if b.lo == b.hi {
			q.drop(m)
		}
	}
}

// skip counts n bytes that were written without passing through the queue, which is empty.
func (q *writeQueue) skip(n int) { q.out += uint64(n) }

// clear drops everything.
func (q *writeQueue) clear(m *Memory) {
	for q.head != nil {
		q.drop(m)
	}
	q.pending = 0
}

func (q *writeQueue) drop(m *Memory) {
	b := q.head
	if q.head = b.next; q.head == nil {
		q.tail = nil
	}
	m.giveBlock(b)
}
