package proc

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests start their own executable as a server, which does what it is told by its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "be" {
		be(os.Args[2])
	}
	os.Exit(m.Run())
}

func be(what string) {
	if what == "hasty" {
		fmt.Fprintln(os.Stderr, "no such luck")
		os.Exit(3)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("it begins")
	fmt.Println("listening on", ln.Addr())
	for scan := bufio.NewScanner(os.Stdin); scan.Scan(); {
		switch scan.Text() {
		case "getppid": // a thousand system calls of a kind that no field but Total counts
			for range 1000 {
				syscall.Getppid()
			}
		case "read":
			var p [1]byte
			zero, _ := os.Open("/dev/zero")
			for range 1000 {
				syscall.Read(int(zero.Fd()), p[:])
			}
		case "spin":
			for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
			}
		}
		fmt.Println(scan.Text(), 42)
	}
}

func start(t *testing.T, what string) *Server {
	t.Helper()
	s, err := tryStart(t, what)
	require.NoError(t, err)
	return s
}

func tryStart(t *testing.T, what string) (*Server, error) {
	self, err := os.Executable()
	require.NoError(t, err)
	available, err := Available()
	require.NoError(t, err)
	release, err := Pin(available)
	require.NoError(t, err)
	t.Cleanup(release)
	s, err := Start([]string{self, "be", what}, []string{"BENCH_ROLE=echo"}, available[:1])
	if err == nil {
		t.Cleanup(s.Stop)
	}
	return s, err
}

func TestAServerIsStartedAskedAndStopped(t *testing.T) {
	s := start(t, "polite")
	assert.True(t, s.Addr.IsValid())
	n, err := s.Ask("getppid")
	require.NoError(t, err)
	assert.EqualValues(t, 42, n)
	env, err := os.ReadFile(s.file("environ"))
	require.NoError(t, err)
	assert.Contains(t, string(env), "GOMAXPROCS=1\x00")
	assert.Contains(t, string(env), "BENCH_ROLE=echo\x00")
	pid := s.PID()
	s.Stop()
	s.Stop()
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

func TestAServerThatDoesNotStart(t *testing.T) {
	_, err := tryStart(t, "hasty")
	assert.ErrorContains(t, err, "no such luck", "what it said is told")
}

// The clock that ratios rest on must run with the work done, neither idle time nor its half.
func TestCPUCountsWork(t *testing.T) {
	s := start(t, "polite")
	before, err := s.CPU()
	require.NoError(t, err)
	time.Sleep(30 * time.Millisecond) // it does nothing
	idle, err := s.CPU()
	require.NoError(t, err)
	assert.Less(t, idle.Minus(before).Total, 20*time.Millisecond)
	begin := time.Now()
	_, err = s.Ask("spin")
	took := time.Since(begin)
	require.NoError(t, err)
	after, err := s.CPU()
	require.NoError(t, err)
	used := after.Minus(idle).Total
	assert.Greater(t, used, time.Millisecond, "it spun for 50 ms, unless the machine was very busy")
	assert.LessOrEqual(t, used, took+20*time.Millisecond, "one processor has no more than that")
}

func TestTheTotalIsDividedByTicks(t *testing.T) {
	used := CPUTime{150, 4, 9}.Minus(CPUTime{50, 3, 6})
	assert.EqualValues(t, 25, used.User())
	assert.Zero(t, CPUTime{Total: 5}.User(), "no tick fell into it")
}

func TestMemoryAndSwitchesAreKnown(t *testing.T) {
	s := start(t, "polite")
	rss, err := s.RSS()
	require.NoError(t, err)
	assert.Greater(t, rss, uint64(1<<20))
	before, err := s.Switches()
	require.NoError(t, err)
	for range 100 { // it sleeps before each
		_, err = s.Ask("hello")
		require.NoError(t, err)
	}
	after, err := s.Switches()
	require.NoError(t, err)
	assert.Greater(t, after.Voluntary+after.Forced, before.Voluntary+before.Forced)
}

func TestSystemCallsAreCountedByKind(t *testing.T) {
	s := start(t, "polite")
	count := func(what string) Syscalls {
		n, err := s.CountSyscalls(func() error {
			_, err := s.Ask(what)
			return err
		})
		if refused := new(SyscallsError); errors.As(err, &refused) {
			assert.ErrorContains(t, err, "perf_event_paranoid", "it says what it takes")
			t.Skip(err)
		}
		require.NoError(t, err)
		return n
	}
	n := count("getppid")
	assert.GreaterOrEqual(t, n.Total, uint64(1000))
	assert.Less(t, n.Total, uint64(1200))
	assert.Less(t, n.Read, uint64(100))
	n = count("read")
	assert.GreaterOrEqual(t, n.Read, uint64(1000))
	assert.Less(t, n.Total, uint64(1200))
	require.NoError(t, s.cmd.Process.Signal(syscall.Signal(0)), "it lives, and goes on after having been stopped")
	_, err := s.Ask("hello")
	require.NoError(t, err)
}

func TestWhereAServerListens(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:80", "[::ffff:127.0.0.1]:80"} {
		at, err := parseAddr(addr)
		require.NoError(t, err)
		assert.Equal(t, "127.0.0.1:80", at.String())
	}
	for _, addr := range []string{"", "port 80", "localhost:80", "[::1]:80"} {
		_, err := parseAddr(addr)
		assert.Error(t, err, addr)
	}
}

func TestOnlyTheEndOfALogIsKept(t *testing.T) {
	var log tail
	for range 10_000 {
		fmt.Fprintln(&log, "something long enough happened")
	}
	fmt.Fprint(&log, "the end")
	assert.Len(t, log.String(), tailSize)
	assert.True(t, strings.HasSuffix(log.String(), "the end"))
}

func TestParseCPUs(t *testing.T) {
	available := CPUs{0, 1, 2, 5}
	for list, want := range map[string]CPUs{"0": {0}, "5,0": {5, 0}, "0-2": {0, 1, 2}, "1,0-2": {1, 0, 2}} {
		got, err := ParseCPUs(list, available)
		require.NoError(t, err, list)
		assert.Equal(t, want, got, list)
	}
	for _, list := range []string{"", "a", "1-", "-1", "2-1", "1,", "3", "0-5"} {
		_, err := ParseCPUs(list, available)
		assert.Error(t, err, list)
	}
	assert.Equal(t, "5,0", CPUs{5, 0}.String())
}

func TestPinBindsAndReleases(t *testing.T) {
	all, err := Available()
	require.NoError(t, err)
	release, err := Pin(all[:1])
	require.NoError(t, err)
	bound, err := Available()
	require.NoError(t, err)
	assert.Equal(t, all[:1], bound)
	release()
	_, err = Pin(CPUs{1000})
	assert.ErrorContains(t, err, "1000")
}
