package conn

// A sendEnd says where on the wire a run of bytes ends. The entries of a ledger part the bytes that are not written
// yet among those that caused them: each begins where the one before it ends.
type sendEnd struct {
	end  uint64    // wire offset behind the last byte; never decreasing
	last SendToken // the send that ends there, the last of several that do; 0: bytes that layers made on their own
}

// A ledger knows which send ends at which byte.
type ledger struct {
	ring    *ring[sendEnd] // nil while nothing is open
	settled SendToken      // all sends up to this one are settled
	own     int            // bytes of layers, made outside a Send, that are not written yet
}

// open notes that send t ends at offset end.
func (l *ledger) open(m *Memory, t SendToken, end uint64) {
	if e := l.last(); e != nil && e.last != 0 && e.end == end {
		e.last = t // an empty send behind another
		return
	}
	l.push(m, sendEnd{end, t})
}

// addOwn notes that n bytes of layers end at offset end.
func (l *ledger) addOwn(m *Memory, n int, end uint64) {
	l.own += n
	if e := l.last(); e != nil && e.last == 0 {
		e.end = end
		return
	}
	l.push(m, sendEnd{end, 0})
}

// wrote notes that the system took the bytes from offset from to offset to. It returns the first and the last send
// that this settles; first is greater than last if there is none.
func (l *ledger) wrote(m *Memory, from, to uint64) (first, last SendToken) {
	first = l.settled + 1
	for l.ring != nil {
		e := l.ring.at(0)
		part := min(e.end, to)
		if e.last == 0 {
			l.own -= int(part - from)
		}
		from = part
		if e.end > to {
			break
		}
		if e.last != 0 {
			l.settled = e.last
		}
		l.ring.pop()
		if l.ring.n == 0 {
			l.clear(m)
		}
	}
	return first, l.settled
}

// clear gives the ledger's memory back.
func (l *ledger) clear(m *Memory) {
	if l.ring != nil {
		m.giveLedgerRing(l.ring)
		l.ring = nil
	}
}

func (l *ledger) last() *sendEnd {
	if l.ring == nil || l.ring.n == 0 {
		return nil
	}
	return l.ring.at(l.ring.n - 1)
}

func (l *ledger) push(m *Memory, e sendEnd) {
	if l.ring == nil {
		l.ring = m.ledgerRing()
	}
	l.ring.push(e)
}
