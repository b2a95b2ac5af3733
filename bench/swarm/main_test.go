package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var swarmTime = flag.Duration("swarm", 8*time.Second, "how long TestSwarm begins connections")

// TestMain fails the package if goroutines are left.
func TestMain(m *testing.M) {
	flag.Parse()
	before := runtime.NumGoroutine()
	code := m.Run()
	base := census{goroutines: before, descriptors: 1 << 30, heap: 1 << 40}
	if leaks := base.settle(5*time.Second, 0); code == 0 && len(leaks) > 0 {
		fmt.Println(leaks)
		code = 1
	}
	os.Exit(code)
}

// TestSwarm is the stress itself, bounded. More of it: go test -race ./swarm -run TestSwarm -swarm 1m.
func TestSwarm(t *testing.T) {
	duration := *swarmTime
	if testing.Short() {
		duration = min(duration, time.Second)
	}
	args := []string{"-duration", duration.String(), "-epoch", (duration/3 + time.Second/10).String(), "-conns", "60"}
	var out, errs bytes.Buffer
	code := command(args, &out, &errs)
	require.Equal(t, 0, code, "%s\n%s", errs.String(), out.String())
	assert.Empty(t, errs.String())
	for _, row := range []string{
		"connections", "sends accepted", "  OnSent", "Writes with Ack: Written", "bytes checked by galago's ends",
		"bytes checked by witnesses", "OnThrottled", "pauses", "handshakes of TLS", "  of resumed sessions", "panics", "ends: galago, in order", "ends: galago, aborted",
		"ends: witness, in order", "  ended in order by Shutdown",
	} {
		assert.Regexp(t, `(?m)^`+row+` +[1-9]\d*$`, out.String(), "nothing of this was tried")
	}
	assert.Regexp(t, `(?m)^violations +0$`, out.String())
	t.Log("\n" + out.String())
}

// TestEveryKindAlone runs each nuisance at every end of every connection, so that none hides behind another.
func TestEveryKindAlone(t *testing.T) {
	for _, args := range []string{
		"-portable", "-blocking", "-portable -blocking", "-net tcp", "-net unix", "-witness 1", "-layers 1 -witness 0",
		"-layers 1 -fault 1", "-tls 1", "-tls 1 -portable -blocking", "-tls 1 -witness 1", "-tls 1 -layers 1", "-write 1", "-panic 1", "-abort 1",
		"-stop 1", "-close 1", "-half 1", "-cut 1", "-fail 1", "-slow 1", "-pause 1 -yield 1", "-idle 1", "-hasty 1",
		"-early 1", "-adopt 1 -witness 0", "-oversize 1", "-loops 1 -conns 1", "-sizes 1", "-sizes 1000000 -sends 2",
	} {
		t.Run(args, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := command(append(strings.Fields(args), "-duration", "20s", "-total", "15", "-bound", "40s"), &out, &errs)
			require.Equal(t, 0, code, "%s\n%s", errs.String(), out.String())
		})
		if testing.Short() {
			break
		}
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"-conns 0", "-conns is 0"}, {"-panic 2", "-panic is 2"}, {"-tls 2", "-tls is 2"}, {"-abort NaN", "-abort is NaN"},
		{"-duration -1s", "-duration is -1s"},
		{"-net udp", "-net is udp"}, {"-sizes 0", "-sizes is 0"}, {"-sizes 1048576", "-sizes is 1048576"},
		{"-rate -1", "-rate is -1"},
		{"now", `"now"`}, {"-colour red", "-colour"}, {"-think -1s", "-think is -1s"}, {"-epoch 0s", "-epoch is 0s"},
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, 2, command(strings.Fields(test.args), &out, &errs), test.args)
		assert.Contains(t, errs.String(), test.says, test.args)
		assert.Empty(t, out.String(), test.args)
	}
}

// A failure says how to have it again.
func TestTheCommandLineHasEverySetting(t *testing.T) {
	set, err := parse(strings.Fields("-seed 7 -panic 0.5 -net unix -duration 3s -v"), new(bytes.Buffer))
	require.NoError(t, err)
	line := set.commandLine()
	assert.Equal(t, "go run -C bench ./swarm -seed 7 -duration=3s -net=unix -panic=0.5 -v=true", line)
	again, err := parse(strings.Fields(strings.TrimPrefix(line, "go run -C bench ./swarm ")), new(bytes.Buffer))
	require.NoError(t, err)
	assert.Equal(t, set, again)
}

// A heap that may not grow is a violation: exit code 1, the violation and the command line.
func TestAViolationIsReported(t *testing.T) {
	var out, errs bytes.Buffer
	r := &run{set: &settings{seed: 9, duration: time.Second}, rep: newReport()}
	r.rep.violation("somebody", "did something")
	for range keptViolations + 4 {
		r.rep.violation("x", "more")
	}
	assert.Equal(t, 1, r.finish(&out, &errs))
	assert.Contains(t, errs.String(), "somebody: did something")
	assert.Contains(t, errs.String(), "and 5 more")
	assert.Contains(t, errs.String(), "go run -C bench ./swarm -seed 9")
	assert.Regexp(t, `(?m)^violations +25$`, out.String())
}
