package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// A world is one epoch: a network with its listeners, the helpers, and all connections that live in it.
type world struct {
	set       *settings
	rep       *report
	sys       *proto.ActorSystem
	net       *actor.Network
	helpers   []*proto.PID
	doors     []*door
	witnesses []*door

	nextID                  *atomic.Uint64 // of connections, over all epochs
	sides                   sync.Map       // by the PID's Id: *side, from its start until its pair is judged
	alive                   atomic.Int64   // ends that have not ended
	terminals               atomic.Int64   // last callbacks
	deadWrites, deadAnswers atomic.Int64   // Writes with Ack to actors that were gone, and what Proto.Actor said
	shutting                atomic.Bool    // Shutdown is called with connections at work
	room                    chan struct{}  // one for each connection that lives
	accepting               sync.WaitGroup // of witnesses
	witnessing              sync.WaitGroup

	mu      sync.Mutex // guards what follows
	seeds   *rand.Rand
	pairs   map[uint64]*pair
	drained time.Time // when drain gives up
}

// helperCount is how many actors write to connections.
const helperCount = 4

func newWorld(set *settings, rep *report, nextID *atomic.Uint64, dir string) (*world, error) {
	w := &world{
		set: set, rep: rep, nextID: nextID,
		room:  make(chan struct{}, set.conns),
		seeds: set.rng(nextID.Load(), 100),
		pairs: make(map[uint64]*pair),
	}
	w.sys = proto.NewActorSystem(
		proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		proto.WithDeadLetterThrottleInterval(10*time.Millisecond))
	w.sys.EventStream.Subscribe(w.deadLetter)
	var err error
	w.net, err = actor.New(w.sys, actor.Config{
		Loops: set.loops, Portable: set.portable, Strategy: strategy{rep},
		Logger: slog.New(watcher{rep}), StallWarning: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	for range helperCount {
		w.helpers = append(w.helpers, w.sys.Root.Spawn(proto.PropsFromProducer(func() proto.Actor { return &helper{w} })))
	}
	return w, w.openDoors(dir)
}

// watcher is a slog.Handler that takes note of what galago calls a bug of its own.
type watcher struct{ rep *report }

func (h watcher) Enabled(context.Context, slog.Level) bool { return true }
func (h watcher) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h watcher) WithGroup(string) slog.Handler            { return h }
func (h watcher) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if s := a.Value.String(); len(s) >= 3 && s[:3] == "BUG" {
			h.rep.violation("log", r.Message+": "+s)
		}
		return true
	})
	return nil
}

// rng returns randomness for one purpose.
func (w *world) rng() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	return rand.New(rand.NewPCG(w.seeds.Uint64(), w.seeds.Uint64()))
}

// begin begins one connection. There must be room.
func (w *world) begin() {
	p := &pair{id: w.nextID.Add(1), began: time.Now()}
	p.joined[0] = true
	w.mu.Lock()
	w.pairs[p.id] = p
	w.mu.Unlock()
	w.rep.add(countPairs, 1)
	r := w.set.rng(p.id, 2)
	if happens(r, w.set.witness) {
		w.rep.add(countWitnessed, 1)
		if happens(r, 0.5) {
			w.witnessing.Go(func() { w.dialAsWitness(p, r) })
			return
		}
		w.dial(p, r, w.witnesses[r.IntN(len(w.witnesses))])
		return
	}
	w.dial(p, r, w.pick(r, happens(r, w.set.layers)))
}

// pick draws a door.
func (w *world) pick(r *rand.Rand, layered bool) *door {
	for {
		if d := w.doors[r.IntN(len(w.doors))]; d.layered == layered {
			return d
		}
	}
}

// dialAsWitness connects a witness to a door without layers.
func (w *world) dialAsWitness(p *pair, r *rand.Rand) {
	d := w.pick(r, false)
	nc, err := net.Dial(d.network, d.addr)
	if err != nil {
		w.notBegun(p, "net.Dial", err)
		return
	}
	p.mu.Lock()
	p.layered = d.secrecy != nil
	p.mu.Unlock()
	w.newWitness(0, nc, d).run(p)
}

