package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

// A client sends requests ahead whose answers are a hundred times what the server will keep for it, and reads nothing.
// None may be refused or lost, and the server's memory must not grow with them.
func TestBP12_AClientThatReadsLate(t *testing.T) {
	const (
		size  = 60_000
		count = 3000 // 180 MB of answers
	)
	server := program.Start(t)
	c, other := server.Dial(t), server.Dial(t)
	value := strings.Repeat("0123456789", size/10)
	ask(t, c, "set big "+value, "ok")
	before := residentBytes(t, server.Pid())
	_, err := c.Write(bytes.Repeat(framed("get big"), count))
	require.NoError(t, err)

	// The server serves others meanwhile. Each such answer takes a turn of its loop, so after these the first client has
	// got all that it can get.
	for range 2000 {
		ask(t, other, "get nothing", "none")
	}
	grown := residentBytes(t, server.Pid()) - before
	assert.Less(t, grown, int64(32<<20), "bytes that the server has grown by")
	for range count {
		require.NoError(t, c.SetDeadline(time.Now().Add(program.Patience)))
		hear(t, c, "ok "+value)
	}
	c.Close()
	other.Close()
	assert.Contains(t, server.Stop(t), fmt.Sprintf("requests answered: %d;", 1+count+2000))
}

// residentBytes returns the resident set size of a process.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(status), "VmRSS:")
	require.True(t, ok, "no VmRSS in %s", status)
	var kib int64
	_, err = fmt.Sscan(after, &kib)
	require.NoError(t, err)
	return kib << 10
}
