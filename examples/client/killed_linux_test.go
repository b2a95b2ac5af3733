package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The server dies while the client talks to it. Whether the system ends or resets the connection depends on what was
// unread just then; the client says in each case what happened, and how far it had come.
func TestTheServerIsKilled(t *testing.T) {
	server, port := startEcho(t)
	fds := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server.Process.Pid))
		require.NoError(t, err)
		return len(list)
	}
	before := fds()
	p := launch(t, nil, clientProgram, "-to", net.JoinHostPort("127.0.0.1", port), "-count", "1000000000")
	require.Eventually(t, func() bool { return fds() > before }, patience, time.Millisecond, "they are connected")
	require.NoError(t, server.Process.Kill())
	assert.Equal(t, 1, p.end(t))
	assert.Empty(t, p.stdout.String())
	said := p.stderr.String()
	assert.Regexp(t, `^client: .*(connection reset by peer|broken pipe|truncated|too early).*\n$`, said)
	assert.Contains(t, said, "127.0.0.1:"+port)
	assert.Contains(t, said, "of 1000000000 frames came back")
	assert.Equal(t, 1, strings.Count(said, "\n"), "it says so once")
}
