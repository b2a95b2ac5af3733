package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// A witness is an end of a connection that uses package net, with two goroutines: so galago is not checked against
// itself alone. It follows a plan as a side does, as far as that means anything for it.
type witness struct {
	w    *world
	pair *pair
	dir  int
	nc   net.Conn
	raw  net.Conn // the same, or what is below TLS
	plan plan
	rng  *rand.Rand // of the writer
	out  stream
	in   unframer

	framing framing
	sent    int64         // bytes that the system took
	partial bool          // the last chunk is not whole
	may     cause         // of the writer
	eof     chan struct{} // closed when the peer has ended
	quit    chan struct{} // closed when nobody reads any more
	writing sync.WaitGroup

	mu  sync.Mutex // guards err
	err error      // why it did not end in order
}

func (w *world) newWitness(dir int, nc net.Conn, d *door) *witness {
	x := &witness{w: w, dir: dir, nc: d.secrecy.over(nc, dir == 0), raw: nc, framing: d.framing, eof: make(chan struct{}), quit: make(chan struct{})}
	x.in.framing = d.framing
	_ = nc.SetDeadline(time.Now().Add(w.set.bound))
	return x
}

// String names the witness.
func (x *witness) String() string {
	if x.pair == nil {
		return "witness of an unknown connection"
	}
	return fmt.Sprintf("witness (%s) of connection %d", [2]string{"dialer", "acceptor"}[x.dir], x.pair.id)
}

// acceptWitnesses serves a door until it is closed.
func (w *world) acceptWitnesses(d *door) {
	for {
		nc, err := d.witness.Accept()
		if err != nil {
			return
		}
		w.witnessing.Go(func() { w.newWitness(1, nc, d).run(nil) })
	}
}

// join says which connection this is.
func (x *witness) join(p *pair) {
	set := x.w.set
	x.pair = p
	x.rng = set.rng(p.id, uint64(x.dir))
	x.plan = drawPlan(set, x.rng, x.dir == 0)
	x.out = stream{set.seed, p.id, byte(x.dir), set.sizes}
}

// run is the life of a witness. p is nil if it accepted: then the hello says which connection this is.
func (x *witness) run(p *pair) {
	x.w.alive.Add(1)
	defer x.w.alive.Add(-1)
	defer x.nc.Close()
	if p != nil {
		x.join(p)
		x.in.stream = stream{x.w.set.seed, p.id, 1, x.w.set.sizes}
		x.writing.Go(func() { x.write(appendHello(nil, x.framing, p.id)) })
	} else {
		x.in.hello = x.heard
	}
	x.read()
	x.writing.Wait()
	if x.pair == nil {
		x.w.rep.add(countUnknown, 1)
		return
	}
	x.w.ended(x.pair, x.dir, &ending{
		who: "witness", at: time.Now(), err: x.err, may: x.may, framing: x.framing,
		plan: x.plan, own: x.sent, partial: x.partial, received: x.in.receiver,
	})
}

// heard is called with the hello.
func (x *witness) heard(id uint64) (stream, error) {
	p, err := x.w.joinAs(id, 1)
	if err != nil {
		return stream{}, err
	}
	if p == nil {
		x.w.rep.add(countLate, 1)
		return stream{}, errPlanned
	}
	x.join(p)
	x.writing.Go(func() { x.write(nil) })
	return stream{x.w.set.seed, id, 0, x.w.set.sizes}, nil
}

// failed notes why it does not end in order. The first reason stays.
func (x *witness) failed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		x.w.rep.violation(x.String(), fmt.Sprintf("waited for longer than -bound: %v", err))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil {
		x.err = err
	}
}

// read checks what comes, until the peer ends. Then the writer finishes; or, if it failed, ends.
func (x *witness) read() {
	r := x.w.rng()
	size, naps := 4096, 0
	buf := make([]byte, 1<<16)
	for {
		n, err := x.nc.Read(buf[:size])
		x.w.rep.add(countWitnessBytes, uint64(n))
		if wrong := x.check(buf[:n]); wrong != nil {
			err = wrong
		}
		switch {
		case err == io.EOF:
			close(x.eof)
			return
		case err != nil:
			close(x.quit)
			x.failed(err)
			x.nc.Close() // the writer may be waiting for room
			return
		case x.pair == nil:
			continue
		}
		size = x.plan.readSize
		if naps < 50 && happens(r, x.plan.pause*0.2) {
			naps++
			time.Sleep(upTo(r, x.plan.rest))
		}
	}
}

