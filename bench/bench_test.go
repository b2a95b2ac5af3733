package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/leak"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/result"
	"github.com/galago-go/galago/bench/internal/serve"
)

// The measuring code starts its own executable as a server; here that is the test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
	}
	os.Setenv("GORACE", "halt_on_error=1") // a race in a server is then its end, and so an error
	os.Exit(leak.Run(m.Run))
}

// shortRun runs a command for one round, and returns what it wrote as JSON. Everybody of the role must be in the table.
func shortRun(t *testing.T, role serve.Role, args ...string) (run *result.Run, table string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "result.json")
	var out, progress bytes.Buffer
	code := call(t, append(args, "-rounds", "1", "-json", file), &out, &progress)
	require.Equal(t, 0, code, "%s", progress.String())
	f, err := result.Load(file)
	require.NoError(t, err)
	require.NotEmpty(t, f.Runs)
	for _, name := range serve.Names(role) {
		require.NotEmpty(t, rowOf(out.String(), name), "no row for %s in\n%s", name, out.String())
		require.NotNil(t, f.Runs[0].Server(name))
	}
	return f.Runs[0], out.String()
}

func call(t *testing.T, args []string, out, errs *bytes.Buffer) int {
	return run(t.Context(), args, out, errs)
}

func rowOf(table, name string) string {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(strings.TrimSpace(line), name+" ") {
			return line
		}
	}
	return ""
}

// value returns what was measured of a server.
func value(t *testing.T, run *result.Run, server, key string) float64 {
	t.Helper()
	s := run.Server(server)
	require.NotNil(t, s, server)
	x, ok := s.Summary[key]
	require.True(t, ok, "%s has no %s", server, key)
	return x.Median
}

// wantValues checks that every server of a role has a value above 0 of each key.
func wantValues(t *testing.T, run *result.Run, role serve.Role, keys ...string) {
	t.Helper()
	for _, name := range serve.Names(role) {
		for _, key := range keys {
			assert.Positive(t, value(t, run, name, key), "%s of %s", key, name)
		}
	}
}

func TestEchoMeasuresEveryRival(t *testing.T) {
	run, table := shortRun(t, serve.Echo, "echo", "-conns", "3", "-duration", "100ms")
	wantValues(t, run, serve.Echo, "cpu", "rate", "p50", "p99", "p99.9", "rss", "server", "load")
	assert.Regexp(t, `^ *raw +\d+\.\d\d µs \(\d+\.\d\d-\d+\.\d\d\)( +(\d+\.\d\d|0) µs){2} +[1-9]\d* `, rowOf(table, "raw"))
	ratio, ok := run.Ratio("cpu", "galago", "net")
	require.True(t, ok)
	assert.InDelta(t, value(t, run, "galago", "cpu")/value(t, run, "net", "cpu"), ratio.Median, 1e-9)
	assert.Equal(t, []string{"echo", "-conns", "3", "-rounds", "1", "-duration", "100ms"}, run.Command)
}

func TestPipelineMeasuresEveryRival(t *testing.T) {
	run, _ := shortRun(t, serve.Frames, "pipeline", "-conns", "3", "-depth", "16", "-duration", "100ms")
	wantValues(t, run, serve.Frames, "cpu", "rate", "p50", "rss")
	if writes := run.Server("net").Summary["writes"]; writes.N > 0 { // system calls can be counted here
		assert.InDelta(t, 1, writes.Median, 0.2, "net writes once for each frame")
		for _, name := range []string{"raw", "net-bufio", "netpoll", "galago"} {
			assert.Less(t, value(t, run, name, "writes"), 0.9, "%s writes several frames at once", name)
		}
	}
}

func TestPipelineWithFramesLargerThanARead(t *testing.T) {
	run, _ := shortRun(t, serve.Frames, "pipeline", "-conns", "2", "-depth", "3", "-size", "200001", "-duration", "100ms")
	wantValues(t, run, serve.Frames, "rate")
}

