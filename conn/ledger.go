package conn

// A sendEnd says where on the wire a run of bytes ends. The entries of a ledger part the bytes that are not written
// yet among those that caused them: each begins where the one before it ends.
type sendEnd struct {
	end  uint64    // wire offset behind the last byte; never decreasing
	last SendToken // the send that ends there, the last of several that do; 0: bytes that layers made on their own
}

// A ledger knows which send ends at which byte.
//
// Most sends are written whole in the turn that made them. So the sends of a turn are noted in the Memory that the turn
// borrows, and move to a ring of the connection's own only if the system leaves something of them.
type ledger struct {
	ring    *ring[sendEnd] // nil while nothing is open, or all that is open is in Memory.ends
	settled SendToken      // all sends up to this one are settled
	own     int            // bytes of layers, made outside a Send, that are not written yet
}

// open notes that send t ends at offset end.
func (l *ledger) open(m *Memory, t SendToken, end uint64) {
	if l.ring == nil && m != nil {
		if n := len(m.ends); n > 0 && m.ends[n-1].end == end {
			m.ends[n-1].last = t // as below
		} else {
			m.ends = append(m.ends, sendEnd{end, t})
		}
		return
	}
	if e := l.last(); e != nil && e.last != 0 && e.end == end {
		e.last = t // an empty send behind another
		return
	}
	l.push(m, sendEnd{end, t})
}

// addOwn notes that n bytes of layers end at offset end.
func (l *ledger) addOwn(m *Memory, n int, end uint64) {
	l.own += n
	l.endTurn(m)
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
	if l.ring == nil && m != nil && len(m.ends) > 0 {
		if e := m.ends[len(m.ends)-1]; e.end <= to {
			l.settled = e.last
			m.clearEnds()
			return first, l.settled
		}
		l.endTurn(m)
	}
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

// endTurn moves what is open and in m to the connection's own ring, for the next turn may be another's.
func (l *ledger) endTurn(m *Memory) {
	if m == nil || len(m.ends) == 0 {
		return
	}
	for _, e := range m.ends {
		l.push(m, e)
	}
	m.clearEnds()
}

// clear forgets what is open, and gives the ledger's memory back.
func (l *ledger) clear(m *Memory) {
	if l.ring != nil {
		m.giveLedgerRing(l.ring)
		l.ring = nil
	}
	if m != nil {
		m.clearEnds()
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
