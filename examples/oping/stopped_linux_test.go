package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A server that is stopped and goes on: the client is told, keeps the connection, and gets every answer in the end.
func TestLIV9_AServerIsStoppedAndGoesOn(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	server := start(t)
	c := client(t, server, "-timeout", timeout.String(), "-interval", "100ms", "-count", "60")
	c.says(t, `answer to ping 1 in .*`)
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGSTOP))
	m, before := c.until(t, `suspect after (\d+\.\d{3})s without a word from 127\.0\.0\.1:\d+(: local stall)?`)
	assert.GreaterOrEqual(t, seconds(t, m[0]), timeout*3/4)
	m = c.says(t, `down after (\d+\.\d{3})s without a word from 127\.0\.0\.1:\d+`)
	assert.GreaterOrEqual(t, seconds(t, m[0]), timeout)
	assert.Less(t, seconds(t, m[0]), timeout+late)
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGCONT))
	m = c.says(t, `up after (\d+\.\d{3})s: 127\.0\.0\.1:\d+ is back`)
	assert.Less(t, seconds(t, m[0]), late)
	_, after := c.until(t, `60 pings sent, 60 answered, 0% loss, .*`)
	assert.Equal(t, 60, 1+before+after, "none was lost")
	c.says(t, `rtt .*`)
	assert.Equal(t, 0, c.wait(t))
	server.stop(t)
}

// A server that stays down: the last pings are lost, and the client does not wait for ever.
func TestLIV9_AServerIsStoppedForGood(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server, "-timeout", "400ms", "-interval", "50ms", "-count", "10")
	c.says(t, `answer to ping 1 in .*`)
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGSTOP))
	c.until(t, `suspect after .*`)
	c.says(t, `down after .*`)
	c.says(t, `10 pings sent, \d answered, \d+% loss, .*`)
	c.says(t, `rtt .*`)
	assert.Equal(t, 1, c.wait(t))
	require.NoError(t, server.cmd.Process.Kill())
}

// The server tells of its clients, too.
func TestLIV9_AClientIsStopped(t *testing.T) {
	t.Parallel()
	server := start(t, "-timeout", "400ms")
	c := client(t, server, "-interval", "50ms", "-count", "0", "-timeout", "1h")
	c.says(t, `answer to ping 1 in .*`)
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGSTOP))
	server.says(t, `suspect after \d+\.\d{3}s without a word from 127\.0\.0\.1:\d+(: local stall)?`)
	server.says(t, `down after \d+\.\d{3}s without a word from 127\.0\.0\.1:\d+`)
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
	server.says(t, `up after \d+\.\d{3}s: 127\.0\.0\.1:\d+ is back`)
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	c.wait(t)
	assert.Equal(t, "oping: shut down; connections closed in order: 0, aborted: 0\n", server.stop(t))
}
