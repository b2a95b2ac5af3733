package main

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAKeyFillsTheSameBytesHoweverTheyAreCut(t *testing.T) {
	k := stream{1, 2, 0, 1000}.key(fromOwner, 3)
	whole := make([]byte, 100)
	k.fill(whole, 0)
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		from := r.IntN(len(whole))
		part := make([]byte, r.IntN(len(whole)-from+1))
		k.fill(part, from)
		require.Equal(t, whole[from:from+len(part)], part)
		require.Equal(t, -1, k.differs(part, from))
		if len(part) > 0 {
			at := r.IntN(len(part))
			part[at] ^= 1 << r.IntN(8)
			require.Equal(t, at, k.differs(part, from))
		}
	}
}

func TestStreamsDiffer(t *testing.T) {
	first := func(s stream, source byte, serial uint32) uint64 { return s.key(source, serial).word(0) }
	s := stream{1, 2, 0, 1000}
	base := first(s, fromOwner, 0)
	assert.NotEqual(t, base, first(stream{2, 2, 0, 1000}, fromOwner, 0), "by seed")
	assert.NotEqual(t, base, first(stream{1, 3, 0, 1000}, fromOwner, 0), "by connection")
	assert.NotEqual(t, base, first(stream{1, 2, 1, 1000}, fromOwner, 0), "by direction")
	assert.NotEqual(t, base, first(s, fromAcked, 0), "by source")
	assert.NotEqual(t, base, first(s, fromOwner, 1), "by serial")
}

func TestSizesAreOfAllMagnitudes(t *testing.T) {
	s := stream{1, 2, 0, 5000}
	var small, large bool
	for i := range uint32(1000) {
		n := s.size(fromOwner, i)
		require.True(t, n >= 0 && n <= 5000)
		small, large = small || n < 4, large || n > 4096
	}
	assert.True(t, small && large)
}

var theStream = stream{7, 1, 0, 300}

// chunks is a stream of some chunks of different sources.
func chunks(f framing) (bytes []byte, ends []int) {
	bytes = appendHello(nil, f, 1)
	ends = append(ends, len(bytes))
	for _, c := range []struct {
		source byte
		serial uint32
	}{{0, 0}, {0, 1}, {1, 0}, {2, 3}, {0, 2}, {1, 5}, {0, 3}, {0, 4}, {0, 5}} {
		bytes = theStream.appendChunk(bytes, f, c.source, c.serial)
		ends = append(ends, len(bytes))
	}
	return bytes, ends
}

func newReceiver(f framing) *unframer {
	u := &unframer{}
	u.framing = f
	u.hello = func(id uint64) (stream, error) {
		if id != 1 {
			return stream{}, errors.New("wrong number")
		}
		return theStream, nil
	}
	return u
}

func TestAReceiverTakesItsStreamHoweverItIsCut(t *testing.T) {
	for f := range framings {
		whole, _ := chunks(f)
		r := rand.New(rand.NewPCG(1, 1))
		for range 200 {
			u := newReceiver(f)
			for rest := whole; len(rest) > 0; {
				n := 1 + r.IntN(len(rest))
				require.NoError(t, u.add(rest[:n]))
				rest = rest[n:]
			}
			assert.Equal(t, [sources]uint64{6, 2, 1}, u.count)
			assert.Equal(t, mix(1)+mix(6), u.sums[fromAcked])
			assert.False(t, u.inside())
		}
	}
}

func TestOwnBytesCountsAPart(t *testing.T) {
	whole, ends := chunks(raw)
	others := ends[4] - ends[2]
	for n := range ends[5] {
		u := newReceiver(raw)
		require.NoError(t, u.add(whole[:n]))
		switch {
		case n <= ends[2]:
			require.EqualValues(t, n, u.ownBytes())
		case n < ends[4]:
			require.EqualValues(t, ends[2], u.ownBytes())
		default:
			require.EqualValues(t, n-others, u.ownBytes())
		}
	}
}

func TestAReceiverFindsEveryFlippedBit(t *testing.T) {
	for f := range framings {
		whole, _ := chunks(f)
		for at := range whole {
			broken := append([]byte(nil), whole...)
			broken[at] ^= 1 << (at % 8)
			u := newReceiver(f)
			if err := u.add(broken); err == nil {
				// A length of a frame that became longer or shorter may only show at its end, and then as a chunk that is open.
				require.True(t, f != raw && (u.inside() || u.left > 0), "%s: byte %d", framingNames[f], at)
			}
		}
	}
}

func TestAReceiverFindsWhatIsMissingDoubledOrSwapped(t *testing.T) {
	for f := range framings {
		whole, ends := chunks(f)
		chunk := func(i int) []byte { return whole[ends[i-1]:ends[i]] }
		join := func(parts ...[]byte) (all []byte) {
			for _, p := range parts {
				all = append(all, p...)
			}
			return all
		}
		for name, broken := range map[string][]byte{
			"a byte is missing":        join(whole[:ends[2]+20], whole[ends[2]+21:]),
			"a byte is doubled":        join(whole[:ends[1]+21], whole[ends[1]+20:]),
			"the owner's chunk is":     join(whole[:ends[0]], whole[ends[1]:]),
			"a chunk is doubled":       join(whole[:ends[1]], chunk(1), whole[ends[1]:]),
			"chunks are swapped":       join(whole[:ends[0]], chunk(2), chunk(1), whole[ends[2]:]),
			"a Write is doubled":       join(whole[:ends[3]], chunk(3), whole[ends[3]:]),
			"Writes are swapped":       join(whole[:ends[2]], chunk(6), chunk(4), chunk(3), whole[ends[6]:]),
			"there is no hello":        whole[ends[0]:],
			"there is a second hello":  join(whole[:ends[0]], whole),
			"another connection's":     appendHello(nil, f, 2),
			"another direction's":      join(whole[:ends[0]], stream{7, 1, 1, 300}.appendChunk(nil, f, 0, 0)),
			"a source that is unknown": join(whole[:ends[0]], f.appendLen(nil, 9), []byte{5, 0, 0, 0, 0, 0, 0, 0, 0}),
		} {
			assert.Error(t, newReceiver(f).add(broken), "%s: %s", framingNames[f], name)
		}
	}
}

func TestAFrameIsAWholeChunk(t *testing.T) {
	chunk := theStream.appendChunk(nil, raw, 0, 0)
	for name, frames := range map[string][][]byte{
		"half of one": {chunk[:len(chunk)-1]},
		"one in two":  {chunk[:headLen], chunk[headLen:]},
		"two in one":  {append(append([]byte(nil), chunk...), theStream.appendChunk(nil, raw, 0, 1)[:headLen]...)},
		"nothing":     {nil},
	} {
		r := &receiver{stream: theStream, framing: prefixed}
		var err error
		for _, f := range frames {
			err = errors.Join(err, r.takeFrame(f))
		}
		assert.Error(t, err, name)
	}
	r := &receiver{stream: theStream, framing: prefixed}
	assert.NoError(t, r.takeFrame(chunk))
}
