package tls_test

import (
	stdtls "crypto/tls"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// A talk is one connection of ours on a Rig, and the crypto/tls of a peer, which plays its part on a goroutine. Bytes go
// between them by step, cut as the test wants.
type talk struct {
	*conntest.Rig
	t     testing.TB
	rec   *conntest.Recorder
	calls []string
	ends  ends
	cable *cable
	cut   func(at int, p string) []string // what comes to us: which bytes of the stream at, in pieces
	sniff func(p string)                  // what we write
	fed   int
	told  bool       // the peer knows of our end
	ended bool       // ... and we of its
	parts chan error // how the peer's part ended
}

// ends are the errors of the last callbacks, and events.
type ends struct {
	conn.Handler
	closed, failed, eof error
	events              []any
}

func (e *ends) OnClosed(c *conn.Conn, err error) { e.closed = err; e.Handler.OnClosed(c, err) }
func (e *ends) OnConnectFailed(c *conn.Conn, err error) {
	e.failed = err
	e.Handler.OnConnectFailed(c, err)
}
func (e *ends) OnEOF(c *conn.Conn, err error) { e.eof = err; e.Handler.OnEOF(c, err) }
func (e *ends) OnEvent(c *conn.Conn, ev any) {
	e.events = append(e.events, ev)
	e.Handler.OnEvent(c, ev)
}

// A play is what a talk begins with.
type play struct {
	layer interceptor.Factory
	conn  conn.Config
	peer  func(nc net.Conn) error // the peer's part; nc is closed when it returns
	opts  []conntest.Option
	setup func(k *talk)
	brief bool // over is called by the test: it has very many of them
}

// begin begins a talk. Nothing goes between the sides yet.
func (p play) begin(t testing.TB) *talk {
	t.Helper()
	k := &talk{t: t, rec: &conntest.Recorder{TB: t}, parts: make(chan error, 1)}
	k.cable = newCable(func() { k.Ring() })
	k.ends.Handler = k.rec
	if p.setup != nil {
		p.setup(k)
	}
	if p.layer != nil {
		p.conn.Layers = []interceptor.Factory{p.layer}
	}
	opts := append([]conntest.Option{conntest.Checked(t), func(r *conntest.Rig) { k.Rig = r }}, p.opts...)
	conntest.New(&k.ends, p.conn, opts...)
	if !p.brief {
		t.Cleanup(k.over)
	}
	if p.peer == nil {
		p.peer = func(nc net.Conn) error { _, err := io.Copy(io.Discard, nc); return err }
	}
	go func() {
		err := p.peer(k.cable)
		k.cable.Close()
		k.parts <- err
	}()
	return k
}

// over ends what goes on.
func (k *talk) over() {
	if !k.Done() {
		k.Do(func(c *conn.Conn) { c.Abort(nil) })
		k.Settle()
	}
	k.cable.break_()
	assert.Empty(k.t, k.Violations())
	assert.Empty(k.t, k.rec.Violations())
	assert.Zero(k.t, k.Memory().InUse(), "memory is left over")
}

// step carries what there is, both ways.
func (k *talk) step() {
	k.calls = append(k.calls, k.rec.Calls()...)
	if p := k.Wire(); p != "" {
		if k.sniff != nil {
			k.sniff(p)
		}
		k.cable.give(p)
	}
	closed, reset := k.Closed()
	if (k.FIN() || closed) && !k.told {
		k.told = true
		if reset {
			k.cable.break_()
		} else {
			k.cable.giveEnd()
		}
	}
	p, end := k.cable.take()
	if p != "" {
		pieces := []string{p}
		if k.cut != nil {
			pieces = k.cut(k.fed, p)
		}
		k.fed += len(p)
		for some := range slices.Chunk(pieces, 1000) { // a Rig takes many turns at one instant for a fault
			k.Feed(some...)
		}
	}
	if end && !k.ended {
		k.ended = true
		k.FeedEOF()
	}
	k.calls = append(k.calls, k.rec.Calls()...)
}

// until carries until done.
func (k *talk) until(what string, done func() bool) {
	k.t.Helper()
	ok := k.Await(patience, func() bool { k.step(); return done() })
	require.True(k.t, ok, "waited for %s; there were %q", what, k.calls)
}

// has returns whether a call begins with what; count, how many do.
func (k *talk) has(what string) bool { return k.count(what) > 0 }

func (k *talk) count(what string) (n int) {
	for _, c := range k.calls {
		if strings.HasPrefix(c, what) {
			n++
		}
	}
	return n
}

// connected waits for OnConnected, done for the last callback, part for the end of the peer's part, which must be an
// orderly one.
func (k *talk) connected() {
	k.t.Helper()
	k.until("OnConnected", func() bool { return k.has("OnConnected") })
}

func (k *talk) done() {
	k.t.Helper()
	k.until("the last callback", k.Done)
}

func (k *talk) part() {
	k.t.Helper()
	require.NoError(k.t, k.partError())
}

func (k *talk) partError() (err error) {
	k.t.Helper()
	over := false
	k.until("the end of the peer's part", func() bool {
		select {
		case err = <-k.parts:
			over = true
		default:
		}
		return over
	})
	return err
}

// withHost is for a connection that was dialed by that name.
func withHost(host string) conntest.Option {
	return conntest.WithInfo(interceptor.Info{Host: host, Addr: host + ":443",
		Remote: netip.MustParseAddrPort("198.51.100.7:443")})
}

// A cable is the net.Conn of a peer. Unlike a net.Pipe it has room for whatever is written.
type cable struct {
	ring func()

	mu      sync.Mutex
	cond    sync.Cond
	in, out []byte
	inEnd   bool
	outEnd  bool
	broken  bool
	written int // by the peer; hello: in its handshake
	hello   int
}

func newCable(ring func()) *cable {
	c := &cable{ring: ring}
	c.cond.L = &c.mu
	return c
}

func (c *cable) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 && !c.inEnd && !c.broken {
		c.cond.Wait()
	}
	switch {
	case c.broken:
		return 0, net.ErrClosed
	case len(c.in) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *cable) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.outEnd {
		return 0, net.ErrClosed
	}
	c.out = append(c.out, p...)
	c.written += len(p)
	c.ring()
	return len(p), nil
}

