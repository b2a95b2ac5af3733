package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// late is how much later than its time a thing may happen on a busy machine, so that it is not taken for one that would
// never have come.
const late = 5 * time.Second

// says requires the next line to match, and returns what the parentheses do.
func (p *process) says(t *testing.T, pattern string) []string {
	t.Helper()
	line := p.line(t)
	m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(line)
	require.NotNil(t, m, "%q instead of %q", line, pattern)
	return m[1:]
}

// until skips answers, and requires the next other line to match.
func (p *process) until(t *testing.T, pattern string) (match []string, answers int) {
	t.Helper()
	for {
		line := p.line(t)
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

func client(t *testing.T, server *process, args ...string) *process {
	t.Helper()
	c := launch(t, nil, append([]string{"-to", server.addr}, args...)...)
	c.says(t, "connected to "+regexp.QuoteMeta(server.addr))
	return c
}

func TestPingsAndStatistics(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server, "-interval", "20ms", "-count", "5")
	for i := range 5 {
		c.says(t, `answer to ping `+strconv.Itoa(i+1)+` in \d+\.\d{3} ms`)
	}
	took := seconds(t, c.says(t, `5 pings sent, 5 answered, 0% loss, time (\d+\.\d{3})s`)[0])
	assert.GreaterOrEqual(t, took, 80*time.Millisecond)
	m := c.says(t, `rtt min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms`)
	var v []float64
	for _, s := range m {
		f, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		v = append(v, f)
	}
	assert.LessOrEqual(t, v[0], v[1])
	assert.LessOrEqual(t, v[1], v[2])
	assert.LessOrEqual(t, v[3], v[2])
	assert.Equal(t, 0, c.wait(t))
	assert.Empty(t, c.stderr.String())
	assert.Equal(t, "oping: shut down; connections closed in order: 0, aborted: 0\n", server.stop(t))
}

// Interrupted, a client prints what it knows.
func TestPingsUntilASignal(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server, "-interval", "20ms", "-count", "0")
	for range 10 {
		c.says(t, `answer to ping .*`)
	}
	require.NoError(t, c.cmd.Process.Signal(os.Interrupt))
	c.until(t, `\d+ pings sent, \d+ answered, .*`)
	c.says(t, `rtt .*`)
	c.wait(t)
	server.stop(t)
}

// A server that is gone takes the pings with it, and the client says so.
func TestAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := client(t, server, "-interval", "20ms", "-count", "100000")
	for range 3 {
		c.says(t, `answer to ping .*`)
	}
	require.NoError(t, server.cmd.Process.Kill())
	c.until(t, `\d+ pings sent, \d+ answered, .*`)
	assert.Equal(t, 1, c.wait(t))
	assert.Regexp(t, "without a goodbye|reset by peer|broken pipe", c.stderr.String())
}

// The cleaner: a client that asks for nothing is sent away, though it is alive. One that asks is not.
func TestLIV32_TheServerCleans(t *testing.T) {
	t.Parallel()
	const after = 300 * time.Millisecond
	server := start(t, "-clean-after", after.String(), "-timeout", "100ms")
	idle := client(t, server, "-interval", "1h", "-count", "2", "-timeout", "100ms")
	idle.says(t, `answer to ping 1 in .*`)
	m := server.says(t, `cleaned 127\.0\.0\.1:\d+: clean: idle for too long \(idle for (\S+), .* old, 1 messages\)`)
	d, err := time.ParseDuration(m[0])
	require.NoError(t, err)
	assert.GreaterOrEqual(t, d, after)
	assert.Less(t, d, after+late)
	idle.says(t, `1 pings sent, 1 answered, 0% loss, .*`)
	idle.says(t, `rtt .*`)
	assert.Equal(t, 0, idle.wait(t))

	busy := client(t, server, "-interval", "100ms", "-count", "10", "-timeout", "10s")
	_, answers := busy.until(t, `10 pings sent, 10 answered, 0% loss, .*`)
	assert.Equal(t, 10, answers)
	busy.says(t, `rtt .*`)
	assert.Equal(t, 0, busy.wait(t))
	server.stop(t)
}

// Who does not speak the protocol is sent away, and nobody else is disturbed.
func TestAStrangerIsSentAway(t *testing.T) {
	t.Parallel()
	server := start(t)
	c := dialAs(t, server.addr, "GET / HTTP/1.1\r\n\r\n")
	assert.Contains(t, c, "the peer does not speak this protocol")
	assert.NotContains(t, c, "pong")
	assert.Equal(t, 0, client1(t, server))
	server.stop(t)
}

func client1(t *testing.T, server *process) int {
	code, _, _ := runToEnd(t, "", "-to", server.addr, "-count", "1")
	return code
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	first, free := start(t), freeAddr(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"port in use", []string{"-addr", first.addr}, 1, []string{"-addr", first.addr, "already in use"}},
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
			code, stdout, stderr := runToEnd(t, "", test.args...)
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
