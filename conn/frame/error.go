package frame

import (
	"bufio"
	"fmt"
)

// Error reports a frame that cannot be: it must be longer than the framer was told to accept. It matches
// [bufio.ErrTooLong].
type Error struct {
	Len uint64 // bytes: as announced, or as far as it was seen
	Max int    // bytes: the limit that the framer was made with
}

// Error names length, limit and cure.
func (e *Error) Error() string {
	return fmt.Sprintf("frame: too long: %d bytes, and at most %d are accepted: "+
		"raise the limit, or see whether both sides frame alike", e.Len, e.Max)
}

// Is reports whether target is [bufio.ErrTooLong].
func (e *Error) Is(target error) bool { return target == bufio.ErrTooLong }

// checkMax panics if no frame could pass.
func checkMax(who string, max int) {
	if max < 1 {
		panic(fmt.Sprintf("frame: %s: max is %d: it must be at least 1 byte", who, max))
	}
}
