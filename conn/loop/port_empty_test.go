package loop

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
)

// A connection that reads nothing, and no error, for ever would keep a processor busy.
func TestPortEndsWhatReadsNothingForEver(t *testing.T) {
	c := newFaultyConn()
	reads := 0
	c.read = func(p []byte) (int, error) {
		if reads++; reads == maxEmptyReads {
			return copy(p, "x"), nil // it gets on
		}
		return 0, nil
	}
	e := newPortEnd(t, c)
	e.until(t, conn.Readable|conn.Hangup)
	p := make([]byte, 10)
	n, err := e.read(p)
	assert.NoError(t, err)
	assert.Equal(t, "x", string(p[:n]))
	_, err = e.read(p)
	assert.Same(t, io.ErrNoProgress, err)
	assert.Equal(t, 2*maxEmptyReads, reads)
}
