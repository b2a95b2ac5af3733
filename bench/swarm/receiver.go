package main

import (
	"encoding/binary"
	"fmt"
)

// A receiver checks one direction of a connection as it arrives: each byte, each head, and that no chunk is missing,
// doubled or out of order. An error says where the stream is not what it must be; then the receiver is of no more use.
type receiver struct {
	stream  stream
	framing framing
	hello   func(id uint64) (stream, error) // called with the first chunk; nil if none is due

	head   [headLen]byte
	nhead  int    // bytes of head that are there
	size   int    // of the body
	off    int    // bytes of the body that are there
	key    key    // of the body
	idBody []byte // of a hello

	next  [sources]uint32 // the lowest serial number that may come
	count [sources]uint64 // whole chunks
	sums  [sources]uint64 // of the serial numbers that came, in any order

	chunks uint64 // all of them, with the hello
	bytes  int64  // of all chunks, whole or not, as far as they came, without what frames them
	own    int64  // of source fromOwner and the hello, whole ones, with what frames them
}

// inside reports whether a chunk has begun and not ended.
func (r *receiver) inside() bool { return r.nhead > 0 }

// helloLeft is how many bytes of the hello are to come.
func (r *receiver) helloLeft() int {
	if r.hello == nil {
		return 0
	}
	return headLen + helloLen - int(r.bytes)
}

// takeFrame checks a whole chunk.
func (r *receiver) takeFrame(p []byte) error {
	if r.inside() {
		return fmt.Errorf("a frame begins inside chunk %s", r.where())
	}
	at, before := r.bytes, r.chunks
	if err := r.take(p); err != nil {
		return err
	}
	if r.inside() || r.chunks != before+1 {
		return fmt.Errorf("the frame at byte %d, of %d bytes, is not one whole chunk: %s", at, len(p), r.where())
	}
	return nil
}

// take checks the bytes that come next.
func (r *receiver) take(p []byte) error {
	for len(p) > 0 {
		if r.nhead < headLen {
			n := copy(r.head[r.nhead:], p)
			r.nhead += n
			r.bytes += int64(n)
			p = p[n:]
			if r.nhead < headLen {
				return nil
			}
			if err := r.begin(); err != nil {
				return err
			}
		}
		n := min(r.size-r.off, len(p))
		if err := r.body(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if r.off == r.size {
			if err := r.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *receiver) source() byte   { return r.head[0] }
func (r *receiver) serial() uint32 { return binary.BigEndian.Uint32(r.head[1:]) }

// where names the chunk and the place in it.
func (r *receiver) where() string {
	if r.nhead < headLen {
		return fmt.Sprintf("(%d bytes of a head)", r.nhead)
	}
	return fmt.Sprintf("(source %d, serial %d, byte %d of %d)", r.source(), r.serial(), r.off, r.size)
}

// begin checks a head.
func (r *receiver) begin() error {
	src, serial := r.source(), r.serial()
	r.size, r.off = int(binary.BigEndian.Uint32(r.head[5:])), 0
	wrong := func(what string) error {
		return fmt.Errorf("the head that ends at byte %d is wrong (source %d, serial %d, size %d): %s",
			r.bytes, src, serial, r.size, what)
	}
	if r.hello != nil {
		if src != fromHello || serial != 0 || r.size != helloLen {
			return wrong("a hello is due")
		}
		r.idBody = r.idBody[:0]
		return nil
	}
	if src >= sources {
		return wrong("there is no such source")
	}
	switch next := r.next[src]; {
	case src == fromOwner && serial != next:
		return wrong(fmt.Sprintf("serial %d is due", next))
	case serial < next:
		return wrong(fmt.Sprintf("serial %d or a later one is due", next))
	}
	if size := r.stream.size(src, serial); r.size != size {
		return wrong(fmt.Sprintf("the size is %d", size))
	}
	r.key = r.stream.key(src, serial)
	return nil
}

func (r *receiver) body(p []byte) error {
	if r.hello != nil {
		r.idBody = append(r.idBody, p...)
	} else if i := r.key.differs(p, r.off); i >= 0 {
		return fmt.Errorf("byte %d of the stream is wrong: %s, and %d bytes on: %s",
			r.bytes+int64(i), r.where(), i, r.key.diagnose(p[i:], r.off+i))
	}
	r.off += len(p)
	r.bytes += int64(len(p))
	return nil
}

func (r *receiver) end() (err error) {
	size := r.size
	r.nhead, r.size, r.off = 0, 0, 0
	r.chunks++
	if hello := r.hello; hello != nil {
		r.hello = nil
		r.stream, err = hello(binary.BigEndian.Uint64(r.idBody))
		r.idBody = nil
		r.own = int64(headLen + helloLen + r.framing.around(headLen+helloLen))
		return err
	}
	src, serial := r.source(), r.serial()
	r.next[src] = serial + 1
	r.count[src]++
	r.sums[src] += mix(uint64(serial) + 1)
	if src == fromOwner {
		r.own += int64(headLen + size + r.framing.around(headLen+size))
	}
	return nil
}

// ownBytes is how many bytes of the owner's sends came, with a part of the last chunk.
func (r *receiver) ownBytes() int64 {
	if src := r.source(); r.inside() && (src == fromOwner || src == fromHello) {
		return r.own + int64(r.nhead+r.off)
	}
	return r.own
}
