package load

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/sys"
)

// A Speed is how fast a peer reads, or sends, in bytes per second.
type Speed float64

const (
	Stopped Speed = 0
	Free    Speed = -1 // as fast as it can
)

// A Peer is the client of one connection in an experiment with back-pressure: it reads at a speed, and checks every byte.
// It may send, too, at another speed.
type Peer struct {
	wire
	Special bool // one of those that the experiment is about

	reads, sends     budget
	watched          bool   // by the poller
	part             []byte // of a record that is not whole yet
	whole            []byte // the last record that was begun to be sent
	out              []byte // the rest of it
	last             uint64 // number of the last record
	lastDue          int64
	ended            bool
	err              error // why it ended, if not in order
	records, skipped int   // that came; whose number was left out
	sent             uint64
}

// A budget is how many bytes may pass at a speed.
type budget struct {
	speed  Speed
	credit float64
	at     int64 // of the last payment
}

func (b *budget) set(speed Speed, now int64) { *b = budget{speed, 0, now} }

// pay adds what time has brought since the last payment. What was not used in longest nanoseconds is lost.
func (b *budget) pay(now int64) int {
	const longest = 20e6
	if b.speed > 0 {
		b.credit = min(b.credit+float64(b.speed)*float64(now-b.at)/1e9, float64(b.speed)*longest/1e9)
		b.at = now
	}
	return int(b.credit)
}

// read reads once, at most n bytes, and hands every record to take. It returns false if nothing more can be had now.
func (c *Peer) read(buf []byte, n, size int, take func(record []byte)) (more bool) {
	got, err := c.recv(buf[:min(n, len(buf))])
	c.reads.credit -= float64(got)
	if err != nil {
		c.ended = true
		if !errors.Is(err, errClosed) {
			c.err = err
		}
		return false
	}
	for p := buf[:got]; len(p) > 0; {
		if len(c.part) == 0 && len(p) >= size {
			take(p[:size])
			p = p[size:]
			continue
		}
		k := min(len(p), size-len(c.part))
		c.part = append(c.part, p[:k]...)
		if p = p[k:]; len(c.part) == size {
			take(c.part)
			c.part = c.part[:0]
		}
	}
	return got > 0
}

// check takes a record as the next one. The error says what is wrong with it.
func (c *Peer) check(record []byte) error {
	n, due := pressure.ReadHead(record)
	switch {
	case n <= c.last || due < c.lastDue:
		return fmt.Errorf("record %d came after record %d", n, c.last)
	case !pressure.Intact(record):
		return fmt.Errorf("record %d has other bytes than it was sent with", n)
	}
	if c.last > 0 {
		c.skipped += int(n - c.last - 1)
	}
	c.last, c.lastDue = n, due
	c.records++
	return nil
}

// push sends what its speed allows, and the system takes.
func (c *Peer) push(now int64) error {
	for {
		if len(c.out) == 0 {
			size := len(c.whole)
			if c.sends.pay(now) < size {
				return nil
			}
			c.sends.credit -= float64(size)
			c.sent++
			c.out = c.whole
			pressure.Fill(c.out, c.sent, now)
		}
		n, err := c.send(c.out)
		if err != nil {
			return fmt.Errorf("a peer cannot send: %w", err)
		}
		if n == 0 {
			return nil
		}
		c.out = c.out[n:]
	}
}

// say tells the server a word.
func (c *Peer) say(word byte) error {
	if n, err := c.send([]byte{word}); n != 1 {
		return errors.Join(errors.New("a peer cannot say anything"), err)
	}
	return nil
}

// watch lets the poller tell of c, or not.
func (c *Peer) watch(ep int, on bool) error {
	if c.watched == on {
		return nil
	}
	c.watched = on
	if on {
		return sys.Watch(ep, c.fd, unix.EPOLLIN)
	}
	return unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, c.fd, nil)
}
