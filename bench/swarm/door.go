package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
	"github.com/galago-go/galago/interceptor"
)

// A door is where connections are accepted: by galago, or by a witness.
type door struct {
	network, addr string
	framing       framing
	twisted       bool // its connections have a twist, and the dialers' must have it too
	layered       bool
	secrecy       *secrecy // TLS, below all other layers; nil if there is none
	cfg           conn.Config
	socket        loop.Options
	listener      *actor.Listener
	witness       net.Listener

	mu  sync.Mutex
	rng *rand.Rand // of the layers of its connections
}

// openDoors opens all doors of an epoch: for each kind of socket and framing a plain one, one with layers, and one of a
// witness.
func (w *world) openDoors(dir string) error {
	for _, network := range w.set.networks() {
		for f := range framings {
			for _, layered := range []bool{false, true} {
				r := w.rng()
				d := &door{network: network, framing: f, layered: layered, rng: w.rng()}
				d.twisted = layered && happens(r, 0.5)
				d.cfg = w.config(r, f, 1)
				d.socket = drawSocket(r, &d.cfg)
				if layered {
					d.cfg.Layers = w.layers(1, d.twisted, true, f, d.seed)
				}
				var err error
				if d.secrecy, err = w.drawSecrecy(r); err != nil {
					return err
				}
				d.cfg.Layers = d.secrecy.layers(false, d.cfg.Layers)
				if err := w.openDoor(d, dir); err != nil {
					return err
				}
				w.doors = append(w.doors, d)
			}
			d := &door{network: network, framing: f}
			var err error
			if d.secrecy, err = w.drawSecrecy(w.rng()); err != nil {
				return err
			}
			ln, err := net.Listen(network, d.place(dir, len(w.witnesses)))
			if err != nil {
				return fmt.Errorf("the witness's listener: %w", err)
			}
			d.witness, d.addr = ln, ln.Addr().String()
			w.witnesses = append(w.witnesses, d)
			w.accepting.Go(func() { w.acceptWitnesses(d) })
		}
	}
	return nil
}

// place is where to listen.
func (d *door) place(dir string, n int) string {
	if d.network == "unix" {
		kind := "g"
		if d.cfg.MaxPending == 0 {
			kind = "w"
		}
		return filepath.Join(dir, fmt.Sprintf("%s%d", kind, n))
	}
	return "127.0.0.1:0"
}

func (w *world) openDoor(d *door, dir string) (err error) {
	d.listener, err = w.net.Listen(context.Background(), d.place(dir, len(w.doors)),
		func() actor.Actor { return &node{w: w, door: d} },
		actor.ListenConfig{Conn: d.cfg, Socket: d.socket, Network: d.network, Blocking: w.set.blocking})
	if err != nil {
		return err
	}
	d.addr = d.listener.Addr().String()
	return nil
}

// expands reports whether a layer makes more bytes of what is sent.
func (d *door) expands() bool { return d.twisted || d.secrecy != nil }

func (d *door) seed() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Uint64()
}

// config draws the configuration of a connection.
func (w *world) config(r *rand.Rand, f framing, dir int) conn.Config {
	chunk := headLen + w.set.sizes + maxFraming
	c := conn.Config{
		Split: f.split(w.set.sizes), MaxFrame: maxFrame(w.set.sizes),
		HighWater: 1 << (8 + r.IntN(10)), MaxPending: max(chunk, 1<<(12+r.IntN(9))),
		ReadWaits: conn.Off, StartTimeout: 30 * time.Second, CloseTimeout: usualCloseTimeout,
	}
	c.LowWater = 1 + r.IntN(c.HighWater)
	if dir == 1 && happens(r, 0.5) { // on one side at most, or each could wait for the other
		c.ReadWaits = conn.On
	}
	if happens(r, w.set.hasty) {
		c.CloseTimeout = 10*time.Millisecond + upTo(r, 300*time.Millisecond)
	}
	return c
}

// drawSocket draws the sizes of the system's buffers: small ones fill up sooner. But where reading waits for
// writing, the system chooses that for reading: once one of a fixed size is full, Linux 6.18 may wait for ever. It
// drops a segment that was within the window, and from then on all that the peer sends behind it, until somebody
// reads: so also the acknowledgements of what was written, and nothing more can be.
func drawSocket(r *rand.Rand, cfg *conn.Config) (o loop.Options) {
	if happens(r, 0.5) {
		o.WriteBuffer = 16 << 10
	}
	if happens(r, 0.3) && cfg.ReadWaits != conn.On {
		o.ReadBuffer = 32 << 10
	}
	o.Nagle = happens(r, 0.1)
	return o
}

// layers makes the factories of a connection's layers, the first nearest the socket.
func (w *world) layers(dir int, twisted, troubled bool, f framing, seed func() uint64) (list []interceptor.Factory) {
	if twisted {
		list = append(list, newTwist)
	}
	list = append(list, func() interceptor.Interceptor { return interceptor.Pass{} })
	if !troubled {
		return list
	}
	fail := func(format string, args ...any) { w.rep.violation("a layer", fmt.Sprintf(format, args...)) }
	list = append(list, func() interceptor.Interceptor { // one of three, for each connection
		n := seed()
		switch n % 3 {
		case 0:
			return newPest(n, fail)
		case 1:
			return newTap(w.fault(n, f), dir == 0, fail)
		}
		return interceptor.Pass{}
	})
	return list
}

// fault makes a Fault. Corrupted bytes of a frame's length would make nonsense of all that follows: not with framing.
func (w *world) fault(seed uint64, f framing) interceptor.Interceptor {
	faults := interceptor.Faults{Split: 0.2, Delay: 0.1}
	r := rand.New(rand.NewPCG(seed, 2))
	if happens(r, w.set.fault) {
		faults.Break = 0.02
	}
	if f == raw && happens(r, w.set.fault) {
		faults.Corrupt = 0.1
	}
	return interceptor.Fault(seed, faults)()
}
