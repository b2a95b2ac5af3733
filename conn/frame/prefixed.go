package frame

import (
	"bufio"
	"encoding/binary"
	"fmt"
)

// Prefixed cuts frames that follow their length, a big-endian number of width bytes: 1, 2, 4 or 8. The length does not
// count itself and is not delivered. A length above max fails with an [*Error] as soon as it is complete. Other
// widths, and a max below 1, panic.
func Prefixed(width, max int) bufio.SplitFunc {
	checkWidth("Prefixed", width)
	checkMax("Prefixed", max)
	switch width {
	case 2: // the usual widths do without a loop
		return func(data []byte, _ bool) (int, []byte, error) {
			if len(data) < 2 {
				return 0, nil, nil
			}
			return body(data, 2, uint64(binary.BigEndian.Uint16(data)), max)
		}
	case 4:
		return func(data []byte, _ bool) (int, []byte, error) {
			if len(data) < 4 {
				return 0, nil, nil
			}
			return body(data, 4, uint64(binary.BigEndian.Uint32(data)), max)
		}
	}
	return func(data []byte, _ bool) (int, []byte, error) {
		if len(data) < width {
			return 0, nil, nil
		}
		return body(data, width, bigEndian(data[:width]), max)
	}
}

// AppendPrefix appends the length n to dst as Prefixed expects it. A frame is written with one Send of two buffers:
//
//	s.head = frame.AppendPrefix(s.head[:0], 4, len(body))
//	c.Send(s.head, body)
//
// It panics if width is not 1, 2, 4 or 8, or if n is negative or needs more than width bytes.
func AppendPrefix(dst []byte, width, n int) []byte {
	checkWidth("AppendPrefix", width)
	checkLength("AppendPrefix", n)
	if width < 8 && uint64(n)>>(8*width) != 0 {
		panic(fmt.Sprintf("frame: AppendPrefix: n is %d, which needs more than %d bytes: take a larger width", n, width))
	}
	switch width {
	case 1:
		return append(dst, byte(n))
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(n))
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(n))
	default:
		return binary.BigEndian.AppendUint64(dst, uint64(n))
	}
}

// body cuts the frame of n bytes that follows a head of head bytes, which are there.
func body(data []byte, head int, n uint64, max int) (int, []byte, error) {
	if n > uint64(max) {
		return 0, nil, &Error{Len: n, Max: max}
	}
	// n fits an int from here on. The sum of both might not: compare without it.
	if len(data)-head < int(n) {
		return 0, nil, nil
	}
	end := head + int(n)
	return end, cut(data, head, end), nil
}

func bigEndian(p []byte) (n uint64) {
	for _, b := range p {
		n = n<<8 | uint64(b)
	}
	return n
}

func checkWidth(who string, width int) {
	switch width {
	case 1, 2, 4, 8:
	default:
		panic(fmt.Sprintf("frame: %s: width is %d: it must be 1, 2, 4 or 8 bytes", who, width))
	}
}

func checkLength(who string, n int) {
	if n < 0 {
		panic(fmt.Sprintf("frame: %s: n is %d: a length is not negative", who, n))
	}
}
