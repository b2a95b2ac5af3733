//go:build linux

package actor_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
	"github.com/galago-go/galago/interceptor"
)

// A badInput is a network of its own, which is given what cannot work. Whatever it is given, nothing may be started.
type badInput struct {
	*actor.Network
	t      *testing.T
	before census
	actors int // processes of the system, from the start

	made, sockets int // calls of newActor and of Options.Control
}

// eachKind runs f with a network of each kind.
func eachKind(t *testing.T, f func(t *testing.T, b *badInput)) {
	for name, cfg := range map[string]actor.Config{"epoll": {Loops: 1}, "portable": {Loops: 1, Portable: true}} {
		t.Run(name, func(t *testing.T) { f(t, startBadInput(t, cfg)) })
	}
}

func startBadInput(t *testing.T, cfg actor.Config) *badInput {
	n, err := actor.New(system, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { fastShutdown(t, n) })
	return &badInput{Network: n, t: t, actors: processes()}
}

// count takes stock before an attempt.
func (b *badInput) count() { b.before = takeCensus() }

// processes counts the actors of the system.
func processes() (count int) {
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		count += bucket.Count()
	}
	return count
}

// nothingStarted asserts that err says all of that, and that nothing is left of the attempt.
func (b *badInput) nothingStarted(err error, says ...string) {
	b.t.Helper()
	require.Error(b.t, err)
	for _, s := range says {
		assert.ErrorContains(b.t, err, s)
	}
	assert.NotContains(b.t, err.Error(), "goroutine ", "a stack trace is no answer")
	assert.Empty(b.t, b.before.wait())
	assert.LessOrEqual(b.t, processes(), b.actors, "actors")
	assert.Zero(b.t, b.made, "calls of newActor")
}

// control counts sockets.
func (b *badInput) control(string, string, syscall.RawConn) error {
	b.sockets++
	return nil
}

// A badConfig is a value of conn.Config or loop.Options that cannot work, and what must be said of it: field, value and
// cure.
type badConfig struct {
	conn   conn.Config
	socket loop.Options
	says   []string
}

func badConfigs() map[string]badConfig {
	return map[string]badConfig{
		"MaxFrame":   {conn: conn.Config{MaxFrame: -1}, says: []string{"MaxFrame is -1", "0 (for the default)"}},
		"HighWater":  {conn: conn.Config{HighWater: -2}, says: []string{"HighWater is -2", "0 (for the default)"}},
		"LowWater":   {conn: conn.Config{LowWater: -3}, says: []string{"LowWater is -3", "0 (for the default)"}},
		"MaxPending": {conn: conn.Config{MaxPending: -4}, says: []string{"MaxPending is -4", "0 (for the default)"}},
		"LowWater above": {conn: conn.Config{HighWater: 5, LowWater: 6},
			says: []string{"LowWater is 6", "at most HighWater, 5"}},
		"ReadWaits": {conn: conn.Config{ReadWaits: 3}, says: []string{"ReadWaits is Setting(3)", "Auto, On or Off"}},
		"StartTimeout": {conn: conn.Config{StartTimeout: -time.Second},
			says: []string{"StartTimeout is -1s", "0 (for 10 s)"}},
		"CloseTimeout": {conn: conn.Config{CloseTimeout: -time.Second},
			says: []string{"CloseTimeout is -1s", "0 (for 5 s)"}},
		"IdleTimeout": {conn: conn.Config{IdleTimeout: -time.Second},
			says: []string{"IdleTimeout is -1s", "0 (for none)"}},
		"Layers": {conn: conn.Config{Layers: []interceptor.Factory{nil}},
			says: []string{"Layers[0] is nil", "a function that makes a layer"}},
		"ReadBuffer": {socket: loop.Options{ReadBuffer: -5},
			says: []string{"ReadBuffer is -5", "0 (the system's choice)"}},
		"WriteBuffer": {socket: loop.Options{WriteBuffer: -6},
			says: []string{"WriteBuffer is -6", "0 (the system's choice)"}},
		"KeepAlive": {socket: loop.Options{KeepAlive: net.KeepAliveConfig{Enable: true, Count: 1000}},
			says: []string{"KeepAlive.Count is 1000", "at most 127"}},
	}
}

