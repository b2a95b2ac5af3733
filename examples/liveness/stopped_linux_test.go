package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

// A process that is stopped looks like one that hangs. When it goes on, its client is told, and nothing was lost.
func TestLIV9_AServerIsStoppedAndGoesOn(t *testing.T) {
	t.Parallel()
	server := program.Start(t, "-then", "stay")
	client, _ := asking(t, server, "-timeout", "500ms", "-keep", "1h")
	server.Signal(t, syscall.SIGSTOP)
	happens(t, client, "suspect: ")
	down, _ := happens(t, client, "down: ")
	server.Signal(t, syscall.SIGCONT)
	up, for_ := happens(t, client, "up: it was down for ")
	assert.GreaterOrEqual(t, up, down)
	d, err := time.ParseDuration(for_)
	require.NoError(t, err)
	assert.InDelta(t, (up - down).Seconds(), d.Seconds(), 0.1)
	server.Stop(t)
	happens(t, client, "end: the server has closed")
	assert.Equal(t, 0, client.Wait(t))
}
