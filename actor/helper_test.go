//go:build linux

package actor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

const (
	patience = 5 * time.Second        // for an event that must come
	slow     = 30 * time.Second       // for one that needs many
	hold     = 500 * time.Millisecond // in which nothing may come
)

var system = actor.System

func TestMain(m *testing.M) {
	if kind := os.Getenv(peerEnv); kind != "" {
		peerKinds[kind](os.Stdin, os.Stdout)
		return
	}
	watchSignals()
	before := takeCensus()
	code := m.Run()
	if after := before.wait(); code == 0 && after != "" {
		fmt.Fprintln(os.Stderr, "leaked by the package's tests:", after)
		code = 1
	}
	os.Exit(code)
}

// watchSignals starts the goroutine that package signal keeps for ever once it was used.
func watchSignals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGPIPE)
	signal.Stop(c)
}

// A census counts what must not leak.
type census struct{ goroutines, descriptors int }

func takeCensus() census {
	return census{runtime.NumGoroutine(), descriptors()}
}

func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

// wait waits until there is no more than before, and says what there is if it does not come to that.
func (before census) wait() string {
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		now := takeCensus()
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return ""
		}
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			return fmt.Sprintf("%+v before, %+v now\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// A fixture is a network on the common actor system. It is shut down with the test, and nothing of it may be left.
type fixture struct {
	*actor.Network
	way    way
	t      testing.TB
	log    *logBook
	before census

	restarts bool // a strategy may give a connection another actor

	mu     sync.Mutex
	probes map[*probe]bool // that were given to the network
}

// start starts a network for a test that is no scenario: one way is enough.
func start(t testing.TB, cfg actor.Config) *fixture {
	t.Helper()
	return everyWay[0].start(t, cfg)
}

func (w way) start(t testing.TB, cfg actor.Config) *fixture {
	t.Helper()
	f := &fixture{way: w, t: t, log: new(logBook), before: takeCensus(),
		restarts: cfg.Strategy != nil, probes: make(map[*probe]bool)}
	if cfg.Loops == 0 {
		cfg.Loops = 2
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(f.log, nil))
	}
	n, err := actor.New(system, w.network(cfg))
	require.NoError(t, err)
	f.Network = n
	t.Cleanup(f.stop)
	return f
}

// stop ends the network and looks for leaks. Peers that the test opened must be closed by then.
func (f *fixture) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	_, _, _ = f.Shutdown(ctx)
	defer func() {
		if f.t.Failed() {
			f.t.Logf("the network's log:\n%s", f.log)
		}
	}()
	f.keptTheLaw()
	if n := f.InUse(); n != 0 {
		f.t.Errorf("%d bytes are still lent to connections", n)
	}
	if f.way.together { // ways looks for leaks when all have ended
		return
	}
	if leak := f.before.wait(); leak != "" {
		f.t.Errorf("leaked: %s", leak)
	}
}

// A logBook keeps what was logged.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A server is a listener whose actors are probes.
type server struct {
	*actor.Listener
	t      testing.TB
	probes chan *probe

	dialing sync.RWMutex // held by dial: no actor is made meanwhile, so that a reset cannot break into connecting
}

// serve listens on a free port. set, which may be nil, readies each probe.
func (f *fixture) serve(cfg actor.ListenConfig, set func(p *probe)) *server {
	f.t.Helper()
	return f.serveAt("127.0.0.1:0", cfg, set)
}

// serveAt is serve on addr.
func (f *fixture) serveAt(addr string, cfg actor.ListenConfig, set func(p *probe)) *server {
	f.t.Helper()
	s := &server{t: f.t, probes: make(chan *probe, 20_000)}
	ln, err := f.Listen(context.Background(), addr, func() actor.Actor {
		s.dialing.RLock()
		defer s.dialing.RUnlock()
		p := new(probe)
		if set != nil {
			set(p)
		}
		s.probes <- p
		return p
	}, cfg)
	require.NoError(f.t, err)
	s.Listener = ln
	return s
}

// next returns the next actor made.
func (s *server) next() *probe {
	s.t.Helper()
	select {
	case p := <-s.probes:
		return p
	case <-time.After(patience):
		require.FailNow(s.t, "no actor was made")
		return nil
	}
}

// A peer is a plain client.
type peer struct {
	*net.TCPConn
	t testing.TB
}

// dial connects to s. The peer is reset with the test, if not before.
func (s *server) dial() *peer {
	s.t.Helper()
	return s.dialWith(net.Dialer{})
}

func (s *server) dialWith(d net.Dialer) *peer {
	s.t.Helper()
	s.dialing.Lock()
	defer s.dialing.Unlock()
	d.Timeout = patience
	nc, err := d.Dial("tcp", s.Addr().String())
	require.NoError(s.t, err)
	p := &peer{nc.(*net.TCPConn), s.t}
	s.t.Cleanup(p.reset)
	return p
}

