package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The measuring code starts its own executable as a server; here that is the test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
	}
	os.Exit(m.Run())
}

func TestEchoMeasuresEveryRival(t *testing.T) {
	table := shortRun(t, "echo", "-conns", "3", "-duration", "200ms")
	for _, k := range kinds {
		assert.Regexp(t, `^\s*\w+( +\d+\.\d\d µs){5} +[1-9]\d* `, rowOf(table, k.name))
	}
	assert.Regexp(t, ` 1\.000 +\(1\.00-1\.00\)`, rowOf(table, "raw"), "raw is as fast as itself")
}

func TestAcceptMeasuresEveryRival(t *testing.T) {
	table := shortRun(t, "accept", "-conns", "3", "-duration", "200ms")
	for _, k := range kinds {
		assert.Regexp(t, `^\s*\w+( +[1-9]\d*){3}( +\d+\.\d\d µs){3} +[1-9]\d* `, rowOf(table, k.name))
	}
}

func TestFanoutMeasuresEveryRival(t *testing.T) {
	table := shortRun(t, "fanout", "-conns", "40", "-duration", "200ms")
	for _, k := range kinds {
		assert.Regexp(t, `^\s*\w+( +\d+\.\d\d µs){5} +[1-9]\d*( +\d+\.\d\d){3} `, rowOf(table, k.name))
	}
	assert.Regexp(t, `( +\d+\.\d\d){1} +0\.00 +0\.00 `, rowOf(table, "raw"), "nobody to wake, nothing to allocate")
	assert.Regexp(t, ` [01]\.\d\d +\d+\.\d\d +\d+ %`, rowOf(table, "galago"), "the loop is woken")
	assert.NotRegexp(t, ` 0\.00 +\d+\.\d\d +\d+ %`, rowOf(table, "galago"), "... really")
}

func TestIdleMeasuresEveryRival(t *testing.T) {
	table := shortRun(t, "idle", "-conns", "300")
	var bytes [3]int // at rest
	for i, k := range kinds {
		_, err := fmt.Sscanf(strings.TrimPrefix(strings.TrimSpace(rowOf(table, k.name)), k.name), "%d", &bytes[i])
		assert.NoError(t, err, table)
	}
	assert.Less(t, bytes[0], 2000, "raw has a descriptor and nothing else")
	assert.Greater(t, bytes[1], 4096, "net has a page of its buffer at least, and a stack")
	assert.Greater(t, bytes[2], 640, "galago has the connection at least")
}

// shortRun runs a command for one round.
func shortRun(t *testing.T, args ...string) (table string) {
	t.Helper()
	var out, progress bytes.Buffer
	code := run(append(args, "-rounds", "1"), &out, &progress)
	require.Equal(t, 0, code, "%s", progress.String())
	for _, k := range kinds {
		require.NotEmpty(t, rowOf(out.String(), k.name), "no row for %s in\n%s", k.name, out.String())
	}
	return out.String()
}

func TestARivalFromAnotherBuild(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	table := shortRun(t, "echo", "-conns", "1", "-duration", "100ms", "-rivals", "raw,net,galago,net@"+self)
	assert.NotEmpty(t, rowOf(table, "net@"+self))
	var out, progress bytes.Buffer
	args := []string{"echo", "-conns", "1", "-rounds", "1", "-duration", "100ms", "-rivals", "net@/nowhere"}
	assert.Equal(t, 1, run(args, &out, &progress))
	assert.Contains(t, progress.String(), "/nowhere", "that one is asked, and no other")
}

func TestEchoWithMessagesLargerThanARead(t *testing.T) {
	if testing.Short() {
		t.Skip("a second and longer run of the same code")
	}
	shortRun(t, "echo", "-conns", "2", "-size", "1000000", "-duration", "200ms")
}

func rowOf(table, name string) string {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(strings.TrimSpace(line), name+" ") {
			return line
		}
	}
	return ""
}