func TestBulkMeasuresEveryRivalInBothDirections(t *testing.T) {
	run, _ := shortRun(t, serve.Sink, "bulk", "-direction", "in", "-duration", "100ms")
	wantValues(t, run, serve.Sink, "cpu", "rate", "rss")
	run, _ = shortRun(t, serve.Source, "bulk", "-direction", "out", "-size", "10000", "-duration", "100ms")
	wantValues(t, run, serve.Source, "cpu", "rate", "rss")
}

func TestMixedMeasuresEveryRival(t *testing.T) {
	run, _ := shortRun(t, serve.Echo, "mixed", "-conns", "3", "-idle", "200", "-duration", "100ms")
	wantValues(t, run, serve.Echo, "cpu", "alone", "with/without", "p50")
	want := value(t, run, "net", "cpu") / value(t, run, "net", "alone")
	assert.InDelta(t, want, value(t, run, "net", "with/without"), 1e-9)
}

func TestScaleMeasuresEveryRival(t *testing.T) {
	available, err := proc.Available()
	require.NoError(t, err)
	if len(available) < 2 {
		t.Skip("there is one processor only")
	}
	run, _ := shortRun(t, serve.Work, "scale", "-conns", "4", "-work", "300µs", "-duration", "100ms")
	wantValues(t, run, serve.Work, "speedup", "rate", "one")
	assert.Greater(t, value(t, run, "galago", "cpu"), 150_000.0, "the work is done")
	assert.NotEmpty(t, run.Method.ServerCPUs[1:])
}

func TestLatencyMeasuresEveryRival(t *testing.T) {
	run, _ := shortRun(t, serve.Echo, "latency", "-conns", "3", "-rate", "2000", "-duration", "200ms")
	wantValues(t, run, serve.Echo, "p50", "p99", "p99.9", "max", "late", "cpu")
	for _, name := range serve.Names(serve.Echo) {
		assert.InDelta(t, 2000, value(t, run, name, "rate"), 600, "the rate is what was asked for: %s", name)
	}
	run, _ = shortRun(t, serve.Echo, "latency", "-conns", "1", "-duration", "100ms")
	assert.Contains(t, run.Method.Notes[1], "half of what", "without -rate it finds one")
}

func TestAcceptMeasuresEveryRival(t *testing.T) {
	run, _ := shortRun(t, serve.Echo, "accept", "-conns", "3", "-duration", "100ms")
	wantValues(t, run, serve.Echo, "per cpu", "cpu", "rate", "p50", "rss")
}

func TestFanoutMeasuresEveryRival(t *testing.T) {
	run, _ := shortRun(t, serve.Fanout, "fanout", "-conns", "40", "-duration", "100ms")
	wantValues(t, run, serve.Fanout, "cpu", "rate", "p50", "rss")
	assert.Zero(t, value(t, run, "raw", "wakes/burst"), "nobody to wake")
	assert.Less(t, value(t, run, "raw", "allocations"), 0.005, "nothing to allocate")
	assert.LessOrEqual(t, value(t, run, "galago", "wakes/burst"), 1.1, "the loop is woken once for a burst at most")

	run, _ = shortRun(t, serve.Fanout, "fanout", "-conns", "40", "-depth", "20", "-duration", "100ms")
	wantValues(t, run, serve.Fanout, "cpu", "rate", "p50")
}

func TestIdleMeasuresEveryRival(t *testing.T) {
	run, _ := shortRun(t, serve.Echo, "idle", "-conns", "300")
	assert.Less(t, value(t, run, "raw", "rest"), 2000.0, "raw has a descriptor and nothing else")
	assert.Greater(t, value(t, run, "net", "rest"), 4096.0, "net has a page of its buffer at least, and a stack")
	assert.Greater(t, value(t, run, "netpoll", "rest"), 4096.0, "netpoll has its buffers")
	assert.Greater(t, value(t, run, "galago", "rest"), 640.0, "galago has the connection at least")
}

func TestEchoWithMessagesLargerThanARead(t *testing.T) {
	if testing.Short() {
		t.Skip("a second and longer run of the same code")
	}
	shortRun(t, serve.Echo, "echo", "-conns", "2", "-size", "1000000", "-duration", "100ms")
}

