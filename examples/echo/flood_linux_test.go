package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

// flood writes the pattern to c, over and over, without reading, until the server has taken nothing for a while. It
// returns how much it took.
func flood(c *net.TCPConn) (taken int64, err error) {
	const standstill = 500 * time.Millisecond
	chunk := pattern(64 << 10)
	for limit := time.Now().Add(program.Patience); time.Now().Before(limit); {
		c.SetWriteDeadline(time.Now().Add(standstill))
		n, err := c.Write(chunk[taken%int64(len(chunk)):])
		taken += int64(n)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && n == 0:
			return taken, nil
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return taken, err
		}
	}
	return taken, fmt.Errorf("after %d bytes the server still takes more", taken)
}

// Clients that send without end and never read must cost little and disturb nobody.
func TestBP16_FloodersCostLittleAndDisturbNobody(t *testing.T) {
	const (
		flooders = 100
		limit    = 250 << 20 // bytes that the server process may grow by
	)
	server := program.Start(t)
	good := server.Dial(t)
	roundTrip(t, good, []byte("warm"))
	before := residentBytes(t, server.Pid())

	clients := make([]*net.TCPConn, flooders)
	for i := range clients {
		clients[i] = server.Dial(t)
	}
	var flooding sync.WaitGroup
	taken, failed := make([]int64, flooders), make([]error, flooders)
	for i, c := range clients {
		flooding.Go(func() { taken[i], failed[i] = flood(c) })
	}
	stuck := make(chan struct{})
	go func() { flooding.Wait(); close(stuck) }()

	// The well-behaved client talks all the time, while the others push and for a while after.
	var took []time.Duration
	for after := 0; after < 100; {
		select {
		case <-stuck:
			after++
		default:
		}
		begin := time.Now()
		require.NoError(t, good.SetDeadline(begin.Add(program.Patience)))
		roundTrip(t, good, []byte("still there?"))
		took = append(took, time.Since(begin))
	}
	grown := residentBytes(t, server.Pid()) - before

	for i := range clients {
		require.NoError(t, failed[i], "client %d", i)
	}
	slices.Sort(took)
	median, p99, worst := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	t.Logf("the server grew by %.1f MiB; each flooder got rid of %.1f to %.1f MiB; %d answers, median %v, p99 %v, worst %v",
		float64(grown)/(1<<20), float64(slices.Min(taken))/(1<<20), float64(slices.Max(taken))/(1<<20),
		len(took), median, p99, worst)
	// The precondition: more was sent than the server may keep for one connection, so it did choose not to take it.
	assert.Greater(t, slices.Min(taken), int64(64<<10))
	assert.Less(t, grown, int64(limit), "bytes that %d flooders cost", flooders)
	// 99 of 100 and not all: on a busy machine the scheduler alone may hold one answer up.
	assert.Less(t, p99, 100*time.Millisecond)
	assert.Less(t, worst, 5*time.Second)

	// A flooder that begins to read gets its own bytes back.
	first := make([]byte, 64<<10)
	require.NoError(t, clients[0].SetReadDeadline(time.Now().Add(program.Patience)))
	_, err := io.ReadFull(clients[0], first)
	require.NoError(t, err)
	assert.Equal(t, pattern(len(first)), first)

	for _, c := range clients {
		c.Close()
	}
	good.Close()
	server.Stop(t)
}

// Shutting down under load loses nothing that was accepted: what the client gets is the beginning of what it sent, then
// the end, and no reset.
func TestSignalWhileMuchIsPending(t *testing.T) {
	server := program.Start(t)
	c := server.Dial(t)
	taken, err := flood(c)
	require.NoError(t, err)
	server.Signal(t, syscall.SIGTERM)

	require.NoError(t, c.SetReadDeadline(time.Now().Add(program.Patience)))
	back, err := io.ReadAll(c)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	assert.Greater(t, len(back), 64<<10, "the system alone holds more than that")
	assert.LessOrEqual(t, int64(len(back)), taken)
	sent := pattern(64 << 10)
	for at := 0; at < len(back); at += len(sent) {
		piece := back[at:min(at+len(sent), len(back))]
		require.True(t, bytes.Equal(sent[:len(piece)], piece), "from byte %d on, it is not what was sent", at)
	}

	assert.Equal(t, "echo: shut down; connections closed in order: 1, aborted: 0\n", server.End(t))
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
