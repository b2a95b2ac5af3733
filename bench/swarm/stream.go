package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/galago-go/galago/conn/frame"
)

// Every byte that swarm sends is known by its place, so that both ends check what they get without talking. A stream is
// one direction of one connection. It is made of chunks, each a head and a body. A chunk belongs to a source, and has a
// serial number among those of its source; its size and its bytes follow from these, the seed, the connection and the
// direction.

// The sources of a stream.
const (
	fromOwner byte = iota // Send: no chunk is missing, and they keep their order
	fromAcked             // Write with Ack: those that were refused are missing
	fromQuiet             // Write without: likewise
	fromHello             // the first chunk of whoever dialed: which connection this is
	sources   = 3         // those that are counted
)

// headLen is the length of a head: source, serial, size.
const headLen = 1 + 4 + 4

// helloLen is the length of the body of a hello: the connection's number.
const helloLen = 8

// A stream is what one side of one connection sends.
type stream struct {
	seed, id uint64
	dir      byte // 0: from who dialed; 1: from who accepted
	max      int  // bytes; the longest body
}

// mix is the finalizer of SplitMix64: each bit of x changes half of the result's.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

const golden = 0x9e3779b97f4a7c15

// mixAll hashes several numbers into one.
func mixAll(xs ...uint64) (h uint64) {
	for _, x := range xs {
		h = mix(h*golden + x + golden)
	}
	return h
}

// A key makes the bytes of one body.
type key uint64

func (s stream) key(source byte, serial uint32) key {
	return key(mixAll(s.seed, s.id, uint64(s.dir)<<8|uint64(source), uint64(serial)))
}

// size is the length of a body. Each magnitude is as likely as another; from 0 bytes to s.max.
func (s stream) size(source byte, serial uint32) int {
	h := uint64(s.key(source, serial))
	magnitude := h % uint64(bits.Len(uint(s.max))+1)
	return min(int(mix(h+1)%(1<<magnitude)), s.max)
}

func (k key) word(i int) uint64 { return mix(uint64(k) + uint64(i)*golden) }

// fill writes the bytes of the body from offset off on.
func (k key) fill(p []byte, off int) {
	for len(p) > 0 {
		n := k.some(p, off, func(i int, b byte) { p[i] = b })
		if n == 0 {
			binary.LittleEndian.PutUint64(p, k.word(off/8))
			n = 8
		}
		p, off = p[n:], off+n
	}
}

// differs returns the first place at which p is not the body from offset off on, or -1.
func (k key) differs(p []byte, off int) int {
	for at := 0; at < len(p); {
		q, bad := p[at:], -1
		n := k.some(q, off+at, func(i int, b byte) {
			if q[i] != b && bad < 0 {
				bad = i
			}
		})
		if n == 0 {
			if x := binary.LittleEndian.Uint64(q) ^ k.word((off+at)/8); x != 0 {
				bad = bits.TrailingZeros64(x) / 8
			}
			n = 8
		}
		if bad >= 0 {
			return at + bad
		}
		at += n
	}
	return -1
}

// diagnose says how p, whose first byte is wrong, differs from the body from offset off on.
func (k key) diagnose(p []byte, off int) string {
	want := make([]byte, len(p)+64<<10)
	k.fill(want, off)
	wrong, last := 0, 0
	for i, b := range p {
		if b != want[i] {
			wrong, last = wrong+1, i
		}
	}
	text := fmt.Sprintf("%d of %d bytes differ, the last %d on; here is %x, not %x", wrong, len(p), last,
		p[:min(len(p), 12)], want[:min(len(p), 12)])
	if len(p) >= 16 {
		if i := bytes.Index(want[1:], p[:16]); i >= 0 {
			text += fmt.Sprintf("; %d bytes are missing", i+1)
		}
	}
	return text
}

// some calls f for the first bytes of p that do not make a whole word, and returns how many these are.
func (k key) some(p []byte, off int, f func(i int, b byte)) (n int) {
	first := off % 8
	if first == 0 && len(p) >= 8 {
		return 0
	}
	n = min(8-first, len(p))
	w := k.word(off/8) >> (8 * first)
	for i := range n {
		f(i, byte(w))
		w >>= 8
	}
	return n
}

// head writes the head of a chunk.
func head(p []byte, source byte, serial uint32, size int) {
	p[0] = source
	binary.BigEndian.PutUint32(p[1:], serial)
	binary.BigEndian.PutUint32(p[5:], uint32(size))
}

// appendChunk appends a chunk to dst, framed.
func (s stream) appendChunk(dst []byte, f framing, source byte, serial uint32) []byte {
	size := s.size(source, serial)
	dst = f.appendLen(dst, headLen+size)
	at := len(dst)
	dst = append(dst, make([]byte, headLen+size)...)
	head(dst[at:], source, serial, size)
	s.key(source, serial).fill(dst[at+headLen:], 0)
	return dst
}

// appendHello appends the first chunk of connection id.
func appendHello(dst []byte, f framing, id uint64) []byte {
	dst = f.appendLen(dst, headLen+helloLen)
	at := len(dst)
	dst = append(dst, make([]byte, headLen)...)
	head(dst[at:], fromHello, 0, helloLen)
	return binary.BigEndian.AppendUint64(dst, id)
}

// framing is how the chunks of a connection are framed, both ways.
type framing byte

const (
	raw      framing = iota // not at all
	prefixed                // by four bytes of length
	varint
	framings
)

var framingNames = [framings]string{raw: "raw", prefixed: "prefixed", varint: "varint"}

// maxFraming is the most that a framing adds to a chunk.
const maxFraming = 5

// maxFrame is the longest frame, where the longest body of a chunk has so many bytes: there is the hello, too.
func maxFrame(longest int) int { return headLen + max(longest, helloLen) }

// split returns the function that cuts chunks with bodies of at most max bytes.
func (f framing) split(max int) bufio.SplitFunc {
	switch f {
	case prefixed:
		return frame.Prefixed(4, maxFrame(max))
	case varint:
		return frame.Varint(maxFrame(max))
	}
	return nil
}

func (f framing) appendLen(dst []byte, n int) []byte {
	switch f {
	case prefixed:
		return frame.AppendPrefix(dst, 4, n)
	case varint:
		return frame.AppendVarint(dst, n)
	}
	return dst
}

// around is how many bytes the framing adds to a chunk of n bytes.
func (f framing) around(n int) int { return len(f.appendLen(nil, n)) }
