package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }

// Nothing may come before its time. How much later it may come, this says: on a busy machine a program waits for its
// turn, and what is to be shown is that it does not wait for the next deadline, or for ever.
const (
	never = time.Hour       // what a test does not want to meet
	late  = 5 * time.Second // beyond the time itself

	// A turn has one time, its beginning; from there timers count. The program asks the clock a little later, and on a
	// busy machine not only a little: so it may print less time than there was.
	unseen = 50 * time.Millisecond
)

// happens requires the next line to tell of what, and returns when that was.
func happens(t *testing.T, p *program.Process, who, what string) time.Duration {
	t.Helper()
	line := p.Line(t)
	m := regexp.MustCompile(`^(\d+\.\d{3})s (\S+): (.*)$`).FindStringSubmatch(line)
	require.NotNil(t, m, "%q", line)
	require.Equal(t, []string{who, what}, m[2:], "%q", line)
	s, err := strconv.ParseFloat(m[1], 64)
	require.NoError(t, err)
	return time.Duration(s * float64(time.Second))
}

// between requires that a time was over when something happened, and not for very long.
func between(t *testing.T, limit, took time.Duration) {
	t.Helper()
	assert.GreaterOrEqual(t, took, limit-unseen)
	assert.Less(t, took, limit+late)
}

// A visitor is a member, or wants to be.
type visitor struct {
	*net.TCPConn
	t    *testing.T
	in   *bufio.Reader
	addr string
}

func visit(t *testing.T, p *program.Process) *visitor {
	t.Helper()
	c := p.Dial(t)
	v := &visitor{c, t, bufio.NewReader(c), c.LocalAddr().String()}
	happens(t, p, v.addr, "connected")
	return v
}

func (v *visitor) says(line string) {
	v.t.Helper()
	_, err := io.WriteString(v, line+"\n")
	require.NoError(v.t, err)
}

func (v *visitor) hears(want string) {
	v.t.Helper()
	line, err := v.in.ReadString('\n')
	require.NoError(v.t, err)
	require.Equal(v.t, want+"\n", line)
}

func (v *visitor) finds(want error) {
	v.t.Helper()
	_, err := v.in.ReadByte()
	require.ErrorIs(v.t, err, want)
}

// login logs in, as somebody.
func login(t *testing.T, p *program.Process) (v *visitor, at time.Duration) {
	t.Helper()
	v = visit(t, p)
	v.says("login ann")
	v.hears("welcome ann")
	return v, happens(t, p, `"ann"`, "logged in")
}

// times are flags with the given values, and never for all others.
func times(given map[string]string) (args []string) {
	for _, name := range []string{"login", "ping", "grace", "session"} {
		value := never.String()
		if v, ok := given[name]; ok {
			value = v
		}
		args = append(args, "-"+name, value)
	}
	return args
}

// A timer: who does not log in is sent away in time, and not before, whatever else it says.
func TestNoLogin(t *testing.T) {
	t.Parallel()
	server := program.Start(t, times(map[string]string{"login": "300ms"})...)
	v := visit(t, server)
	at := happens(t, server, v.addr, "sent away: no login within 300ms")
	between(t, 300*time.Millisecond, at)
	v.hears("bye no login within 300ms")
	v.finds(io.EOF)
	v.Close()
	between(t, at, happens(t, server, v.addr, "closed"))

	for _, first := range []string{"hello", "login", "login ", ""} {
		v := visit(t, server)
		v.says(first)
		happens(t, server, v.addr, "sent away: say login NAME first")
		v.hears("bye say login NAME first")
		v.Close()
		happens(t, server, v.addr, "closed")
	}

	// Half a line is no login, though bytes move.
	v = visit(t, server)
	_, err := io.WriteString(v, "login an")
	require.NoError(t, err)
	happens(t, server, v.addr, "sent away: no login within 300ms")
	server.Signal(t, os.Kill)
}

// A stopped timer does not come: nor does the login's, long after it would have been due.
func TestALoginStopsTheTimer(t *testing.T) {
	t.Parallel()
	server := program.Start(t, times(map[string]string{"login": "2s", "session": "3s"})...)
	v, _ := login(t, server)
	at := happens(t, server, `"ann"`, "sent away: 3s are over")
	between(t, 3*time.Second, at)
	v.hears("bye 3s are over")
	v.finds(io.EOF)
}

// The idle timeout: silence is asked about, again and again, and each answer stops the timer of the grace.
func TestPingAndPong(t *testing.T) {
	t.Parallel()
	const ping = 200 * time.Millisecond
	server := program.Start(t, times(map[string]string{"ping": "200ms", "grace": "2500ms"})...)
	v, before := login(t, server)
	for range 14 { // together longer than the grace
		v.hears("ping")
		at := happens(t, server, `"ann"`, "silent, asking")
		between(t, ping, at-before)
		v.says("pong")
		before = happens(t, server, `"ann"`, "is alive")
	}
	require.NoError(t, v.CloseWrite())
	happens(t, server, `"ann"`, "closed")
	v.Close()
	assert.Equal(t, "timers: shut down; connections closed in order: 0, aborted: 0\n", server.Stop(t))
}

// Who talks is not asked. The session ends all the same.
func TestWhoTalksIsNotIdle(t *testing.T) {
	t.Parallel()
	server := program.Start(t, times(map[string]string{"ping": "2s", "session": "3s"})...)
	v, _ := login(t, server)
	ended := make(chan struct{})
	go func() { // all the time, until the server does not want to hear it any more
		defer close(ended)
		for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
			if _, err := io.WriteString(v, "still here\n"); err != nil {
				return
			}
		}
	}()
	between(t, 3*time.Second, happens(t, server, `"ann"`, "sent away: 3s are over"))
	v.hears("bye 3s are over")
	v.finds(io.EOF)
	v.Close()
	<-ended
}

