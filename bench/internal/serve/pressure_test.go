package serve_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/serve"
)

const (
	recordSize = 1000
	soon       = 20 * time.Second // for what should come at once, on a busy machine
)

// modest are settings with which things happen fast, and nothing is refused to who reads.
var modest = pressure.Settings{Record: recordSize, Every: time.Millisecond, High: 1 << 20, Low: 1 << 19, CloseTime: soon,
	Report: 5 * time.Millisecond}

// A host is a server in a process of its own, and what it reports.
type host struct {
	*proc.Server
	tls   bool
	lines chan pressure.Line // of which one that nobody took is replaced
}

// eachHost runs a test for every kind that plays a role, in clear text and, where it can, with TLS.
func eachHost(t *testing.T, role serve.Role, settings pressure.Settings, test func(t *testing.T, h *host)) {
	for _, name := range serve.Names(role) {
		kind, _ := serve.Find(name)
		t.Run(name, func(t *testing.T) { test(t, start(t, name, role, settings, false)) })
		if kind.TLS {
			t.Run(name+", TLS", func(t *testing.T) { test(t, start(t, name, role, settings, true)) })
		}
	}
}

func start(t *testing.T, kind string, role serve.Role, settings pressure.Settings, useTLS bool) *host {
	t.Helper()
	runtime.LockOSThread() // the server dies with it
	t.Cleanup(runtime.UnlockOSThread)
	cpus, err := proc.Available()
	require.NoError(t, err)
	command := []string{os.Args[0], "serve", kind, string(role), settings.String(), ""}
	if useTLS {
		command[5] = "tls"
	}
	server, err := proc.Start(command, nil, cpus[:1])
	require.NoError(t, err)
	h := &host{server, useTLS, make(chan pressure.Line, 1)}
	var reading sync.WaitGroup
	t.Cleanup(reading.Wait)
	t.Cleanup(func() {
		server.Stop()
		if t.Failed() {
			t.Log("the server said:", server.Stderr())
		}
	})
	reading.Go(func() {
		server.EachLine(func(text []byte) {
			var line pressure.Line
			if json.Unmarshal(text, &line) != nil || line.At == 0 {
				return
			}
			select {
			case <-h.lines:
			default:
			}
			h.lines <- line
		})
		close(h.lines)
	})
	return h
}

// await returns the first line for which cond holds.
func (h *host) await(t *testing.T, what string, cond func(pressure.Line) bool) (line pressure.Line) {
	t.Helper()
	late := time.After(soon)
	for {
		select {
		case next, ok := <-h.lines:
			require.True(t, ok, "%s: the server ended: %s", what, h.Stderr())
			if line = next; cond(line) {
				return line
			}
		case <-late:
			require.Fail(t, "it takes too long", "%s: %+v\n%s", what, line, h.Stderr())
		}
	}
}

// ended is the account when nobody is connected any more. Each send must have one outcome.
func (h *host) ended(t *testing.T) pressure.Line {
	t.Helper()
	line := h.await(t, "all have gone", func(l pressure.Line) bool { return l.Open == 0 && l.Accepted > 0 })
	assert.Equal(t, line.Accepted, line.Sent+line.Failed, "each send has one outcome")
	assert.Zero(t, line.Pending)
	assert.Empty(t, line.Wrong)
	return line
}

// A guest is a peer of a host.
type guest struct {
	net.Conn
	t    *testing.T
	last uint64
	got  int
}

func (h *host) visit(t *testing.T) *guest {
	t.Helper()
	nc, err := net.DialTimeout("tcp", h.Addr.String(), soon)
	require.NoError(t, err)
	require.NoError(t, nc.SetDeadline(time.Now().Add(soon)))
	if h.tls {
		secured := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, secured.Handshake())
		nc = secured
	}
	t.Cleanup(func() { nc.Close() })
	return &guest{Conn: nc, t: t}
}

func (h *host) visitors(t *testing.T, n int) (all []*guest) {
	t.Helper()
	for range n {
		all = append(all, h.visit(t))
	}
	h.await(t, "all are there", func(l pressure.Line) bool { return l.Open == n })
	return all
}

func (g *guest) say(word byte) {
	g.t.Helper()
	_, err := g.Write([]byte{word})
	require.NoError(g.t, err)
}

// take reads a record, which must be whole and come after the last. It returns false at the end.
func (g *guest) take() bool {
	g.t.Helper()
	record := make([]byte, recordSize)
	if _, err := io.ReadFull(g, record); errors.Is(err, io.EOF) {
		return false
	} else {
		require.NoError(g.t, err)
	}
	n, due := pressure.ReadHead(record)
	require.Greater(g.t, n, g.last, "in order")
	require.True(g.t, pressure.Intact(record), "record %d", n)
	require.LessOrEqual(g.t, due, pressure.Now(), "not before it is due")
	g.last = n
	g.got++
	return true
}

func (g *guest) takeAll() {
	g.t.Helper()
	for g.take() {
	}
}

