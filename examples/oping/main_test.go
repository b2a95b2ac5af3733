package main

import (
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }

// late is how much later than its time a thing may happen on a busy machine, so that it is not taken for one that would
// never have come.
const late = 5 * time.Second

// says requires the next line to match, and returns what the parentheses do.
func says(t *testing.T, p *program.Process, pattern string) []string {
	t.Helper()
	line := p.Line(t)
	m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(line)
	require.NotNil(t, m, "%q instead of %q", line, pattern)
	return m[1:]
}

// until skips answers, and requires the next other line to match.
func until(t *testing.T, p *program.Process, pattern string) (match []string, answers int) {
	t.Helper()
	for {
		line := p.Line(t)
		if regexp.MustCompile(`^answer to ping \d+ in [\d.]+ ms$`).MatchString(line) {
			answers++
			continue
		}
		m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(line)
		require.NotNil(t, m, "%q instead of %q", line, pattern)
		return m[1:], answers
	}
}

func seconds(t *testing.T, text string) time.Duration {
	t.Helper()
	s, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return time.Duration(s * float64(time.Second))
}

func client(t *testing.T, server *program.Process, args ...string) *program.Process {
	t.Helper()
	c := program.Launch(t, nil, append([]string{"-to", server.Addr}, args...)...)
	says(t, c, "connected to "+regexp.QuoteMeta(server.Addr))
	return c
}

func TestPingsAndStatistics(t *testing.T) {
	t.Parallel()
	server := program.Start(t)
	c := client(t, server, "-interval", "20ms", "-count", "5")
	for i := range 5 {
		says(t, c, `answer to ping `+strconv.Itoa(i+1)+` in \d+\.\d{3} ms`)
	}
	took := seconds(t, says(t, c, `5 pings sent, 5 answered, 0% loss, time (\d+\.\d{3})s`)[0])
	assert.GreaterOrEqual(t, took, 80*time.Millisecond)
	m := says(t, c, `rtt min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms`)
	var v []float64
	for _, s := range m {
		f, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		v = append(v, f)
	}
	assert.LessOrEqual(t, v[0], v[1])
	assert.LessOrEqual(t, v[1], v[2])
	assert.LessOrEqual(t, v[3], v[2])
	assert.Equal(t, 0, c.Wait(t))
	assert.Empty(t, c.Stderr(t))
	assert.Equal(t, "oping: shut down; connections closed in order: 0, aborted: 0\n", server.Stop(t))
}

// Interrupted, a client prints what it knows.
func TestPingsUntilASignal(t *testing.T) {
	t.Parallel()
	server := program.Start(t)
	c := client(t, server, "-interval", "20ms", "-count", "0")
	for range 10 {
		says(t, c, `answer to ping .*`)
	}
	c.Signal(t, os.Interrupt)
	until(t, c, `\d+ pings sent, \d+ answered, .*`)
	says(t, c, `rtt .*`)
	c.Wait(t)
	server.Stop(t)
}

// A server that is gone takes the pings with it, and the client says so.
func TestAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	server := program.Start(t)
	c := client(t, server, "-interval", "20ms", "-count", "100000")
	for range 3 {
		says(t, c, `answer to ping .*`)
	}
	server.Signal(t, os.Kill)
	until(t, c, `\d+ pings sent, \d+ answered, .*`)
	assert.Equal(t, 1, c.Wait(t))
	assert.Regexp(t, "without a goodbye|reset by peer|broken pipe", c.Stderr(t))
}

