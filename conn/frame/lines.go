package frame

import (
	"bufio"
	"bytes"
)

// Lines cuts lines that end with "\n" or "\r\n". The end is not delivered, and the last line of a stream must have one
// too: [bufio.ScanLines] does without, and without a limit of its own. A line above max, its end not counted, fails
// with an [*Error] as soon as its end can no longer come in time. A max below 1 panics.
func Lines(max int) bufio.SplitFunc {
	checkMax("Lines", max)
	return func(data []byte, _ bool) (int, []byte, error) {
		i := bytes.IndexByte(data, '\n')
		if i >= 0 {
			return ended(data, dropCR(data[:i]), i+1, max)
		}
		// A last "\r" is the end of the line if "\n" comes next.
		if shortest := dropCR(data); shortest > max {
			return 0, nil, &Error{Len: uint64(shortest), Max: max}
		}
		return 0, nil, nil
	}
}

// dropCR returns the length of line without one "\r" at its end.
func dropCR(line []byte) int {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return n - 1
	}
	return len(line)
}
