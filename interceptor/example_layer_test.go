package interceptor_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// A gate lets peers of some networks in only. It has nothing to do with bytes: Pass passes them on.
type gate struct {
	interceptor.Pass
	allowed netip.Prefix
}

func (g gate) Open(l interceptor.Link) error {
	if from := l.Info().Remote.Addr(); !g.allowed.Contains(from) {
		return fmt.Errorf("%v is not of %v", from, g.allowed) // before its first byte is read
	}
	l.Ready()
	return nil
}

// from is a printer whose peer has an address.
type from struct {
	printer
	addr string
}

func (f from) Info() interceptor.Info {
	return interceptor.Info{Remote: netip.MustParseAddrPort(f.addr)}
}

// A layer embeds Pass and writes the methods that differ. Its Factory makes one for each connection:
//
//	conn.Config{Layers: []interceptor.Factory{newGate}}
func ExamplePass() {
	newGate := func() interceptor.Interceptor { return gate{allowed: netip.MustParsePrefix("10.0.0.0/8")} }
	fmt.Println(newGate().Open(from{addr: "10.1.2.3:4000"}))
	fmt.Println(newGate().Open(from{addr: "192.0.2.7:4000"}))
	// Output:
	// ready
	// <nil>
	// 192.0.2.7 is not of 10.0.0.0/8
}

// A heartbeat sends a byte when nothing was sent for a while, and drops those of the peer.
type heartbeat struct {
	interceptor.Pass
	every time.Duration
}

func (h heartbeat) Open(l interceptor.Link) error {
	l.SetDeadline(l.Now().Add(h.every))
	l.Ready()
	return nil
}

func (h heartbeat) Up(l interceptor.Link, p []byte) error {
	return l.Up(bytes.ReplaceAll(p, []byte{0}, nil))
}

func (h heartbeat) Down(l interceptor.Link, bufs [][]byte) error {
	l.SetDeadline(l.Now().Add(h.every))
	return l.Down(bufs)
}

func (h heartbeat) Expire(l interceptor.Link, now time.Time) error {
	l.SetDeadline(now.Add(h.every))
	return l.Down([][]byte{{0}})
}

// clocked is a printer with a clock that the test moves.
type clocked struct {
	printer
	now, deadline time.Time
}

func (c *clocked) Now() time.Time            { return c.now }
func (c *clocked) SetDeadline(at time.Time)  { c.deadline = at }
func (c *clocked) after(d time.Duration) int { return int(c.deadline.Sub(c.now.Add(d)).Seconds()) }

// A Timed layer sets deadlines; the connection calls Expire. No clock is read, so a test decides what time it is.
func ExampleTimed() {
	link := &clocked{now: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)}
	layer := heartbeat{every: 30 * time.Second}
	check(layer.Open(link))
	check(layer.Up(link, []byte("\x00hel\x00lo")))
	fmt.Println("seconds left:", link.after(20*time.Second))
	link.now = link.deadline
	check(layer.Expire(link, link.now))
	// Output:
	// ready
	// handler: "hello"
	// seconds left: 10
	// wire: ["\x00"]
}
