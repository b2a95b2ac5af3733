package frame

import (
	"bufio"
	"errors"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// A cutter drives a framer as a connection does: what arrives is added to what is held, and frames are cut off until
// the framer wants more. It checks on the way what every framer promises.
type cutter struct {
	t      testing.TB
	split  bufio.SplitFunc
	held   []byte
	most   int // bytes held at most, after the framer had its say
	seen   int // bytes fed before the failure
	frames []string
	err    error
}

func (c *cutter) feed(p []byte) {
	if c.err != nil {
		return
	}
	c.seen += len(p)
	c.held = append(c.held, p...)
	for c.cut(false) {
	}
	c.most = max(c.most, len(c.held))
}

// end asks a last time, as at the end of the stream. There is nothing that more bytes could not have brought.
func (c *cutter) end() {
	if c.err == nil && c.cut(true) {
		c.t.Errorf("%q was delivered only because the stream ended", c.frames[len(c.frames)-1])
	}
}

func (c *cutter) cut(atEOF bool) bool {
	c.t.Helper()
	var before []byte
	if len(c.held) <= 256 { // else it would take most of the time
		before = slices.Clone(c.held)
	}
	n, token, err := c.split(c.held, atEOF)
	switch {
	case before != nil && !slices.Equal(before, c.held):
		c.t.Fatalf("the framer changed the data")
	case err != nil:
		if n != 0 || token != nil {
			c.t.Fatalf("an error came with advance %d and token %q", n, token)
		}
		c.err = err
		return false
	case token == nil:
		if n != 0 {
			c.t.Fatalf("advance %d without a token: bytes would vanish", n)
		}
		return false
	case n < 1 || n > len(c.held):
		c.t.Fatalf("advance %d, of %d bytes", n, len(c.held))
	case !inside(token, c.held[:n]):
		c.t.Fatalf("the token %q lies not in the data before its advance", token)
	}
	c.frames = append(c.frames, string(token))
	c.held = c.held[n:]
	return true
}

// inside reports whether token is a part of data that ends, capacity included, within it.
func inside(token, data []byte) bool {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(token)))
	base := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	return from >= base && from+uintptr(cap(token)) <= base+uintptr(len(data))
}

// run feeds the pieces to a fresh cutter and ends the stream.
func run(t testing.TB, split bufio.SplitFunc, pieces ...[]byte) *cutter {
	t.Helper()
	c := &cutter{t: t, split: split}
	for _, p := range pieces {
		c.feed(p)
	}
	c.end()
	return c
}

// everyWay feeds the stream in one piece, in two cut at every place, and byte by byte.
func everyWay(t testing.TB, split bufio.SplitFunc, stream []byte, check func(how string, c *cutter)) {
	t.Helper()
	check("in one piece", run(t, split, stream))
	for i := 1; i < len(stream); i++ {
		check("in two pieces", run(t, split, stream[:i], stream[i:]))
	}
	check("byte by byte", run(t, split, slices.Collect(slices.Chunk(stream, 1))...))
}

// A framing is one way to frame, with its encoder and a slow twin of its framer.
type framing struct {
	name  string
	make  func(max int) bufio.SplitFunc
	write func(dst []byte, body string) []byte
	twin  func(max int, stream []byte) (frames []string, failed int)
	empty bool // whether it can express an empty frame
}

const fixedLen = 7

var framings = []framing{
	{"fixed", func(int) bufio.SplitFunc { return Fixed(fixedLen) }, appendPlain, twinFixed, false},
	prefixed("prefix of 1 byte", 1), prefixed("prefix of 2 bytes", 2),
	prefixed("prefix of 4 bytes", 4), prefixed("prefix of 8 bytes", 8),
	{"varint", Varint, appendVarintBody, twinVarint, true},
	delimited("delimiter ;", ";"), delimited("delimiter aab", "aab"), delimited("delimiter ----", "----"),
	{"lines", Lines, appendEnd("\n"), twinLines, true},
	{"lines with CR", Lines, appendEnd("\r\n"), twinLines, true},
}

func prefixed(name string, width int) framing {
	return framing{name,
		func(max int) bufio.SplitFunc { return Prefixed(width, max) },
		func(dst []byte, body string) []byte { return append(AppendPrefix(dst, width, len(body)), body...) },
		func(max int, s []byte) ([]string, int) {
			return twinLength(max, s, func(s []byte) (n uint64, size int, bad bool) {
				if len(s) < width {
					return 0, 0, false
				}
				for i := range width {
					n += uint64(s[i]) << (8 * (width - 1 - i))
				}
				return n, width, false
			})
		}, true}
}

