package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/examples/internal/program"
)

// A server that is stopped and goes on: the client is told, keeps the connection, and gets every answer in the end.
func TestLIV9_AServerIsStoppedAndGoesOn(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	server := program.Start(t)
	c := client(t, server, "-timeout", timeout.String(), "-interval", "100ms", "-count", "60")
	says(t, c, `answer to ping 1 in .*`)
	server.Signal(t, syscall.SIGSTOP)
	m, before := until(t, c, `suspect after (\d+\.\d{3})s without a word from 127\.0\.0\.1:\d+(: local stall)?`)
	assert.GreaterOrEqual(t, seconds(t, m[0]), timeout*3/4)
	m = says(t, c, `down after (\d+\.\d{3})s without a word from 127\.0\.0\.1:\d+`)
	assert.GreaterOrEqual(t, seconds(t, m[0]), timeout)
	assert.Less(t, seconds(t, m[0]), timeout+late)
	server.Signal(t, syscall.SIGCONT)
	m = says(t, c, `up after (\d+\.\d{3})s: 127\.0\.0\.1:\d+ is back`)
	assert.Less(t, seconds(t, m[0]), late)
	_, after := until(t, c, `60 pings sent, 60 answered, 0% loss, .*`)
	assert.Equal(t, 60, 1+before+after, "none was lost")
	says(t, c, `rtt .*`)
	assert.Equal(t, 0, c.Wait(t))
	server.Stop(t)
}

// A server that stays down: the last pings are lost, and the client does not wait for ever.
func TestLIV9_AServerIsStoppedForGood(t *testing.T) {
	t.Parallel()
	server := program.Start(t)
	c := client(t, server, "-timeout", "400ms", "-interval", "50ms", "-count", "10")
	says(t, c, `answer to ping 1 in .*`)
	server.Signal(t, syscall.SIGSTOP)
	until(t, c, `suspect after .*`)
	says(t, c, `down after .*`)
	says(t, c, `10 pings sent, \d answered, \d+% loss, .*`)
	says(t, c, `rtt .*`)
	assert.Equal(t, 1, c.Wait(t))
	server.Signal(t, os.Kill)
}

// The server tells of its clients, too.
func TestLIV9_AClientIsStopped(t *testing.T) {
	t.Parallel()
	server := program.Start(t, "-timeout", "400ms")
	c := client(t, server, "-interval", "50ms", "-count", "0", "-timeout", "1h")
	says(t, c, `answer to ping 1 in .*`)
	c.Signal(t, syscall.SIGSTOP)
	says(t, server, `suspect after \d+\.\d{3}s without a word from 127\.0\.0\.1:\d+(: local stall)?`)
	says(t, server, `down after \d+\.\d{3}s without a word from 127\.0\.0\.1:\d+`)
	c.Signal(t, syscall.SIGCONT)
	says(t, server, `up after \d+\.\d{3}s: 127\.0\.0\.1:\d+ is back`)
	c.Signal(t, syscall.SIGTERM)
	c.Wait(t)
	assert.Equal(t, "oping: shut down; connections closed in order: 0, aborted: 0\n", server.Stop(t))
}
