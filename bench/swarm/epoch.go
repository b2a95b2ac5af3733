package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// A run is a number of epochs, one after another. Between two of them nothing may be left of the first.
type run struct {
	set    *settings
	rep    *report
	nextID atomic.Uint64
	before census
	end    time.Time
	cur    atomic.Pointer[world]
}

// tick is how often connections are looked at that may hang.
const tick = 250 * time.Millisecond

// all runs until the time is over, the number of connections is reached, or too much is wrong.
func (r *run) all() {
	dir, err := tempDir()
	if err != nil {
		r.rep.violation("swarm", err.Error())
		return
	}
	defer os.RemoveAll(dir)
	r.before = takeCensus()
	r.end = time.Now().Add(r.set.duration)
	for n := 0; r.more() && time.Now().Before(r.end); n++ {
		if err := r.epoch(dir, n%2 == 0); err != nil {
			r.rep.violation("swarm", err.Error())
		}
		for _, leak := range r.before.settle(10*time.Second, r.set.heapGrowth()/2) {
			r.rep.violation(fmt.Sprintf("epoch %d", n+1), "left behind: "+leak)
		}
	}
}

// more reports whether another connection is wanted.
func (r *run) more() bool {
	return r.rep.violations.Load() < keptViolations && (r.set.total == 0 || r.rep.get(countPairs) < uint64(r.set.total))
}

// heapGrowth is how many bytes the heap may grow by.
func (s *settings) heapGrowth() uint64 {
	if s.heap > 0 {
		return uint64(s.heap) << 20
	}
	return uint64(64+s.conns) << 20
}

// epoch is the life of one network. If it is calm, connections end by themselves, and Shutdown meets idle ones, of
// which it must count every one; else it comes in the middle of everything.
func (r *run) epoch(dir string, calm bool) error {
	dir, err := os.MkdirTemp(dir, "e")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := newWorld(r.set, r.rep, &r.nextID, dir)
	if err != nil {
		return err
	}
	r.cur.Store(w)
	r.rep.add(countEpochs, 1)
	stop := make(chan struct{})
	var sweeping sync.WaitGroup
	sweeping.Go(func() { r.watch(w, stop) })
	r.fill(w, earlier(r.end, time.Now().Add(r.set.epoch)))
	if calm {
		w.drain()
		w.calmShutdown()
	} else {
		w.shutdown(r.set.think * 5)
	}
	w.drain()
	close(stop)
	sweeping.Wait()
	w.check()
	w.sys.Shutdown()
	r.cur.Store(nil)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// fill begins connections until the time is over: whenever there is room, and no faster than -rate.
func (r *run) fill(w *world, until time.Time) {
	timeout := time.NewTimer(time.Until(until))
	defer timeout.Stop()
	var pace <-chan time.Time
	if r.set.rate > 0 {
		ticker := time.NewTicker(max(1, time.Duration(float64(time.Second)/r.set.rate)))
		defer ticker.Stop()
		pace = ticker.C
	}
	for r.more() {
		if pace != nil {
			select {
			case <-pace:
			case <-timeout.C:
				return
			}
		}
		select {
		case w.room <- struct{}{}:
			w.begin()
		case <-timeout.C:
			return
		}
	}
}

// watch looks for connections that hang, and at the heap, until stop.
func (r *run) watch(w *world, stop chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		w.sweep()
		if n%20 != 0 {
			continue
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap := m.HeapAlloc
		if heap > r.before.heap+r.set.heapGrowth() {
			heap = liveHeap() // it may be garbage only
		}
		if heap > r.before.heap+r.set.heapGrowth() {
			r.rep.violation("swarm", fmt.Sprintf("the heap is %d MiB, it was %d", heap>>20, r.before.heap>>20))
		}
		if r.set.verbose {
			fmt.Fprintln(os.Stderr, r.rep.progress(w.alive.Load(), heap))
		}
	}
}

// drain waits until every connection was judged: the watchdog ends what hangs.
func (w *world) drain() {
	for w.pairsLeft() > 0 || w.alive.Load() > 0 && time.Now().Before(w.lastResort()) {
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) pairsLeft() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pairs)
}

// lastResort is when drain gives up waiting for ends that belong to no pair any more.
func (w *world) lastResort() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drained.IsZero() {
		w.drained = time.Now().Add(w.set.bound)
	}
	return w.drained
}