func TestARivalFromAnotherBuild(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	run, table := shortRun(t, serve.Echo, "echo", "-conns", "1", "-duration", "100ms", "-rivals", "raw,net,netpoll,galago,net@"+self)
	assert.NotEmpty(t, rowOf(table, "net@"+self))
	assert.Equal(t, self, run.Server("net@" + self).Command[0])
	var out, progress bytes.Buffer
	args := []string{"echo", "-conns", "1", "-rounds", "1", "-duration", "100ms", "-rivals", "net@/nowhere"}
	assert.Equal(t, 1, call(t, args, &out, &progress))
	assert.Contains(t, progress.String(), "/nowhere", "that one is asked, and no other")
}

func TestALoadOnSeveralProcessors(t *testing.T) {
	available, err := proc.Available()
	require.NoError(t, err)
	for _, command := range []string{"echo -duration 100ms", "accept -duration 100ms", "latency -rate 1000 -duration 100ms"} {
		file := filepath.Join(t.TempDir(), "result.json")
		var out, errs bytes.Buffer
		args := append(strings.Fields(command), "-conns", "7", "-rounds", "1", "-rivals", "net", "-load-cpus", available.String(), "-json", file)
		require.Equal(t, 0, call(t, args, &out, &errs), errs.String())
		f, err := result.Load(file)
		require.NoError(t, err)
		assert.Positive(t, value(t, f.Runs[0], "net", "rate"))
		assert.Equal(t, []int(available), f.Runs[0].Method.LoadCPUs)
	}
}

func TestTheNoiseControlIsTheSameServerAgain(t *testing.T) {
	run, _ := shortRun(t, serve.Echo, "echo", "-conns", "1", "-duration", "100ms", "-noise")
	assert.NotNil(t, run.Server("galago#2"))
	_, ok := run.Ratio("cpu", "galago#2", "galago")
	assert.True(t, ok)
}

// Anybody's server, in any language.
func TestARivalByItsCommand(t *testing.T) {
	rivals := []string{"-rival", "example=" + buildExample(t)}
	if python, err := exec.LookPath("python3"); err == nil {
		rivals = append(rivals, "-rival", "python="+python+" testdata/echo.py")
	} else {
		t.Log("there is no python3 here, so only one of two servers is tried")
	}
	for _, command := range [][]string{{"echo", "-duration", "100ms"}, {"idle"}} {
		run, table := shortRun(t, serve.Echo, slices.Concat(command, []string{"-conns", "2"}, rivals)...)
		for i := 1; i < len(rivals); i += 2 {
			name, _, _ := strings.Cut(rivals[i], "=")
			assert.NotEmpty(t, rowOf(table, name))
			assert.NotEmpty(t, run.Server(name).Summary)
			assert.Contains(t, run.Command, rivals[i])
		}
	}
	assertFails := func(command string, says ...string) {
		var out, errs bytes.Buffer
		args := []string{"echo", "-conns", "1", "-rounds", "1", "-duration", "100ms", "-rivals", "raw", "-rival", command}
		assert.Equal(t, 1, call(t, args, &out, &errs))
		for _, s := range says {
			assert.Contains(t, errs.String(), s)
		}
	}
	assertFails("gone=/nowhere/server", "gone", "did not start", "/nowhere/server")
	assertFails("mute=echo hello", "mute", `"hello`, "listening on HOST:PORT")
	assertFails("v6=echo listening on '[::1]:80' ; : ", "v6", "IPv4")
}

func buildExample(t *testing.T) string {
	program := filepath.Join(t.TempDir(), "echo")
	out, err := exec.Command("go", "build", "-o", program, "github.com/galago-go/galago/examples/echo").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

func TestAllRunsTheOthersAndKeepsOneFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "all.json")
	var out, errs bytes.Buffer
	args := []string{"all", "-only", "accept,bulk", "-rounds", "1", "-duration", "100ms", "-json", file}
	require.Equal(t, 0, call(t, args, &out, &errs), errs.String())
	f, err := result.Load(file)
	require.NoError(t, err)
	require.Len(t, f.Runs, 3)
	assert.Equal(t, args, f.Command)
	assert.Equal(t, "accept", f.Runs[0].Name)
	assert.Equal(t, []string{"bulk", "-rounds", "1", "-duration", "100ms", "-noise"}, f.Runs[2].Command)
	assert.NotNil(t, f.Runs[0].Server("galago#2"), "the noise control is on")
	assert.NotZero(t, f.Machine.CPUs)
}

