package actor_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// serversEnv, if 1, makes a test fail that needs a server program which is not installed.
const serversEnv = "GALAGO_REQUIRE_SERVERS"

// A daemon is a real server program, which ends with the test.
type daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  bytes.Buffer // may be read once done is closed
	done chan struct{}
	addr string
}

// runDaemon starts a program that listens on a free port of the loopback; args are made with the port. It skips the test if there is no such
// program.
func runDaemon(t testing.TB, program, pkg string, args func(port string) []string) *daemon {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		why := fmt.Sprintf("%v (Debian's package %s has it)", err, pkg)
		if os.Getenv(serversEnv) == "1" {
			require.FailNow(t, why)
		}
		t.Skip(why)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &daemon{t: t, addr: ln.Addr().String(), done: make(chan struct{})}
	require.NoError(t, ln.Close())
	_, port, _ := net.SplitHostPort(d.addr)
	d.cmd = exec.Command(path, args(port)...)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, d.cmd.Start())
	go func() {
		defer close(d.done)
		_ = d.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.done
		if t.Failed() {
			t.Logf("what %s said:\n%s", program, &d.out)
		}
	})
	require.Eventually(t, func() bool {
		nc, err := net.Dial("tcp", d.addr)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	}, slow, 10*time.Millisecond, "%s listens", program)
	return d
}

func (d *daemon) signal(s syscall.Signal) {
	d.t.Helper()
	require.NoError(d.t, d.cmd.Process.Signal(s))
}

// A redis client asks for numbers, and knows in which order it asked for what.
type redisClient struct {
	watcher
	key string

	mu    sync.Mutex // guards what follows
	due   []string   // what the next answers are of: "INCR", or "PING" of a probe
	count int        // numbers that came
	pongs int
	wrong []string
}

func (r *redisClient) expect(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due = append(r.due, what)
}

// probe is the layer's probe. Redis answers in order, so one more answer is due, and not to the application.
func (r *redisClient) ping(dst []byte) []byte {
	r.expect("PING")
	return append(dst, "PING\r\n"...)
}

func (r *redisClient) incr(c *conn.Conn) error {
	_, err := c.Send([]byte("INCR " + r.key + "\r\n"))
	if err == nil {
		r.expect("INCR")
	}
	return err
}

func (r *redisClient) answer(_ *probe, line []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	what := "nothing"
	if len(r.due) > 0 {
		what, r.due = r.due[0], r.due[1:]
	}
	switch {
	case what == "PING" && string(line) == "+PONG":
		r.pongs++
	case what == "INCR" && string(line) == fmt.Sprintf(":%d", r.count+1):
		r.count++
	default:
		r.wrong = append(r.wrong, fmt.Sprintf("%q answers %s", line, what))
	}
	return nil
}

func (r *redisClient) counts() (due, count, pongs int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.due), r.count, r.pongs
}

func TestLIV29_ARedisServerIsStoppedAndContinued(t *testing.T) {
	const timeout = 2 * time.Second
	server := runDaemon(t, "redis-server", "redis-server", func(port string) []string {
		return []string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}
	})
	layer, err := liveness.Passive(liveness.Config{Timeout: timeout, Probe: func([]byte) []byte { panic("each connection has its own") }})
	require.NoError(t, err)
	var all []*redisClient
	for i, f := range startWays(t) {
		r := &redisClient{key: fmt.Sprint("key", i)}
		r.set(new(probe))
		r.onReceived = r.answer
		r.onConnected = func(p *probe) {
			l, _ := liveness.Of(p.Conn().Layers())
			l.SetProbe(r.ping)
		}
		_, err := f.Dial(t.Context(), server.addr, r.probe, actor.DialConfig{Conn: conn.Config{
			Layers: []interceptor.Factory{layer}, Split: frame.Lines(1024),
		}})
		require.NoError(t, err)
		r.awaitN(t, 1, "OnConnected", slow)
		all = append(all, r)
	}
	work := func(n int, pause time.Duration) {
		for range n {
			for _, r := range all {
				inTurn(t, r.probe, func() { assert.NoError(t, r.incr(r.Conn())) })
			}
			time.Sleep(pause)
		}
	}
	work(3, timeout/3) // long enough for a probe between two
	for _, r := range all {
		soon(t, func() bool { _, _, pongs := r.counts(); return pongs >= 2 }, "probes are answered")
		r.none(t, "a server that is there")
	}
	server.signal(syscall.SIGSTOP)
	for _, r := range all {
		suspect, _ := next[liveness.PeerSuspect](t, &r.watcher, 1)
		down, _ := next[liveness.PeerDown](t, &r.watcher, 1)
		assert.GreaterOrEqual(t, suspect.Silent, timeout*3/4)
		r.assertInTime(t, down, timeout)
		t.Logf("%s: suspect after %v, down after %v", r.key, suspect.Silent, down.Silent)
	}
	work(3, 10*time.Millisecond) // it waits
	server.signal(syscall.SIGCONT)
	for _, r := range all {
		up, _ := next[liveness.PeerUp](t, &r.watcher, 1)
		assert.Positive(t, up.DownFor)
	}
	work(10, 10*time.Millisecond)
	for _, r := range all {
		soon(t, func() bool { due, count, _ := r.counts(); return due == 0 && count == 16 }, "every answer came")
		assert.Empty(t, r.wrong, "and was taken for what it was")
		assert.Len(t, r.told(), 3, r.text())
		inTurn(t, r.probe, func() { r.Conn().Close() })
		r.closedInOrder(t)
	}
}

