package loop

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

func TestDialFromALocalAddress(t *testing.T) {
	sys := broken()
	bound := make(chan netip.AddrPort, 10) // before connect
	sys.connect = func(fd int, sa unix.Sockaddr) error {
		local, err := unix.Getsockname(fd)
		assert.NoError(t, err)
		bound <- addrPort(local)
		return unix.Connect(fd, sa)
	}
	l := newLoop(t, Config{sys: sys})
	s := serve(t, []*Loop{l}, "tcp", ":0", ListenConfig{}, nil)
	names := book{"far.example": {"::1", "127.0.0.1"}}
	addr := "far.example:" + portOf(s)
	free := freePort(t)
	for _, k := range []struct{ local, want string }{
		{"127.0.0.3:0", "127.0.0.3:"},
		{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), free).String(), "127.0.0.3:" + strconv.Itoa(int(free))},
		{netip.AddrPortFrom(netip.IPv4Unspecified(), free).String(), "[::1]:" + strconv.Itoa(int(free))},
		{"[::1]:0", "[::1]:"},
		{"[::1%lo]:0", "[::1]:"},
	} {
		c := reach(t, l, DialConfig{Network: "tcp", Addr: addr, Local: netip.MustParseAddrPort(k.local), Resolver: names})
		e := await(t, s.ends, "the other end")
		assert.Equal(t, netip.MustParseAddrPort(k.local).Port(), (<-bound).Port(), "a port is not chosen before it must be")
		e.on(t, func() {
			assert.True(t, strings.HasPrefix(e.Info().Remote.String(), k.want), "%v: %v", k.local, e.Info().Remote)
			assert.NoError(t, c.Socket.Close(true))
			assert.NoError(t, e.Socket.Close(true))
		})
	}
	// The local end of another host cannot be ours.
	c := miss(t, l, context.Background(), DialConfig{Network: "tcp", Addr: addr, Local: netip.MustParseAddrPort("192.0.2.1:0"), Resolver: names})
	assert.ErrorIs(t, c.err, syscall.EADDRNOTAVAIL)
	assert.ErrorContains(t, c.err, "bind")
	assert.ErrorContains(t, c.err, "192.0.2.1:0->127.0.0.1:")
}

// freePort returns a port that nobody uses, and that the system does not choose for others.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 1000 {
		port := 20_000 + rand.IntN(10_000)
		if ln, err := net.Listen("tcp", ":"+strconv.Itoa(port)); err == nil {
			require.NoError(t, ln.Close())
			return uint16(port)
		}
	}
	t.Fatal("no port is free")
	return 0
}

// Attempts that run side by side can have the same port.
func TestDialFromALocalPortInARace(t *testing.T) {
	l := newLoop(t, Config{})
	_, p, err := net.SplitHostPort(silent(t))
	require.NoError(t, err)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.2:"+p, ListenConfig{}, nil)
	local := netip.AddrPortFrom(netip.Addr{}, freePort(t))
	c := reach(t, l, DialConfig{Network: "tcp", Addr: "far.example:" + p, Local: local,
		Resolver: book{"far.example": {"127.0.0.1", "127.0.0.2"}}})
	c.on(t, func() {
		assert.Equal(t, "127.0.0.2", c.Info().Remote.Addr().String())
		assert.Equal(t, local.Port(), c.Info().Local.Port())
	})
	e := await(t, s.ends, "the other end")
	e.on(t, func() { assert.NoError(t, e.Socket.Close(true)) })
}

func TestDialUnixSockets(t *testing.T) {
	l := newLoop(t, Config{})
	for _, addr := range []string{filepath.Join(t.TempDir(), "socket"), "@galago-dial-test"} {
		c := miss(t, l, context.Background(), DialConfig{Network: "unix", Addr: addr})
		assert.Equal(t, conn.StageDial, c.stage)
		assert.ErrorContains(t, c.err, "dial unix "+addr+": connect")
		s := serve(t, []*Loop{l}, "unix", addr, ListenConfig{}, nil)
		var controlled string
		cfg := DialConfig{Network: "unix", Addr: addr}
		cfg.Options.Control = func(network, address string, _ syscall.RawConn) error {
			controlled = network + " " + address
			return nil
		}
		c = reach(t, l, cfg)
		assert.Equal(t, "unix "+addr, controlled)
		e := await(t, s.ends, "the other end")
		c.until(t, conn.Writable)
		c.on(t, func() {
			i := c.Info()
			assert.True(t, i.Dialed)
			assert.Zero(t, i.Local)
			assert.Zero(t, i.Remote)
			assert.Empty(t, i.Host)
			assert.Equal(t, addr, i.Addr)
			_, err := c.Write([][]byte{[]byte("hello")})
			assert.NoError(t, err)
			assert.NoError(t, c.Socket.Close(false))
		})
		e.until(t, conn.Hangup)
		got, err := e.readAll(t)
		assert.Equal(t, "hello", string(got))
		assert.Same(t, io.EOF, err)
		e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
	}
}

func TestRoutes(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	zone := strconv.Itoa(lo.Index)
	for _, k := range []struct {
		network, host string
		found         []string
		want          []string
	}{
		{"tcp", "a", []string{"::1", "::2", "::3", "1.1.1.1"}, []string{"::1", "1.1.1.1", "::2", "::3"}},
		{"tcp", "a", []string{"1.1.1.1", "1.1.1.2", "::1", "::2", "1.1.1.3"}, []string{"1.1.1.1", "::1", "1.1.1.2", "::2", "1.1.1.3"}},
		{"tcp4", "a", []string{"::1", "1.1.1.1"}, []string{"1.1.1.1"}},
		{"tcp6", "a", []string{"1.1.1.1", "::1", "::1"}, []string{"::1"}},
		{"tcp", "a", []string{"::ffff:1.1.1.1", "1.1.1.1", "fe80::1%lo"}, []string{"1.1.1.1", "fe80::1%" + zone}},
		{"tcp", "", nil, []string{"127.0.0.1"}},
		{"tcp6", "", nil, []string{"::1"}},
		{"tcp", "::", nil, []string{"::1"}},
		{"tcp", "0.0.0.0", nil, []string{"127.0.0.1"}},
		{"tcp", "fe80::1%5", nil, []string{"fe80::1%5"}},
		{"tcp", "fe80::1%lo", nil, []string{"fe80::1%" + zone}},
	} {
		cfg := DialConfig{Network: k.network, Addr: net.JoinHostPort(k.host, "80"), Resolver: book{"a": k.found}}
		require.NoError(t, cfg.Validate())
		r, err := cfg.resolve(context.Background())
		require.NoError(t, err)
		var got []string
		for _, ap := range r.to {
			assert.EqualValues(t, 80, ap.Port())
			got = append(got, ap.Addr().String())
		}
		assert.Equal(t, k.want, got, "%v %v", k.network, k.host)
		assert.Equal(t, k.host != "a" && !strings.Contains(k.host, "lo"), cfg.literal())
	}
	cfg := DialConfig{Network: "tcp", Addr: "127.0.0.1:http"}
	assert.False(t, cfg.literal())
	r, err := cfg.resolve(context.Background())
	require.NoError(t, err)
	assert.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80")}, r.to)
}