// The cleaner: a client that asks for nothing is sent away, though it is alive. One that asks is not.
func TestLIV32_TheServerCleans(t *testing.T) {
	t.Parallel()
	const after = 300 * time.Millisecond
	server := program.Start(t, "-clean-after", after.String(), "-timeout", "100ms")
	idle := client(t, server, "-interval", "1h", "-count", "2", "-timeout", "100ms")
	says(t, idle, `answer to ping 1 in .*`)
	m := says(t, server, `cleaned 127\.0\.0\.1:\d+: clean: idle for too long \(idle for (\S+), .* old, 1 messages\)`)
	d, err := time.ParseDuration(m[0])
	require.NoError(t, err)
	assert.GreaterOrEqual(t, d, after)
	assert.Less(t, d, after+late)
	says(t, idle, `1 pings sent, 1 answered, 0% loss, .*`)
	says(t, idle, `rtt .*`)
	assert.Equal(t, 0, idle.Wait(t))

	busy := client(t, server, "-interval", "100ms", "-count", "10", "-timeout", "10s")
	_, answers := until(t, busy, `10 pings sent, 10 answered, 0% loss, .*`)
	assert.Equal(t, 10, answers)
	says(t, busy, `rtt .*`)
	assert.Equal(t, 0, busy.Wait(t))
	server.Stop(t)
}

// Who does not speak the protocol is sent away, and nobody else is disturbed.
func TestAStrangerIsSentAway(t *testing.T) {
	t.Parallel()
	server := program.Start(t)
	c := dialAs(t, server.Addr, "GET / HTTP/1.1\r\n\r\n")
	assert.Contains(t, c, "the peer does not speak this protocol")
	assert.NotContains(t, c, "pong")
	assert.Equal(t, 0, client1(t, server))
	server.Stop(t)
}

func client1(t *testing.T, server *program.Process) int {
	code, _, _ := program.Run(t, "", "-to", server.Addr, "-count", "1")
	return code
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	first, free := program.Start(t), program.FreeAddr(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"port in use", []string{"-addr", first.Addr}, 1, []string{"-addr", first.Addr, "already in use"}},
		{"nobody listens", []string{"-to", free}, 1, []string{free, "connection refused"}},
		{"too impatient", []string{"-timeout", "1ms"}, 2, []string{"-timeout", "1ms", "10 ms to 100 years"}},
		{"negative cleaning", []string{"-clean-after", "-1s"}, 2, []string{"-clean-after is -1s"}},
		{"no interval", []string{"-interval", "0s"}, 2, []string{"-interval is 0s", "200ms"}},
		{"negative count", []string{"-count", "-1"}, 2, []string{"-count is -1"}},
		{"argument", []string{"7674"}, 2, []string{`"7674"`, "-help"}},
		{"unknown flag", []string{"-c", "1"}, 2, []string{"-c", "-count"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-to", "-timeout", "-interval", "-count", "-clean-after"}},
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

func TestStatistics(t *testing.T) {
	var s stats
	at := time.Unix(1000, 0)
	assert.Equal(t, "0 pings sent, 0 answered, 0% loss, time 0.000s", s.String())
	for i := range 4 {
		assert.Equal(t, i+1, s.send(at.Add(time.Duration(i)*time.Second)))
	}
	assert.Equal(t, "4 pings sent, 0 answered, 100% loss, time 3.000s", s.String())
	for n, ms := range map[int]int{1: 10, 2: 20, 4: 30} {
		rtt, ok := s.receive(n, at.Add(time.Duration(n-1)*time.Second+time.Duration(ms)*time.Millisecond))
		assert.True(t, ok)
		assert.Equal(t, time.Duration(ms)*time.Millisecond, rtt)
	}
	_, ok := s.receive(4, at)
	assert.False(t, ok, "a second answer is none")
	_, ok = s.receive(5, at)
	assert.False(t, ok)
	assert.Equal(t, 1, s.open())
	s.ended = at.Add(3030 * time.Millisecond) // a map has no order
	assert.Equal(t, "4 pings sent, 3 answered, 25% loss, time 3.030s\nrtt min/avg/max/mdev = 10.000/20.000/30.000/8.165 ms", s.String())
}

// dialAs connects, says something, and returns all that comes.
func dialAs(t *testing.T, addr, words string) string {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, program.Patience)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(program.Patience)))
	_, err = io.WriteString(nc, words)
	require.NoError(t, err)
	require.NoError(t, nc.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(nc)
	require.NoError(t, err)
	return string(got)
}
