package conn

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// An idle connection is to cost about 1.2 kB in all, and a Driver is its largest part: it lies, with the socket and
// the mailbox, in one allocation of package actor that must stay within its size class. What a connection needs only
// at times, it borrows from Memory; a field that makes one of these bounds fail belongs there, too.
func TestAConnectionIsSmall(t *testing.T) {
	for _, c := range []struct {
		what     string
		got, max uintptr
	}{
		{"Driver", unsafe.Sizeof(Driver{}), 320},
		{"what Driver adds to Conn", unsafe.Sizeof(Driver{}) - unsafe.Sizeof(Conn{}), 0},
		{"notice", unsafe.Sizeof(notice{}), 32},
		{"sendEnd", unsafe.Sizeof(sendEnd{}), 16},
		{"timer", unsafe.Sizeof(timer{}), 16},
	} {
		assert.LessOrEqual(t, c.got, c.max, "%s, in bytes", c.what)
	}
	assert.Equal(t, uintptr(blockSize), unsafe.Sizeof(block{}), "a block fills its size class")
	assert.GreaterOrEqual(t, uintptr(ringSize), unsafe.Sizeof(ring[notice]{})+4*unsafe.Sizeof(notice{}),
		"Memory.InUse counts a ring for what it takes at first")
}
