package frame

import (
	"strings"
	"testing"
)

// BenchmarkSplit cuts one message of 60 bytes (fixed: its length) off 64 that lie one behind the other, as a read brings
// them.
func BenchmarkSplit(b *testing.B) {
	const messages = 64
	for _, f := range framings {
		b.Run(strings.ReplaceAll(f.name, " ", "_"), func(b *testing.B) {
			size := 60
			if f.name == "fixed" {
				size = fixedLen
			}
			split := f.make(size)
			var whole []byte
			for range messages {
				whole = f.write(whole, strings.Repeat("x", size))
			}
			left := whole
			b.ReportAllocs()
			b.SetBytes(int64(len(whole) / messages))
			for b.Loop() {
				n, token, err := split(left, false)
				if token == nil || err != nil {
					b.Fatalf("it stopped with %d bytes left: %v", len(left), err)
				}
				if left = left[n:]; len(left) == 0 {
					left = whole
				}
			}
		})
	}
}

// BenchmarkAppendPrefix writes a length.
func BenchmarkAppendPrefix(b *testing.B) {
	head := make([]byte, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		head = AppendPrefix(head[:0], 4, 60)
	}
}