func TestAnInterruptEndsARun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	assert.Equal(t, 1, run(ctx, []string{"echo", "-conns", "1"}, &out, &errs))
	assert.Contains(t, errs.String(), context.Canceled.Error())
}

// Servers and loads of every workload speak TLS, as far as they can.
func TestTLS(t *testing.T) {
	for _, args := range []string{"echo -size 70000", "pipeline", "bulk -direction in", "bulk -direction out", "fanout -conns 5",
		"idle -conns 20", "accept -conns 3", "latency -rate 500 -conns 2", "mixed -idle 5"} {
		file := filepath.Join(t.TempDir(), "result.json")
		var out, errs bytes.Buffer
		args := append(strings.Fields(args), "-tls", "-rounds", "1", "-json", file)
		if args[0] != "idle" {
			args = append(args, "-duration", "100ms")
		}
		require.Equal(t, 0, call(t, args, &out, &errs), "%v: %s", args, errs.String())
		f, err := result.Load(file)
		require.NoError(t, err)
		for _, name := range []string{"net", "galago"} { // all that speak TLS take part if nobody is named
			assert.Contains(t, f.Runs[0].Server(name).Command, "-tls")
			assert.NotEmpty(t, rowOf(out.String(), name), "%v", args)
		}
		assert.Contains(t, f.Runs[0].Case, "TLS")
	}
}

func TestStormMeasuresWhoSpeaksTLS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	var out, errs bytes.Buffer
	code := call(t, strings.Fields("storm -conns 3 -storm 4 -rate 500 -rounds 1 -duration 300ms -json "+file), &out, &errs)
	require.Equal(t, 0, code, errs.String())
	f, err := result.Load(file)
	require.NoError(t, err)
	for _, name := range []string{"net", "galago"} {
		assert.NotEmpty(t, rowOf(out.String(), name))
		for _, key := range []string{"p99", "alone", "with/without", "per cpu"} {
			assert.Positive(t, value(t, f.Runs[0], name, key), "%s of %s", key, name)
		}
		assert.Contains(t, f.Runs[0].Server(name).Command, "-tls")
	}
	assert.Nil(t, f.Runs[0].Server("raw"))
}

