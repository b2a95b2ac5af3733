package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A role is what a process with a Network does.
type role struct {
	to      string
	conns   int
	timeout time.Duration
	layer   string // for echo

	open atomic.Int64
	ups  atomic.Int64

	mu    sync.Mutex
	downs []time.Duration // by how much later than T each was told
}

// An end is one connection.
type end struct {
	actor.Base
	r *role
}

func (e *end) OnConnected(*conn.Conn)                  { e.r.open.Add(1) }
func (e *end) OnClosed(*conn.Conn, error)              { e.r.open.Add(-1) }
func (e *end) OnReceived(c *conn.Conn, p []byte) error { return nil }

func (e *end) OnEvent(_ *conn.Conn, ev any) {
	switch ev := ev.(type) {
	case liveness.PeerDown:
		e.r.mu.Lock()
		e.r.downs = append(e.r.downs, ev.Silent-ev.Timeout)
		e.r.mu.Unlock()
	case liveness.PeerUp:
		e.r.ups.Add(1)
	}
}

// An echoer sends back what it gets.
type echoer struct{ actor.Base }

func (e *echoer) OnReceived(c *conn.Conn, p []byte) error {
	_, err := c.Send(p)
	return err
}

// layers makes what the role's connections have.
func (r *role) layers() ([]interceptor.Factory, error) {
	make := liveness.Framed
	switch r.layer {
	case "none":
		return nil, nil
	case "passive":
		make = liveness.Passive
	}
	f, err := make(liveness.Config{Timeout: r.timeout})
	return []interceptor.Factory{f}, err
}

// answers are those that a role has.
func (r *role) answers(answers map[string]func() string) {
	answers["open"] = func() string { return fmt.Sprint(r.open.Load()) }
	answers["ups"] = func() string { return fmt.Sprint(r.ups.Load()) }
	answers["downs"] = func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Sprint(len(r.downs))
	}
	answers["delays"] = r.delays
}

// run never returns, unless something fails.
func (r *role) run(kind string) error {
	layers, err := r.layers()
	if err != nil {
		return err
	}
	network, err := actor.New(nil, actor.Config{Loops: 1, Logger: slog.Default()})
	if err != nil {
		return err
	}
	cfg := conn.Config{Layers: layers}
	newActor := func() actor.Actor { return &end{r: r} }
	if kind == "echo" {
		newActor = func() actor.Actor { return new(echoer) }
	}
	if kind == "watch" { // others may ask whether the loop is held up
		ln, err := network.Listen(context.Background(), "127.0.0.1:0", func() actor.Actor { return new(echoer) }, actor.ListenConfig{})
		if err != nil {
			return err
		}
		fmt.Printf("listening on %s\n", ln.Addr())
	}
	if r.to != "" {
		if kind != "watch" {
			fmt.Println("dialing")
		}
		for i := range r.conns {
			if _, err := network.Dial(context.Background(), r.to, newActor(), actor.DialConfig{Conn: cfg}); err != nil {
				return err
			}
			for int64(i)-r.open.Load() > 500 { // the other side's queue has an end
				time.Sleep(time.Millisecond)
			}
		}
		select {}
	}
	ln, err := network.Listen(context.Background(), "127.0.0.1:0", newActor, actor.ListenConfig{Conn: cfg})
	if err != nil {
		return err
	}
	fmt.Printf("listening on %s\n", ln.Addr())
	select {}
}

// delays are the median, the 99th percentile and the maximum, in microseconds.
func (r *role) delays() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.downs) == 0 {
		return "0 0 0"
	}
	all := slices.Clone(r.downs)
	slices.Sort(all)
	at := func(q float64) int64 { return all[int(q*float64(len(all)-1))].Microseconds() }
	return fmt.Sprint(at(0.5), at(0.99), at(1))
}

// helloFrame is the first frame of a framed peer.
func helloFrame(t time.Duration) []byte {
	p := []byte{1, 0, 0, 36, 'F', 'L', 'M', '1', 1, 1, 0, 0}
	p = binary.BigEndian.AppendUint64(p, uint64(t.Microseconds()))
	p = binary.BigEndian.AppendUint64(p, 0)
	p = append(p, "a nonce."...)
	return append(p, 0, 0, 0, 0)
}
