package frame

import (
	"bufio"
	"bytes"
)

// Delimited cuts frames that end with delim, which is not delivered. The last frame of a stream must have one too. A
// frame above max fails with an [*Error] as soon as its end can no longer come in time. An empty delim, and a max below
// 1, panic.
func Delimited(delim string, max int) bufio.SplitFunc {
	if delim == "" {
		panic("frame: Delimited: delim is empty: it must be at least 1 byte")
	}
	checkMax("Delimited", max)
	mark := []byte(delim)
	return func(data []byte, _ bool) (int, []byte, error) {
		i := bytes.Index(data, mark)
		if i >= 0 {
			return ended(data, i, i+len(mark), max)
		}
		if shortest := len(data) - begun(data, mark); shortest > max {
			return 0, nil, &Error{Len: uint64(shortest), Max: max}
		}
		return 0, nil, nil
	}
}

// ended cuts the frame of n bytes whose end mark stands before next.
func ended(data []byte, n, next, max int) (int, []byte, error) {
	if n > max {
		return 0, nil, &Error{Len: uint64(n), Max: max}
	}
	return next, cut(data, 0, n), nil
}

// begun returns how many bytes at the end of data may be the beginning of mark, at most. They are not yet known to
// belong to the frame, so they must not count against its limit.
func begun(data, mark []byte) int {
	for n := min(len(data), len(mark)-1); n > 0; n-- {
		if bytes.Equal(data[len(data)-n:], mark[:n]) {
			return n
		}
	}
	return 0
}
