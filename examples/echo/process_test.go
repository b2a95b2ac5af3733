package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for the program. It is generous, as the machine may be busy with other tests.
const patience = 30 * time.Second

// program is the built server. It is built without the race detector, whose shadow memory would hide what a
// connection costs.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	if len(os.Args) == 0 { // never: but so the server is part of the test, and go test reuses no result of an older one
		main()
	}
	dir, err := os.MkdirTemp("", "galago-echo-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "echo")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A process is a running server.
type process struct {
	cmd    *exec.Cmd
	addr   string        // where it listens
	stderr *bytes.Buffer // may be read once exited is closed
	exited chan struct{}
}

// start runs the program on a free port and waits until it says where it listens.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startVia(t, nil, args...)
}

// startVia is start with a launcher: a command that gets the program and its arguments as its own, and becomes it.
func startVia(t *testing.T, launcher []string, args ...string) *process {
	t.Helper()
	line := append(slices.Clone(launcher), program, "-addr", "127.0.0.1:0")
	line = append(line, args...)
	p := &process{
		cmd:    exec.Command(line[0], line[1:]...),
		stderr: new(bytes.Buffer),
		exited: make(chan struct{}),
	}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())

	first := make(chan string, 1)
	go func() {
		out := bufio.NewReader(stdout)
		line, _ := out.ReadString('\n')
		first <- line
		out.WriteTo(new(bytes.Buffer)) // Wait may be called only when all was read
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("the server's stderr:\n%s", p.stderr)
		}
	})

	select {
	case line := <-first:
		addr, ok := strings.CutPrefix(line, "listening on ")
		require.True(t, ok && strings.HasSuffix(addr, "\n"), "first line on stdout: %q", line)
		p.addr = strings.TrimSuffix(addr, "\n")
	case <-time.After(patience):
		require.Fail(t, "the server does not say where it listens")
	}
	return p
}

// dial connects to the server. All that is done with the connection must be done within patience.
func (p *process) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", p.addr, patience)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	return nc.(*net.TCPConn)
}

// stop asks the server to end, and waits until it has.
func (p *process) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(sig))
	p.wait(t)
}

// wait checks that the server ends in order.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(t, "the server does not end")
	}
	require.Equal(t, 0, p.cmd.ProcessState.ExitCode(), "%s; stderr: %s", p.cmd.ProcessState, p.stderr)
}

// runToEnd runs the program with arguments that make it end by itself.
func runToEnd(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	overdue := time.AfterFunc(patience, func() { cmd.Process.Signal(syscall.SIGKILL) })
	defer overdue.Stop()
	err := cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
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
