package conn

import (
	"testing"
	"unsafe"
)

func TestSizeOfDriver(t *testing.T) {
	t.Logf("Driver %d, notice %d, sendEnd %d, block %d", unsafe.Sizeof(Driver{}), unsafe.Sizeof(notice{}), unsafe.Sizeof(sendEnd{}), unsafe.Sizeof(block{}))
}
