package conn

const (
	keepItems = 64             // a ring or list of more items than this is not kept for reuse
	keepSlots = keepBytes / 32 // ... nor more rings than have so many items together
	ringSize  = 256            // bytes a lent ring counts for in Memory.InUse
)

// A ring is a queue that grows as it must. A connection borrows one while it has something in it.
type ring[T any] struct {
	buf     []T // its length is a power of two
	head, n int
	mark    int // its user's: how many of the oldest items are special
}

// at returns the i-th item, counted from the oldest.
func (r *ring[T]) at(i int) *T { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		r.grow()
	}
	r.n++
	*r.at(r.n - 1) = v
}

// pop takes the oldest item off. It clears its place, so that nothing is kept alive.
func (r *ring[T]) pop() T {
	var zero T
	v := *r.at(0)
	*r.at(0) = zero
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return v
}

func (r *ring[T]) grow() {
	buf := make([]T, max(4, 2*len(r.buf)))
	for i := range r.n {
		buf[i] = *r.at(i)
	}
	r.buf, r.head = buf, 0
}

// rings lends rings, and keeps those that came back.
type rings[T any] struct {
	free  []*ring[T]
	slots int // of all that are free
}

func (p *rings[T]) get(m *Memory) *ring[T] {
	m.lend(ringSize)
	if len(p.free) == 0 {
		return new(ring[T])
	}
	r := p.free[len(p.free)-1]
	p.free[len(p.free)-1] = nil
	p.free = p.free[:len(p.free)-1]
	p.slots -= len(r.buf)
	return r
}

func (p *rings[T]) give(m *Memory, r *ring[T]) {
	m.lend(-ringSize)
	r.mark = 0
	if len(r.buf) <= keepItems && p.slots+len(r.buf) <= keepSlots {
		if r.n > 0 {
			clear(r.buf)
			r.n = 0
		}
		p.free = append(p.free, r)
		p.slots += len(r.buf)
	}
}
