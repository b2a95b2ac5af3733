package load

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// An Echo is a set of clients in a closed loop: each keeps depth messages on the way, and sends the next one when one
// has come back.
type Echo struct {
	poller
	clients []client
	depth   int
	buf     []byte

	messages  int // that have come back
	latencies *hdrhistogram.Histogram
}

// Connect opens n connections, with TLS if there is a cfg, and sends nothing. message makes the message of the client
// with a number.
func Connect(to netip.AddrPort, cfg *tls.Config, n, depth int, message func(i int) []byte) (_ *Echo, err error) {
	e := &Echo{depth: depth, buf: make([]byte, 256<<10), latencies: NewLatencies()}
	if e.poller, err = newPoller(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	e.clients = make([]client, n)
	for i := range e.clients {
		e.clients[i] = newClient(message(i), depth)
	}
	for i := range e.clients {
		c := &e.clients[i]
		if c.wire, err = dial(to, cfg); err != nil {
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, n, err)
		}
		if err := e.add(c); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Close closes all connections.
func (e *Echo) Close() {
	for i := range e.clients {
		e.drop(&e.clients[i])
	}
	e.close()
}

// Start sends the first messages of each client.
func (e *Echo) Start() error {
	now := e.now()
	for i := range e.clients {
		e.clients[i].issue(e.depth, now)
		if err := e.clients[i].flush(); err != nil {
			return err
		}
	}
	return nil
}

// Run keeps the clients busy for d. What is on the way then stays so: Run may be called again. It returns how long it
// really took, and how many messages came back in that time.
func (e *Echo) Run(d time.Duration) (took time.Duration, messages int, err error) {
	before := e.messages
	e.latencies.Reset()
	took, err = e.poll(d, e.serve, nil)
	return took, e.messages - before, err
}

// Latencies returns the times between a message and its answer in the last Run, in nanoseconds.
func (e *Echo) Latencies() *hdrhistogram.Histogram { return e.latencies }

// serve goes on with one client until it has to wait.
func (e *Echo) serve(c *client) error {
	if err := c.flush(); err != nil {
		return err
	}
	for {
		more, err := c.read(e.buf)
		if err != nil {
			return err
		}
		if c.got/uint64(c.size) > uint64(c.have) {
			now := e.now()
			n := c.whole(func(due time.Duration) { e.latencies.RecordValue(int64(now - due)) })
			e.messages += n
			c.issue(n, now)
			if !more { // else more may be sent at once
				return c.flush()
			}
		}
		if !more {
			return nil
		}
	}
}

// Once exchanges depth messages on each connection, and leaves them idle. No Run may have been.
func (e *Echo) Once() error {
	if err := e.Start(); err != nil {
		return err
	}
	left := len(e.clients) * e.depth
	_, err := e.poll(0, func(c *client) error {
		if err := c.flush(); err != nil {
			return err
		}
		for more := true; more; {
			var err error
			if more, err = c.read(e.buf); err != nil {
				return err
			}
			left -= c.whole(func(time.Duration) {})
		}
		return nil
	}, func() bool { return left == 0 })
	return err
}

// NewLatencies makes a histogram of nanoseconds, to one minute, with three digits.
func NewLatencies() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Nanoseconds(), 3)
}
