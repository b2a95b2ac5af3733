package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

type acceptConfig struct{ settings }

func acceptCommand(args []string, stdout, stderr io.Writer) error {
	var cfg acceptConfig
	if err := parse(cfg.flags("accept", 64, 7, 2*time.Second), args, stderr); err != nil {
		return err
	}
	if err := cfg.validate(true); err != nil {
		return err
	}
	what := fmt.Sprintf("accept: connect, exchange 64 bytes, close; %d clients at a time", cfg.conns)
	return compare(&cfg.settings, what, cfg.measure, acceptTable, stdout, stderr)
}

var acceptTable = table[sample]{
	columns: []column[sample]{
		{"connections/CPU second", sample.perSecond, whole, nil},
		{"lowest", sample.perSecond, whole, lowest},
		{"highest", sample.perSecond, whole, highest},
		{"CPU/connection", sample.per, micros, nil},
		{"user", sample.user, micros, nil},
		{"system", sample.system, micros, nil},
		{"connections/s", sample.rate, whole, nil},
		{"server busy", sample.serverBusy, percent, nil},
		{"load busy", sample.loadBusy, percent, nil},
	},
	ratioOf: sample.perSecond,
	warn:    warnOfLoad,
}

func (cfg *acceptConfig) measure(kind string, cpu int) (sample, error) {
	server, err := startServer(roleEcho, kind, cpu)
	if err != nil {
		return sample{}, err
	}
	defer server.stop()
	g, err := newGuests(server.addr, cfg.conns)
	if err != nil {
		return sample{}, err
	}
	defer g.close()
	if _, _, err := g.run(warm(cfg.duration)); err != nil {
		return sample{}, err
	}
	return server.metered(func() (time.Duration, int, error) { return g.run(cfg.duration) })
}

// guests are clients that come, exchange one message and go, some at a time, on one thread.
type guests struct {
	load
	to     netip.AddrPort
	served int // that have gone
	came   int
}

// sources is from how many addresses guests come. A client that closes first keeps its port for a while, and one
// address has not ports enough.
const sources = 64

func newGuests(to netip.AddrPort, n int) (*guests, error) {
	g := &guests{to: to}
	if err := g.open(); err != nil {
		return nil, err
	}
	g.clients = make([]client, n)
	for i := range g.clients {
		g.clients[i] = client{fd: -1, message: message(i, 64)}
	}
	for i := range g.clients {
		if err := g.come(&g.clients[i]); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// come lets a new guest connect in c's place. What it sends waits until the system reports that it is connected.
func (g *guests) come(c *client) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	c.fd, c.got, c.unsent = fd, 0, c.message
	for len(g.byFD) <= fd {
		g.byFD = append(g.byFD, nil)
	}
	g.byFD[fd] = c
	from := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + g.came%sources)}}
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
	if err := watch(g.ep, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		return err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(g.to.Port()), Addr: g.to.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	return nil
}

// run keeps guests coming for d.
func (g *guests) run(d time.Duration) (took time.Duration, served int, err error) {
	before := g.served
	took, err = g.poll(d, g.attend)
	return took, g.served - before, err
}

// attend goes on with one guest until it has to wait; when it has been served, it goes, and the next one comes.
func (g *guests) attend(c *client) error {
	if err := c.flush(); err != nil || len(c.unsent) > 0 {
		return err
	}
	whole, err := g.receive(c)
	if err != nil || !whole {
		return err
	}
	g.served++
	g.byFD[c.fd] = nil
	if err := unix.Close(c.fd); err != nil {
		return os.NewSyscallError("close", err)
	}
	c.fd = -1
	return g.come(c)
}
