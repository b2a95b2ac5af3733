package main

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The measuring code starts its own executable as a server; here that is the test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
	}
	os.Exit(m.Run())
}

func TestEchoMeasuresEveryRival(t *testing.T) {
	var out, progress bytes.Buffer
	code := run([]string{"echo", "-conns", "3", "-rounds", "1", "-duration", "200ms"}, &out, &progress)
	require.Equal(t, 0, code, "%s", progress.String())
	for _, k := range kinds {
		row := rowOf(out.String(), k.name)
		require.NotEmpty(t, row, "no row for %s in\n%s", k.name, out.String())
		assert.Regexp(t, `^\s*\w+( +\d+\.\d\d µs){5} +[1-9]\d* `, row)
	}
	assert.Regexp(t, ` 1\.000 +\(1\.00-1\.00\)`, rowOf(out.String(), "raw"), "raw is as fast as itself")
}

func TestEchoWithMessagesLargerThanARead(t *testing.T) {
	if testing.Short() {
		t.Skip("a second and longer run of the same code")
	}
	var out, progress bytes.Buffer
	code := run([]string{"echo", "-conns", "2", "-size", "1000000", "-rounds", "1", "-duration", "200ms"}, &out, &progress)
	require.Equal(t, 0, code, "%s", progress.String())
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
		{"echo -rivals raw,gnat", 1, `"gnat"`},
		{"echo 64", 2, `"64"`},
		{"echo -depth 1", 2, "-depth"},
		{"serve", 2, `-kind is ""`},
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
	s, err := startServer("net", server)
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
	assert.Greater(t, used.total(), time.Duration(messages)*200*time.Nanosecond, "two system calls cost more than that")
	assert.LessOrEqual(t, used.total(), took+20*time.Millisecond, "one processor has no more than that")
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 2.0, median([]float64{3, 1, 2}))
	assert.Equal(t, 2.5, median([]float64{4, 1, 3, 2}))
}
