package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/sys"
)

// Peers are the clients of an experiment, on one thread.
type Peers struct {
	All []*Peer

	record int
	ep     int
	events []unix.EpollEvent
	byFD   map[int]*Peer
	buf    []byte
	paced  []*Peer // those whose time has to be looked at: who reads or sends at a speed

	groups [2]group // the ordinary ones, the special ones
	phases []phase
	wrong  []string
}

// A group is what some peers saw together.
type group struct{ bytes int }

// A phase is a stretch of time, with the delays of the records that were due in it.
type phase struct {
	from   int64
	delays [2]*hdrhistogram.Histogram
}

// A Gathering says who the peers are.
type Gathering struct {
	To      netip.AddrPort
	TLS     *tls.Config // nil for plain TCP
	Number  int
	Special int // of them; the last ones
	Record  int // bytes
	Buffer  int // of the special ones, for reading, in the system; if 0, its choice
}

// Gather connects peers, all of which read as fast as they can.
func (g Gathering) Gather() (p *Peers, err error) {
	p = &Peers{record: g.Record, events: make([]unix.EpollEvent, 256), byFD: make(map[int]*Peer, g.Number), buf: make([]byte, 256<<10)}
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	for i := range g.Number {
		c := &Peer{Special: i >= g.Number-g.Special, part: make([]byte, 0, g.Record), whole: make([]byte, g.Record)}
		buffer := 0
		if c.Special {
			buffer = g.Buffer
		}
		if c.wire, err = dialWith(g.To, g.TLS, buffer); err != nil {
			return p, fmt.Errorf("connection %d of %d: %w", i+1, g.Number, err)
		}
		p.All, p.byFD[c.fd] = append(p.All, c), c
		if err := p.Read(c, Free); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Hang closes all connections. What the peers saw may still be asked.
func (p *Peers) Hang() {
	for _, c := range p.All {
		if c.fd >= 0 {
			unix.Close(c.fd) // the poller forgets it
		}
		c.fd, c.watched = -1, false
	}
	p.paced = nil
}

// Close closes all that is left.
func (p *Peers) Close() {
	p.Hang()
	unix.Close(p.ep)
}

// Special returns the special peers.
func (p *Peers) Special() (all []*Peer) {
	for _, c := range p.All {
		if c.Special {
			all = append(all, c)
		}
	}
	return all
}

// Read lets a peer read at a speed from now on.
func (p *Peers) Read(c *Peer, speed Speed) error {
	c.reads.set(speed, pressure.Now())
	p.look()
	return c.watch(p.ep, speed == Free && !c.ended)
}

// Send lets a peer send at a speed from now on. A record that was begun is sent whole.
func (p *Peers) Send(c *Peer, speed Speed) {
	c.sends.set(speed, pressure.Now())
	p.look()
}

// Say tells the server a word of package pressure, by the first peer.
func (p *Peers) Say(word byte) error { return p.All[0].say(word) }

func (p *Peers) look() {
	p.paced = p.paced[:0]
	for _, c := range p.All {
		if c.reads.speed > 0 || c.sends.speed > 0 || len(c.out) > 0 {
			p.paced = append(p.paced, c)
		}
	}
}

// Phase begins a phase.
func (p *Peers) Phase() {
	p.phases = append(p.phases, phase{pressure.Now(), [2]*hdrhistogram.Histogram{pressure.Latencies(), pressure.Latencies()}})
}

// Run lets the peers read and send until a time of pressure.Now, or until done, which may be nil, says so.
func (p *Peers) Run(until int64, done func() bool) error {
	for {
		now := pressure.Now()
		if now >= until || done != nil && done() {
			return nil
		}
		msec := (until - now + 999_999) / 1_000_000
		if len(p.paced) > 0 || done != nil {
			msec = min(msec, 1)
		}
		n, errno := sys.EpollWait(p.ep, p.events, int(msec))
		if errno != 0 && errno != unix.EINTR {
			return os.NewSyscallError("epoll_wait", errno)
		}
		for _, ev := range p.events[:n] {
			if c := p.byFD[int(ev.Fd)]; c.watched {
				if err := p.readAll(c, len(p.buf)); err != nil {
					return err
				}
			}
		}
		if err := p.keepPace(pressure.Now()); err != nil {
			return err
		}
	}
}

func (p *Peers) keepPace(now int64) error {
	for _, c := range p.paced {
		if n := c.reads.pay(now); n > 0 && c.reads.speed > 0 && !c.ended {
			if err := p.readAll(c, n); err != nil {
				return err
			}
		}
		if err := c.push(now); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads what there is, but no more than n bytes. A peer that reads as fast as it can gets one read, so that
// others have theirs; the poller will tell of the rest.
func (p *Peers) readAll(c *Peer, n int) error {
	g := 0
	if c.Special {
		g = 1
	}
	before := c.reads.credit
	more := c.read(p.buf, n, p.record, func(record []byte) { p.take(c, g, record) })
	got := int(before - c.reads.credit)
	p.groups[g].bytes += got
	if c.ended {
		return c.watch(p.ep, false)
	}
	if more && c.tls != nil && got < n { // what TLS has decrypted already the poller does not know of
		return p.readAll(c, n-got)
	}
	return nil
}

// take checks a record. After the first that is wrong, a peer takes whatever comes.
func (p *Peers) take(c *Peer, group int, record []byte) {
	if c.err != nil {
		return
	}
	if c.err = c.check(record); c.err != nil {
		if len(p.wrong) < 10 {
			p.wrong = append(p.wrong, c.err.Error())
		}
		return
	}
	for i := len(p.phases) - 1; i >= 0; i-- {
		if ph := &p.phases[i]; c.lastDue >= ph.from || i == 0 {
			h := ph.delays[group]
			h.RecordValue(min(max(pressure.Now()-c.lastDue, 0), h.HighestTrackableValue()))
			return
		}
	}
}

// What peers have seen.

// Bytes returns how many came so far, to the ordinary peers and to the special ones.
func (p *Peers) Bytes() (ordinary, special int) { return p.groups[0].bytes, p.groups[1].bytes }

// Age returns how old the newest record is that a peer has: the oldest of these ages of the ordinary or special peers.
// It is 0 before the first.
func (p *Peers) Age(special bool, now int64) (age int64) {
	for _, c := range p.All {
		if c.Special == special && c.last > 0 && !c.ended {
			age = max(age, now-c.lastDue)
		}
	}
	return age
}

// Records returns how many came, and the numbers of how many were left out.
func (p *Peers) Records(special bool) (came, skipped int) {
	for _, c := range p.All {
		if c.Special == special {
			came += c.records
			skipped += c.skipped
		}
	}
	return came, skipped
}

// Sent returns how many records the peers have sent, or begun to.
func (p *Peers) Sent() (n int) {
	for _, c := range p.All {
		n += int(c.sent)
	}
	return n
}

// Ended returns how many have met the end of their stream.
func (p *Peers) Ended() (n int) {
	for _, c := range p.All {
		if c.ended {
			n++
		}
	}
	return n
}

// Delays returns how long records took that were due in a phase, from 0, in nanoseconds: from then to when they came.
func (p *Peers) Delays(phase int, special bool) *hdrhistogram.Histogram {
	if special {
		return p.phases[phase].delays[1]
	}
	return p.phases[phase].delays[0]
}

// Wrong says what was wrong with what came. With whole, a stream that did not end in order or with a whole record is
// wrong, too.
func (p *Peers) Wrong(whole bool) []string {
	all := p.wrong
	for i, c := range p.All {
		switch {
		case !whole || len(all) >= 10:
		case c.ended && len(c.part) > 0:
			all = append(all, fmt.Sprintf("the stream of peer %d ended inside a record", i+1))
		case c.ended && c.err != nil && errors.Is(c.err, unix.ECONNRESET):
			all = append(all, fmt.Sprintf("the stream of peer %d was reset", i+1))
		}
	}
	return all
}
