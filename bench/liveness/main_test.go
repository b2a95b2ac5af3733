package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets a process that is measured be one, though its program is a test.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		main()
	}
	os.Exit(m.Run())
}

// All of it, with few connections and for short: the figures say nothing, but each is there.
func TestEveryMeasurement(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures for ten seconds")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip(err)
	}
	var out, errs bytes.Buffer
	began := time.Now()
	code := command(strings.Fields("-conns 20 -echoes 2 -span 1s -rounds 1 -timeout 2s -strict=false"), &out, &errs)
	require.Equal(t, 0, code, "%s\n%s", &errs, &out)
	assert.Empty(t, errs.String())
	const bar = ` +\d+\.\d+( ms)?   at most [\d.]+( ms)?: (kept|PASSED)`
	want := []string{
		`20 idle connections, T = 2s, \ds measured; [1-9]\d* keepalives a second each way`,
		`  bare +\d+\.\d+ % of a core for the server, +\d+\.\d+ % for the client`,
		`  galago +\d+\.\d+ % of a core for the server, +\d+\.\d+ % for the client`,
		`  galago / bare` + bar,
		`echo, 64 bytes, 2 connections, 1 rounds: processor time of the server for a message`,
		`  none +\d+\.\d+ µs \(\d+\.\d+ to \d+\.\d+\)`,
		`  again +\d+\.\d+ µs \(\d+\.\d+ to \d+\.\d+\)`,
		`  passive +\d+\.\d+ µs \(\d+\.\d+ to \d+\.\d+\)`,
		`  framed +\d+\.\d+ µs \(\d+\.\d+ to \d+\.\d+\)`,
		`  again / none +\d+\.\d+    noise`,
		`  passive / none` + bar,
		`  framed / none` + bar,
		`20 peers stop at once, T = 2s: all were down \S+s later, and up again when they went on`,
		`  told later than T: median \d+\.\d+ ms, maximum \d+\.\d+ ms`,
		`  told later than T, 99th percentile` + bar,
		`  told later than T, maximum` + bar,
		`  another connection of the same loop, a message each millisecond: \d+\.\d+ ms at worst while nothing happens`,
		`  \.\.\. while peers go down` + bar,
		`  \.\.\. while they come up again: \d+\.\d+ ms`,
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, len(want), "%s", &out)
	for i, line := range lines {
		assert.Regexp(t, "^"+want[i]+"$", line)
	}
	t.Logf("in %v:\n%s", time.Since(began).Round(time.Millisecond), &out)
}

func TestBar(t *testing.T) {
	var out bytes.Buffer
	r := &report{out: &out}
	r.bar("just kept", 1.3, 1.3, "")
	r.bar("passed", 20.1, 20, " ms")
	assert.Equal(t, []bool{true, false}, r.passed)
	said := strings.Split(out.String(), "\n")
	assert.Regexp(t, `^  just kept +1\.300   at most 1\.3: kept$`, said[0])
	assert.Regexp(t, `^  passed +20\.100 ms   at most 20 ms: PASSED$`, said[1])
}

func TestBadSettingsAreNamed(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"idel", `"idel"`}, {"-conns 20 idle", "before all flags"}, {"idle echo", `"echo"`},
		{"-conns 0", "-conns is 0"}, {"-conns 9501", "-conns is 9501"},
		{"-echoes 0", "-echoes is 0"}, {"-echoes 5001", "-echoes is 5001"},
		{"-span 999ms", "-span is 999ms"}, {"-span 121s", "-span is 2m1s"},
		{"-rounds 0", "-rounds is 0"}, {"-rounds 101", "-rounds is 101"},
		{"-timeout 99ms", "-timeout is 99ms"}, {"-timeout -1s", "-timeout is -1s"},
		{"-conns many", `"many"`}, {"-strict=perhaps", `"perhaps"`}, {"-colour red", "-colour"},
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, 2, command(strings.Fields(test.args), &out, &errs), test.args)
		assert.Contains(t, errs.String(), test.says, test.args)
		assert.Empty(t, out.String(), test.args)
	}
	var out, errs bytes.Buffer
	assert.Equal(t, 0, command([]string{"-help"}, &out, &errs))
	for _, name := range []string{"-conns", "-echoes", "-span", "-rounds", "-timeout", "-strict"} {
		assert.Contains(t, errs.String(), name)
	}
}

func TestWithoutACompiler(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out, errs bytes.Buffer
	assert.Equal(t, 1, command([]string{"idle"}, &out, &errs))
	assert.Contains(t, errs.String(), "needs a C compiler")
	assert.Empty(t, out.String())
}

// A child that is asked for what it does not know says so, and ends with whoever started it.
func TestChild(t *testing.T) {
	p, err := start("-kind", "echo", "-layer", "none")
	require.NoError(t, err)
	defer p.stop()
	assert.Regexp(t, `^127\.0\.0\.1:\d+$`, p.addr())
	answer, err := p.ask("name")
	require.NoError(t, err)
	assert.Equal(t, "what?", answer)
	cpu, err := p.number("cpu")
	require.NoError(t, err)
	assert.Positive(t, cpu)
	require.NoError(t, p.in.Close())
	_, err = p.line()
	assert.ErrorContains(t, err, "has ended")
}
