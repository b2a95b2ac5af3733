package loop

// slots is a loop's table of sockets. The poller is told index and generation, never a pointer, which the collector
// could not see there, nor a descriptor, whose number is soon another's. The table is made of pages, so that growing
// copies nothing.
type slots struct {
	pages  []*[slotsPerPage]slot
	used   int32   // slots ever used
	free   int32   // index plus one of the first free slot; the others are chained
	closed []int32 // freed since the last batch of events, and not to be used before the next
	open   int     // sockets in the table
}

type slot struct {
	socket *Socket // nil if the slot is free
	gen    uint32  // raised when the socket leaves, so that what is still said of it finds nobody
	next   int32   // of a free slot: index plus one of the next free one
}

const slotsPerPage = 256

func (ss *slots) at(i int32) *slot { return &ss.pages[i/slotsPerPage][i%slotsPerPage] }

// add finds a slot for s.
func (ss *slots) add(s *Socket) (index int32, gen uint32) {
	i := ss.free - 1
	if i >= 0 {
		ss.free = ss.at(i).next
	} else {
		i = ss.used
		ss.used++
		if int(i/slotsPerPage) == len(ss.pages) {
			ss.pages = append(ss.pages, new([slotsPerPage]slot))
		}
	}
	p := ss.at(i)
	p.socket, p.next = s, 0
	ss.open++
	return i, p.gen
}

// find returns the socket that was given this index and generation, nil if it left.
func (ss *slots) find(index int32, gen uint32) *Socket {
	if index < 0 || index >= ss.used {
		return nil
	}
	if p := ss.at(index); p.gen == gen {
		return p.socket
	}
	return nil
}

// remove takes a socket out. Its slot is used again after the next batch of events at the earliest.
func (ss *slots) remove(index int32) {
	p := ss.at(index)
	p.socket = nil
	p.gen++
	ss.open--
	ss.closed = append(ss.closed, index)
}

// recycle is called between two batches of events.
func (ss *slots) recycle() {
	for _, i := range ss.closed {
		ss.at(i).next = ss.free
		ss.free = i + 1
	}
	ss.closed = ss.closed[:0]
	if cap(ss.closed) > keepQueue {
		ss.closed = nil
	}
}