// open connects, and waits for OnConnected of the actor made for it. No other client may connect meanwhile.
func (s *server) open() (*peer, *probe) {
	s.t.Helper()
	c := s.dial()
	p := s.next()
	p.await(s.t, "OnConnected")
	return c, p
}

func (p *peer) reset() {
	_ = p.SetLinger(0)
	_ = p.Close()
}

func (p *peer) send(s string) {
	p.t.Helper()
	_, err := io.WriteString(p, s)
	require.NoError(p.t, err)
}

// expect reads exactly s.
func (p *peer) expect(s string) {
	p.t.Helper()
	require.NoError(p.t, p.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, len(s))
	n, err := io.ReadFull(p, buf)
	require.NoError(p.t, err, "after %q", buf[:n])
	require.Equal(p.t, s, string(buf))
}

// take reads n bytes.
func (p *peer) take(n int) []byte {
	p.t.Helper()
	require.NoError(p.t, p.SetReadDeadline(time.Now().Add(slow)))
	buf := make([]byte, n)
	_, err := io.ReadFull(p, buf)
	require.NoError(p.t, err)
	return buf
}

// rest reads to the end.
func (p *peer) rest(max time.Duration) ([]byte, error) {
	p.t.Helper()
	require.NoError(p.t, p.SetReadDeadline(time.Now().Add(max)))
	return io.ReadAll(p)
}

// expectReset reads until the peer's reset.
func (p *peer) expectReset() {
	p.t.Helper()
	_, err := p.rest(patience)
	require.ErrorIs(p.t, err, syscall.ECONNRESET)
}

// stuck makes sends of a server stay pending: small buffers, and a client that does not read.
func stuckConfig() actor.ListenConfig {
	return actor.ListenConfig{
		Socket: loop.Options{WriteBuffer: 16 << 10},
		Conn:   conn.Config{CloseTimeout: 30 * time.Second},
	}
}

var smallReader = net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	}), err)
}}

// pattern is n bytes of which each is known by its place.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p[:min(n, 251)] {
		p[i] = byte(i)
	}
	for done := 251; done < n; done *= 2 {
		copy(p[done:], p[:done])
	}
	return p
}

// patternFrom is the n bytes of an endless pattern from its byte at on.
func patternFrom(at, n int) []byte { return pattern(at%251 + n)[at%251:] }

// fixed cuts frames of n bytes.
func fixed(n int) func([]byte, bool) (int, []byte, error) {
	return func(data []byte, _ bool) (int, []byte, error) {
		if len(data) < n {
			return 0, nil, nil
		}
		return n, data[:n], nil
	}
}

// tell sends msg to the actor of p.
func (p *probe) tell(msg any) { system.Root.Send(p.self, msg) }

// closeError returns what OnClosed was told, once the actor has stopped.
func (p *probe) closeError(t testing.TB) *conn.CloseError {
	t.Helper()
	p.awaitN(t, 1, "Stopped", slow)
	var closed *conn.CloseError
	require.ErrorAs(t, p.err, &closed)
	return closed
}

// closedInOrder waits for the end, and asserts that nothing went wrong.
func (p *probe) closedInOrder(t testing.TB) {
	t.Helper()
	p.awaitN(t, 1, "Stopped", slow)
	assert.Equal(t, 1, p.count("OnClosed"))
	assert.NoError(t, p.err)
}

// stays asserts that cond holds during the hold window. Unlike assert.Never it asks on the goroutine of the test, and leaves
// no question behind: the answer of a peer process would be taken for that to the next one.
func stays(t testing.TB, cond func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(hold); time.Now().Before(until); <-tick.C {
		if !cond() {
			assert.Fail(t, "it did not stay so", what)
			return
		}
	}
}

// soon waits until cond holds.
func soon(t testing.TB, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, patience, time.Millisecond, what)
}

func fastAbort(t testing.TB, n *actor.Network) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := n.Shutdown(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// fastShutdown asserts that nothing keeps the network from ending.
func fastShutdown(t testing.TB, n *actor.Network) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := n.Shutdown(ctx)
	require.NoError(t, err)
}

// expectEnd reads to the end, by FIN or reset. Nothing was sent.
func (p *peer) expectEnd() {
	p.t.Helper()
	got, err := p.rest(patience)
	require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded)
	require.Empty(p.t, got)
}

// unsent returns how many bytes that p sent have not reached the other socket.
func unsent(t testing.TB, p *peer) int {
	t.Helper()
	var n int32
	raw, err := p.SyscallConn()
	require.NoError(t, err)
	var errno syscall.Errno
	require.NoError(t, raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	}))
	require.Zero(t, errno)
	return int(n)
}