// shutdown ends the network with connections at work.
func (w *world) shutdown(patience time.Duration) {
	before := w.terminals.Load()
	w.shutting.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	closed, aborted, err := w.net.Shutdown(ctx)
	w.rep.add(countShutClosed, uint64(closed))
	w.rep.add(countShutAborted, uint64(aborted))
	if err != nil && ctx.Err() == nil {
		w.rep.violation("Shutdown", err.Error())
	}
	// Those that ended between the first line and Shutdown's are in the difference, and not in its counts.
	if n := w.terminals.Load() - before; int64(closed+aborted) > n {
		w.rep.violation("Shutdown", fmt.Sprintf("%d closed and %d aborted are more than the %d that ended",
			closed, aborted, n))
	}
}

// idlers is how many connections a calm shutdown meets.
const idlers = 16

// calmShutdown ends the network while connections are idle: it must count each end of each, and abort none.
func (w *world) calmShutdown() {
	var up sync.WaitGroup
	var down atomic.Int64
	idle := func() actor.Actor { return &idler{up: &up, down: &down} }
	ln, err := w.net.Listen(context.Background(), "127.0.0.1:0", idle, actor.ListenConfig{})
	if err != nil {
		w.rep.violation("Listen", err.Error())
		return
	}
	up.Add(2 * idlers)
	for range idlers {
		if _, err := w.net.Dial(context.Background(), ln.Addr().String(), idle(), actor.DialConfig{}); err != nil {
			w.rep.violation("Dial", err.Error())
			return
		}
	}
	if !within(w.set.bound, &up) {
		w.rep.violation("swarm", "idle connections did not connect")
		return
	}
	if n := ln.Len(); n != idlers {
		w.rep.violation("Listener", fmt.Sprintf("Len is %d with %d connections", n, idlers))
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.set.bound)
	defer cancel()
	closed, aborted, err := w.net.Shutdown(ctx)
	w.rep.add(countShutClosed, uint64(closed))
	w.rep.add(countShutAborted, uint64(aborted))
	if closed != 2*idlers || aborted != 0 || err != nil || down.Load() != 2*idlers {
		w.rep.violation("Shutdown", fmt.Sprintf("closed %d and aborted %d of %d, %d of them were told: %v",
			closed, aborted, 2*idlers, down.Load(), err))
	}
	if n := ln.Len(); n != 0 {
		w.rep.violation("Listener", fmt.Sprintf("Len is %d after Shutdown", n))
	}
}

// within waits for wg, and reports whether it was done in time.
func within(d time.Duration, wg *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// An idler does nothing but count.
type idler struct {
	actor.Base
	up   *sync.WaitGroup
	down *atomic.Int64
}

func (i *idler) OnConnected(*conn.Conn)              { i.up.Done() }
func (i *idler) OnConnectFailed(*conn.Conn, error)   { i.down.Add(1) }
func (i *idler) OnClosed(_ *conn.Conn, _ error)      { i.down.Add(1) }
func (i *idler) OnEOF(c *conn.Conn, _ error)         { c.Close() }
func (i *idler) OnReceived(*conn.Conn, []byte) error { return nil }

// check looks at what must be true when all is over, and ends the rest of the epoch.
func (w *world) check() {
	for _, d := range w.witnesses {
		d.witness.Close()
	}
	w.accepting.Wait()
	w.witnessing.Wait()
	for _, d := range w.doors {
		if n := d.listener.Len(); n != 0 {
			w.rep.violation("Listener", fmt.Sprintf("Len is %d when all connections have ended", n))
		}
	}
	if n := w.alive.Load(); n != 0 {
		w.rep.violation("swarm", fmt.Sprintf("%d ends never ended", n))
	}
	for _, pid := range w.helpers {
		if err := w.sys.Root.StopFuture(pid).Wait(); err != nil {
			w.rep.violation("helper", err.Error())
		}
	}
	if events, answers := w.deadWrites.Load(), w.deadAnswers.Load(); events != answers {
		w.rep.violation("helper", fmt.Sprintf("%d Writes with Ack became dead letters, and %d answers came",
			events, answers))
	}
	w.sides.Range(func(_, value any) bool {
		s := value.(*side)
		s.fail("its actor never stopped; last callback: %s", s.lastCallback())
		return true
	})
}

var _ proto.Actor = (*helper)(nil)
