// Package program is for tests of examples: it runs an example as what it is, a program with flags, output and an exit
// code.
//
//	func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }
//
//	func TestItListens(t *testing.T) {
//		server := program.Start(t)
//		nc := server.Dial(t)
//		...
//		assert.Equal(t, "shut down\n", server.Stop(t))
//	}
//
// Whatever a test leaves behind is killed at its end. If it has failed, it logs what its programs said.
package program

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
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience bounds every wait for a program. It is generous, as the machine may be busy with other tests.
const Patience = 30 * time.Second

// path is the built program.
var path string

// Main builds the program in whose directory the test runs, and runs the tests; it returns their exit code. main is the
// program's. It is built without the race detector, whose shadow memory would hide what a connection costs.
func Main(m *testing.M, main func()) int {
	if len(os.Args) == 0 { // never: but so the program is part of the test, and go test reuses no result of an older one
		main()
	}
	dir, err := os.MkdirTemp("", "galago-example-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path = filepath.Join(dir, "program")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A Process is a running program.
type Process struct {
	Addr string // where it listens, if Start has started it

	cmd    *exec.Cmd
	lines  chan string  // what it prints; closed after the last one
	stdout bytes.Buffer // all that it printed; may be read once exited is closed, as stderr
	stderr bytes.Buffer
	exited chan struct{}
}

// Launch runs the program. stdin may be nil.
func Launch(t *testing.T, stdin io.Reader, args ...string) *Process {
	t.Helper()
	return launch(t, stdin, append([]string{path}, args...))
}

// Start runs a server at a free port, and waits until it says where it listens.
func Start(t *testing.T, args ...string) *Process {
	t.Helper()
	return StartVia(t, nil, args...)
}

// StartVia is Start with a launcher: a command that gets the program and its arguments as its own, and becomes it.
func StartVia(t *testing.T, launcher []string, args ...string) *Process {
	t.Helper()
	p := launch(t, nil, slices.Concat(launcher, []string{path, "-addr", "127.0.0.1:0"}, args))
	line := p.Line(t)
	addr, ok := strings.CutPrefix(line, "listening on ")
	require.True(t, ok, "first line on stdout: %q", line)
	p.Addr = addr
	return p
}

func launch(t *testing.T, stdin io.Reader, line []string) *Process {
	t.Helper()
	p := &Process{
		cmd:    exec.Command(line[0], line[1:]...),
		lines:  make(chan string, 10_000),
		exited: make(chan struct{}),
	}
	p.cmd.Stdin, p.cmd.Stderr = stdin, &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		p.read(stdout)
		p.cmd.Wait() // which may be called only when all was read
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		for range p.lines { // or the goroutine could wait for ever
		}
		<-p.exited
		if t.Failed() {
			t.Logf("%q\nstdout:\n%s\nstderr:\n%s", line[1:], &p.stdout, &p.stderr)
		}
	})
	return p
}

// read passes on what the program prints, by lines.
func (p *Process) read(stdout io.Reader) {
	defer close(p.lines)
	for in := bufio.NewReader(stdout); ; {
		line, err := in.ReadString('\n')
		if line != "" {
			p.stdout.WriteString(line)
			p.lines <- line
		}
		if err != nil {
			return
		}
	}
}

// Line returns the next line that the program prints, without its end.
func (p *Process) Line(t *testing.T) string {
	t.Helper()
	line, ok := p.next(t)
	require.True(t, ok, "it prints no more")
	return line
}

// Rest returns the lines that the program prints from here to its end.
func (p *Process) Rest(t *testing.T) (lines []string) {
	t.Helper()
	for {
		line, ok := p.next(t)
		if !ok {
			return lines
		}
		lines = append(lines, line)
	}
}

func (p *Process) next(t *testing.T) (line string, ok bool) {
	t.Helper()
	select {
	case line, ok = <-p.lines:
		if ok {
			require.True(t, strings.HasSuffix(line, "\n"), "it breaks off inside a line: %q", line)
		}
		return strings.TrimSuffix(line, "\n"), ok
	case <-time.After(Patience):
		require.Fail(t, "it prints nothing")
		return "", false
	}
}

// Quiet lets d pass, in which the program must print nothing, and go on.
func (p *Process) Quiet(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		require.True(t, ok, "it prints no more")
		require.Fail(t, "it prints something", "%q", line)
	case <-time.After(d):
	}
}

// Dial connects to a server. All that is done with the connection must be done within Patience.
func (p *Process) Dial(t *testing.T) *net.TCPConn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", p.Addr, Patience)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(Patience)))
	return nc.(*net.TCPConn)
}

// Pid is the program's number in the system.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends it a signal.
func (p *Process) Signal(t *testing.T, sig os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(sig))
}

// Stop asks the program to end, and waits as End does.
func (p *Process) Stop(t *testing.T) (stderr string) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.End(t)
}

// End waits until the program has ended, which must be in order, and returns what it said on stderr.
func (p *Process) End(t *testing.T) (stderr string) {
	t.Helper()
	require.Equal(t, 0, p.Wait(t), "%s; stderr: %s", p.cmd.ProcessState, &p.stderr)
	return p.stderr.String()
}

// Wait waits until the program has ended, and returns its exit code. Lines that it printed may still be asked for.
func (p *Process) Wait(t *testing.T) (code int) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(Patience):
		require.Fail(t, "it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stderr returns what the program said on stderr, when Wait or the like has seen its end.
func (p *Process) Stderr(t *testing.T) string {
	t.Helper()
	select {
	case <-p.exited:
	default:
		require.Fail(t, "it may say more")
	}
	return p.stderr.String()
}

// Run runs the program with arguments that make it end by itself.
func Run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	require.NoError(t, cmd.Start())
	overdue := time.AfterFunc(Patience, func() { cmd.Process.Kill() })
	defer overdue.Stop()
	err := cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// FreeAddr returns an address at which nobody listens.
func FreeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}
