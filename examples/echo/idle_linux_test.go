package main

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

// Connections on which nothing happens cost no time.
func TestRES2_IdleConnectionsCostNoCPU(t *testing.T) { inEachWay(t, testIdleConnections) }

func testIdleConnections(t *testing.T, args ...string) {
	const (
		clients  = 1000
		interval = 2 * time.Second
		most     = 30 * time.Millisecond
	)
	server := program.Start(t, append(args, "-loops", "2")...)
	conns := make([]*net.TCPConn, clients)
	for i := range conns {
		conns[i] = server.Dial(t)
		roundTrip(t, conns[i], []byte("hello"))
	}
	// What the past has left to do, the collector above all, is done once. Work that comes of idle connections comes
	// again and again.
	pid := server.Pid()
	least := interval
	for tries := 0; tries < 3 && least > most; tries++ {
		before := cpuTime(t, pid)
		<-time.After(interval)
		least = min(least, cpuTime(t, pid)-before)
	}
	t.Logf("with %d idle connections the server worked %v in %v", clients, least, interval)
	assert.LessOrEqual(t, least, most)

	server.Signal(t, syscall.SIGTERM)
	for _, c := range conns {
		require.NoError(t, c.SetDeadline(time.Now().Add(program.Patience)))
		rest, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Empty(t, rest)
		require.NoError(t, c.Close())
	}
	assert.Equal(t, "echo: shut down; connections closed in order: 1000, aborted: 0\n", server.End(t))
}
