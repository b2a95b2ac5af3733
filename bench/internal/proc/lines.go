package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// maxLine is how long a line of EachLine may be, in bytes.
const maxLine = 1 << 20

// EachLine calls f for each line that the server prints from now on, until it ends. The line is f's during the call only.
// Nobody may Ask meanwhile.
func (s *Server) EachLine(f func(line []byte)) error {
	scan := bufio.NewScanner(s.stdout)
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		f(scan.Bytes())
	}
	return scan.Err()
}

// Resident returns how many bytes of the server are resident, as RSS does, but at a cost that allows to ask often. It
// may lag behind by some pages for each processor.
func (s *Server) Resident() (uint64, error) {
	b, err := os.ReadFile(s.file("statm"))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm is %q", b)
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	return pages * uint64(os.Getpagesize()), err
}