func TestBadInputOfNew(t *testing.T) {
	actors := processes()
	for _, test := range []struct {
		cfg  actor.Config
		says []string
	}{
		{actor.Config{Loops: -1}, []string{"Config.Loops is -1", "0 (one for each CPU)"}},
		{actor.Config{StallWarning: -time.Second}, []string{"Config.StallWarning is -1s", "0 (for 100 ms)"}},
		{actor.Config{Loops: -2, StallWarning: -3}, []string{"Config.Loops is -2", "Config.StallWarning is -3ns"}},
	} {
		for _, sys := range []*proto.ActorSystem{system, nil} {
			b := &badInput{t: t, actors: actors}
			b.count()
			n, err := actor.New(sys, test.cfg)
			assert.Nil(t, n)
			b.nothingStarted(err, test.says...)
		}
	}
}

func TestBadInputOfListen(t *testing.T) { eachKind(t, badInputOfListen) }

func badInputOfListen(t *testing.T, b *badInput) {
	newActor := func() actor.Actor { b.made++; return new(probe) }
	listen := func(ctx context.Context, addr string, newActor func() actor.Actor, cfg actor.ListenConfig, says ...string) {
		t.Helper()
		cfg.Socket.Control = b.control
		b.count()
		ln, err := b.Listen(ctx, addr, newActor, cfg)
		assert.Nil(t, ln)
		b.nothingStarted(err, says...)
		assert.Zero(t, b.sockets)
	}
	const free = "127.0.0.1:0"
	for name, c := range badConfigs() {
		t.Run(name, func(t *testing.T) {
			listen(t.Context(), free, newActor, actor.ListenConfig{Conn: c.conn, Socket: c.socket}, c.says...)
		})
	}
	for _, c := range []struct {
		name, addr string
		cfg        actor.ListenConfig
		says       []string
	}{
		{"empty", "", actor.ListenConfig{}, []string{`""`, "must be host:port"}},
		{"no port", "127.0.0.1", actor.ListenConfig{}, []string{`"127.0.0.1"`, "must be host:port"}},
		{"no brackets", "::1:7669", actor.ListenConfig{}, []string{`"::1:7669"`, "[host]:port"}},
		{"port too high", "127.0.0.1:70000", actor.ListenConfig{}, []string{`"127.0.0.1:70000"`, "to 65535"}},
		{"negative port", "127.0.0.1:-1", actor.ListenConfig{}, []string{`"127.0.0.1:-1"`, "from 0, for a free one"}},
		{"IPv6 for tcp4", "[::1]:0", actor.ListenConfig{Network: "tcp4"}, []string{`"[::1]:0"`, "an address for tcp4"}},
		{"IPv4 for tcp6", free, actor.ListenConfig{Network: "tcp6"}, []string{`"127.0.0.1:0"`, "an address for tcp6"}},
		{"unknown network", free, actor.ListenConfig{Network: "udp"},
			[]string{`Network is "udp"`, "tcp, tcp4, tcp6 or unix"}},
		{"path too long", "/" + strings.Repeat("x", 108), actor.ListenConfig{Network: "unix"},
			[]string{`"/xxx`, "at most 107 bytes"}},
		{"negative MaxConns", free, actor.ListenConfig{MaxConns: -1}, []string{"MaxConns is -1", "0 (for 100,000)"}},
		{"nil option", free, actor.ListenConfig{Props: []proto.PropsOption{nil}}, []string{"Props[0] is nil", "an option"}},
	} {
		t.Run(c.name, func(t *testing.T) { listen(t.Context(), c.addr, newActor, c.cfg, c.says...) })
	}
	listen(t.Context(), free, nil, actor.ListenConfig{}, "newActor is nil", "must make an Actor")
	var none context.Context
	listen(none, "localhost:0", newActor, actor.ListenConfig{}, "ctx is nil", "context.Background()")
	listen(none, "here", nil, actor.ListenConfig{MaxConns: -7, Network: "tcp6", Conn: conn.Config{HighWater: -8}},
		"ctx", "here", "newActor", "-7", "-8") // all at once
}

// What only the system knows: it is asked, and nothing is left of that either.
func TestBadInputThatTheSystemRefuses(t *testing.T) { eachKind(t, badInputThatTheSystemRefuses) }

