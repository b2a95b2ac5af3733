package load

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Paced load sends messages at times that do not depend on the answers (an open loop), as many independent users
// would: the time between two of them is exponentially distributed, and each goes to a connection at random. A message
// that is late, because its server or this load is, is still measured from the time at which it was due; so nothing is
// left out that a slow server would have had to answer (which is called coordinated omission). It never sleeps, for to
// be woken takes longer than many an answer.
type Paced struct {
	*Echo
	gap    time.Duration // between two messages, on average
	random *rand.Rand
	next   time.Duration // when the next one is due
	late   *hdrhistogram.Histogram

	// Beside is called again and again by Run, for more load in the same thread; nil for none. It must not take long.
	Beside func() error
}

// window is how many messages may be on the way on one connection. More mean that the server cannot keep up.
const window = 1 << 12

// Pace connects as Connect does. rate is how many messages are sent in a second. With the same seed, they are due at
// the same times.
func Pace(to netip.AddrPort, cfg *tls.Config, n int, rate float64, seed uint64, message func(i int) []byte) (*Paced, error) {
	e, err := Connect(to, cfg, n, window, message)
	if err != nil {
		return nil, err
	}
	return &Paced{Echo: e, gap: time.Duration(float64(time.Second) / rate), late: NewLatencies(),
		random: rand.New(rand.NewPCG(seed, uint64(n)))}, nil
}

// Run sends messages for d, and waits until all have come back. It returns how many came back. If it takes longer than
// a second and half of d until the last one has, the server cannot keep up, which is an error.
func (p *Paced) Run(d time.Duration) (took time.Duration, messages int, err error) {
	begin, before := p.now(), p.messages
	p.latencies.Reset()
	p.late.Reset()
	p.next = begin
	for {
		now := p.now()
		if now-begin < d {
			if err := p.send(now); err != nil {
				return 0, 0, err
			}
		} else if p.onWay() == 0 {
			return now - begin, p.messages - before, nil
		} else if now-begin > d+d/2+time.Second {
			return 0, 0, fmt.Errorf("the server cannot keep up: %d messages have not come back", p.onWay())
		}
		if p.Beside != nil {
			if err := p.Beside(); err != nil {
				return 0, 0, err
			}
		}
		n, err := p.wait(0)
		if err != nil {
			return 0, 0, err
		}
		if err := p.each(n, p.take); err != nil {
			return 0, 0, err
		}
	}
}

// send sends what is due.
func (p *Paced) send(now time.Duration) error {
	for ; p.next <= now; p.next += time.Duration(p.random.ExpFloat64() * float64(p.gap)) {
		c := &p.clients[p.random.IntN(len(p.clients))]
		if int(c.due/uint64(c.size))-c.have == window {
			return fmt.Errorf("the server cannot keep up: %d messages are on the way on one connection", window)
		}
		p.late.RecordValue(int64(now - p.next))
		c.issue(1, p.next)
		if err := c.flush(); err != nil {
			return err
		}
	}
	return nil
}

// take takes what has come back on one connection.
func (p *Paced) take(c *client) error {
	if err := c.flush(); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = c.read(p.buf); err != nil {
			return err
		}
		if c.got/uint64(c.size) > uint64(c.have) {
			now := p.now()
			p.messages += c.whole(func(due time.Duration) { p.latencies.RecordValue(int64(now - due)) })
		}
	}
	return nil
}

func (p *Paced) onWay() (n int) {
	for i := range p.clients {
		n += int(p.clients[i].due/uint64(p.clients[i].size)) - p.clients[i].have
	}
	return n
}

// Late returns by how much the messages of the last Run were sent later than they were due, in nanoseconds.
func (p *Paced) Late() *hdrhistogram.Histogram { return p.late }