// shaken notes that the peer is done with its handshake.
func (c *cable) shaken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hello = c.written
}

// Close ends the peer's direction; it still may read.
func (c *cable) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outEnd = true
	c.ring()
	return nil
}

func (c *cable) give(p string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = append(c.in, p...)
	c.cond.Signal()
}

func (c *cable) giveEnd() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inEnd = true
	c.cond.Signal()
}

func (c *cable) break_() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.cond.Signal()
}

func (c *cable) take() (p string, end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, c.out = string(c.out), nil
	return p, c.outEnd
}

func (c *cable) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (c *cable) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (c *cable) SetDeadline(time.Time) error      { return nil }
func (c *cable) SetReadDeadline(time.Time) error  { return nil }
func (c *cable) SetWriteDeadline(time.Time) error { return nil }

// A version of TLS, a role of ours.
type version struct {
	name   string
	number uint16
}

var versions = []version{{"TLS 1.2", stdtls.VersionTLS12}, {"TLS 1.3", stdtls.VersionTLS13}}

type role string

const (
	asServer role = "server"
	asClient role = "client"
)

// each runs f for each version and role.
func each(t *testing.T, f func(t *testing.T, v version, as role)) {
	t.Helper()
	for _, v := range versions {
		for _, as := range []role{asServer, asClient} {
			t.Run(v.name+" "+string(as), func(t *testing.T) { f(t, v, as) })
		}
	}
}

// configs are those of a server and of a client that knows it. X25519 alone keeps the messages short.
func (v version) configs(t testing.TB) (server, client *tls.Config) {
	cert := certificate(t)
	server = &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: v.number, MaxVersion: v.number,
		CurvePreferences: []stdtls.CurveID{stdtls.X25519},
	}
	client = &tls.Config{
		RootCAs: trusting(t, cert), ServerName: "localhost", MinVersion: v.number, MaxVersion: v.number,
		CurvePreferences: []stdtls.CurveID{stdtls.X25519},
	}
	return server, client
}

// play is our role with our layer, and the other one with crypto/tls, which does part after its handshake.
func (v version) play(t testing.TB, as role, part func(c *stdtls.Conn) error) play {
	server, client := v.configs(t)
	return playWith(as, server, client, part)
}

func playWith(as role, server, client *tls.Config, part func(c *stdtls.Conn) error) play {
	p := play{layer: tls.Server(server)}
	side := func(nc net.Conn) *stdtls.Conn { return stdtls.Client(nc, client) }
	if as == asClient {
		p.layer = tls.Client(client)
		side = func(nc net.Conn) *stdtls.Conn { return stdtls.Server(nc, server) }
	}
	p.peer = func(nc net.Conn) error {
		c := side(nc)
		if err := c.Handshake(); err != nil {
			return err
		}
		nc.(*cable).shaken()
		if part == nil {
			return readToEnd(c)
		}
		return part(c)
	}
	return p
}

// readToEnd is the part of a peer that listens, and then says goodbye.
func readToEnd(c *stdtls.Conn) error {
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return c.Close()
}

// indexes of calls
func index(calls []string, prefix string) int {
	return slices.IndexFunc(calls, func(c string) bool { return strings.HasPrefix(c, prefix) })
}
