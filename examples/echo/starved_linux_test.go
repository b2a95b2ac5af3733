package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

const descriptors = 64 // all that the server may have

// startStarving starts a server that may have few descriptors. The limit is hard, for a Go program lifts a soft one.
func startStarving(t *testing.T, args ...string) *program.Process {
	t.Helper()
	limit := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors)
	return program.StartVia(t, []string{"sh", "-c", limit}, append(args, "-loops", "2")...)
}

// usedFiles counts the descriptors that a server has. Those beyond the limit were there before it, and do not count.
func usedFiles(t *testing.T, server *program.Process) (n int) {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server.Pid()))
	require.NoError(t, err)
	for _, f := range list {
		if number, err := strconv.Atoi(f.Name()); err == nil && number < descriptors {
			n++
		}
	}
	return n
}

// A crowd is clients that have connected, each of which has asked something.
type crowd struct {
	t      *testing.T
	conns  []*net.TCPConn
	served chan int // who got the answer
}

// gather connects n clients. The system takes them all, whether the server accepts them or not.
func gather(t *testing.T, server *program.Process, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, served: make(chan int, n)}
	for i := range n {
		nc := server.Dial(t)
		c.conns = append(c.conns, nc)
		var ask, answer [8]byte
		binary.BigEndian.PutUint64(ask[:], uint64(i))
		_, err := nc.Write(ask[:])
		require.NoError(t, err)
		go func() {
			if _, err := io.ReadFull(nc, answer[:]); err == nil && answer == ask {
				c.served <- i
			}
		}()
	}
	return c
}

// next waits for n clients to be served.
func (c *crowd) next(n int) (who []int) {
	c.t.Helper()
	late := time.After(program.Patience)
	for len(who) < n {
		select {
		case i := <-c.served:
			who = append(who, i)
		case <-late:
			require.Fail(c.t, "clients are not served", "only %d of %d", len(who), n)
		}
	}
	return who
}

// leave lets clients go.
func (c *crowd) leave(who []int) {
	for _, i := range who {
		c.conns[i].Close()
	}
}

// A server without descriptors goes on serving those it has, waits without working, and serves the others when there is
// room again.
func TestLSN11_MoreClientsThanDescriptors(t *testing.T) { inEachWay(t, testMoreClientsThanDescriptors) }

func testMoreClientsThanDescriptors(t *testing.T, args ...string) {
	const clients = 300
	server := startStarving(t, args...)
	pid := server.Pid()
	first := server.Dial(t)
	roundTrip(t, first, []byte("first"))
	before := usedFiles(t, server)
	room := descriptors - before
	require.Less(t, room, clients/3)

	c := gather(t, server, clients)
	inside := c.next(room)
	require.Equal(t, descriptors, usedFiles(t, server), "it is starved")

	// For a second, the first one and one of the crowd talk.
	const interval = time.Second
	var took []time.Duration
	talk := func(nc *net.TCPConn) {
		begin := time.Now()
		require.NoError(t, nc.SetDeadline(begin.Add(program.Patience)))
		roundTrip(t, nc, []byte("still there?"))
		took = append(took, time.Since(begin))
	}
	worked, began := cpuTime(t, pid), time.Now()
	for time.Since(began) < interval {
		talk(first)
		talk(c.conns[inside[0]])
		<-time.After(20 * time.Millisecond)
	}
	worked = cpuTime(t, pid) - worked
	slices.Sort(took)
	t.Logf("starved, it worked %v in %v; %d answers, median %v, worst %v", worked, time.Since(began).Round(time.Millisecond),
		len(took), took[len(took)/2], took[len(took)-1])
	assert.Less(t, worked, interval/5)
	// Not all of them: on a busy machine the scheduler alone may hold some up.
	assert.Less(t, took[len(took)*9/10], 100*time.Millisecond)
	assert.Less(t, took[len(took)-1], 5*time.Second)
	assert.Empty(t, c.served, "nobody else was served: there is no room")
	require.Equal(t, descriptors, usedFiles(t, server))

	// Half of those inside leave, and as many come in. Then all leave who are served, until nobody is left.
	c.leave(inside[:room/2])
	served := append(inside, c.next(room/2)...)
	for gone := room / 2; len(served) < clients; {
		leaving := served[gone:]
		c.leave(leaving)
		gone += len(leaving)
		served = append(served, c.next(min(len(leaving), clients-len(served)))...)
		if len(served) == clients {
			c.leave(served[gone:])
		}
	}
	slices.Sort(served)
	assert.Len(t, slices.Compact(served), clients, "each was served once")
	require.Eventually(t, func() bool { return usedFiles(t, server) == before }, program.Patience, 5*time.Millisecond,
		"the descriptors are back")
	roundTrip(t, first, []byte("last"))
	server.Signal(t, syscall.SIGTERM)
	rest, err := io.ReadAll(first)
	require.NoError(t, err)
	assert.Empty(t, rest)
	require.NoError(t, first.Close())
	assert.Equal(t, "echo: shut down; connections closed in order: 1, aborted: 0\n", server.End(t))
}

// A server that has no descriptors left can still end in order. Who was never accepted is turned away.
func TestLSN11_ASignalWhileStarved(t *testing.T) { inEachWay(t, testASignalWhileStarved) }

func testASignalWhileStarved(t *testing.T, args ...string) {
	server := startStarving(t, args...)
	room := descriptors - usedFiles(t, server)
	c := gather(t, server, 2*room)
	inside := c.next(room)
	server.Signal(t, syscall.SIGTERM)
	for i, nc := range c.conns {
		_, err := io.ReadAll(nc)
		if slices.Contains(inside, i) {
			assert.NoError(t, err, "client %d was served, and sees the end", i)
		} else {
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "client %d was not served, and is not left waiting", i)
		}
		nc.Close()
	}
	server.End(t)
	assert.Regexp(t, fmt.Sprintf(`^echo: shut down; connections closed in order: %d, aborted: 0\n$`, room),
		server.Stderr(t))
}