func TestEverybodyInARoomGetsEveryRecordToTheEnd(t *testing.T) {
	eachHost(t, serve.Room, modest, func(t *testing.T, h *host) {
		all := h.visitors(t, 3)
		all[0].say(pressure.Begin)
		for _, g := range all {
			for range 20 {
				require.True(t, g.take())
			}
		}
		all[1].say(pressure.End)
		got := 0
		for _, g := range all {
			g.takeAll()
			assert.EqualValues(t, g.got, g.last, "nobody who reads misses anything")
			got += g.got
		}
		for _, g := range all {
			g.Close()
		}
		line := h.ended(t)
		assert.Equal(t, got, line.Sent)
		assert.Zero(t, line.Failed)
		assert.Empty(t, line.Refused)
	})
}

// Who takes nothing after the end is given up, with an outcome for each send.
func TestAMemberThatNeverReadsIsGivenUp(t *testing.T) {
	hasty := modest
	hasty.Record, hasty.Buffer, hasty.CloseTime = pressure.RecordMax, 8<<10, 50*time.Millisecond
	eachHost(t, serve.Room, hasty, func(t *testing.T, h *host) {
		g := h.visitors(t, 1)[0]
		g.say(pressure.Begin)
		h.await(t, "the system takes no more", func(l pressure.Line) bool {
			return l.Halted > int64(100*time.Millisecond) || l.Pending > 8<<20
		})
		g.say(pressure.End)
		line := h.ended(t)
		assert.Positive(t, line.Failed, "what was accepted last did not arrive")
	})
}

// A member that is gone without a word settles its sends, and the others go on.
func TestAMemberThatResetsIsNobodysTrouble(t *testing.T) {
	eachHost(t, serve.Room, modest, func(t *testing.T, h *host) {
		all := h.visitors(t, 2)
		all[0].say(pressure.Begin)
		require.True(t, all[1].take())
		nc := all[1].Conn
		if secured, ok := nc.(*tls.Conn); ok {
			nc = secured.NetConn()
		}
		require.NoError(t, nc.(*net.TCPConn).SetLinger(0))
		require.NoError(t, nc.Close())
		for range 50 {
			require.True(t, all[0].take())
		}
		all[0].say(pressure.End)
		all[0].takeAll()
		assert.EqualValues(t, all[0].got, all[0].last)
		all[0].Close()
		h.ended(t)
	})
}

func TestAFloodComesBack(t *testing.T) {
	const n = 200
	eachHost(t, serve.Flood, modest, func(t *testing.T, h *host) {
		g := h.visitors(t, 1)[0]
		var sending sync.WaitGroup
		sending.Go(func() {
			for i := uint64(1); i <= n; i++ {
				record := make([]byte, recordSize)
				pressure.Fill(record, i, pressure.Now())
				if _, err := g.Write(record); err != nil {
					assert.NoError(t, err)
					return
				}
			}
		})
		for range n {
			require.True(t, g.take())
		}
		sending.Wait()
		assert.EqualValues(t, n, g.last)
		g.Close()
		line := h.ended(t)
		assert.Equal(t, n, line.Sent)
	})
}

// Without ReadWaits, what comes while nothing more can be sent is refused, and counted.
func TestAFloodThatIsRefused(t *testing.T) {
	careless := modest
	careless.High, careless.Low, careless.Buffer, careless.ReadsOn = 4*recordSize, recordSize, 8<<10, true
	h := start(t, "galago", serve.Flood, careless, false)
	g := h.visitors(t, 1)[0]
	record := make([]byte, recordSize)
	sent := 0
	refusedAny := func(l pressure.Line) bool { return l.Refused["not writeable"] > 0 }
	for line := (pressure.Line{}); !refusedAny(line); line = h.await(t, "a line", func(pressure.Line) bool { return true }) {
		for range 100 {
			sent++
			pressure.Fill(record, uint64(sent), pressure.Now())
			_, err := g.Write(record)
			require.NoError(t, err, "it reads all that comes")
		}
	}
	line := h.await(t, "all were read", func(l pressure.Line) bool { return l.Accepted+l.Refused["not writeable"] == sent })
	assert.LessOrEqual(t, line.Peak, careless.Bound())
	for g.got < line.Accepted {
		require.True(t, g.take(), "what was accepted comes")
	}
	g.Close()
	assert.Equal(t, line.Accepted, h.ended(t).Sent)
}

func TestAPumpIsHeldUpAndStops(t *testing.T) {
	brisk := modest
	brisk.High, brisk.Low, brisk.Buffer = 8*recordSize, 4*recordSize, 8<<10
	eachHost(t, serve.Pump, brisk, func(t *testing.T, h *host) {
		g := h.visitors(t, 1)[0]
		g.say(pressure.Begin)
		h.await(t, "it is held up", func(l pressure.Line) bool { return l.Cycles > 0 })
		for range 200 {
			require.True(t, g.take())
		}
		g.say(pressure.End)
		g.takeAll()
		assert.EqualValues(t, g.got, g.last, "nothing is left out")
		g.Close()
		line := h.ended(t)
		assert.Equal(t, g.got, line.Sent)
		assert.LessOrEqual(t, line.Peak, brisk.Bound())
		assert.Positive(t, line.Halted)
	})
}

func TestWhatARoomIsNotTold(t *testing.T) {
	h := start(t, "net", serve.Room, modest, false)
	g := h.visitors(t, 1)[0]
	_, err := g.Write([]byte{'?', pressure.Begin, pressure.Begin, '!'})
	require.NoError(t, err)
	require.True(t, g.take())
	g.say(pressure.End)
	g.say(pressure.End)
	g.takeAll()
	assert.EqualValues(t, g.got, g.last)
}
