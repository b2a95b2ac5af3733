package actor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	cableEnv   = "GALAGO_TEST_CABLE"    // names the namespaces, in a process that runs in one of them
	requireEnv = "GALAGO_REQUIRE_NETNS" // if 1, a test that cannot have namespaces fails

	hereIP, thereIP   = "192.0.2.1", "192.0.2.2"
	hereMAC, thereMAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
)

// A cable connects two network namespaces, which have nothing else: here, where this process runs, and there.
type cable struct {
	t           testing.TB
	here, there string
}

// plugged gives the test a cable. In the first place it makes one, runs the whole test again in a process of its own in
// one of the namespaces, and returns nil: then there is no more to do. Only root can have namespaces, so it may skip the
// test.
func plugged(t *testing.T) *cable {
	t.Helper()
	if names := strings.Fields(os.Getenv(cableEnv)); len(names) == 2 {
		return &cable{t, names[0], names[1]}
	}
	c := newCable(t)
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*slow)
	defer cancel()
	inside := exec.CommandContext(ctx, "ip", "netns", "exec", c.here, self, "-test.run=^"+t.Name()+"$", "-test.v")
	inside.Env = append(os.Environ(), cableEnv+"="+c.here+" "+c.there)
	out, err := inside.CombinedOutput()
	require.NoError(t, err, "the test in its namespace:\n%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name(), "the test must have run in its namespace")
	t.Logf("in its namespace:\n%s", bytes.TrimSpace(out))
	return nil
}

func newCable(t *testing.T) *cable {
	t.Helper()
	// A missing permission is a reason not to run; whatever goes wrong after that is an error.
	impossible := func(format string, args ...any) {
		t.Helper()
		why := "no network namespaces: " + fmt.Sprintf(format, args...)
		if os.Getenv(requireEnv) == "1" {
			require.FailNow(t, why)
		}
		t.Skip(why)
	}
	if os.Geteuid() != 0 {
		impossible("only root can make them")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		impossible("%v (iproute2 has it)", err)
	}
	name := fmt.Sprintf("galago-%d-%x", os.Getpid(), time.Now().UnixNano())
	c := &cable{t, name + "-here", name + "-there"}
	for _, ns := range []string{c.here, c.there} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			impossible("ip netns add: %v: %s", err, bytes.TrimSpace(out))
		}
		t.Cleanup(func() { c.ip("netns del %s", ns) })
	}
	if out, err := exec.Command("ip", "link", "add", "cable", "netns", c.here, "address", hereMAC, "type", "veth",
		"peer", "name", "cable", "netns", c.there, "address", thereMAC).CombinedOutput(); err != nil {
		impossible("ip link add ... type veth: %v: %s", err, bytes.TrimSpace(out))
	}
	c.ip("-n %s addr add %s/24 dev cable", c.here, hereIP)
	c.ip("-n %s addr add %s/24 dev cable", c.there, thereIP)
	for _, ns := range []string{c.here, c.there} {
		c.ip("-n %s link set lo up", ns)
		c.ip("-n %s link set cable up", ns)
	}
	return c
}

// ip runs the tool of this name.
func (c *cable) ip(format string, args ...any) {
	c.t.Helper()
	command := fmt.Sprintf(format, args...)
	out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
	require.NoError(c.t, err, "ip %s: %s", command, out)
}

// cut makes the cable dead: nothing comes through, and nobody is told. The MAC addresses are written down first, or the
// system here would soon say that the host is unreachable, for nobody answers when it asks for them.
func (c *cable) cut() {
	c.t.Helper()
	c.ip("-n %s neigh replace %s lladdr %s dev cable nud permanent", c.here, thereIP, thereMAC)
	c.ip("-n %s link set cable down", c.there)
}

// mend ends cut.
func (c *cable) mend() {
	c.t.Helper()
	c.ip("-n %s link set cable up", c.there)
}

// startPeer starts a peer process there.
func (c *cable) startPeer() *peerProcess {
	c.t.Helper()
	return startPeer(c.t, "ip", "netns", "exec", c.there)
}

// userTimeout is an Options.Control: it bounds how long sent bytes may stay without an answer.
func userTimeout(d time.Duration) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d/time.Millisecond))
		}), err)
	}
}

func at(ip string) string { return net.JoinHostPort(ip, "0") }

// left counts the TCP sockets here, without those that listen, or that are over and only keep their port for a while.
func (c *cable) left() (n int) {
	c.t.Helper()
	const timeWait, listening = "06", "0A"
	table, err := os.ReadFile("/proc/self/net/tcp")
	require.NoError(c.t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		if state := strings.Fields(line)[3]; state != timeWait && state != listening {
			n++
		}
	}
	return n
}
