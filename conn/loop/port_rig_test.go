package loop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A portEnd is a backend made of a port and one goroutine that takes the turns.
type portEnd struct {
	*port
	workers sync.WaitGroup
	info    interceptor.Info
	turns   chan func()
	bell    chan struct{} // something was reported

	mu       sync.Mutex
	reported conn.Interest
	posted   []func()

	shut bool // Close was called
}

var _ conn.Backend = (*portEnd)(nil)

// newPortEnd starts a port over nc. When the test is over, no goroutine of it may be left.
func newPortEnd(t testing.TB, nc net.Conn) *portEnd {
	e := unstartedPort(t, nc)
	e.start(&e.workers)
	return e
}

func unstartedPort(t testing.TB, nc net.Conn) *portEnd {
	e := &portEnd{turns: make(chan func()), bell: make(chan struct{}, 1)}
	e.port = newPort(nc, e.report)
	go func() {
		for f := range e.turns {
			f()
		}
	}()
	t.Cleanup(func() {
		if !e.shut {
			e.turn(func() { _ = e.Close(true) })
		}
		e.gone(t)
		close(e.turns)
	})
	return e
}

// gone waits for the port's goroutines.
func (e *portEnd) gone(t testing.TB) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		e.workers.Wait()
		close(done)
	}()
	await(t, done, "the goroutines of a port to end")
}

func (e *portEnd) report(i conn.Interest) {
	e.mu.Lock()
	e.reported |= i
	e.mu.Unlock()
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// reports takes what was reported, and waits for it no longer than d.
func (e *portEnd) reports(d time.Duration) conn.Interest {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		e.mu.Lock()
		i := e.reported
		e.reported = 0
		e.mu.Unlock()
		if i != 0 {
			return i
		}
		select {
		case <-e.bell:
		case <-timeout.C:
			return 0
		}
	}
}

// until waits for a report of all of want.
func (e *portEnd) until(t testing.TB, want conn.Interest) {
	t.Helper()
	var got conn.Interest
	for end := time.Now().Add(patience); got&want != want; got |= e.reports(time.Second) {
		require.True(t, time.Now().Before(end), "%v was reported, not %v", got, want)
	}
}

// turn runs what was posted, and then f.
func (e *portEnd) turn(f func()) {
	done := make(chan struct{})
	e.turns <- func() {
		defer close(done)
		e.mu.Lock()
		posted := e.posted
		e.posted = nil
		e.mu.Unlock()
		for _, g := range posted {
			g()
		}
		f()
	}
	<-done
}

func (e *portEnd) Read(p []byte) (int, error)       { return e.read(p) }
func (e *portEnd) Unread() (int, error)             { return e.unread() }
func (e *portEnd) Write(bufs [][]byte) (int, error) { return e.write(bufs) }
func (e *portEnd) Arm(conn.Interest)                {}
func (e *portEnd) CloseWrite() error                { return e.closeWrite() }
func (e *portEnd) Info() interceptor.Info           { return e.info }

func (e *portEnd) Close(reset bool) error {
	e.shut = true
	return e.close(reset)
}

func (e *portEnd) Post(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.posted = append(e.posted, f)
}

// An other is a connection of which package net does not know what it is.
type other struct{ *net.TCPConn }

func (o other) NetConn() net.Conn { return o.TCPConn }

// A nameless is one that has nothing but what a net.Conn must have.
type nameless struct{ net.Conn }

// portKinds make the connections that a port is tried on.
var portKinds = []struct {
	name   string
	join   func(testing.TB) (near, far net.Conn)
	resets bool // a reset reaches the peer
	halves bool // one direction can be closed alone
}{
	{"tcp", joinTCP, true, true},
	{"unix", joinUnix, false, true},
	{"pipe", func(testing.TB) (near, far net.Conn) { return net.Pipe() }, false, false},
	{"other", func(t testing.TB) (near, far net.Conn) {
		near, far = joinTCP(t)
		return other{near.(*net.TCPConn)}, other{far.(*net.TCPConn)}
	}, true, true},
	{"nameless", func(t testing.TB) (near, far net.Conn) {
		near, far = joinTCP(t)
		return nameless{near}, nameless{far}
	}, false, false},
	{"tls", joinTLS, true, true},
}

func joinTCP(t testing.TB) (near, far net.Conn) { return join(t, "tcp", "127.0.0.1:0") }

func joinUnix(t testing.TB) (near, far net.Conn) {
	return join(t, "unix", filepath.Join(t.TempDir(), "s"))
}

func join(t testing.TB, network, addr string) (near, far net.Conn) {
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	defer func() { assert.NoError(t, ln.Close()) }()
	far, err = net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	near, err = ln.Accept()
	require.NoError(t, err)
	setBuffers(t, near, far, 128<<10)
	return near, far
}

// setBuffers bounds what the system keeps for a reader that does not read, if it is asked to keep anything.
func setBuffers(t testing.TB, near, far net.Conn, size int) {
	type buffered interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}
	for _, nc := range []net.Conn{near, far} {
		if c, ok := nc.(buffered); ok {
			assert.NoError(t, c.SetReadBuffer(size))
			assert.NoError(t, c.SetWriteBuffer(size))
		}
	}
}

// portCertificate is made once, for it takes a while.
var portCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func joinTLS(t testing.TB) (near, far net.Conn) {
	near, far = joinTCP(t)
	server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{portCertificate()}})
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	require.NoError(t, client.Handshake())
	require.NoError(t, <-shaken)
	return server, client
}

// joinPorts makes both ends ports.
func joinPorts(t testing.TB, join func(testing.TB) (near, far net.Conn)) (near, far *portEnd) {
	a, b := join(t)
	near, far = newPortEnd(t, a), newPortEnd(t, b)
	one, two := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	near.info = interceptor.Info{Local: one, Remote: two}
	far.info = interceptor.Info{Local: two, Remote: one}
	return near, far
}
