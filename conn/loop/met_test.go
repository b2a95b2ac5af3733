package loop

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatASocketHasMet(t *testing.T) {
	var m met
	assert.Zero(t, m.errno())
	m.fail(syscall.ECONNRESET)
	m |= metEnd
	assert.Equal(t, syscall.ECONNRESET, m.errno())
	m.fail(syscall.EPIPE)
	assert.Equal(t, syscall.EPIPE, m.errno(), "the last one counts")
	assert.NotZero(t, m&metEnd, "the end stays")
	m.fail(syscall.Errno(133))
	assert.Equal(t, syscall.EIO, m.errno(), "an error that no socket has")
}
