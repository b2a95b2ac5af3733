package actor_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
)

// peerEnv, in its environment, makes a process of the test binary a peer, of this kind.
const peerEnv = "GALAGO_TEST_PEER"

var peerKinds = map[string]func(in io.Reader, out io.Writer){"plain": obey, "watched": obeyWatched}

// obey is what a peer process does. Each line of in is a command for all of its connections, which are plain and have
// small receive buffers; the answer is one line.
//
//	dial ADDR N      connects N times
//	listen HOST      listens on a free port; the answer is the address
//	accept N         accepts N connections
//	write N          sends the next N bytes of the pattern
//	read N           receives the next N bytes, which must be the pattern
//	finish           receives to the end and closes; the answer has, for each, how many bytes came in all, and the end
func obey(in io.Reader, out io.Writer) {
	p := new(puppet)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		answer, err := p.do(strings.Fields(lines.Text()))
		if err != nil {
			answer = "failed: " + err.Error()
		}
		fmt.Fprintln(out, answer)
	}
}

// A puppet is what a peer process has.
type puppet struct {
	ln    net.Listener
	conns []*puppetConn
}

type puppetConn struct {
	*net.TCPConn
	in, out int // bytes so far
}

func (p *puppet) do(command []string) (answer string, err error) {
	var n int
	last := command[len(command)-1]
	if _, err := fmt.Sscan(last, &n); err != nil && command[0] != "listen" && command[0] != "finish" {
		return "", err
	}
	each := func(f func(c *puppetConn) error) (string, error) {
		for _, c := range p.conns {
			_ = c.SetDeadline(time.Now().Add(slow))
			if err := f(c); err != nil {
				return "", err
			}
		}
		return "done", nil
	}
	switch command[0] {
	case "dial":
		for range n {
			nc, err := smallReader.Dial("tcp", command[1])
			if err != nil {
				return "", err
			}
			p.conns = append(p.conns, &puppetConn{TCPConn: nc.(*net.TCPConn)})
		}
		return "done", nil
	case "listen":
		lc := net.ListenConfig{Control: smallReader.Control}
		if p.ln, err = lc.Listen(context.Background(), "tcp", net.JoinHostPort(last, "0")); err != nil {
			return "", err
		}
		return p.ln.Addr().String(), nil
	case "accept":
		for range n {
			nc, err := p.ln.Accept()
			if err != nil {
				return "", err
			}
			p.conns = append(p.conns, &puppetConn{TCPConn: nc.(*net.TCPConn)})
		}
		return "done", nil
	case "write":
		return each(func(c *puppetConn) error {
			_, err := c.Write(pattern(c.out + n)[c.out:])
			c.out += n
			return err
		})
	case "read":
		return each(func(c *puppetConn) error { return c.take(n) })
	case "finish":
		var ends []string
		for _, c := range p.conns {
			_ = c.SetDeadline(time.Now().Add(slow))
			ends = append(ends, c.finish())
		}
		return strings.Join(ends, ", "), nil
	}
	return "", fmt.Errorf("unknown command %q", command)
}

// take reads n bytes of the pattern.
func (c *puppetConn) take(n int) error {
	buf := make([]byte, n)
	n, err := io.ReadFull(c, buf)
	if !bytes.Equal(pattern(c.in + n)[c.in:], buf[:n]) {
		return fmt.Errorf("bytes %d to %d are not what was sent", c.in, c.in+n)
	}
	c.in += n
	return err
}

// finish reads to the end.
func (c *puppetConn) finish() string {
	var err error
	for err == nil {
		err = c.take(8 << 10)
	}
	_ = c.Close()
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return fmt.Sprintf("%d EOF", c.in)
	case errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("%d reset", c.in)
	}
	return fmt.Sprintf("%d %v", c.in, err)
}

// A peerProcess is a peer that lives in a process of its own, and dies with the test.
type peerProcess struct {
	t       testing.TB
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers chan string
	stderr  bytes.Buffer // may be read once exited is closed
	exited  chan struct{}
}

// startPeer starts a plain peer process. launcher, if any, is a command that gets it as its arguments, and becomes it.
func startPeer(t testing.TB, launcher ...string) *peerProcess {
	t.Helper()
	return startPeerOf(t, "plain", launcher...)
}

func startPeerOf(t testing.TB, kind string, launcher ...string) *peerProcess {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	args := append(launcher, self)
	p := &peerProcess{
		t:       t,
		cmd:     exec.Command(args[0], args[1:]...),
		answers: make(chan string, 1),
		exited:  make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), peerEnv+"="+kind)
	p.cmd.Stderr = &p.stderr
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.answers <- lines.Text() // there is room: each command waits for its answer
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && p.stderr.Len() > 0 {
			t.Logf("stderr of a peer:\n%s", &p.stderr)
		}
	})
	return p
}

// tell gives a command, and does not wait for the answer.
func (p *peerProcess) tell(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.stdin, format+"\n", args...)
	require.NoError(p.t, err)
}

// answer waits for the answer to the last command.
func (p *peerProcess) answer() string {
	p.t.Helper()
	select {
	case a := <-p.answers:
		require.NotContains(p.t, a, "failed: ")
		return a
	case <-p.exited:
		require.FailNow(p.t, "the peer is gone")
	case <-time.After(slow):
		require.FailNow(p.t, "the peer does not answer")
	}
	return ""
}

// ask gives a command, and returns the answer.
func (p *peerProcess) ask(format string, args ...any) string {
	p.t.Helper()
	p.tell(format, args...)
	return p.answer()
}

// kill ends the process without a word, and returns when it is gone, also if it was stopped.
func (p *peerProcess) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// halt stops the process, and returns when the system has done so.
func (p *peerProcess) halt() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP))
	soon(p.t, func() bool {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
		for _, task := range tasks {
			stat, e := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", p.cmd.Process.Pid, task.Name()))
			if e != nil || !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return err == nil
	}, "all of its threads are stopped")
}

// resume lets a stopped process go on.
func (p *peerProcess) resume() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT))
}

// onEachShell runs f with the settings of each kind of network.
func onEachShell(t *testing.T, f func(t *testing.T, cfg actor.Config)) {
	for name, cfg := range shells {
		t.Run(name, func(t *testing.T) { f(t, cfg) })
	}
}

var shells = map[string]actor.Config{"epoll": {}, "portable": {Portable: true}}
