package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience bounds every wait for a program. It is generous, as the machine may be busy with other tests.
const patience = 30 * time.Second

// The built programs.
var clientProgram, echoProgram string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	if len(os.Args) == 0 { // never: but so the client is part of the test, and go test reuses no result of an older one
		main()
	}
	dir, err := os.MkdirTemp("", "galago-client-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	clientProgram, echoProgram = filepath.Join(dir, "client"), filepath.Join(dir, "echo")
	for program, source := range map[string]string{clientProgram: ".", echoProgram: "../echo"} {
		if out, err := exec.Command("go", "build", "-o", program, source).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build %s: %v\n%s", source, err, out)
			return 1
		}
	}
	return m.Run()
}

// A process is a running program.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer // may be read once exited is closed
	exited         chan struct{}
}

// launch runs a program. stdout, which may be nil, gets what it prints.
func launch(t *testing.T, stdout io.Writer, program string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(program, args...), exited: make(chan struct{})}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if stdout != nil {
		p.Stdout = stdout
	}
	require.NoError(t, p.Start())
	go func() {
		p.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", filepath.Base(program), &p.stderr)
		}
	})
	return p
}

// end waits for the end of p, and returns its exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(t, "it does not end")
	}
	return p.ProcessState.ExitCode()
}

// startEcho runs the echo server at a free port, which it returns.
func startEcho(t *testing.T, args ...string) (server *process, port string) {
	t.Helper()
	r, w := io.Pipe()
	server = launch(t, w, echoProgram, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	first := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(r).ReadString('\n')
		first <- line
	}()
	t.Cleanup(func() { r.Close() }) // or a write could wait for ever
	select {
	case line := <-first:
		_, port, err := net.SplitHostPort(strings.TrimSpace(strings.TrimPrefix(line, "listening on ")))
		require.NoError(t, err, "first line on stdout: %q", line)
		return server, port
	case <-time.After(patience):
		require.Fail(t, "the server does not say where it listens")
		return nil, ""
	}
}

// A client finds the server by name, every frame comes back, and both ends see an orderly end.
func TestExchangesFramesWithEcho(t *testing.T) {
	server, port := startEcho(t)
	for _, test := range []struct{ host, count, size string }{
		{"localhost", "200", "64"},
		{"127.0.0.1", "1", "8"},
		{"localhost", "20", "32768"},
	} {
		to := net.JoinHostPort(test.host, port)
		p := launch(t, nil, clientProgram, "-to", to, "-count", test.count, "-size", test.size)
		assert.Equal(t, 0, p.end(t))
		assert.Regexp(t, fmt.Sprintf(`^%s frames of %s bytes came back from %s in [0-9.]+(µs|ms|s)\n$`, test.count, test.size, to),
			p.stdout.String())
		assert.Empty(t, p.stderr.String())
	}
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, 0, server.end(t))
	assert.Equal(t, "echo: shut down; connections closed in order: 0, aborted: 0\n", server.stderr.String(),
		"none was left")
}

// Interrupted, the client still closes in order.
func TestInterrupted(t *testing.T) {
	ends := make(chan error, 1)
	addr, first := fakeServer(t, func(c net.Conn, frame []byte) error {
		_, err := c.Read(make([]byte, 1)) // no answer: it waits
		ends <- err
		return nil
	})
	p := launch(t, nil, clientProgram, "-to", addr)
	select {
	case <-first:
	case <-time.After(patience):
		require.Fail(t, "no frame came")
	}
	require.NoError(t, p.Process.Signal(os.Interrupt))
	assert.Equal(t, 1, p.end(t))
	assert.Contains(t, p.stderr.String(), "interrupted")
	assert.Empty(t, p.stdout.String())
	assert.Equal(t, io.EOF, <-ends, "the end, and no reset")
}

// fakeServer accepts one connection, reads a frame and lets answer do the rest. first is closed when the frame came.
func fakeServer(t *testing.T, answer func(c net.Conn, frame []byte) error) (addr string, first chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	first = make(chan struct{})
	done := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			done <- err
			return
		}
		frame := make([]byte, 4+binary.BigEndian.Uint32(head))
		copy(frame, head)
		_, err = io.ReadFull(c, frame[4:])
		close(first)
		done <- errors.Join(err, answer(c, frame))
	}()
	t.Cleanup(func() {
		ln.Close()
		assert.NoError(t, <-done)
	})
	return ln.Addr().String(), first
}

func TestServersThatDoNotEcho(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(c net.Conn, frame []byte) error
		says   string
	}{
		"another frame": {func(c net.Conn, frame []byte) error {
			frame[len(frame)-1]++
			_, err := c.Write(frame)
			return err
		}, "frame 1, of 64 bytes, is not what was sent"},
		"a frame that is too long": {func(c net.Conn, _ []byte) error {
			_, err := c.Write([]byte{0x7f, 0xff, 0xff, 0xff})
			return err
		}, "2147483647"},
		"half a frame": {func(c net.Conn, frame []byte) error {
			_, err := c.Write(frame[:10])
			return err
		}, "0 of 3 frames"},
		"an early end": {func(net.Conn, []byte) error { return nil }, "too early"},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := fakeServer(t, test.answer)
			p := launch(t, nil, clientProgram, "-to", addr, "-count", "3")
			assert.Equal(t, 1, p.end(t))
			assert.Empty(t, p.stdout.String())
			assert.Contains(t, p.stderr.String(), test.says)
			assert.Contains(t, p.stderr.String(), addr)
			assert.Equal(t, 1, strings.Count(p.stderr.String(), "client: "), "it says so once")
		})
	}
}

func TestBadSettings(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	free := ln.Addr().String()
	require.NoError(t, ln.Close())
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"nobody listens", []string{"-to", free}, 1, []string{free, "connection refused", "0 of 100"}},
		{"no port", []string{"-to", "localhost"}, 1, []string{`"localhost"`, "host:port"}},
		{"port too high", []string{"-to", "localhost:70000"}, 1, []string{"70000", "65535"}},
		{"no such name", []string{"-to", "nobody.invalid:7669"}, 1, []string{"nobody.invalid", "look-up"}},
		{"no frames", []string{"-count", "0"}, 2, []string{"-count is 0"}},
		{"frames too small", []string{"-size", "7"}, 2, []string{"-size is 7", "32768"}},
		{"frames too large", []string{"-size", "32769"}, 2, []string{"-size is 32769", "32768"}},
		{"not a number", []string{"-count", "many"}, 2, []string{`"many"`, "-count"}},
		{"unknown flag", []string{"-addr", free}, 2, []string{"-addr", "-to"}},
		{"no TLS", []string{"-insecure"}, 2, []string{"-insecure", "-tls"}},
		{"no TLS, but whom to trust", []string{"-ca", "ca.pem"}, 2, []string{"-ca", "-tls"}},
		{"everybody and some", []string{"-tls", "-insecure", "-ca", "ca.pem"}, 2, []string{"-insecure", "-ca"}},
		{"no such file", []string{"-tls", "-ca", "nowhere.pem"}, 1, []string{"nowhere.pem"}},
		{"no certificates", []string{"-tls", "-ca", "main.go"}, 1, []string{"-ca main.go", "PEM"}},
		{"argument", []string{free}, 2, []string{free, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-to", "-count", "-size", "localhost:7669"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := launch(t, nil, clientProgram, test.args...)
			assert.Equal(t, test.code, p.end(t))
			assert.Empty(t, p.stdout.String())
			for _, s := range test.says {
				assert.Contains(t, p.stderr.String(), s)
			}
			assert.NotContains(t, p.stderr.String(), "goroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
}
