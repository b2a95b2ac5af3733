package liveness_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A patient gives a peer that is down one more minute.
type patient struct{ conn.Defaults }

func (patient) OnEvent(c *conn.Conn, ev any) {
	switch ev := ev.(type) {
	case liveness.PeerSuspect:
		fmt.Println("suspect after", ev.Silent)
	case liveness.PeerDown:
		fmt.Println("down after", ev.Silent)
		if ev.Repeat == 0 {
			ev.KeepFor(time.Minute)
		} else {
			c.Abort(ev.Err())
		}
	case liveness.PeerUp:
		fmt.Println("up, was down for", ev.DownFor)
	}
}

func (patient) OnClosed(_ *conn.Conn, err error) { fmt.Println(err) }

// Without a word on the wire, silence is noticed; what happens then the application decides.
func ExamplePassive() {
	layer, err := liveness.Passive(liveness.Config{Timeout: 20 * time.Second})
	if err != nil {
		panic(err)
	}
	r := conntest.New(patient{}, conn.Config{Layers: []interceptor.Factory{layer}})
	r.Feed("any byte is life")
	r.Advance(15 * time.Second)
	r.Advance(5 * time.Second)
	r.Advance(10 * time.Second)
	r.Feed("so is this")
	r.Advance(20 * time.Second)
	r.Advance(time.Minute)
	// Output:
	// suspect after 15s
	// down after 20s
	// up, was down for 10s
	// suspect after 15s
	// down after 20s
	// down after 1m20s
	// conn: connection ended: aborted: liveness: the peer is down: silent for 1m20s, timeout 20s
}

// With a Framed layer at both ends each side says how long it is willing to wait, and is spoken to in time.
func ExampleFramed() {
	layer, err := liveness.Framed(liveness.Config{Timeout: 4 * time.Minute, OnDown: liveness.Close()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = conn.Config{Layers: []interceptor.Factory{layer}} // for Listen, and likewise for Dial
	_, err = liveness.Framed(liveness.Config{Timeout: time.Millisecond})
	fmt.Println(err)
	// Output:
	// liveness: Framed: Config.Timeout is 1ms: it must be 0 (for 120 s), 10 ms to 100 years, or Never
}

// A node of an AAA protocol, here one of lines, tells its layer of each answer to a probe.
type node struct{ conn.Defaults }

func (node) OnReceived(c *conn.Conn, line []byte) error {
	fmt.Printf("received %s\n", line)
	if string(line) == "watchdog answer" {
		if layer, ok := liveness.Of(c.Layers()); ok {
			layer.Answered()
		}
	}
	return nil
}

func (node) OnEvent(_ *conn.Conn, ev any) {
	switch ev.(type) {
	case liveness.PeerSuspect:
		fmt.Println("suspect: new requests go to another node") // failover
	case liveness.PeerDown:
		fmt.Println("down")
	}
}

func (node) OnClosed(_ *conn.Conn, err error) {
	fmt.Println("closed because the peer is down:", errors.Is(err, liveness.ErrPeerDown))
}

// The layer asks after each Tw of silence. A peer that does not answer is suspect after another one, and down after a third.
// Then, as the RFC has it, the connection is closed.
func ExampleWatchdog() {
	layer, err := liveness.Watchdog(liveness.Config{
		Timeout: 30 * time.Second, // each Tw is drawn from 28 s to 32 s
		Probe:   func(dst []byte) []byte { return append(dst, "watchdog request\n"...) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := conntest.New(node{}, conn.Config{Split: frame.Lines(100), Layers: []interceptor.Factory{layer}})
	for _, answer := range []string{"watchdog answer\n", ""} {
		r.Advance(33 * time.Second)
		fmt.Print("sent ", r.Wire())
		if answer != "" {
			r.Feed(answer)
		}
	}
	r.Advance(33 * time.Second)
	r.Advance(33 * time.Second)
	r.Advance(5 * time.Second) // for a peer that does not end its side either
	// Output:
	// sent watchdog request
	// received watchdog answer
	// sent watchdog request
	// suspect: new requests go to another node
	// down
	// closed because the peer is down: true
}

// The system watches, too. A galago listener or dialer is given the same two as fields of its loop.Options.
func ExampleOS() {
	watch := liveness.OSFor(time.Minute)
	fmt.Println("first probe after", watch.Idle, "then every", watch.Interval)
	fmt.Println("the end after", watch.Count, "of them, or", watch.UserTimeout)

	lc := net.ListenConfig{KeepAliveConfig: watch.KeepAlive(), Control: watch.Control}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ln.Close())
	// Output:
	// first probe after 15s then every 15s
	// the end after 3 of them, or 1m0s
	// <nil>
}

// A session grants a peer that has logged in more patience.
type session struct{ conn.Defaults }

func (session) OnReceived(c *conn.Conn, _ []byte) error {
	layer, ok := liveness.Of(c.Layers())
	if !ok {
		return nil // this connection has none
	}
	if err := layer.SetTimeout(10 * time.Minute); err != nil {
		return err
	}
	status := layer.Status()
	fmt.Println(status.State, status.Timeout)
	return nil
}

func (session) OnEvent(_ *conn.Conn, ev any) {
	if down, ok := ev.(liveness.PeerDown); ok {
		fmt.Println("down after", down.Silent)
	}
}

func ExampleOf() {
	layer, err := liveness.Passive(liveness.Config{Timeout: 20 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := conntest.New(session{}, conn.Config{Layers: []interceptor.Factory{layer}})
	r.Feed("login")
	r.Advance(9 * time.Minute)
	r.Advance(time.Minute)
	// Output:
	// Up 10m0s
	// down after 10m0s
}
