package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/galago-go/galago/bench/internal/serve"
)

// An Audience is a set of clients that receive serve.News.
type Audience struct {
	poller
	clients   []client
	buf       []byte
	depth     int // messages to each in a burst
	bursts    int
	latencies *hdrhistogram.Histogram
}

// Gather opens n connections, with TLS if there is a cfg, and waits until each has been greeted. depth is how many
// messages to each there are in a burst, 255 at most.
func Gather(to netip.AddrPort, cfg *tls.Config, n, depth int) (_ *Audience, err error) {
	a := &Audience{depth: depth, buf: make([]byte, 64<<10), latencies: NewLatencies()}
	if a.poller, err = newPoller(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	a.clients = make([]client, n)
	for i := range a.clients {
		c := &a.clients[i]
		*c = newClient(serve.News, depth)
		if c.wire, err = dial(to, cfg); err != nil {
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, n, err)
		}
		if err := a.add(c); err != nil {
			return nil, err
		}
	}
	return a, a.hear(1, a.now())
}

// Close closes all connections.
func (a *Audience) Close() {
	for i := range a.clients {
		a.drop(&a.clients[i])
	}
	a.close()
}

// Run has burst after burst sent for d, each when all have heard the one before. It returns how many messages came.
func (a *Audience) Run(d time.Duration) (took time.Duration, messages int, err error) {
	begin, before, ask := a.now(), a.bursts, []byte{byte(a.depth)}
	a.latencies.Reset()
	for a.now()-begin < d {
		now := a.now()
		if n, err := a.clients[0].send(ask); n != 1 {
			return 0, 0, errors.Join(errors.New("nothing can be sent"), err)
		}
		if err := a.hear(a.depth, now); err != nil {
			return 0, 0, err
		}
		a.bursts++
	}
	return a.now() - begin, (a.bursts - before) * len(a.clients) * a.depth, nil
}

// Bursts returns how many there were.
func (a *Audience) Bursts() int { return a.bursts }

// Latencies returns, for each message of the last Run, the time since its burst was asked for, in nanoseconds.
func (a *Audience) Latencies() *hdrhistogram.Histogram { return a.latencies }

// hear waits until each client has so many messages more, of a burst that was asked for at the time asked.
func (a *Audience) hear(depth int, asked time.Duration) error {
	for i := range a.clients {
		c := &a.clients[i]
		c.issue(depth, asked)
		c.sent = c.due // by the server
	}
	left := len(a.clients) * depth
	_, err := a.poll(0, func(c *client) error {
		for more := true; more; {
			var err error
			if more, err = c.read(a.buf); err != nil {
				return err
			}
		}
		left -= c.whole(func(asked time.Duration) { a.latencies.RecordValue(int64(a.now() - asked)) })
		return nil
	}, func() bool { return left == 0 })
	return err
}