// dial connects a galago actor to a door.
func (w *world) dial(p *pair, r *rand.Rand, d *door) {
	cfg := w.config(r, d.framing, 0)
	troubled := happens(r, w.set.layers)
	if d.twisted || troubled {
		cfg.Layers = w.layers(0, d.twisted, troubled, d.framing, w.set.rng(p.id, 3).Uint64)
	}
	if d.witness != nil && happens(r, 0.5) {
		cfg.ReadWaits = conn.On
	}
	cfg.Layers = d.secrecy.layers(true, cfg.Layers)
	to := actor.DialConfig{Conn: cfg, Blocking: w.set.blocking}
	p.mu.Lock()
	p.layered = d.layered || d.secrecy != nil
	p.mu.Unlock()
	s := w.newSide(0, &to.Conn, d, troubled)
	s.join(p)
	n := &node{w: w, s: s}
	pid, err := w.connect(n, d, r, &to)
	if err != nil {
		w.notBegun(p, "Dial", err)
		return
	}
	if happens(r, w.set.early) {
		w.rep.add(countTrouble, 1)
		w.early(s, pid, happens(r, 0.5))
	}
}

// connect dials, or adopts what package net dialed.
func (w *world) connect(n *node, d *door, r *rand.Rand, to *actor.DialConfig) (*proto.PID, error) {
	if d.twisted || !happens(r, w.set.adopt) { // a twist tells the two ends apart
		to.Network, to.Socket = d.network, drawSocket(r, &to.Conn)
		return w.net.Dial(context.Background(), d.addr, n, *to)
	}
	nc, err := net.Dial(d.network, d.addr)
	if err != nil {
		return nil, err
	}
	w.rep.add(countAdopted, 1)
	pid, err := w.net.Adopt(nc, n, *to)
	if err != nil {
		nc.Close()
	}
	return pid, err
}

// early ends a connection, perhaps before it has begun.
func (w *world) early(s *side, pid *proto.PID, abort bool) {
	var msg any = new(actor.Close)
	if abort {
		msg = &actor.Abort{Err: errPlanned}
	}
	s.early.Store(true)
	w.sys.Root.Send(pid, msg)
}

// notBegun forgets a connection that could not be dialed, which is right only when everything ends.
func (w *world) notBegun(p *pair, what string, err error) {
	if !w.shutting.Load() {
		w.rep.violation(fmt.Sprintf("connection %d", p.id), fmt.Sprintf("%s: %v", what, err))
	}
	w.forget(p)
}

// joinAs finds the pair that a hello named. It is nil if it was judged already.
func (w *world) joinAs(id uint64, dir int) (*pair, error) {
	if id == 0 || id > w.nextID.Load() {
		return nil, fmt.Errorf("a hello names connection %d, which does not exist", id)
	}
	w.mu.Lock()
	p := w.pairs[id]
	w.mu.Unlock()
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.joined[dir] {
		return nil, fmt.Errorf("a second hello names connection %d", id)
	}
	p.joined[dir] = true
	return p, nil
}

// left is called when a side's actor has stopped.
func (w *world) left(s *side, e *ending) {
	w.alive.Add(-1)
	if s.pair == nil {
		w.rep.add(countUnknown, 1)
		w.rep.ended(e)
		w.sides.Delete(s.pid.Id)
		if why := unjustified(e, nil); why != "" {
			s.fail("%s", why)
		}
		return
	}
	s.pair.mu.Lock()
	s.pair.galago[s.dir] = s
	s.pair.mu.Unlock()
	w.ended(s.pair, s.dir, e)
}

// ended takes down how one end ended.
func (w *world) ended(p *pair, dir int, e *ending) {
	w.rep.ended(e)
	p.mu.Lock()
	p.ends[dir] = e
	p.mu.Unlock()
	w.maybeJudge(p)
}

