package load

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// A client sends one message again and again, and expects it back again and again. What it sends and what it expects
// are therefore streams that repeat themselves.
type client struct {
	wire
	id      int    // of the client, if its load gives one
	size    int    // of the message
	pattern []byte // the message, or that many times

	due  uint64 // bytes that are to be sent, since the client began
	sent uint64 // bytes of these that the system took
	got  uint64 // bytes that came back
	have int    // whole messages that came back

	// times are when messages became due, those on the way: number n is at n modulo the length, a power of two.
	times []time.Duration
}

// copies is how many bytes of a pattern are wanted: so many can be sent, or compared, at once.
const copies = 64 << 10

// newClient makes a client for one message with up to depth of it on the way.
func newClient(message []byte, depth int) client {
	n := max(1, min(depth, copies/len(message)))
	slots := 1
	for slots < depth {
		slots *= 2
	}
	return client{wire: wire{fd: -1}, size: len(message), pattern: bytes.Repeat(message, n), times: make([]time.Duration, slots)}
}

// renew lets the client begin anew, with another wire.
func (c *client) renew(w wire) { c.wire, c.due, c.sent, c.got, c.have = w, 0, 0, 0, 0 }

// issue makes n messages due.
func (c *client) issue(n int, now time.Duration) {
	for range n {
		c.times[int(c.due/uint64(c.size))&(len(c.times)-1)] = now
		c.due += uint64(c.size)
	}
}

// flush sends what is due, as far as the system takes it.
func (c *client) flush() error {
	if err := c.drain(); err != nil {
		return err
	}
	for c.sent < c.due {
		p := c.pattern[c.sent%uint64(len(c.pattern)):]
		n, err := c.send(p[:min(uint64(len(p)), c.due-c.sent)])
		if err != nil || n == 0 {
			return err
		}
		c.sent += uint64(n)
	}
	return nil
}

// read reads once, and compares. It returns false if nothing more can be there now.
func (c *client) read(buf []byte) (more bool, err error) {
	n, err := c.recv(buf)
	if n == 0 || err != nil {
		return false, err
	}
	if left := c.sent - c.got; uint64(n) > left {
		return false, fmt.Errorf("the server answered %d bytes more than it was sent", uint64(n)-left)
	}
	if err := c.compare(buf[:n]); err != nil {
		return false, err
	}
	return c.got < c.sent, nil
}

// compare takes p as what comes next.
func (c *client) compare(p []byte) error {
	for len(p) > 0 {
		at := int(c.got % uint64(len(c.pattern)))
		n := min(len(p), len(c.pattern)-at)
		if !bytes.Equal(p[:n], c.pattern[at:at+n]) {
			return errors.New("the server answered other bytes than it was sent")
		}
		c.got += uint64(n)
		p = p[n:]
	}
	return nil
}

// whole takes the messages that have come back since, and calls took with the time at which each became due.
func (c *client) whole(took func(due time.Duration)) (n int) {
	for end := int(c.got / uint64(c.size)); c.have < end; c.have++ {
		took(c.times[c.have&(len(c.times)-1)])
		n++
	}
	return n
}
