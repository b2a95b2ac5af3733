package liveness_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/interceptor/liveness"
)

const (
	ms   = time.Millisecond
	s    = time.Second
	m    = time.Minute
	h    = time.Hour
	day  = 24 * h
	year = 365 * day
)

func TestLIV1_IdleSidesKeepEachOtherUp(t *testing.T) {
	w := pair(t, liveness.Config{Timeout: 4 * s}, liveness.Config{Timeout: 4 * s})
	c := count(w)
	w.pass(60 * s)
	for _, e := range []*side{w.a, w.b} {
		e.want("nothing is told")
		e.state(liveness.StateUp)
		assert.GreaterOrEqual(t, c.empty[e], 60)
		assert.LessOrEqual(t, c.empty[e], 67)
		assert.Equal(t, []string{"OnConnected"}, e.calls(), "the application hears nothing of it")
		least, most := c.gaps(e)
		assert.GreaterOrEqual(t, least, 900*ms-10*ms)
		assert.LessOrEqual(t, most, s)
	}
}