func TestBadSettingsAreNamed(t *testing.T) {
	for _, test := range []struct {
		args string
		says []string
	}{
		{"", []string{"which command"}},
		{"ecko", []string{`"ecko"`, "bench help"}},
		{"echo -conns 0", []string{"-conns is 0", "1 to 20000"}},
		{"echo -conns many", []string{"conns", "many"}},
		{"echo -size 0", []string{"-size is 0", "1 to 1048576"}},
		{"echo -rounds 0", []string{"-rounds is 0", "1 to 1000"}},
		{"echo -duration 1ms", []string{"-duration is 1ms", "100ms to 1m"}},
		{"echo -duration 2m -rounds 1001", []string{"-rounds is 1001", "-duration is 2m"}},
		{"fanout -conns 20001", []string{"-conns is 20001"}},
		{"idle -conns 0 -rivals raw,gnat", []string{"-conns is 0", `"gnat"`, "raw, net, netpoll, galago", "-rival NAME=COMMAND"}},
		{"idle -duration 1s", []string{"-duration"}},
		{"echo 64", []string{`"64"`}},
		{"echo -depth 1", []string{"-depth"}},
		{"echo -rivals net@", []string{`"net@"`}},
		{"echo -rival gnet", []string{`"gnet"`, "NAME=COMMAND"}},
		{"echo -rival =x", []string{`"=x"`, "NAME=COMMAND"}},
		{"echo -server-cpus 0-", []string{"-server-cpus", `"0-"`, "0,2-3"}},
		{"echo -load-cpus 4000", []string{"-load-cpus", "4000", "may use"}},
		{"echo -tls -rivals net,raw", []string{"-tls", "raw has no TLS yet", "-rivals net"}},
		{"pipeline -size 4", []string{"-size is 4", "5 to 1048576"}},
		{"pipeline -depth 0", []string{"-depth is 0", "1 to 1024"}},
		{"echo -conns 1 -load-cpus 0-1", []string{"-load-cpus 0-1", "-conns is 1"}},
		{"bulk -size 65537", []string{"-size is 65537", "65536"}},
		{"bulk -direction up", []string{`"up"`, "in, out or both"}},
		{"mixed -idle 20000", []string{"-idle is 20000", "19900"}},
		{"latency -rate -1", []string{"-rate is -1"}},
		{"storm -rate 0 -storm 0", []string{"-rate is 0", "-storm is 0", "10000"}},
		{"scale -work 0s", []string{"-work is 0s", "1µs to 100ms"}},
		{"scale -server-cpus 0", []string{"-server-cpus", "two or more"}},
		{"fanout -depth 256", []string{"-depth is 256", "255"}},
		{"fanout -load-cpus 0-1", []string{"-load-cpus", "one thread"}},
		{"backpressure -only slow,fast", []string{`"fast"`, "slow, stalled"}},
		{"backpressure -slow 40000000", []string{"-slow is 40000000", "less than -feed"}},
		{"backpressure -low 5 -high 4", []string{"-low is 5", "0 to 4 bytes"}},
		{"backpressure -record 31 -tick 70000", []string{"-record is 31", "32 to 65536", "-tick is 70000"}},
		{"backpressure -ticks 0 -feed 0 -flood 0", []string{"-ticks is 0", "-feed is 0", "-flood is 0"}},
		{"backpressure -sweep 1,x", []string{`"x"`, "4096,65536"}},
		{"backpressure -buffer 1 -sample 1ms", []string{"-buffer is 1", "or 0", "-sample is 1ms", "5ms to 1s"}},
		{"backpressure -conns 1", []string{"-conns is 1", "2 or more"}},
		{"backpressure -rivals raw", []string{`"raw"`, "net-queue"}},
		{"all -only ecko", []string{"-only", `"ecko"`}},
		{"all -only echo -rounds 0", []string{"-rounds is 0"}},
		{"echo -html /nowhere/x.html -png main.go", []string{"-html is /nowhere/x.html", "make it", "-png is main.go", "name a directory"}},
		{"all -html .", []string{"-html is .", "name a file"}},
		{"report -html x.html", []string{"-in is missing"}},
		{"report -in x.json", []string{"neither -json nor -html nor -png"}},
		{"report -in x.json -png main.go/x", []string{"-png", "main.go/x"}},
		{"report x.json", []string{`"x.json"`}},
		{"serve", []string{`-kind is ""`}},
		{"serve -kind net -role room -pressure x", []string{"-pressure", `"x"`}},
		{"serve -kind raw -role ecko", []string{`"ecko"`, "echo"}},
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, 2, call(t, strings.Fields(test.args), &out, &errs), test.args)
		for _, says := range test.says {
			assert.Contains(t, errs.String(), says, test.args)
		}
		assert.Empty(t, out.String(), test.args)
	}
	var out, errs bytes.Buffer
	assert.Equal(t, 1, call(t, strings.Fields("serve -kind raw -addr here"), &out, &errs))
	assert.Contains(t, errs.String(), `"here"`)
}

func TestHelpIsNoFailure(t *testing.T) {
	for _, args := range []string{"help", "-help", "echo -help", "echo -h"} {
		var out, errs bytes.Buffer
		assert.Equal(t, 0, call(t, strings.Fields(args), &out, &errs), "%s: %s", args, errs.String())
		assert.Contains(t, out.String(), "echo", args)
	}
}

func TestAFileThatCannotBeWritten(t *testing.T) {
	var out, errs bytes.Buffer
	args := strings.Fields("echo -conns 1 -rounds 1 -duration 100ms -rivals raw -json /nowhere/x.json")
	assert.Equal(t, 1, call(t, args, &out, &errs))
	assert.Contains(t, errs.String(), "/nowhere/x.json")
	assert.Contains(t, out.String(), "raw", "the table was not lost")
}
