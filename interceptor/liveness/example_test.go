package liveness_test

import (
	"fmt"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
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
