package frame

import (
	"bufio"
	"encoding/binary"
	"errors"
)

// errVarint is not an [*Error]: nobody knows how long that frame was meant to be.
var errVarint = errors.New("frame: malformed length: a varint of more than 64 bits: see whether both sides frame alike")

// Varint cuts frames that follow their length, an unsigned varint as in [binary.AppendUvarint]: seven bits a byte, the
// lowest first. The length does not count itself and is not delivered. A length above max fails with an [*Error] as
// soon as it is complete; one that does not end within ten bytes, or is more than 64 bits can hold, with another
// error. A max below 1 panics.
func Varint(max int) bufio.SplitFunc {
	checkMax("Varint", max)
	return func(data []byte, _ bool) (int, []byte, error) {
		n, head, err := uvarint(data)
		if head == 0 {
			return 0, nil, err
		}
		return body(data, head, n, max)
	}
}

// AppendVarint appends the length n to dst as Varint expects it. It panics if n is negative.
func AppendVarint(dst []byte, n int) []byte {
	checkLength("AppendVarint", n)
	return binary.AppendUvarint(dst, uint64(n))
}

// uvarint decodes the varint that data begins with. size is 0 if it is not complete, or is malformed. Other than
// [binary.Uvarint], it refuses ten bytes that all announce another one without asking for that one.
func uvarint(data []byte) (n uint64, size int, err error) {
	for i, b := range data {
		// The tenth byte holds the last one of 64 bits.
		if i == binary.MaxVarintLen64-1 && b > 1 {
			return 0, 0, errVarint
		}
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return n, i + 1, nil
		}
	}
	return 0, 0, nil
}
