package frame

import (
	"slices"
	"testing"
)

// FuzzFramers cuts any stream, in pieces of any size, with any framing. What every framer promises is checked by the
// cutter; what comes out is compared with the slow twin.
func FuzzFramers(f *testing.F) {
	for i, fr := range framings {
		stream := fr.write(fr.write(nil, "message"), "another")
		f.Add(uint8(i), uint16(7), uint8(3), stream)
		f.Add(uint8(i), uint16(6), uint8(1), stream)
		f.Add(uint8(i), uint16(1), uint8(200), append(stream, 0, '\n', '\r', '-', '-', 0xff))
	}
	f.Add(uint8(5), uint16(9), uint8(1), []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80})
	f.Add(uint8(7), uint16(3), uint8(1), []byte("aaaaab"))
	f.Fuzz(func(t *testing.T, kind uint8, max uint16, size uint8, stream []byte) {
		if len(stream) > 1<<12 {
			return // the twins are quadratic
		}
		fr := framings[int(kind)%len(framings)]
		limit, piece := int(max)+1, int(size)+1
		split := fr.make(limit)
		c := run(t, split, slices.Collect(slices.Chunk(stream, piece))...)
		agree(t, fr, limit, stream, c, piece == 1)
		agree(t, fr, limit, stream, run(t, split, stream), false)
	})
}
