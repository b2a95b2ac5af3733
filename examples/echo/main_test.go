package main

import (
	"bytes"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }

// roundTrip sends p and requires it back.
func roundTrip(t *testing.T, c io.ReadWriter, p []byte) {
	t.Helper()
	_, err := c.Write(p)
	require.NoError(t, err)
	back := make([]byte, len(p))
	_, err = io.ReadFull(c, back)
	require.NoError(t, err)
	require.True(t, bytes.Equal(p, back), "sent %q, got %q back", p, back)
}

// ways are how the server can do it.
var ways = map[string][]string{
	"loops, epoll":       nil,
	"blocking, epoll":    {"-blocking"},
	"loops, portable":    {"-portable"},
	"blocking, portable": {"-blocking", "-portable"},
}

func inEachWay(t *testing.T, f func(t *testing.T, args ...string)) {
	for name, args := range ways {
		t.Run(name, func(t *testing.T) { f(t, args...) })
	}
}

func TestEchoesOnSeveralConnections(t *testing.T) { inEachWay(t, testEchoes) }

func testEchoes(t *testing.T, args ...string) {
	server := program.Start(t, append(args, "-loops", "2")...)
	a, b := server.Dial(t), server.Dial(t)
	for range 10 {
		roundTrip(t, a, []byte("hello"))
		roundTrip(t, b, []byte("good day"))
	}
	roundTrip(t, a, pattern(10_000))
}

// The client ends its direction first and reads later: all of it must come, and then the end, not a reset.
func TestCLS10_EchoAfterHalfClose(t *testing.T) { inEachWay(t, testEchoAfterHalfClose) }

func testEchoAfterHalfClose(t *testing.T, args ...string) {
	server := program.Start(t, args...)
	c := server.Dial(t)
	sent := pattern(1 << 20)

	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		if err == nil {
			err = c.CloseWrite()
		}
		wrote <- err
	}()
	// Reading begins late on purpose, so that the server meets a full socket. It must begin though the client may
	// not have sent all: the server stops reading when it cannot write.
	<-time.After(500 * time.Millisecond)
	back, err := io.ReadAll(c)
	require.NoError(t, err)
	require.NoError(t, <-wrote)
	require.Len(t, back, len(sent))
	require.True(t, bytes.Equal(sent, back), "what came back differs from what was sent")

	assert.Contains(t, server.Stop(t), "aborted: 0")
}

func TestSignalEndsInOrder(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			server := program.Start(t)
			c := server.Dial(t)
			roundTrip(t, c, []byte("before"))
			server.Signal(t, sig)

			rest, err := io.ReadAll(c) // the orderly end is EOF; a reset is an error
			require.NoError(t, err)
			assert.Empty(t, rest)
			require.NoError(t, c.Close())

			assert.Equal(t, "echo: shut down; connections closed in order: 1, aborted: 0\n", server.End(t))
		})
	}
}

func TestSignalWithoutConnections(t *testing.T) {
	server := program.Start(t)
	assert.Equal(t, "echo: shut down; connections closed in order: 0, aborted: 0\n", server.Stop(t))
}

func TestPortInUse(t *testing.T) {
	first := program.Start(t)
	code, stdout, stderr := program.Run(t, "", "-addr", first.Addr)
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout, "it must not say that it listens")
	assert.Contains(t, stderr, first.Addr)
	assert.Contains(t, stderr, "-addr")
	assert.Contains(t, stderr, "address is already in use")
	assert.Contains(t, stderr, "0 takes a free one", "the cure")
	roundTrip(t, first.Dial(t), []byte("the first one goes on"))
}

func TestBadSettings(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no port", []string{"-addr", "127.0.0.1"}, 1, []string{"-addr", `"127.0.0.1"`, "host:port"}},
		{"no address", []string{"-addr", ""}, 1, []string{"-addr", `""`, "host:port"}},
		{"port too high", []string{"-addr", "127.0.0.1:70000"}, 1, []string{"-addr", "70000", "65535"}},
		{"not an address of this machine", []string{"-addr", "192.0.2.1:7669"}, 1, []string{"-addr", "192.0.2.1:7669", "this machine"}},
		{"negative loops", []string{"-addr", "127.0.0.1:0", "-loops", "-1"}, 1, []string{"-loops -1"}},
		{"loops not a number", []string{"-loops", "many"}, 2, []string{`"many"`, "-loops"}},
		{"unknown flag", []string{"-port", "7669"}, 2, []string{"-port", "-addr"}},
		{"argument", []string{"7669"}, 2, []string{`"7669"`, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-loops"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := program.Run(t, "", test.args...)
			assert.Equal(t, test.code, code)
			assert.Empty(t, stdout)
			for _, s := range test.says {
				assert.Contains(t, stderr, s)
			}
			assert.NotContains(t, stderr, "\ngoroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
}

// pattern returns n bytes in which no stretch repeats soon, so that a lost or doubled piece shows.
func pattern(n int) []byte {
	p := make([]byte, n)
	x := uint32(2463534242)
	for i := range p {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x)
	}
	return p
}
