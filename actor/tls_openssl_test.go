//go:build linux

package actor_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
)

// toolsEnv, if 1, makes a test fail that lacks a program.
const toolsEnv = "GALAGO_REQUIRE_TLS_TOOLS"

// A sluice stands between one client and a server. It can hold what the client sends, and counts what the server does.
type sluice struct {
	t  testing.TB
	ln net.Listener

	mu   sync.Mutex
	cond sync.Cond
	held bool
	kept int    // bytes that are held
	back []byte // what the server sent
}

func newSluice(t *testing.T, addr string) *sluice {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &sluice{t: t, ln: ln}
	s.cond.L = &s.mu
	var running sync.WaitGroup
	ends := make(chan net.Conn, 2)
	running.Go(func() {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		ends <- near
		far, err := net.Dial("tcp", addr)
		if !assert.NoError(t, err) {
			return
		}
		ends <- far
		running.Go(func() {
			_, _ = io.Copy(near, io.TeeReader(far, s))
			_ = near.(*net.TCPConn).CloseWrite()
		})
		s.forward(near, far)
		_ = far.(*net.TCPConn).CloseWrite()
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.hold(false)
		for len(ends) > 0 {
			_ = (<-ends).Close()
		}
		running.Wait()
	})
	return s
}

// forward passes on in one write what came while it was held.
func (s *sluice) forward(from, to net.Conn) {
	var wait sync.WaitGroup
	var kept []byte
	ended := false
	wait.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			s.mu.Lock()
			kept = append(kept, buf[:n]...)
			s.kept = len(kept)
			ended = err != nil
			s.cond.Broadcast()
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	defer wait.Wait()
	for {
		s.mu.Lock()
		for (len(kept) == 0 || s.held) && !ended {
			s.cond.Wait()
		}
		p := kept
		kept, s.kept = nil, 0
		over := ended
		s.mu.Unlock()
		if _, err := to.Write(p); err != nil || over {
			return
		}
	}
}

func (s *sluice) hold(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = on
	s.cond.Broadcast()
}

// Write notes what the server sends.
func (s *sluice) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back = append(s.back, p...)
	return len(p), nil
}

// records are the lengths of the records that the server sent, from byte number from on.
func (s *sluice) records(from int) (lengths []int, to int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := s.back[from:]; len(p) >= 5; {
		n := 5 + int(p[3])<<8 + int(p[4])
		if n > len(p) {
			break
		}
		lengths = append(lengths, n)
		p = p[n:]
	}
	return lengths, len(s.back)
}

// A program talks through its standard input and output.
type program struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// needTool skips the test on a machine that lacks a program, unless toolsEnv forbids that.
func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv(toolsEnv) == "1" {
			require.NoError(t, err)
		}
		t.Skip(err)
	}
}

// startProgram starts a program that ends with the test.
func startProgram(t *testing.T, name string, args ...string) *program {
	t.Helper()
	needTool(t, name)
	p := &program{t: t, cmd: exec.CommandContext(t.Context(), name, args...)}
	in, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.cmd.Stderr = &p.err
	require.NoError(t, p.cmd.Start())
	p.in, p.out = in, bufio.NewReader(out)
	t.Cleanup(func() {
		_ = p.in.Close()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

func (p *program) send(line string) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.in, line)
	require.NoError(p.t, err)
}

// said waits for text on its standard error.
func (p *program) said(text string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return strings.Contains(p.err.String(), text) }, slow, time.Millisecond,
		"the program says %q: %s", text, &p.err)
}

// heard reads a line of its standard output.
func (p *program) heard(want string) {
	p.t.Helper()
	late := time.AfterFunc(slow, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	line, err := p.out.ReadString('\n')
	require.NoError(p.t, err, "the program says: %s", &p.err)
	require.Equal(p.t, want, strings.TrimSuffix(line, "\n"))
}

// heardSoon reads its standard output up to a line that begins with want, and returns the rest of that line.
func (p *program) heardSoon(want string) string {
	p.t.Helper()
	late := time.AfterFunc(slow, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	for said := ""; ; {
		line, err := p.out.ReadString('\n')
		said += line
		require.NoError(p.t, err, "the program says: %s%s", said, &p.err)
		if rest, ok := strings.CutPrefix(line, want); ok {
			return strings.TrimSuffix(rest, "\n")
		}
	}
}

// keyUpdateLen is a record with a KeyUpdate: header, message, type, tag.
const keyUpdateLen = 5 + 5 + 1 + 16

func TestTLS13_AKeyUpdateOfOpenSSL(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(serves(ours.server(nil)), func(p *probe) {
			p.onReceived = func(p *probe, data []byte) error {
				if string(data) == "pause\n" {
					p.Conn().Pause()
				}
				return echo(p, data)
			}
		})
		relay := newSluice(t, s.Addr().String())
		client := startProgram(t, "openssl", "s_client", "-connect", relay.ln.Addr().String(), "-tls1_3", "-brief")
		q := s.next()
		q.await(t, "OnConnected")
		client.said("CONNECTION ESTABLISHED")
		client.send("hello")
		client.heard("hello")

		_, from := relay.records(0)
		client.send("K") // with an answer requested
		client.said("KEYUPDATE")
		soon(t, func() bool { lengths, _ := relay.records(from); return len(lengths) > 0 }, "an answer")
		for i := range 100 {
			line := fmt.Sprintf("message %d", i)
			client.send(line)
			client.heard(line)
		}
		lengths, _ := relay.records(from)
		assert.Len(t, lengths, 101, "one answer, and the messages")
		assert.Equal(t, keyUpdateLen, lengths[0])

		// Together with a message whose OnReceived pauses, the update is answered all the same.
		_, from = relay.records(0)
		relay.hold(true)
		client.send("pause")
		kept := func(n int) {
			soon(t, func() bool { relay.mu.Lock(); defer relay.mu.Unlock(); return relay.kept >= n }, "it is kept")
		}
		kept(len("pause\n") + 22)
		client.send("K")
		kept(len("pause\n") + 22 + keyUpdateLen)
		relay.hold(false)
		client.heard("pause")
		soon(t, func() bool { lengths, _ := relay.records(from); return len(lengths) == 2 }, "the answer")
		client.send("later")
		stays(t, func() bool { return q.count("OnReceived later") == 0 }, "it is paused")
		q.tell(&actor.Resume{})
		client.heard("later")
	})
}
