package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/selfsigned"
)

// patience bounds every wait for a program. It is generous, as the machine may be busy with other tests.
const patience = 30 * time.Second

// program is the built example.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	if len(os.Args) == 0 { // never: but so the program is part of the test, and go test reuses no result of an older one
		main()
	}
	dir, err := os.MkdirTemp("", "galago-smtpsink-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "smtpsink")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A sink is the running program.
type sink struct {
	cmd    *exec.Cmd
	addr   string        // where it listens
	lines  chan string   // what it prints after that
	stderr *bytes.Buffer // may be read once exited is closed
	exited chan struct{}
	cert   string // file with its certificate
	pool   *x509.CertPool
}

// start runs the program at a free port, with a certificate of which the tests know.
func start(t *testing.T, args ...string) *sink {
	t.Helper()
	cert, key, pool := certificate(t)
	args = append([]string{"-addr", "127.0.0.1:0", "-cert", cert, "-key", key}, args...)
	s := &sink{
		cmd:    exec.Command(program, args...),
		lines:  make(chan string, 1000),
		stderr: new(bytes.Buffer),
		exited: make(chan struct{}),
		cert:   cert,
		pool:   pool,
	}
	s.cmd.Stderr = s.stderr
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
			s.lines <- in.Text()
		}
		close(s.lines)
		s.cmd.Wait() // which may be called only when all was read
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		for range s.lines { // or the goroutine could wait for ever
		}
		<-s.exited
		if t.Failed() {
			t.Logf("the sink's stderr:\n%s", s.stderr)
		}
	})
	addr, ok := strings.CutPrefix(s.line(t), "listening on ")
	require.True(t, ok)
	s.addr = addr
	return s
}

// certificate makes files with one for localhost, its key, and the pool of those who trust it.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	pair, err := selfsigned.New()
	require.NoError(t, err)
	cert, key, err = selfsigned.Write(t.TempDir(), pair)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(leaf)
	return cert, key, pool
}

// line returns the next line that the program prints.
func (s *sink) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-s.lines:
		require.True(t, ok, "it prints no more")
		return line
	case <-time.After(patience):
		require.Fail(t, "it prints nothing")
		return ""
	}
}

// stop asks the program to end, waits until it has, in order, and returns what it said on stderr.
func (s *sink) stop(t *testing.T) string {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-s.exited:
	case <-time.After(patience):
		require.Fail(t, "it does not end")
	}
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode(), "%s", s.stderr)
	return s.stderr.String()
}

// A talk is a client's side of a session.
type talk struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

// open connects, and hears the greeting.
func (s *sink) open(t *testing.T) *talk {
	t.Helper()
	nc, err := net.DialTimeout("tcp", s.addr, patience)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	c := &talk{t, nc, bufio.NewReader(nc)}
	c.expect("220 localhost ESMTP smtpsink\r\n")
	return c
}

// secure does the handshake of TLS, and talks through it from here on.
func (c *talk) secure(cfg *tls.Config) {
	c.t.Helper()
	require.Zero(c.t, c.in.Buffered(), "clear text that nobody asked for")
	over := tls.Client(c.nc, cfg)
	require.NoError(c.t, over.Handshake())
	c.nc, c.in = over, bufio.NewReader(over)
}

func (c *talk) send(text string) {
	c.t.Helper()
	_, err := c.nc.Write([]byte(text))
	require.NoError(c.t, err)
}

// expect reads as many lines as want has. In want, "..." stands for the rest of a line.
func (c *talk) expect(want string) {
	c.t.Helper()
	for line := range strings.Lines(want) {
		got, err := c.in.ReadString('\n')
		require.NoError(c.t, err, "after %q", got)
		if head, ok := strings.CutSuffix(line, "...\r\n"); ok {
			require.True(c.t, strings.HasPrefix(got, head), "wanted %q, got %q", line, got)
			continue
		}
		require.Equal(c.t, line, got)
	}
}

// say sends a line and expects an answer.
func (c *talk) say(line, want string) {
	c.t.Helper()
	c.send(line + "\r\n")
	c.expect(want + "\r\n")
}

const (
	helloClear = "250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-SIZE 1048576\r\n250 STARTTLS"
	helloTLS   = "250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 1048576"
)
