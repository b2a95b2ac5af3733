package main

import (
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

// happens requires the next line to tell of what, and returns when that was and the rest of the line.
func happens(t *testing.T, p *program.Process, what string) (at time.Duration, rest string) {
	t.Helper()
	line := p.Line(t)
	m := regexp.MustCompile(`^(\d+\.\d{3})s ` + what + `(.*)$`).FindStringSubmatch(line)
	require.NotNil(t, m, "%q instead of %q", line, what)
	s, err := strconv.ParseFloat(m[1], 64)
	require.NoError(t, err)
	return time.Duration(s * float64(time.Second)), m[2]
}

// asking starts a client, and waits for its first answer.
func asking(t *testing.T, p *program.Process, args ...string) (client *program.Process, at time.Duration) {
	t.Helper()
	client = program.Launch(t, nil, append([]string{"-to", p.Addr}, args...)...)
	_, rest := happens(t, client, "connected")
	assert.Regexp(t, `^; this side waits for \S+, the server for \S+$`, rest)
	at, rest = happens(t, client, "answer")
	assert.Equal(t, ": are you there?", rest)
	return client, at
}

// The demonstration that this example is for: the second read does not hang.
func TestLIV6_AServerThatAnswersOnceAndCloses(t *testing.T) {
	t.Parallel()
	server := program.Start(t, "-then", "close")
	client, at := asking(t, server, "-timeout", "1h")
	end, _ := happens(t, client, "end: the server has closed")
	assert.Less(t, end-at, late)
	assert.Equal(t, 0, client.Wait(t), "an orderly end")
	assert.Empty(t, client.Stderr(t))
	assert.Equal(t, "liveness: shut down; connections closed in order: 0, aborted: 0\n", server.Stop(t))
}

func TestLIV7_AServerThatDies(t *testing.T) {
	t.Parallel()
	server := program.Start(t, "-then", "die")
	client, at := asking(t, server, "-timeout", "1h")
	lost, why := happens(t, client, "lost: ")
	assert.Less(t, lost-at, late)
	assert.Regexp(t, "without a goodbye|reset by peer", why)
	assert.Equal(t, 1, client.Wait(t))
	assert.Equal(t, 3, server.Wait(t))
}

func TestLIV9_AServerThatHangs(t *testing.T) {
	t.Parallel()
	const timeout = 800 * time.Millisecond
	server := program.Start(t, "-then", "hang")
	client, answered := asking(t, server, "-timeout", timeout.String())
	suspect, _ := happens(t, client, "suspect: silent for ")
	down, _ := happens(t, client, "down: silent for ")
	const unseen = 50 * time.Millisecond // between a turn's time and the line that it prints
	assert.GreaterOrEqual(t, suspect-answered, timeout*3/4-unseen)
	assert.GreaterOrEqual(t, down-answered, timeout-unseen)
	assert.Less(t, down-answered, timeout+late)
	_, why := happens(t, client, "lost: ")
	assert.Contains(t, why, "the peer is down: silent for ")
	assert.Equal(t, 1, client.Wait(t))
	server.Signal(t, os.Kill)
}

// A client that keeps the connection is told again when its patience ends.
func TestAServerThatHangsIsGivenTime(t *testing.T) {
	t.Parallel()
	server := program.Start(t, "-then", "hang")
	client, _ := asking(t, server, "-timeout", "400ms", "-keep", "600ms")
	happens(t, client, "suspect: ")
	first, _ := happens(t, client, "down: ")
	second, _ := happens(t, client, "down: ")
	assert.GreaterOrEqual(t, second-first, 550*time.Millisecond)
	happens(t, client, "lost: ")
	assert.Equal(t, 1, client.Wait(t))
	server.Signal(t, os.Kill)
}

// A server that has nothing to say, and is there, is never suspected. The client ends in order.
func TestAServerThatStays(t *testing.T) {
	t.Parallel()
	server := program.Start(t, "-then", "stay", "-timeout", "200ms")
	client, _ := asking(t, server, "-timeout", "200ms")
	client.Quiet(t, 2*time.Second)
	assert.Equal(t, "liveness: shut down; connections closed in order: 1, aborted: 0\n", server.Stop(t))
	happens(t, client, "end: the server has closed")
	assert.Equal(t, 0, client.Wait(t))
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
		{"too impatient", []string{"-timeout", "9ms"}, 2, []string{"-timeout", "9ms", "10 ms to 100 years"}},
		{"no such ending", []string{"-then", "explode"}, 2, []string{"-then", `"explode"`, "hang"}},
		{"negative patience", []string{"-keep", "-1s"}, 2, []string{"-keep is -1s"}},
		{"argument", []string{"7672"}, 2, []string{`"7672"`, "-help"}},
		{"unknown flag", []string{"-port", "1"}, 2, []string{"-port", "-addr"}},
		{"help", []string{"-help"}, 0, []string{"-addr", "-to", "-timeout", "-then", "-keep"}},
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