// check gives p to the receiver, without the damage that layers did on purpose: that is done without framing only.
func (x *witness) check(p []byte) (err error) {
	if n := x.in.helloLeft(); x.framing == raw && n > 0 && n < len(p) {
		err = x.in.add(p[:n])
		p = p[n:]
	}
	if err == nil && x.framing == raw && x.pair != nil {
		p = x.pair.repair(x.w, x.dir, x.in.bytes, p)
	}
	if err == nil {
		err = x.in.add(p)
	}
	if err != nil && err != errPlanned {
		x.w.rep.violation(x.String(), fmt.Sprintf("received: %v", err))
	}
	return err
}

// write sends what the plan has, first the hello.
func (x *witness) write(buf []byte) {
	if len(buf) > 0 && !x.put(buf) {
		return
	}
	began, serial := time.Now(), uint32(0)
	for left := x.plan.chunks; left > 0; {
		if x.breaksOff(time.Since(began)) {
			return
		}
		buf = buf[:0]
		for range min(left, 1+x.rng.IntN(x.plan.group)) {
			buf = x.out.appendChunk(buf, x.framing, fromOwner, serial)
			serial++
			left--
		}
		if !x.put(buf) {
			return
		}
		if happens(x.rng, 1/float64(x.plan.burst)) && !x.think(upTo(x.rng, x.plan.think)) {
			return
		}
	}
	if x.plan.trouble == cutsChunk {
		buf = x.out.appendChunk(buf[:0], x.framing, fromOwner, serial)
		x.partial = true
		if !x.put(buf[:1+x.rng.IntN(len(buf)-1)]) {
			return
		}
	}
	x.finish()
}

// put writes p, at once or in pieces.
func (x *witness) put(p []byte) bool {
	for range x.plan.pieces - 1 {
		if len(p) < 2 {
			break
		}
		k := 1 + x.rng.IntN(len(p)-1)
		if !x.put1(p[:k]) {
			return false
		}
		p = p[k:]
	}
	return x.put1(p)
}

func (x *witness) put1(p []byte) bool {
	n, err := x.nc.Write(p)
	x.sent += int64(n)
	if err != nil {
		x.failed(err)
	}
	return err == nil
}

// think waits, and reports whether there is still somebody to write to.
func (x *witness) think(d time.Duration) bool {
	select {
	case <-x.quit:
		return false
	case <-time.After(d):
		return true
	}
}

// breaksOff does what the plan has for an end too soon, and reports whether it did.
func (x *witness) breaksOff(after time.Duration) bool {
	select {
	case <-x.eof:
		if x.plan.obeys {
			x.finish()
			return true
		}
	default:
	}
	if x.plan.trouble == noTrouble || x.plan.trouble == cutsChunk || after < x.plan.troubleAt {
		return false
	}
	x.w.rep.add(countTrouble, 1)
	if x.plan.trouble == closesEarly {
		x.finish()
		return true
	}
	x.may |= mayAbort
	x.failed(errPlanned)
	if tcp, ok := x.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	x.raw.Close()
	return true
}

// finish ends this direction in order.
func (x *witness) finish() {
	if x.plan.ends == waits {
		select {
		case <-x.eof:
		case <-x.quit:
		}
	}
	if err := x.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		x.failed(err)
	}
}

// An unframer is a receiver of a framed stream, independent of package frame.
type unframer struct {
	receiver
	prefix []byte // of the length, as far as it is there
	left   int    // bytes of the frame
	before uint64 // chunks before it
}

// add checks the bytes that come next.
func (u *unframer) add(p []byte) error {
	if u.framing == raw {
		return u.take(p)
	}
	for len(p) > 0 {
		if u.left == 0 {
			u.prefix = append(u.prefix, p[0])
			p = p[1:]
			if n, ok := u.length(); ok {
				if n == 0 {
					return fmt.Errorf("a frame of 0 bytes at byte %d", u.bytes)
				}
				u.left, u.prefix, u.before = n, u.prefix[:0], u.chunks
			}
			continue
		}
		n := min(u.left, len(p))
		if err := u.take(p[:n]); err != nil {
			return err
		}
		u.left -= n
		p = p[n:]
		if u.left == 0 && (u.inside() || u.chunks != u.before+1) {
			return fmt.Errorf("the frame that ends at byte %d is not one whole chunk: %s", u.bytes, u.where())
		}
	}
	return nil
}

// length is that of the frame, if it is all there.
func (u *unframer) length() (n int, ok bool) {
	if u.framing == prefixed {
		for _, b := range u.prefix {
			n = n<<8 | int(b)
		}
		return n, len(u.prefix) == 4
	}
	for i, b := range u.prefix {
		n |= int(b&0x7f) << (7 * i)
	}
	return n, u.prefix[len(u.prefix)-1] < 0x80
}
