package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/serve"
)

// Guests are clients that come, exchange one message and go, some at a time.
type Guests struct {
	poller
	clients   []guest
	tls       *tls.Config // or nil
	buf       []byte
	to        netip.AddrPort
	served    int // that have gone
	came      int
	first     int // number of the first source
	latencies *hdrhistogram.Histogram
}

// sources is from how many addresses guests come. A client that closes first keeps its port for a while, and one
// address has not ports enough.
const sources = 64

// A guest is a client, with the handshake that is under way, if there is TLS. That one is a coroutine, since crypto/tls
// does not go on with a handshake after an error, be it one that passes.
type guest struct {
	client
	handshake func() (error, bool) // goes on; returns false when it has ended with that error; nil if there is none
	stop      func()               // gives it up
}

// NewGuests lets the first n guests come, with TLS if there is a cfg. Shards with another first come from other addresses.
func NewGuests(to netip.AddrPort, cfg *tls.Config, first, n int) (g *Guests, err error) {
	g = &Guests{to: to, tls: cfg, first: first, buf: make([]byte, 64<<10), latencies: NewLatencies()}
	if g.poller, err = newPoller(); err != nil {
		return nil, err
	}
	g.clients = make([]guest, n)
	for i := range g.clients {
		g.clients[i].client = newClient(serve.Message(first+i, 64), 1)
		g.clients[i].id = i
	}
	for i := range g.clients {
		if err := g.come(&g.clients[i]); err != nil {
			g.Close()
			return nil, err
		}
	}
	return g, nil
}

// Close sends all guests away.
func (g *Guests) Close() {
	for i := range g.clients {
		g.clients[i].forget()
		g.drop(&g.clients[i].client)
	}
	g.close()
}

// come lets a new guest connect in c's place. What it sends waits until the system reports that it is connected.
func (g *Guests) come(c *guest) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	c.renew(wire{fd: fd})
	c.issue(1, g.now())
	if err := g.add(&c.client); err != nil {
		return err
	}
	if g.tls != nil {
		c.secure(g.tls)
		c.beginHandshake()
	}
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + g.first%250), byte(1 + g.came%sources)}}
	g.came++
	// The port is chosen when it connects: then only the pair of addresses must be free.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, from); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(g.to.Port()), Addr: g.to.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	return nil
}

// Run keeps guests coming for d. It returns how many were served.
func (g *Guests) Run(d time.Duration) (took time.Duration, served int, err error) {
	before := g.served
	g.latencies.Reset()
	took, err = g.poll(d, g.attend, nil)
	return took, g.served - before, err
}

// Latencies returns the times from connect to the whole answer in the last Run, in nanoseconds.
func (g *Guests) Latencies() *hdrhistogram.Histogram { return g.latencies }

// attend goes on with one guest until it has to wait; when it has been served, it goes, and the next one comes.
func (g *Guests) attend(cl *client) error {
	c := &g.clients[cl.id]
	if c.handshake != nil {
		if err, waits := c.handshake(); err != nil || waits {
			return err
		}
		c.forget()
	}
	if err := c.flush(); err != nil || c.sent < c.due {
		return err
	}
	if _, err := c.read(g.buf); err != nil {
		return err
	}
	if c.whole(func(came time.Duration) { g.latencies.RecordValue(int64(g.now() - came)) }) == 0 {
		return nil
	}
	g.served++
	if err := g.drop(cl); err != nil {
		return err
	}
	return g.come(c)
}

func (c *guest) beginHandshake() {
	c.handshake, c.stop = iter.Pull(func(yield func(error) bool) {
		err := c.shake(func() error {
			if !yield(nil) {
				return errClosed
			}
			return nil
		})
		if err != nil {
			yield(fmt.Errorf("TLS handshake: %w", err))
		}
	})
}

// forget ends the handshake, if there is one.
func (c *guest) forget() {
	if c.stop != nil {
		c.stop()
		c.handshake, c.stop = nil, nil
	}
}
