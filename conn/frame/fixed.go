package frame

import (
	"bufio"
	"fmt"
)

// Fixed cuts frames of n bytes. It panics if n is less than 1.
func Fixed(n int) bufio.SplitFunc {
	if n < 1 {
		panic(fmt.Sprintf("frame: Fixed: n is %d: it must be at least 1 byte", n))
	}
	return func(data []byte, _ bool) (int, []byte, error) {
		if len(data) < n {
			return 0, nil, nil
		}
		return n, cut(data, 0, n), nil
	}
}

// cut returns data[from:to]. Its capacity ends there too, so that whoever appends to a frame does not write into the
// next one.
func cut(data []byte, from, to int) []byte { return data[from:to:to] }
