// Package proc starts servers as processes of their own, on processors of their own, and reads what they use from the
// system: processor time, memory, context switches, system calls.
package proc

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// StartLimit is how long a server may take until it listens, or answers a question.
const StartLimit = 10 * time.Second

// A Server is a process that was started for one measurement.
type Server struct {
	Addr netip.AddrPort // where it listens

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr tail
}

// Start runs a command on some processors, with GOMAXPROCS set to their number, and waits until it prints
//
//	listening on HOST:PORT
//
// on a line of its own; lines before it are skipped. env is added to its environment. The calling goroutine must be locked to its thread: the process
// dies with it.
func Start(command []string, env []string, cpus CPUs) (*Server, error) {
	s := &Server{cmd: exec.Command(command[0], command[1:]...)}
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(len(cpus)))
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stderr = &s.stderr
	// A group of its own, so that whatever a script started ends with it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.stdout = bufio.NewReader(stdout)
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	release, err := Pin(cpus) // the new process inherits the thread's processors
	if err != nil {
		return nil, err
	}
	err = s.cmd.Start()
	release()
	if err != nil {
		return nil, err
	}

	if err := s.awaitAddr(); err != nil {
		s.Stop()
		return nil, fmt.Errorf("the server did not start: %w\n%s", err, s.Stderr())
	}
	return s, nil
}

// awaitAddr reads what the server prints until it says where it listens.
func (s *Server) awaitAddr() error {
	last := "nothing"
	for {
		line, err := s.line()
		if addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on "); ok {
			s.Addr, err = parseAddr(addr)
			return err
		}
		if line != "" {
			last = strconv.Quote(line)
		}
		if err != nil {
			return fmt.Errorf("it did not print \"listening on HOST:PORT\"; the last that it printed is %s: %w", last, err)
		}
	}
}

// Drain reads whatever the server prints from now on, and drops it. It is for servers that are asked nothing.
func (s *Server) Drain() { go io.Copy(io.Discard, s.stdout) }

// line reads a line of what the server prints. If that takes too long the server is killed.
func (s *Server) line() (string, error) {
	overdue := time.AfterFunc(StartLimit, s.kill)
	line, err := s.stdout.ReadString('\n')
	if !overdue.Stop() {
		return "", fmt.Errorf("it was silent for %v", StartLimit)
	}
	return line, err
}

func parseAddr(addr string) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(addr)
	if err == nil && !at.Addr().Unmap().Is4() {
		return netip.AddrPort{}, fmt.Errorf("it listens on %s: it must be an IPv4 address", addr)
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), err
}

// Ask asks a server of this program for one of its numbers; see package serve.
func (s *Server) Ask(question string) (n uint64, err error) {
	if _, err = fmt.Fprintln(s.stdin, question); err != nil {
		return 0, err
	}
	line, err := s.line()
	if err != nil {
		return 0, fmt.Errorf("the server was asked for %q: %w", question, err)
	}
	_, err = fmt.Sscanf(line, question+" %d", &n)
	return n, err
}

// Stop kills the server and waits for its end. It may be called again.
func (s *Server) Stop() {
	s.kill()
	s.cmd.Wait()
}

func (s *Server) kill() { syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }

// PID returns the process's number.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stderr returns the last that the server wrote to its standard error.
func (s *Server) Stderr() string { return s.stderr.String() }

// A tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	p  []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = append(t.p, p...)
	if len(t.p) > 2*tailSize {
		t.p = append(t.p[:0], t.p[len(t.p)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.p[max(0, len(t.p)-tailSize):])
}
