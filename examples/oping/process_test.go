package main

import (
	"bufio"
	"bytes"
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

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for the program. It is generous, as the machine may be busy with other tests.
const patience = 30 * time.Second

// program is the built example, without the race detector, whose shadow memory would hide what a connection costs.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	if len(os.Args) == 0 { // never: but so the program is part of the test, and go test reuses no result of an older one
		main()
	}
	dir, err := os.MkdirTemp("", "galago-oping-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "oping")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A process is a running program.
type process struct {
	cmd    *exec.Cmd
	addr   string        // where it listens
	lines  chan string   // what it prints after that
	stderr *bytes.Buffer // may be read once exited is closed
	exited chan struct{}
}

// launch runs the program. Its output comes by lines; after the last one the channel is closed.
func launch(t *testing.T, stdin io.Reader, args ...string) *process {
	t.Helper()
	p := &process{
		cmd:    exec.Command(program, args...),
		lines:  make(chan string, 10_000),
		stderr: new(bytes.Buffer),
		exited: make(chan struct{}),
	}
	p.cmd.Stdin, p.cmd.Stderr = stdin, p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
			p.lines <- in.Text()
		}
		close(p.lines)
		p.cmd.Wait() // which may be called only when all was read
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		for range p.lines { // or the goroutine could wait for ever
		}
		<-p.exited
		if t.Failed() {
			t.Logf("stderr of %q:\n%s", args, p.stderr)
		}
	})
	return p
}

// start runs a server on a free port and waits until it says where it listens.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := launch(t, nil, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	line := p.line(t)
	addr, ok := strings.CutPrefix(line, "listening on ")
	require.True(t, ok, "first line on stdout: %q", line)
	p.addr = addr
	return p
}

// line returns the next line that the program prints.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		require.True(t, ok, "it prints no more")
		return line
	case <-time.After(patience):
		require.Fail(t, "it prints nothing")
		return ""
	}
}

// stop asks the program to end, waits until it has, in order, and returns what it said on stderr.
func (p *process) stop(t *testing.T) string {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 0, p.wait(t))
	return p.stderr.String()
}

// wait waits for the end of the program, and returns its exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(t, "it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// runToEnd runs the program with arguments that make it end by itself.
func runToEnd(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	require.NoError(t, cmd.Start())
	overdue := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer overdue.Stop()
	err := cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// freeAddr returns an address at which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

// dialAs connects, says something, and returns all that comes.
func dialAs(t *testing.T, addr, words string) string {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, patience)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(nc, words)
	require.NoError(t, err)
	require.NoError(t, nc.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(nc)
	require.NoError(t, err)
	return string(got)
}
