package tls

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// take is fed a stream in pieces, and gives it back whole, never more than to the end of a record.
func TestRecordsAreTakenOneByOne(t *testing.T) {
	stream := "\x17\x03\x03\x00\x05hello" + "\x17\x03\x03\x00\x00" + "\x16\x03\x03\x00\x01x" + "\x15\x03\x03\x00\x02\x02\x28"
	ends := map[int]bool{10: true, 15: true, 21: true, 28: true}
	for _, piece := range []int{1, 2, 3, 4, 5, 6, 7, 100} {
		for _, room := range []int{1, 3, 100} {
			var r records
			got := 0
			for from := 0; from < len(stream); from += piece {
				p := stream[from:min(from+piece, len(stream))]
				for len(p) > 0 {
					b := make([]byte, room)
					n := r.take(b, []byte(p))
					if !assert.Positive(t, n) {
						return
					}
					assert.Equal(t, stream[got:got+n], string(b[:n]))
					for i := got + 1; i < got+n; i++ {
						assert.False(t, ends[i], "pieces of %d: from %d to %d there is an end", piece, got, got+n)
					}
					got += n
					p = p[n:]
					assert.Equal(t, ends[got], r.left == 0 && r.have == 0, "pieces of %d, at %d", piece, got)
				}
			}
			assert.Equal(t, len(stream), got)
		}
	}
}

func TestWholeRecords(t *testing.T) {
	var r records
	for p, want := range map[string]bool{
		"": false, "\x16": false, "\x16\x03\x01\x00": false,
		"\x16\x03\x01\x00\x00":          true,
		"\x16\x03\x01\x00\x05hell":      false,
		"\x16\x03\x01\x00\x05hello":     true,
		"\x16\x03\x01\x00\x05hello\x16": true,
		"GET / HTTP/1.0":                true, // which is none: there is nothing to wait for
		"\x16\x03\x01\xff\xff":          true,
		"\x16\x09\x01\x00\x05":          true,
	} {
		assert.Equal(t, want, r.whole([]byte(p)), "%q", p)
	}
	r.take(make([]byte, 100), []byte("\x16\x03\x01\x00\x05hel"))
	assert.False(t, r.whole(nil), "the rest is missing")
	assert.True(t, r.whole([]byte("l")))
}

func TestWhatIsWorthReading(t *testing.T) {
	hello := "\x01\x00\x00\x06abcdef"
	record := func(p string) string { return "\x16\x03\x01\x00" + string(rune(len(p))) + p }
	whole := record(hello)
	for n := range len(whole) {
		assert.False(t, worthReading([]byte(whole[:n])), "%d bytes", n)
	}
	assert.True(t, worthReading([]byte(whole)))
	assert.True(t, worthReading([]byte(whole+"more")))
	var pieces strings.Builder
	for i := range hello {
		if i > 0 {
			assert.False(t, worthReading([]byte(pieces.String())), "%d records", i)
		}
		pieces.WriteString(record(hello[i : i+1]))
	}
	assert.True(t, worthReading([]byte(pieces.String())))
	for p, want := range map[string]bool{
		"GET /":                                true,
		"GET ":                                 false,
		"\x15\x03\x01\x00\x02\x02\x28":         true,
		"\x16\x03\x01\x00\x00":                 true,
		"\x16\x03\x01\x00\x04\x01\x00\xff\xff": true, // nobody says so much in good faith
		"\x16\x03\x01\x00\x04\x01\x00\x10\x00": false,
	} {
		assert.Equal(t, want, worthReading([]byte(p)), "%q", p)
	}
}

// However a client cuts its hello up, little of it is kept without a handshake that works on it.
func TestLittleIsKeptOfAHello(t *testing.T) {
	p := []byte("\x16\x03\x01\x00\x04\x01\x00\x3f\xff") // a message of 16 KiB, in records of one byte
	for !worthReading(p) {
		p = append(p, "\x16\x03\x01\x00\x01x"...)
		if !assert.Less(t, len(p), 120<<10) {
			return
		}
	}
	p = []byte("\x16\x03\x01\x40\x00\x01\x00\x3f\xff") // and in one
	for !worthReading(p) {
		p = append(p, 'x')
		if !assert.Less(t, len(p), 120<<10) {
			return
		}
	}
}