// settled notes that n Writes of p were made or answered.
func (w *world) settled(p *pair, n int) {
	p.mu.Lock()
	p.acks -= n
	p.mu.Unlock()
	w.maybeJudge(p)
}

// patience is how long a connection waits for an acceptor that never heard who called.
func (w *world) patience() time.Duration { return min(5*time.Second, w.set.bound/2) }

// maybeJudge judges p if it is over: both ends have ended, or the dialer long ago and nobody has accepted it.
func (w *world) maybeJudge(p *pair) {
	p.mu.Lock()
	over := p.ends[0] != nil && p.acks == 0 && !p.done
	if over && p.ends[1] == nil {
		telling := p.ends[0].orderly() && !p.layered && !w.shutting.Load() // then somebody must have heard it
		over = !p.joined[1] && (telling || time.Since(p.ends[0].at) > w.patience())
		if over {
			w.rep.add(countUnjoined, 1)
		}
	}
	p.done = p.done || over
	ends, sides, sudden := p.ends, p.galago, p.layered || w.shutting.Load()
	p.mu.Unlock()
	if !over {
		return
	}
	for i, s := range sides {
		if s != nil {
			ends[i].acks = s.acks.total()
			w.sides.Delete(s.pid.Id)
		}
	}
	for _, problem := range judge(ends, sudden) {
		w.rep.violation(fmt.Sprintf("connection %d", p.id),
			fmt.Sprintf("%s [dialer %v; acceptor %v]", problem, ends[0], ends[1]))
	}
	w.forget(p)
}

// forget gives the place of p to another connection.
func (w *world) forget(p *pair) {
	w.mu.Lock()
	delete(w.pairs, p.id)
	w.mu.Unlock()
	w.release(p)
}

func (w *world) release(p *pair) {
	p.mu.Lock()
	freed := p.freed
	p.freed = true
	p.mu.Unlock()
	if !freed {
		<-w.room
	}
}

// sweep looks at all connections: for those that wait for nobody, and for those that live too long.
func (w *world) sweep() {
	w.mu.Lock()
	list := make([]*pair, 0, len(w.pairs))
	for _, p := range w.pairs {
		list = append(list, p)
	}
	w.mu.Unlock()
	for _, p := range list {
		w.maybeJudge(p)
		p.mu.Lock()
		limbo := p.ends[0] != nil && !p.joined[1]
		late := !p.done && time.Since(p.began) > w.set.bound+w.set.bound/4 // a witness gives up earlier, and says why
		p.done = p.done || late
		p.mu.Unlock()
		if limbo {
			w.release(p)
		}
		if late {
			w.rep.violation(fmt.Sprintf("connection %d", p.id), "it did not end in time: "+w.describe(p))
			w.forget(p)
		}
	}
}

// describe says what is known of a connection that hangs.
func (w *world) describe(p *pair) string {
	p.mu.Lock()
	text := fmt.Sprintf("%d Writes wait for an answer", p.acks)
	for i, e := range p.ends {
		who := [2]string{"dialer", "acceptor"}[i]
		switch {
		case e != nil:
			text += fmt.Sprintf("; the %s ended: %v", who, e.err)
		case !p.joined[i]:
			text += fmt.Sprintf("; the %s never heard who called", who)
		default:
			text += fmt.Sprintf("; the %s has not ended", who)
		}
	}
	p.mu.Unlock()
	w.sides.Range(func(_, value any) bool {
		if s := value.(*side); s.owner.Load() == p {
			text += fmt.Sprintf("; the %s, last callback %s, says: %s",
				[2]string{"dialer", "acceptor"}[s.dir], s.lastCallback(), w.ask(s))
		}
		return true
	})
	return text
}

// ask asks the actor of s how it is.
func (w *world) ask(s *side) string {
	answer, err := w.sys.Root.RequestFuture(s.pid, new(howAreYou), time.Second).Result()
	if err != nil {
		return err.Error()
	}
	return answer.(string)
}

// tempDir makes a directory for unix sockets; their paths must be short.
func tempDir() (string, error) { return os.MkdirTemp("", "swarm") }