func badInputThatTheSystemRefuses(t *testing.T, b *badInput) {
	newActor := func() actor.Actor { b.made++; return new(probe) }
	refused := func(t *testing.T, ctx context.Context, addr string, cfg actor.ListenConfig, says ...string) error {
		t.Helper()
		b.count()
		ln, err := b.Listen(ctx, addr, newActor, cfg)
		assert.Nil(t, ln)
		b.nothingStarted(err, says...)
		var failed *loop.ListenError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, addr, failed.Addr)
		return err
	}
	t.Run("address in use", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		addr := taken.Addr().String()
		err = refused(t, t.Context(), addr, actor.ListenConfig{}, `"`+addr+`"`, "the address is already in use",
			"another port (0 takes a free one)")
		assert.ErrorIs(t, err, syscall.EADDRINUSE)
	})
	t.Run("path in use", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "socket")
		taken, err := net.Listen("unix", path)
		require.NoError(t, err)
		defer taken.Close()
		err = refused(t, t.Context(), path, actor.ListenConfig{Network: "unix"}, path, "the address is already in use")
		assert.ErrorIs(t, err, syscall.EADDRINUSE)
		_, err = os.Stat(path)
		assert.NoError(t, err, "it is not ours to remove")
	})
	t.Run("not of this machine", func(t *testing.T) {
		refused(t, t.Context(), "192.0.2.1:7669", actor.ListenConfig{}, `"192.0.2.1:7669"`, "an address of this machine")
	})
	t.Run("no directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "nowhere", "socket")
		refused(t, t.Context(), path, actor.ListenConfig{Network: "unix"}, path, "the directory must be there")
	})
	t.Run("unknown service", func(t *testing.T) {
		refused(t, t.Context(), "127.0.0.1:galago-no-such-service", actor.ListenConfig{}, "galago-no-such-service",
			"the name of a service")
	})
	t.Run("Control", func(t *testing.T) {
		cfg := actor.ListenConfig{Socket: loop.Options{
			Control: func(string, string, syscall.RawConn) error { return io.ErrNoProgress },
		}}
		assert.ErrorIs(t, refused(t, t.Context(), "127.0.0.1:0", cfg, "127.0.0.1:0"), io.ErrNoProgress)
	})
}

func TestBadInputOfDial(t *testing.T) { eachKind(t, badInputOfDial) }

func badInputOfDial(t *testing.T, b *badInput) {
	dial := func(t *testing.T, ctx context.Context, addr string, cfg actor.DialConfig, says ...string) {
		t.Helper()
		cfg.Socket.Control = b.control
		p := new(probe)
		b.count()
		pid, err := b.Dial(ctx, addr, p, cfg)
		assert.Nil(t, pid)
		b.nothingStarted(err, says...)
		assert.Zero(t, b.sockets)
		assert.Empty(t, p.notes())
		assert.Nil(t, p.Conn(), "it may be dialed again")
	}
	const addr = "127.0.0.1:7669"
	for name, c := range badConfigs() {
		t.Run(name, func(t *testing.T) {
			dial(t, t.Context(), addr, actor.DialConfig{Conn: c.conn, Socket: c.socket}, c.says...)
		})
	}
	for _, c := range []struct {
		name, addr string
		cfg        actor.DialConfig
		says       []string
	}{
		{"empty", "", actor.DialConfig{}, []string{`Addr is ""`, "must be host:port"}},
		{"no port", "127.0.0.1", actor.DialConfig{}, []string{`Addr is "127.0.0.1"`, "must be host:port"}},
		{"empty port", "localhost:", actor.DialConfig{}, []string{`Addr is "localhost:"`, "from 1 to 65535"}},
		{"port 0", "127.0.0.1:0", actor.DialConfig{}, []string{`Addr is "127.0.0.1:0"`, "from 1 to 65535"}},
		{"port too high", "127.0.0.1:70000", actor.DialConfig{}, []string{"127.0.0.1:70000", "from 1 to 65535"}},
		{"unknown network", addr, actor.DialConfig{Network: "udp"}, []string{`Network is "udp"`, "tcp, tcp4, tcp6 or unix"}},
		{"IPv6 for tcp4", "[::1]:7669", actor.DialConfig{Network: "tcp4"}, []string{`"[::1]:7669"`, "an address for tcp4"}},
		{"Local of another family", addr, actor.DialConfig{Local: netip.MustParseAddrPort("[::1]:0")},
			[]string{addr, "that ::1 can connect to"}},
		{"Local for another network", addr,
			actor.DialConfig{Network: "tcp4", Local: netip.MustParseAddrPort("[::1]:0")},
			[]string{"Local is [::1]:0", "of the family of tcp4"}},
		{"Local for unix", "/tmp/socket",
			actor.DialConfig{Network: "unix", Local: netip.MustParseAddrPort("127.0.0.1:1")},
			[]string{"Local is 127.0.0.1:1", "zero for unix"}},
		{"no path", "", actor.DialConfig{Network: "unix"}, []string{`Addr is ""`, "1 to 107 bytes"}},
		{"negative Loop", addr, actor.DialConfig{Loop: -1}, []string{"DialConfig.Loop is -1", "0 (the loop with the fewest"}},
		{"Loop that is not there", addr, actor.DialConfig{Loop: 2}, []string{"DialConfig.Loop is 2", "the number of a loop"}},
		{"nil option", addr, actor.DialConfig{Props: []proto.PropsOption{nil}}, []string{"Props[0] is nil", "an option"}},
	} {
		t.Run(c.name, func(t *testing.T) { dial(t, t.Context(), c.addr, c.cfg, c.says...) })
	}
	var none context.Context
	dial(t, none, addr, actor.DialConfig{}, "ctx is nil", "context.Background()")
}