const radiusSecret = "testing123"

// radiusSplit cuts RADIUS packets (RFC 2865): their length is at bytes 2 and 3.
func radiusSplit(data []byte, _ bool) (int, []byte, error) {
	if len(data) < 20 {
		return 0, nil, nil
	}
	n := int(binary.BigEndian.Uint16(data[2:]))
	if n < 20 || n > 4096 {
		return 0, nil, fmt.Errorf("a packet of %d bytes", n)
	}
	if len(data) < n {
		return 0, nil, nil
	}
	return n, data[:n], nil
}

// statusServer is a Status-Server packet (RFC 5997) with identifier 0, which RFC 6613 sets aside for it. Its only
// attribute is Message-Authenticator.
func statusServer() []byte {
	const code, attribute, size = 12, 80, 20 + 18
	p := make([]byte, size)
	p[0] = code
	binary.BigEndian.PutUint16(p[2:], size)
	_, _ = rand.Read(p[4:20])
	p[20], p[21] = attribute, 18
	mac := hmac.New(md5.New, []byte(radiusSecret))
	mac.Write(p)
	copy(p[22:], mac.Sum(nil))
	return p
}

// radiusConfig is a home server that accepts everybody. It wants one item on a line.
func radiusConfig(dir, port string) string {
	return strings.ReplaceAll(`prefix=DIR;localstatedir=DIR;logdir=DIR;raddbdir=DIR;confdir=DIR;run_dir=DIR;db_dir=DIR;modconfdir=DIR/mods
libdir=/usr/lib/freeradius;pidfile=DIR/pid;max_requests=16384
log {;destination=stdout;}
security {;status_server=yes;reject_delay=0;}
thread pool {;start_servers=2;max_servers=4;min_spare_servers=1;max_spare_servers=3;}
modules {;}
client lo {;ipaddr=127.0.0.0/8;secret=`+radiusSecret+`;proto = *;limit {;max_connections=256;lifetime=0;idle_timeout=300;};}
server default {;listen {;type=auth;ipaddr=127.0.0.1;port=`+port+`;proto=tcp;}
authorize {;update control {;Auth-Type := Accept;};}
authenticate {;}
}
`, "DIR", dir)
}

func TestLIV30_AFreeRADIUSServerIsStoppedAndContinued(t *testing.T) {
	const tw, most = 6 * time.Second, 8 * time.Second
	dir := t.TempDir()
	server := runDaemon(t, "freeradius", "freeradius", func(port string) []string {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "mods"), 0o755))
		config := strings.ReplaceAll(radiusConfig(dir, port), ";", "\n")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "radiusd.conf"), []byte(config), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "dictionary"), []byte("$INCLUDE /usr/share/freeradius/dictionary\n"), 0o644))
		return []string{"-f", "-d", dir, "-D", "/usr/share/freeradius", "-n", "radiusd", "-l", "stdout"}
	})
	networks := startWays(t)
	dial := func(f *fixture, reopen bool) *watcher {
		layer, err := liveness.Watchdog(liveness.Config{Timeout: tw, Reopen: reopen,
			Probe: func(dst []byte) []byte { return append(dst, statusServer()...) }})
		require.NoError(t, err)
		w := new(watcher)
		w.set(new(probe))
		w.onReceived = func(p *probe, packet []byte) error {
			const accept = 2
			if assert.Equal(t, []byte{accept, 0}, packet[:2], "Access-Accept, to identifier 0") {
				p.note("answered")
				l, _ := liveness.Of(p.Conn().Layers())
				l.Answered()
			}
			return nil
		}
		_, err = f.Dial(t.Context(), server.addr, w.probe, actor.DialConfig{Conn: conn.Config{
			Layers: []interceptor.Factory{layer}, Split: radiusSplit, CloseTimeout: time.Second,
		}})
		require.NoError(t, err)
		w.awaitN(t, 1, "OnConnected", slow)
		return w
	}
	var all []*watcher
	for _, f := range networks {
		w := dial(f, false)
		inTurn(t, w.probe, func() {
			l, _ := liveness.Of(w.Conn().Layers())
			assert.NoError(t, l.Speak())
		})
		w.awaitN(t, 1, "answered", slow)
		all = append(all, w)
	}
	server.signal(syscall.SIGSTOP)
	for i, w := range all {
		suspect, _ := next[liveness.PeerSuspect](t, w, 1)
		assert.LessOrEqual(t, suspect.Silent, 2*most+10*busy)
		down, _ := next[liveness.PeerDown](t, w, 1)
		assert.LessOrEqual(t, down.Silent, 3*most+10*busy)
		t.Logf("%s: suspect after %v, down after %v", everyWay[i].name, suspect.Silent, down.Silent)
		w.awaitN(t, 1, "Stopped", slow)
		assert.ErrorIs(t, w.err, liveness.ErrPeerDown, "by default it is closed")
	}
	server.signal(syscall.SIGCONT)
	var again []*watcher
	for _, f := range networks {
		again = append(again, dial(f, true))
	}
	for i, w := range again {
		_, _ = next[liveness.PeerUp](t, w, 1)
		assert.Equal(t, 3, w.count("answered"), "up after the third answer")
		assert.Len(t, w.told(), 1, w.text())
		t.Logf("%s: up again", everyWay[i].name)
		inTurn(t, w.probe, func() { w.Conn().Abort(nil) }) // FreeRADIUS takes seconds to answer an end with its own
		w.awaitN(t, 1, "Stopped", slow)
	}
}