// Who does not answer a ping is cut off, at once: it gets no bye and no orderly end. Idle timeouts that come meanwhile
// ask no second time, and start no second grace.
func TestNoPong(t *testing.T) {
	t.Parallel()
	server := program.Start(t, times(map[string]string{"ping": "100ms", "grace": "700ms"})...)
	v, in := login(t, server)
	asked := happens(t, server, `"ann"`, "silent, asking")
	between(t, 100*time.Millisecond, asked-in)
	at := happens(t, server, `"ann"`, "no sign of life within 700ms")
	between(t, 700*time.Millisecond, at-asked)
	happens(t, server, `"ann"`, "cut off: no sign of life")
	v.hears("ping")
	v.finds(syscall.ECONNRESET)
}

// CloseTimeout: who is sent away and does not go is cut off.
func TestWhoDoesNotGo(t *testing.T) {
	t.Parallel()
	server := program.Start(t, append(times(map[string]string{"session": "200ms"}), "-end", "500ms")...)
	v, _ := login(t, server)
	told := happens(t, server, `"ann"`, "sent away: 200ms are over")
	between(t, 200*time.Millisecond, told)
	v.hears("bye 200ms are over")
	v.finds(io.EOF)
	v.says("I stay")
	at := happens(t, server, `"ann"`, "cut off: waiting for the peer's end took longer than Config.CloseTimeout, 500ms")
	between(t, 500*time.Millisecond, at-told)
}

// Timers go on while a connection closes, and so does reading. A timer that is due then must not send the member away a
// second time, nor must it be let in.
func TestATimerWhileClosing(t *testing.T) {
	t.Parallel()
	server := program.Start(t, append(times(map[string]string{"login": "200ms"}), "-end", "800ms")...)
	v := visit(t, server)
	v.says("hello")
	happens(t, server, v.addr, "sent away: say login NAME first")
	v.says("login ann")
	at := happens(t, server, v.addr, "cut off: waiting for the peer's end took longer than Config.CloseTimeout, 800ms")
	between(t, 800*time.Millisecond, at)
}

// A member that behaves hears all of it, and goes in the end.
func TestAMemberThatBehaves(t *testing.T) {
	t.Parallel()
	server := program.Start(t, times(map[string]string{"ping": "300ms", "grace": "10s", "session": "1s"})...)
	code, stdout, stderr := program.Run(t, "", "-to", server.Addr, "-name", "bob")
	assert.Equal(t, 0, code, stderr)
	assert.Empty(t, stderr)
	assert.Regexp(t, `^welcome bob\n(ping\n)+bye 1s are over\n$`, stdout)
	first := server.Line(t)
	require.Contains(t, first, ": connected")
	happens(t, server, `"bob"`, "logged in")
	happens(t, server, `"bob"`, "silent, asking")
	happens(t, server, `"bob"`, "is alive")
}

// Interrupted, each side says what it did.
func TestInterrupted(t *testing.T) {
	server := program.Start(t, times(nil)...)
	member := program.Launch(t, nil, "-to", server.Addr)
	require.Equal(t, "welcome guest", member.Line(t))
	require.Contains(t, server.Line(t), ": connected")
	happens(t, server, `"guest"`, "logged in")
	v, _ := login(t, server)
	member.Signal(t, os.Interrupt)
	require.Equal(t, 1, member.Wait(t))
	assert.Equal(t, "timers: interrupted\n", member.Stderr(t))
	happens(t, server, `"guest"`, "closed")

	server.Signal(t, os.Interrupt)
	v.finds(io.EOF)
	v.Close()
	require.Equal(t, 0, server.Wait(t))
	assert.Equal(t, "timers: shut down; connections closed in order: 1, aborted: 0\n", server.Stderr(t))
}

func TestBadSettings(t *testing.T) {
	first, free := program.Start(t), program.FreeAddr(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"port in use", []string{"-addr", first.Addr}, 1, []string{"-addr", first.Addr, "already in use", "a free one"}},
		{"no port", []string{"-addr", "127.0.0.1"}, 1, []string{"-addr", `"127.0.0.1"`, "host:port"}},
		{"nobody listens", []string{"-to", free}, 1, []string{free, "connection refused"}},
		{"no port to dial", []string{"-to", "localhost"}, 1, []string{`"localhost"`, "host:port"}},
		{"no time", []string{"-login", "0s"}, 2, []string{"-login is 0s", "500ms"}},
		{"negative time", []string{"-ping", "-1s"}, 2, []string{"-ping is -1s", "500ms"}},
		{"no unit", []string{"-grace", "5"}, 2, []string{`"5"`, "-grace"}},
		{"unknown flag", []string{"-port", "7672"}, 2, []string{"-port", "-addr"}},
		{"argument", []string{"7672"}, 2, []string{`"7672"`, "-help"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-to", "-login", "-ping", "-grace", "-session", "-end", "-start"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := program.Run(t, "", test.args...)
			assert.Equal(t, test.code, code)
			assert.Empty(t, stdout)
			for _, s := range test.says {
				assert.Contains(t, stderr, s)
			}
			assert.NotContains(t, stderr, "goroutine ", "a stack trace is no answer to a wrong setting")
		})
	}
}