func TestBadInputThatIsNoActor(t *testing.T) { eachKind(t, badInputThatIsNoActor) }

func badInputThatIsNoActor(t *testing.T, b *badInput) {
	for _, k := range []struct {
		a    actor.Actor
		says []string
	}{
		{nil, []string{"was given nil", "must be an Actor"}},
		{(*probe)(nil), []string{"was given a nil *actor_test.probe", "must be an Actor"}},
		{baseless{}, []string{"actor_test.baseless without a Base", "embed actor.Base by value"}},
	} {
		b.count()
		pid, err := b.Dial(t.Context(), "127.0.0.1:7669", k.a, actor.DialConfig{})
		assert.Nil(t, pid)
		b.nothingStarted(err, k.says...)
	}
}

func TestBadInputOfAdopt(t *testing.T) { eachKind(t, badInputOfAdopt) }

func badInputOfAdopt(t *testing.T, b *badInput) {
	adopt := func(nc net.Conn, cfg actor.DialConfig, says ...string) {
		t.Helper()
		p := new(probe)
		b.count()
		pid, err := b.Adopt(nc, p, cfg)
		assert.Nil(t, pid)
		b.nothingStarted(err, says...)
		assert.Nil(t, p.Conn())
	}
	gram, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer gram.Close()
	packets := gram.(*net.UDPConn)
	adopt(nil, actor.DialConfig{}, "<nil> cannot be adopted", "must be a stream")
	adopt(packets, actor.DialConfig{}, "a *net.UDPConn cannot be adopted", "must be a stream")
	adopt((*net.TCPConn)(nil), actor.DialConfig{}, "a nil *net.TCPConn cannot be adopted", "must be a stream")
	adopt((*net.UnixConn)(nil), actor.DialConfig{}, "a nil *net.UnixConn cannot be adopted", "must be a stream")
	adopt(packets, actor.DialConfig{Props: []proto.PropsOption{nil}}, "Props[0] is nil", "*net.UDPConn")

	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	for _, c := range badConfigs() {
		if c.socket.KeepAlive.Enable || c.socket.ReadBuffer != 0 || c.socket.WriteBuffer != 0 {
			continue // they are not for Adopt
		}
		adopt(near, actor.DialConfig{Conn: c.conn}, c.says...)
	}
	go func() { _, _ = near.Write([]byte("mine")) }()
	p := make([]byte, 4)
	_, err = io.ReadFull(far, p)
	assert.NoError(t, err)
	assert.Equal(t, "mine", string(p), "it is still the caller's")
}

func TestBadInputOfSpawn(t *testing.T) { eachKind(t, badInputOfSpawn) }

func badInputOfSpawn(t *testing.T, b *badInput) {
	newActor := func() proto.Actor { b.made++; return proto.ReceiveFunc(func(proto.Context) {}) }
	spawn := func(newActor func() proto.Actor, cfg actor.SpawnConfig, says ...string) {
		t.Helper()
		b.count()
		pid, err := b.Spawn(newActor, cfg)
		assert.Nil(t, pid)
		b.nothingStarted(err, says...)
	}
	spawn(newActor, actor.SpawnConfig{Loop: -1}, "SpawnConfig.Loop is -1", "the number of a loop")
	spawn(newActor, actor.SpawnConfig{Loop: 2}, "SpawnConfig.Loop is 2", "the number of a loop")
	spawn(newActor, actor.SpawnConfig{Props: []proto.PropsOption{nil}}, "Props[0] is nil", "an option")
	spawn(nil, actor.SpawnConfig{}, "newActor is nil", "must make")
	spawn(nil, actor.SpawnConfig{Loop: 3}, "newActor", "Loop is 3") // all at once
	spawn(func() proto.Actor { return nil }, actor.SpawnConfig{}, "newActor returned nil", "it must be")
}
