package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience for tests is generous, as the machine may be busy with others.
const testPatience = 60 * time.Second

// program is the built program.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	if len(os.Args) == 0 { // never: but so the program is part of the test, and go test reuses no result of an older one
		main()
	}
	dir, err := os.MkdirTemp("", "galago-backpressure-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "backpressure")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A process is a running program.
type process struct {
	*exec.Cmd
	stdout watched
	stderr bytes.Buffer // may be read once exited is closed
	exited chan struct{}
}

// launch runs the program.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(program, args...), exited: make(chan struct{})}
	p.stdout.first = make(chan struct{})
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.Start())
	go func() {
		p.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", &p.stdout, &p.stderr)
		}
	})
	return p
}

// end waits for the end of p, and returns its exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(testPatience):
		require.Fail(t, "it does not end")
	}
	return p.ProcessState.ExitCode()
}

// watched keeps what is printed, and says when a tick was. It may be read once the process has exited.
type watched struct {
	buf   bytes.Buffer
	first chan struct{} // closed when a tick was printed
	told  bool
}

func (w *watched) String() string { return w.buf.String() }

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.buf.Write(p)
	if !w.told && bytes.Count(w.buf.Bytes(), []byte("\n")) > 2 {
		w.told = true
		close(w.first)
	}
	return n, err
}
