package serve

import (
	"crypto/sha256"
	"encoding/binary"
)

// What servers and load have to agree on.

// Message makes the message of client i; those of different clients differ.
func Message(i, size int) []byte {
	m := make([]byte, size)
	x := uint32(i)*2654435761 + 1
	for k := range m {
		x = x*1664525 + 1013904223
		m[k] = byte(x >> 24)
	}
	return m
}

// Frame makes the frame of client i: size bytes in all, of which the first FramePrefix say how many follow.
func Frame(i, size int) []byte {
	m := Message(i, size)
	binary.BigEndian.PutUint32(m, uint32(size-FramePrefix))
	return m
}

// FramePrefix is the length of the length before a frame.
const FramePrefix = 4

// News is what a Fanout sends.
var News = Message(0, 64)

// Pattern is what a Source sends, again and again.
var Pattern = Message(0, 64<<10)

// WorkSize is the length of a message of Work.
const WorkSize = 16

// WorkMessage asks for work of n steps.
func WorkMessage(n int) []byte {
	m := Message(0, WorkSize)
	binary.BigEndian.PutUint32(m, uint32(n))
	return m
}

// DoWork does the work that message asks for: as many times as its first four bytes say, big-endian, the SHA-256 of the
// last result, beginning with 32 zero bytes. It uses the processor and nothing else.
func DoWork(message []byte) (result [sha256.Size]byte) {
	for range binary.BigEndian.Uint32(message) {
		result = sha256.Sum256(result[:])
	}
	return result
}

// SinkUnit is after how many bytes a Sink answers.
const SinkUnit = 1 << 20

// A tally counts what a Sink got on one connection.
type tally struct{ bytes uint64 }

// take counts n bytes more, and returns what is to be answered, if anything.
func (t *tally) take(n int) (answer []byte) {
	for end := t.bytes + uint64(n); t.bytes < end; {
		t.bytes = min(end, (t.bytes/SinkUnit+1)*SinkUnit)
		if t.bytes%SinkUnit == 0 {
			answer = binary.BigEndian.AppendUint64(answer, t.bytes)
		}
	}
	return answer
}
