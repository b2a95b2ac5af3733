package frame

import (
	"bufio"
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRCV3_EveryCutOfTheStreamGivesTheSameFrames(t *testing.T) {
	var want []string
	for i, n := range []int{0, 1, 7, 300, 5000} {
		want = append(want, strings.Repeat(string(rune('a'+i)), n))
	}
	for _, f := range framings {
		if f.name == "fixed" || f.name == "prefix of 1 byte" || f.name == "delimiter aab" {
			continue // they cannot express these messages
		}
		t.Run(f.name, func(t *testing.T) {
			var stream []byte
			for _, body := range want {
				stream = f.write(stream, body)
			}
			everyWay(t, f.make(5000), stream, func(how string, c *cutter) {
				if c.err != nil || !slices.Equal(c.frames, want) || len(c.held) != 0 {
					t.Fatalf("%s: %d frames, error %v, %d bytes left", how, len(c.frames), c.err, len(c.held))
				}
			})
		})
	}
}

func TestRCV5_EachFramingDeliversEmptyFramesToo(t *testing.T) {
	for _, f := range framings {
		t.Run(f.name, func(t *testing.T) {
			want := []string{"message", "", "another"}
			if !f.empty {
				want[1] = "between"
			}
			var stream []byte
			for _, body := range want {
				stream = f.write(stream, body)
			}
			everyWay(t, f.make(7), stream, func(how string, c *cutter) {
				assert.NoError(t, c.err, how)
				assert.Equal(t, want, c.frames, how)
				assert.Empty(t, c.held, how)
			})
		})
	}
}

func TestRCV6_ALengthAboveTheLimitIsRefusedBeforeTheBody(t *testing.T) {
	for _, f := range framings {
		if !strings.Contains(f.name, "prefix") && f.name != "varint" || f.name == "prefix of 1 byte" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			allowed, tooLong := strings.Repeat("x", 1000), strings.Repeat("y", 1001)
			first := f.write(nil, allowed)
			second := f.write(nil, tooLong)
			head := len(second) - len(tooLong)
			c := &cutter{t: t, split: f.make(1000)}
			c.feed(first)
			c.feed(second[:head-1])
			require.NoError(t, c.err, "the length is not complete")
			c.feed(second[head-1 : head])
			require.Equal(t, []string{allowed}, c.frames)
			require.ErrorIs(t, c.err, bufio.ErrTooLong)
			var e *Error
			require.ErrorAs(t, c.err, &e)
			assert.Equal(t, Error{Len: 1001, Max: 1000}, *e)
			assert.ErrorContains(t, c.err, "1001")
			assert.ErrorContains(t, c.err, "1000")
		})
	}
}

func TestRCV7_MalformedLengthsAndEndlessFramesAreRefused(t *testing.T) {
	const max = 1024
	for _, tc := range []struct {
		name   string
		split  bufio.SplitFunc
		stream []byte
		at     int // after how many bytes it must be refused
		want   string
	}{
		{"top bit of 8 bytes", Prefixed(8, max), []byte{0x80, 0, 0, 0, 0, 0, 0, 0}, 8, "9223372036854775808 bytes"},
		{"all bits of 8 bytes", Prefixed(8, math.MaxInt), bytes.Repeat([]byte{255}, 8), 8, "18446744073709551615 bytes"},
		{"varint of 11 continuations", Varint(max), bytes.Repeat([]byte{0x80}, 11), 10, "malformed length"},
		{"varint of 65 bits", Varint(max), append(bytes.Repeat([]byte{0x80}, 9), 2), 10, "malformed length"},
		{"varint of 64 bits", Varint(max), append(bytes.Repeat([]byte{0x80}, 9), 1), 10, "9223372036854775808 bytes"},
		{"delimiter of 1 byte", Delimited(";", max), bytes.Repeat([]byte("x"), 1025), 1025, "1025 bytes"},
		{"delimiter of 4 bytes", Delimited(";;;;", max), bytes.Repeat([]byte("x"), 1025), 1025, "1025 bytes"},
		{"line", Lines(max), bytes.Repeat([]byte("x"), 1025), 1025, "1025 bytes"},
		{"line of CRs", Lines(max), bytes.Repeat([]byte("\r"), 1026), 1026, "1025 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyWay(t, tc.split, tc.stream, func(how string, c *cutter) {
				require.ErrorContains(t, c.err, tc.want, how)
				require.Empty(t, c.frames, how)
			})
			c := run(t, tc.split, slices.Collect(slices.Chunk(tc.stream, 1))...)
			assert.Equal(t, tc.at, c.seen, "bytes taken before it was refused")
			assert.LessOrEqual(t, c.most, tc.at)
		})
	}
}