func TestBadSettingsAreNamed(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"", 2, "usage"},
		{"ecko", 2, `"ecko"`},
		{"echo -conns 0", 1, "-conns is 0"},
		{"echo -size 0", 1, "-size is 0"},
		{"echo -rounds 0", 1, "-rounds is 0"},
		{"echo -duration 1ms", 1, "-duration is 1ms"},
		{"echo -duration 2m -rounds 1001", 1, "-rounds is 1001"},
		{"accept -duration 2m -rounds 1001", 1, "-duration is 2m"},
		{"fanout -conns 20001", 1, "-conns is 20001"},
		{"idle -conns 0 -rivals raw,gnat", 1, "-conns is 0"},
		{"idle -conns 0 -rivals raw,gnat", 1, `"gnat"`},
		{"idle -duration 1s", 2, "-duration"},
		{"echo -rivals raw,gnat", 1, `"gnat"`},
		{"echo 64", 2, `"64"`},
		{"echo -depth 1", 2, "-depth"},
		{"serve", 2, `-kind is ""`},
		{"serve -kind raw -role ecko", 2, `"ecko"`},
		{"serve -kind raw -addr here", 1, `"here"`},
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, test.code, run(strings.Fields(test.args), &out, &errs), test.args)
		assert.Contains(t, errs.String(), test.says, test.args)
		assert.Empty(t, out.String(), test.args)
	}
}

// A server that does not echo must not be measured.
func TestLoadChecksWhatComesBack(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(p []byte) []byte // to what was read
		says   string
	}{
		{"wrong byte", func(p []byte) []byte { p[len(p)-1]++; return p }, "other bytes"},
		{"too long", func(p []byte) []byte { return append(p, 0) }, "1 bytes more"},
		{"nothing", func([]byte) []byte { return nil }, "closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := connect(serveOnce(t, test.answer), 1, 64)
			require.NoError(t, err)
			defer l.close()
			require.NoError(t, l.start())
			_, _, err = l.run(startLimit)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

func TestConnectFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := ln.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, ln.Close())
	_, err = connect(nobody, 2, 64)
	assert.ErrorContains(t, err, "connection 1 of 2")
	g, err := newGuests(nobody, 2)
	if err == nil { // who cannot connect may hear of it later
		_, _, err = g.run(startLimit)
		g.close()
	}
	assert.ErrorIs(t, err, unix.ECONNREFUSED)
}

// serveOnce answers one message on one connection, then closes it.
func serveOnce(t *testing.T, answer func([]byte) []byte) netip.AddrPort {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		buf := make([]byte, 64)
		if _, err := io.ReadFull(nc, buf); err == nil {
			nc.Write(answer(buf))
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// The clock that ratios rest on must run with the work done, neither idle time nor its half.
func TestServerCPUCountsWork(t *testing.T) {
	server, load, err := processors()
	require.NoError(t, err)
	release, err := pin(load)
	require.NoError(t, err)
	defer release()
	s, err := startServer(roleEcho, "net", server)
	require.NoError(t, err)
	defer s.stop()
	l, err := connect(s.addr, 4, 64)
	require.NoError(t, err)
	defer l.close()

	before, err := s.cpu()
	require.NoError(t, err)
	require.NoError(t, l.start())
	took, messages, err := l.run(200 * time.Millisecond)
	require.NoError(t, err)
	after, err := s.cpu()
	require.NoError(t, err)
	used := after.minus(before)
	assert.Greater(t, used.total, time.Duration(messages)*200*time.Nanosecond, "two system calls cost more than that")
	assert.LessOrEqual(t, used.total, took+20*time.Millisecond, "one processor has no more than that")
}

func TestTheTotalIsDividedByTicks(t *testing.T) {
	used := cpuTime{150, 4, 9}.minus(cpuTime{50, 3, 6})
	assert.EqualValues(t, 25, used.userPart())
	assert.Zero(t, cpuTime{total: 5}.userPart(), "no tick fell into it")
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 2.0, median([]float64{3, 1, 2}))
	assert.Equal(t, 2.5, median([]float64{4, 1, 3, 2}))
}
