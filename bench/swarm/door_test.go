package main

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
)

func TestDrawSocket_LeavesTheReadBufferToTheSystemWhereReadingWaits(t *testing.T) {
	small := make(map[conn.Setting]int)
	for seed := range uint64(200) {
		for _, waits := range []conn.Setting{conn.On, conn.Off} {
			o := drawSocket(rand.New(rand.NewPCG(seed, 0)), &conn.Config{ReadWaits: waits})
			if o.ReadBuffer > 0 {
				small[waits]++
			}
		}
	}
	assert.Zero(t, small[conn.On], "with ReadWaits, the system's buffer must not be small")
	assert.Positive(t, small[conn.Off], "else it must be, now and then")
}