func delimited(name, delim string) framing {
	return framing{name,
		func(max int) bufio.SplitFunc { return Delimited(delim, max) }, appendEnd(delim),
		func(max int, s []byte) ([]string, int) { return twinDelimited(delim, max, s) }, true}
}

func appendPlain(dst []byte, body string) []byte { return append(dst, body...) }

func appendVarintBody(dst []byte, body string) []byte {
	return append(AppendVarint(dst, len(body)), body...)
}

func appendEnd(end string) func([]byte, string) []byte {
	return func(dst []byte, body string) []byte { return append(append(dst, body...), end...) }
}

// The twins go through the stream byte by byte. failed is the number of bytes after which the stream must be refused,
// or -1.

func twinFixed(_ int, s []byte) (frames []string, failed int) {
	var cur []byte
	for _, b := range s {
		if cur = append(cur, b); len(cur) == fixedLen {
			frames, cur = append(frames, string(cur)), nil
		}
	}
	return frames, -1
}

func twinLength(max int, s []byte, length func([]byte) (uint64, int, bool)) (frames []string, failed int) {
	start := 0
	for end := range len(s) + 1 {
		n, size, bad := length(s[start:end])
		if bad || size > 0 && n > uint64(max) {
			return frames, end
		}
		if size > 0 && end-start == size+int(n) {
			frames, start = append(frames, string(s[start+size:end])), end
		}
	}
	return frames, -1
}

func twinVarint(max int, s []byte) ([]string, int) {
	return twinLength(max, s, func(s []byte) (n uint64, size int, bad bool) {
		for i := 0; i < len(s); i++ {
			low := uint64(s[i] % 128)
			if i > 9 || i == 9 && (low > 1 || s[i] >= 128) {
				return 0, 0, true
			}
			for range i {
				low *= 128
			}
			if n += low; s[i] < 128 {
				return n, i + 1, false
			}
		}
		return 0, 0, false
	})
}

func twinDelimited(delim string, max int, s []byte) (frames []string, failed int) {
	cur := ""
	for i, b := range s {
		cur += string([]byte{b})
		if body, ok := strings.CutSuffix(cur, delim); ok {
			if len(body) > max {
				return frames, i + 1
			}
			frames, cur = append(frames, body), ""
			continue
		}
		hope := false // that the delimiter has begun, or begins now, in time
		for n := range len(delim) {
			hope = hope || strings.HasSuffix(cur, delim[:n]) && len(cur)-n <= max
		}
		if !hope {
			return frames, i + 1
		}
	}
	return frames, -1
}

func twinLines(max int, s []byte) (frames []string, failed int) {
	cur := ""
	for i, b := range s {
		if b != '\n' {
			cur += string([]byte{b})
		}
		line := strings.TrimSuffix(cur, "\r")
		if len(line) > max {
			return frames, i + 1
		}
		if b == '\n' {
			frames, cur = append(frames, line), ""
		}
	}
	return frames, -1
}

// agree compares what was cut with what the twin says; byByte says that the pieces had one byte each.
func agree(t testing.TB, f framing, max int, stream []byte, c *cutter, byByte bool) {
	t.Helper()
	frames, failed := f.twin(max, stream)
	if !slices.Equal(frames, c.frames) {
		t.Fatalf("%s, max %d, %q: frames %q, want %q", f.name, max, stream, c.frames, frames)
	}
	if (failed >= 0) != (c.err != nil) {
		t.Fatalf("%s, max %d, %q: error %v, but the twin fails at %d", f.name, max, stream, c.err, failed)
	}
	if byByte && failed >= 0 && c.seen != failed {
		t.Fatalf("%s, max %d, %q: refused after %d bytes, want %d", f.name, max, stream, c.seen, failed)
	}
	var tooLong *Error
	if c.err != nil && c.err != errVarint && !(errors.As(c.err, &tooLong) && tooLong.Len > uint64(max)) {
		t.Fatalf("%s, max %d, %q: unexpected error %v", f.name, max, stream, c.err)
	}
	for _, frame := range c.frames {
		if f.name != "fixed" && len(frame) > max {
			t.Fatalf("%s, max %d: a frame of %d bytes", f.name, max, len(frame))
		}
	}
}
