package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// pace is how a consumer reads.
type pace string

const (
	fast pace = "fast"
	slow pace = "slow"
	none pace = "none"
	over pace = "end" // fast, until there is no more
)

// phases are what the consumer does, one after the other.
var phases = [...]pace{fast, slow, none, fast}

// A script says at which time which phase is on.
type script struct {
	begin time.Time
	phase time.Duration
	quit  <-chan struct{} // closed if the script is to end early
}

func (s *script) length() time.Duration { return time.Duration(len(phases)) * s.phase }

// at returns the pace at t, and how long it goes on.
func (s *script) at(t time.Time) (p pace, left time.Duration) {
	since := t.Sub(s.begin)
	i := int(since / s.phase)
	if i >= len(phases) {
		return over, 0
	}
	return phases[i], time.Duration(i+1)*s.phase - since
}

// wait waits for d, and reports whether the script goes on.
func (s *script) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.quit:
		return false
	}
}

// When it reads slowly, the consumer takes this much, in bytes, and then rests: some 800 kB/s.
const (
	slowBytes = 8 << 10
	slowRest  = 10 * time.Millisecond
)

// A consumer is a plain client that checks what it reads.
type consumer struct {
	done    chan struct{} // closed when it has read the end; from then on the rest may be read
	records uint64
	err     error
	partial []byte // the beginning of a record
}

func (c *consumer) run(nc *net.TCPConn, plan script) {
	defer close(c.done)
	defer nc.Close()
	c.err = c.read(nc, plan)
}

func (c *consumer) read(nc *net.TCPConn, plan script) error {
	if err := nc.SetReadBuffer(socketBuffer); err != nil {
		return err
	}
	if err := nc.SetReadDeadline(plan.begin.Add(plan.length() + patience)); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for running := true; ; {
		p, left := over, time.Duration(0)
		if running {
			p, left = plan.at(time.Now())
		}
		into := buf
		switch p {
		case none:
			running = plan.wait(left)
			continue
		case slow:
			into = buf[:slowBytes]
		}
		n, err := nc.Read(into)
		if e := c.check(into[:n]); e != nil {
			return e
		}
		switch {
		case err == io.EOF && len(c.partial) > 0:
			return fmt.Errorf("the stream ends in the middle of record %d", c.records+1)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if p == slow {
			running = plan.wait(min(slowRest, left))
		}
	}
}

// check compares what came with what must come next.
func (c *consumer) check(p []byte) error {
	if len(c.partial) > 0 {
		n := min(len(p), recordSize-len(c.partial))
		c.partial = append(c.partial, p[:n]...)
		p = p[n:]
		if len(c.partial) < recordSize {
			return nil
		}
		if err := c.record(c.partial); err != nil {
			return err
		}
		c.partial = c.partial[:0]
	}
	for ; len(p) >= recordSize; p = p[recordSize:] {
		if err := c.record(p[:recordSize]); err != nil {
			return err
		}
	}
	c.partial = append(c.partial, p...)
	return nil
}

func (c *consumer) record(p []byte) error {
	next := c.records + 1
	if number := binary.BigEndian.Uint64(p); number != next {
		return fmt.Errorf("record %d came in the place of %d", number, next)
	}
	if !bytes.Equal(p[numberSize:], bodyOf(next)) {
		return fmt.Errorf("record %d is not what was sent", next)
	}
	c.records = next
	return nil
}
