package loop

import "sync"

// A portBuffer holds bytes of one connection, those of p from r to w. They are borrowed, and given back once they are
// empty. A nil one is empty.
type portBuffer struct {
	p    []byte
	r, w int
}

// portBuffers lends buffers of 4 KiB, and of twice as many, to 64 KiB.
var portBuffers [5]sync.Pool

func portClass(size int) (class int) {
	for portSmall<<class < size {
		class++
	}
	return class
}

func getPortBuffer(size int) *portBuffer {
	class := portClass(size)
	if b, ok := portBuffers[class].Get().(*portBuffer); ok {
		return b
	}
	return &portBuffer{p: make([]byte, portSmall<<class)}
}

func (b *portBuffer) release() {
	if b != nil {
		b.r, b.w = 0, 0
		portBuffers[portClass(len(b.p))].Put(b)
	}
}

func (b *portBuffer) len() int {
	if b == nil {
		return 0
	}
	return b.w - b.r
}

func (b *portBuffer) rest() []byte { return b.p[b.r:b.w] }

// append returns b with more behind it, or a larger one instead of b.
func (b *portBuffer) append(more []byte) *portBuffer {
	if need := b.len() + len(more); need > len(b.p) {
		larger := getPortBuffer(need)
		larger.w = copy(larger.p, b.rest())
		b.release()
		b = larger
	} else if b.w+len(more) > len(b.p) {
		b.w = copy(b.p, b.rest())
		b.r = 0
	}
	b.w += copy(b.p[b.w:], more)
	return b
}

// fill copies as much of bufs, behind the first n bytes of them, as there is room for.
func (b *portBuffer) fill(bufs [][]byte, n int) {
	for _, buf := range bufs {
		k := min(n, len(buf))
		n -= k
		b.w += copy(b.p[b.w:], buf[k:])
	}
}