func TestAFrameOfTheLimitPassesHoweverItsEndIsCut(t *testing.T) {
	for _, f := range framings {
		if f.name == "fixed" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			const body = "aaaa---\rx" // with the beginnings of end marks
			stream := f.write(f.write(nil, "aaaa---\r-"), body)
			everyWay(t, f.make(len(body)), stream, func(how string, c *cutter) {
				agree(t, f, len(body), stream, c, how == "byte by byte")
			})
			everyWay(t, f.make(len(body)-1), stream, func(how string, c *cutter) {
				agree(t, f, len(body)-1, stream, c, how == "byte by byte")
				assert.Error(t, c.err)
			})
		})
	}
}

func TestOnlyOneCRBelongsToTheEndOfALine(t *testing.T) {
	c := run(t, Lines(9), []byte("a\r\r\nb\rc\n\r\n\n"))
	assert.Equal(t, []string{"a\r", "b\rc", "", ""}, c.frames)
}

func TestAnEmptyFrameIsATokenAndNotNil(t *testing.T) {
	for _, f := range framings {
		if !f.empty {
			continue
		}
		stream := f.write(nil, "")
		n, token, err := f.make(1)(stream, true)
		assert.NoError(t, err, f.name)
		assert.Equal(t, len(stream), n, f.name)
		assert.NotNil(t, token, f.name)
		assert.Empty(t, token, f.name)
	}
}

func TestAnIncompleteFrameIsNeverDelivered(t *testing.T) {
	for _, f := range framings {
		whole := f.write(nil, "message")
		for n := range len(whole) {
			c := run(t, f.make(7), whole[:n]) // run asks with atEOF too
			assert.NoError(t, c.err, f.name)
			assert.Empty(t, c.frames, f.name)
			assert.Len(t, c.held, n, "%s: the rest stays, so that it can be reported", f.name)
		}
	}
}

func TestAppendingToAFrameLeavesTheNextOneAlone(t *testing.T) {
	for _, f := range framings {
		stream := f.write(f.write(nil, "message"), "another")
		n, token, err := f.make(7)(stream, false)
		require.NoError(t, err, f.name)
		_ = append(token, "overwritten"...)
		assert.Equal(t, f.write(nil, "another"), stream[n:], f.name)
	}
}

func TestLengthsNearTheLargestIntDoNotOverflow(t *testing.T) {
	head := AppendPrefix(nil, 8, math.MaxInt)
	c := run(t, Prefixed(8, math.MaxInt), head, []byte("the beginning"))
	assert.NoError(t, c.err, "more is to come")
	assert.Empty(t, c.frames)
	c = run(t, Varint(math.MaxInt), AppendVarint(nil, math.MaxInt), []byte("the beginning"))
	assert.NoError(t, c.err)
	assert.Empty(t, c.frames)
	for _, split := range []bufio.SplitFunc{Lines(math.MaxInt), Delimited("\r\n", math.MaxInt)} {
		assert.Equal(t, []string{"x"}, run(t, split, []byte("x\r\n")).frames)
	}
}

func TestTheFramersWorkWithAScanner(t *testing.T) {
	for _, f := range framings {
		want := []string{"message", "another", "onemore"}
		var stream []byte
		for _, body := range want {
			stream = f.write(stream, body)
		}
		s := bufio.NewScanner(iotest.OneByteReader(bytes.NewReader(stream)))
		s.Split(f.make(7))
		var got []string
		for s.Scan() {
			got = append(got, s.Text())
		}
		assert.NoError(t, s.Err(), f.name)
		assert.Equal(t, want, got, f.name)
	}
}

