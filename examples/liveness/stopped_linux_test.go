package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process that is stopped looks like one that hangs. When it goes on, its client is told, and nothing was lost.
func TestLIV9_AServerIsStoppedAndGoesOn(t *testing.T) {
	t.Parallel()
	server := start(t, "-then", "stay")
	client, _ := server.ask(t, "-timeout", "500ms", "-keep", "1h")
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGSTOP))
	client.happens(t, "suspect: ")
	down, _ := client.happens(t, "down: ")
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGCONT))
	up, for_ := client.happens(t, "up: it was down for ")
	assert.GreaterOrEqual(t, up, down)
	d, err := time.ParseDuration(for_)
	require.NoError(t, err)
	assert.InDelta(t, (up - down).Seconds(), d.Seconds(), 0.1)
	server.stop(t)
	client.happens(t, "end: the server has closed")
	assert.Equal(t, 0, client.wait(t))
}
