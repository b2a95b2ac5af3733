package main

import (
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

// StartTimeout: a server that answers no attempt to connect is given up.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	addr := unansweredAddr(t)
	began := time.Now()
	code, stdout, stderr := program.Run(t, "", "-to", addr, "-start", "400ms")
	between(t, 400*time.Millisecond, time.Since(began))
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, `timers: not connected to -to "`+addr+`" in time: `)
	assert.Contains(t, stderr, "400ms")
}

// unansweredAddr returns an address at which connections stay unanswered: the queue of who listens is full.
func unansweredAddr(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	sa, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(sa.(*syscall.SockaddrInet4).Port))
	for range 10 {
		c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	require.Fail(t, "the queue does not fill")
	return ""
}
