package load

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/serve"
)

// MiB is what Bulk counts.
const MiB = 1 << 20

// MaxPiece is the most bytes that Inward sends at once.
var MaxPiece = len(serve.Pattern)

// A Bulk moves bytes one way as fast as it can.
type Bulk struct {
	poller
	clients []bulkClient
	size    int // bytes that are sent at once
	inward  bool
	buf     []byte
	twice   []byte // serve.Pattern, two times: wherever one begins to compare, so much follows
	bytes   uint64 // that the server acknowledged, or that it sent
}

type bulkClient struct {
	wire
	sent, got uint64
	answer    []byte // a part of one
}

// Inward opens n connections that send pieces of size bytes to a serve.Sink; Outward opens some that take what a
// serve.Source sends. With a cfg, they have TLS.
func Inward(to netip.AddrPort, cfg *tls.Config, n, size int) (*Bulk, error) {
	return newBulk(to, cfg, n, &Bulk{size: size, inward: true})
}

// Outward is the other way.
func Outward(to netip.AddrPort, cfg *tls.Config, n int) (*Bulk, error) {
	return newBulk(to, cfg, n, &Bulk{})
}

func newBulk(to netip.AddrPort, cfg *tls.Config, n int, b *Bulk) (_ *Bulk, err error) {
	b.buf, b.twice = make([]byte, len(serve.Pattern)), slices.Repeat(serve.Pattern, 2)
	if b.poller, err = newPoller(); err != nil {
		return nil, err
	}
	events := uint32(unix.EPOLLIN | unix.EPOLLRDHUP) // not edge-triggered, for a connection may have to wait for its turn
	if b.inward {
		events |= unix.EPOLLOUT
	}
	b.clients = make([]bulkClient, n)
	for i := range b.clients {
		b.clients[i].fd = -1
	}
	for i := range b.clients {
		c := &b.clients[i]
		if c.wire, err = dial(to, cfg); err == nil {
			err = b.watch(&client{wire: c.wire, id: i}, events)
		}
		if err != nil {
			b.Close()
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, n, err)
		}
	}
	return b, nil
}

// Close closes all connections.
func (b *Bulk) Close() {
	for i := range b.clients {
		b.drop(&client{wire: b.clients[i].wire})
	}
	b.close()
}

// Run moves bytes for d. It returns how many MiB were moved.
func (b *Bulk) Run(d time.Duration) (took time.Duration, mib int, err error) {
	before := b.bytes
	took, err = b.poll(d, func(c *client) error { return b.move(&b.clients[c.id]) }, nil)
	return took, int((b.bytes - before) / MiB), err
}

// visits is how many calls to send or receive one connection gets before it is the next one's turn.
const visits = 16

func (b *Bulk) move(c *bulkClient) error {
	if !b.inward {
		return b.take(c)
	}
	if err := b.acknowledged(c); err != nil {
		return err
	}
	for range visits {
		at := int(c.sent % uint64(len(serve.Pattern)))
		n, err := c.send(b.twice[at : at+b.size])
		if err != nil || n == 0 {
			return err
		}
		c.sent += uint64(n)
	}
	return nil
}

// acknowledged reads what the server says it got.
func (b *Bulk) acknowledged(c *bulkClient) error {
	n, err := c.recv(b.buf)
	if n == 0 || err != nil {
		return err
	}
	c.answer = append(c.answer, b.buf[:n]...)
	for len(c.answer) >= 8 {
		c.got += serve.SinkUnit
		if total := binary.BigEndian.Uint64(c.answer); total != c.got || total > c.sent {
			return fmt.Errorf("the server says that it got %d bytes, not %d; %d were sent", total, c.got, c.sent)
		}
		b.bytes += serve.SinkUnit
		c.answer = append(c.answer[:0], c.answer[8:]...)
	}
	return nil
}

// take reads what the server sends.
func (b *Bulk) take(c *bulkClient) error {
	for range visits {
		n, err := c.recv(b.buf)
		if n == 0 || err != nil {
			return err
		}
		at := int(c.got % uint64(len(serve.Pattern)))
		if !bytes.Equal(b.buf[:n], b.twice[at:at+n]) {
			return errors.New("the server sent other bytes than were expected")
		}
		c.got += uint64(n)
		b.bytes += uint64(n)
	}
	return nil
}