func TestWhatCannotWorkPanicsAndSaysWhy(t *testing.T) {
	for want, f := range map[string]func(){
		"frame: Fixed: n is 0: it must be at least 1 byte":               func() { Fixed(0) },
		"frame: Fixed: n is -1: it must be at least 1 byte":              func() { Fixed(-1) },
		"frame: Prefixed: width is 3: it must be 1, 2, 4 or 8 bytes":     func() { Prefixed(3, 10) },
		"frame: Prefixed: width is 0: it must be 1, 2, 4 or 8 bytes":     func() { Prefixed(0, 10) },
		"frame: Prefixed: max is 0: it must be at least 1 byte":          func() { Prefixed(4, 0) },
		"frame: Varint: max is -5: it must be at least 1 byte":           func() { Varint(-5) },
		"frame: Delimited: delim is empty: it must be at least 1 byte":   func() { Delimited("", 10) },
		"frame: Delimited: max is 0: it must be at least 1 byte":         func() { Delimited(";", 0) },
		"frame: Lines: max is 0: it must be at least 1 byte":             func() { Lines(0) },
		"frame: AppendPrefix: width is 5: it must be 1, 2, 4 or 8 bytes": func() { AppendPrefix(nil, 5, 1) },
		"frame: AppendPrefix: n is -1: a length is not negative":         func() { AppendPrefix(nil, 4, -1) },
		"frame: AppendVarint: n is -1: a length is not negative":         func() { AppendVarint(nil, -1) },
		"frame: AppendPrefix: n is 256, which needs more than 1 bytes: take a larger width": func() {
			AppendPrefix(nil, 1, 256)
		},
		"frame: AppendPrefix: n is 65536, which needs more than 2 bytes: take a larger width": func() {
			AppendPrefix(nil, 2, 1<<16)
		},
	} {
		assert.PanicsWithValue(t, want, f)
	}
}

func TestTheLargestLengthOfEachWidthIsWritten(t *testing.T) {
	assert.Equal(t, []byte{7, 255}, AppendPrefix([]byte{7}, 1, 255))
	assert.Equal(t, []byte{7, 255, 255}, AppendPrefix([]byte{7}, 2, 65535))
	assert.Equal(t, []byte{0x7f, 255, 255, 255}, AppendPrefix(nil, 4, math.MaxInt32))
	assert.Equal(t, []byte{0, 0, 0, 0, 0x7f, 255, 255, 255}, AppendPrefix(nil, 8, math.MaxInt32))
	assert.Equal(t, []byte{7, 0xac, 0x02}, AppendVarint([]byte{7}, 300))
}

func TestAnErrorMatchesErrTooLongAlone(t *testing.T) {
	err := error(&Error{Len: 5, Max: 4})
	assert.True(t, errors.Is(err, bufio.ErrTooLong))
	assert.False(t, errors.Is(err, bufio.ErrFinalToken))
	assert.Equal(t, "frame: too long: 5 bytes, and at most 4 are accepted: "+
		"raise the limit, or see whether both sides frame alike", err.Error())
	assert.False(t, errors.Is(errVarint, bufio.ErrTooLong))
}

func TestASplitAllocatesNothing(t *testing.T) {
	for _, f := range framings {
		split := f.make(7)
		whole := f.write(f.write(nil, "message"), "another")
		got := testing.AllocsPerRun(1000, func() {
			for n := range len(whole) {
				if _, _, err := split(whole[:n], false); err != nil {
					panic(err)
				}
			}
		})
		assert.Zero(t, got, f.name)
	}
	head := make([]byte, 0, 16)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		head = AppendPrefix(head[:0], 4, 300)
		head = AppendVarint(head[:0], 300)
	}), "AppendPrefix, AppendVarint")
}
