package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A side is one end of a connection that is a galago actor: its script, and the checks of what it is told. It outlives
// the actor, which a strategy may restart. It belongs to the turns of the connection.
type side struct {
	w    *world
	pair *pair // nil until the hello has come, for who accepted
	dir  int   // 0: it dialed; 1: it accepted
	told told
	cfg  *conn.Config
	plan plan
	rng  *rand.Rand
	pid  *proto.PID

	framing framing
	out     stream
	in      receiver
	broken  bool // the stream was wrong; nothing more is checked
	serial  uint32
	buf     []byte   // chunks that are being sent
	bounds  []int    // where they end
	sentTo  int      // so much of buf was accepted
	tail    [][]byte // the rest of them, which Send refused
	left    int      // chunks to send
	begun   bool     // the script runs
	over    bool     // nothing more can be sent
	ready   bool     // all is sent
	partial bool
	waiting bool // a timer goes on
	angry   bool // the next OnReceived returns an error

	timers map[conn.TimerToken]func(c *conn.Conn)
	decoy  conn.TimerToken
	tap    *tap // the layer that damages, if there is one

	may      cause
	panicked bool
	dropped  bool
	exPause  bool // somebody else may have paused it
	closing  bool // Close was called, by anybody
	acks     acker
	state    atomic.Pointer[string] // for the watchdog: the last callback
	owner    atomic.Pointer[pair]   // for the watchdog: pair
	early    atomic.Bool            // it is closed or aborted, perhaps before it was connected
}

var errPlanned = errors.New("as planned")

// newSide makes the side of a connection. If it is troubled, a layer of it may break at any time.
func (w *world) newSide(dir int, cfg *conn.Config, d *door, troubled bool) *side {
	s := &side{w: w, dir: dir, cfg: cfg, framing: d.framing}
	s.in.framing = d.framing
	s.told = told{
		fail: s.fail, expands: d.expands(), breaks: troubled, secret: d.secrecy != nil, others: true,
		maxSend: cfg.MaxPending, maxQueue: cfg.HighWater + cfg.MaxPending,
	}
	if troubled {
		s.may |= mayLayer
	}
	s.acks.side = s
	s.acks.fail = s.fail
	if cfg.CloseTimeout < usualCloseTimeout {
		s.may |= mayTimeout
	}
	return s
}

// fail reports a violation.
func (s *side) fail(format string, args ...any) {
	s.w.rep.violation(s.String(), fmt.Sprintf(format, args...))
}

// String names the side.
func (s *side) String() string {
	who := [2]string{"dialer", "acceptor"}[s.dir]
	if s.pair == nil {
		return who + " of an unknown connection"
	}
	return fmt.Sprintf("%s of connection %d", who, s.pair.id)
}

func (s *side) lastCallback() string {
	if name := s.state.Load(); name != nil {
		return *name
	}
	return "none"
}

// describe says where the script stands.
func (s *side) describe(c *conn.Conn) string {
	t := &s.told
	return fmt.Sprintf("%v, %+v, config %+v, paused %v, throttled %v, eof %v, closed %v, half %v, over %v, ready %v, "+
		"waiting %v, %d chunks and %d pieces left, %d timers, %d outcomes due, plan %+v",
		c.State(), c.Stats(), *s.cfg, t.paused, t.throttled, t.eof, t.closed, t.halfDone, s.over, s.ready,
		s.waiting, s.left, len(s.tail), len(s.timers), len(t.open), s.plan)
}

// join says which connection this is.
func (s *side) join(p *pair) {
	set := s.w.set
	s.pair = p
	s.owner.Store(p)
	s.rng = set.rng(p.id, uint64(s.dir))
	s.plan = drawPlan(set, s.rng, s.dir == 0)
	s.left = s.plan.chunks
	s.told.others = s.plan.writes+s.plan.quiet > 0
	s.out = stream{set.seed, p.id, byte(s.dir), set.sizes}
	if s.dir == 0 {
		s.in.stream = stream{set.seed, p.id, 1, set.sizes}
	}
}

// connected is OnConnected.
func (s *side) connected(c *conn.Conn) {
	if t, ok := interceptor.Find[*tap](c.Layers()); ok {
		s.tap, t.side = t, s
	} else if _, ok := interceptor.Find[*pest](c.Layers()); !ok { // none that makes trouble, in this connection
		s.may &^= mayLayer
		s.told.breaks = false
	}
	if s.dir == 1 {
		s.in.hello = func(id uint64) (stream, error) { return s.hello(c, id) }
		return
	}
	s.buf = appendHello(s.buf[:0], s.framing, s.pair.id)
	s.send(c, s.buf)
	s.begin(c)
}

// hello is called with the first chunk that came.
func (s *side) hello(c *conn.Conn, id uint64) (stream, error) {
	p, err := s.w.joinAs(id, 1)
	if err != nil {
		return stream{}, err
	}
	if p == nil { // judged long ago: whoever dialed was told of a failure
		s.w.rep.add(countLate, 1)
		s.broken = true
		s.may |= mayAbort
		c.Abort(errPlanned)
		return stream{}, errPlanned
	}
	s.join(p)
	return stream{s.w.set.seed, id, 0, s.w.set.sizes}, nil
}

// begin starts the script.
func (s *side) begin(c *conn.Conn) {
	s.begun = true
	if s.plan.idle > 0 {
		c.SetIdleTimeout(s.plan.idle)
	}
	if s.plan.trouble != noTrouble {
		s.after(c, s.plan.troubleAt, s.makeTrouble)
	}
	for i := range s.plan.writes + s.plan.quiet {
		s.after(c, upTo(s.rng, 4*s.plan.think), func(*conn.Conn) { s.askWrites(i < s.plan.writes) })
	}
	s.pump(c)
}

// after arranges for f, once. Once no timer can be started any more, f is dropped.
func (s *side) after(c *conn.Conn, d time.Duration, f func(c *conn.Conn)) conn.TimerToken {
	token := c.StartTimer(d)
	if token == 0 {
		return 0
	}
	s.told.startedTimer(token)
	if s.timers == nil {
		s.timers = make(map[conn.TimerToken]func(c *conn.Conn))
	}
	s.timers[token] = f
	return token
}

func (s *side) onTimer(c *conn.Conn, token conn.TimerToken) {
	s.told.onTimer(token)
	f := s.timers[token]
	delete(s.timers, token)
	if f != nil {
		f(c)
	}
}

// juggle starts and stops timers that do nothing.
func (s *side) juggle(c *conn.Conn) {
	if s.decoy != 0 && happens(s.rng, 0.5) {
		s.told.stoppedTimer(s.decoy, c.StopTimer(s.decoy))
		delete(s.timers, s.decoy)
	}
	s.decoy = s.after(c, upTo(s.rng, s.plan.think), func(*conn.Conn) {})
}

// received checks what came.
func (s *side) received(c *conn.Conn, data []byte) error {
	s.told.onReceived(len(data))
	if s.broken {
		return nil
	}
	begun := s.begun
	err := s.check(data)
	switch {
	case s.broken: // nobody knows it any more
		return nil
	case err != nil:
		s.broken = true
		s.fail("received: %v", err)
		s.may |= mayAbort
		c.Abort(err)
		return nil
	case s.in.hello != nil: // nobody knows yet what to do
		return nil
	case !begun:
		s.begin(c)
	}
	if s.plan.timers && happens(s.rng, 0.3) {
		s.juggle(c)
	}
	if s.angry {
		s.angry = false
		s.may |= mayHandler
		s.dropped = true // if it is closing, the error only ends delivery
		return errPlanned
	}
	if happens(s.rng, s.plan.pause) {
		s.pause(c)
	}
	if happens(s.rng, s.plan.yield) {
		s.w.rep.add(countYields, 1)
		return conn.Yield
	}
	return nil
}

// check gives data to the receiver, without the damage that layers did on purpose. Whose damage to look for is known
// behind the hello.
func (s *side) check(data []byte) error {
	s.w.rep.add(countBytes, uint64(len(data)))
	if s.framing != raw {
		return s.in.takeFrame(data)
	}
	if n := s.in.helloLeft(); n > 0 && n < len(data) {
		if err := s.in.take(s.repair(data[:n])); err != nil {
			return err
		}
		data = data[n:]
	}
	return s.in.take(s.repair(data))
}

// repair takes the known damage out of what comes next.
func (s *side) repair(data []byte) []byte {
	at := s.in.bytes
	if s.tap != nil {
		data = undo(s.w, s.tap.took(at+int64(len(data))), at, data)
	}
	if s.pair != nil {
		data = s.pair.repair(s.w, s.dir, at, data)
	}
	return data
}

// repair takes out what the layers of the sender did.
func (p *pair) repair(w *world, dir int, at int64, data []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return undo(w, p.damages[1-dir], at, data)
}

// undo returns data, which begins at at, without the damage of list. It changes a copy.
func undo(w *world, list []damage, at int64, data []byte) []byte {
	copied := false
	for _, d := range list {
		if d.at < at || d.at >= at+int64(len(data)) {
			continue
		}
		if !copied {
			data, copied = append([]byte(nil), data...), true
		}
		data[d.at-at] ^= d.xor
		w.rep.add(countDamage, 1)
	}
	return data
}

// pause stops delivery for a while.
func (s *side) pause(c *conn.Conn) {
	if s.plan.outside && happens(s.rng, 0.3) {
		s.exPause = true
		s.w.outside(s, orderPause)
		return
	}
	if s.told.paused {
		return
	}
	if s.after(c, upTo(s.rng, s.plan.rest), s.resume) == 0 {
		return // closing: nobody would end the pause
	}
	s.w.rep.add(countPauses, 1)
	s.told.paused = true
	c.Pause()
}

func (s *side) resume(c *conn.Conn) {
	s.dropped = s.dropped || c.State() != conn.StateConnected // a pause met Close: what came meanwhile is lost
	s.told.paused = false
	c.Resume()
}

// close is Close. What a pause or a held layer keeps back is dropped from here on.
func (s *side) close(c *conn.Conn) {
	s.told.closed, s.over, s.closing = true, true, true
	s.dropped = s.dropped || s.told.paused
	c.Close()
}

// ended is OnEOF.
func (s *side) peerEnded(c *conn.Conn) {
	s.told.onEOF()
	switch {
	case !s.begun, s.plan.obeys, s.ready && !s.told.halfDone:
		s.close(c)
	case s.told.halfDone && happens(s.rng, 0.5):
		s.close(c) // or nothing: both directions have ended
	}
}

// closed is the last callback.
func (s *side) closed(c *conn.Conn, failed bool, err error) {
	s.told.onEnd(failed, err, c.Stats())
	s.tail, s.buf, s.timers = nil, nil, nil
}

// gone is proto.Stopped: nothing more will happen.
func (s *side) gone(c *conn.Conn) {
	if s.told.stopped++; s.told.stopped > 1 {
		s.fail("Stopped came %d times", s.told.stopped)
		return
	}
	if !s.told.ended {
		s.fail("the actor stopped without a last callback")
	}
	s.w.left(s, s.ending(c))
}

// ending is what this side knows when all is over.
func (s *side) ending(c *conn.Conn) *ending {
	e := &ending{
		who: "galago", at: time.Now(), err: s.told.endErr, failed: s.told.failed, may: s.may,
		framing: s.framing, expands: s.told.expands, stats: c.Stats(), hasStats: true,
		portable: s.w.set.portable, panicked: s.panicked, plan: s.plan,
		own: s.told.bytes, partial: s.partial || s.halfway(), sends: s.told.accepted, received: s.in,
	}
	paused := s.told.paused || s.exPause || s.tap != nil || s.told.breaks
	e.dropped = s.dropped || s.broken || paused && s.closing
	if s.panicked && (s.may&mayAbort != 0 || s.early.Load() || s.w.shutting.Load()) {
		e.may |= mayHandler // the stop overtook what the strategy decided
	}
	if s.early.Load() {
		e.may |= mayEarly | mayAbort
		e.dropped = e.dropped || paused || s.plan.pause > 0
	}
	if s.w.shutting.Load() {
		e.may |= mayShutdown | mayEarly
		e.dropped = e.dropped || s.exPause || paused || s.plan.pause > 0
	}
	return e
}

// askWrites lets another actor write to this one.
func (s *side) askWrites(acked bool) {
	if s.pid != nil && !s.told.ended {
		s.acks.ask(s.w, acked, 1+s.rng.IntN(6))
	}
}

// makeTrouble does what the plan has.
func (s *side) makeTrouble(c *conn.Conn) {
	s.w.rep.add(countTrouble, 1)
	switch s.plan.trouble {
	case aborts:
		s.may |= mayAbort
		if s.plan.outside { // until it comes, a chunk that was begun goes on: Writes may be accepted behind it
			s.w.outside(s, orderAbort)
			return
		}
		s.over = true
		c.Abort(errPlanned)
	case isStopped:
		s.may |= mayAbort
		if s.plan.outside {
			s.w.outside(s, orderPoison)
			return
		}
		s.w.outside(s, orderStop)
	case closesEarly:
		if s.plan.outside {
			s.closing = true
			s.w.outside(s, orderClose)
			return
		}
		s.close(c)
	case cutsChunk:
		s.cutChunk(c)
	case returnsError:
		s.angry = true
	}
}

// A panicValue is what a side panics with: what the strategy is to make of it.
type panicValue struct{ directive proto.Directive }

// maybePanic panics, or not. It is called at the end of a callback, when all is in order; and not while a chunk is sent
// in part, for the Writes of others would go on in the middle of it.
func (s *side) maybePanic() {
	if s.rng == nil || len(s.tail) > 0 || !happens(s.rng, s.plan.panics) {
		return
	}
	s.w.rep.add(countPanics, 1)
	s.panicked = true
	v := panicValue{[...]proto.Directive{
		proto.StopDirective, proto.ResumeDirective, proto.ResumeDirective, proto.RestartDirective, proto.RestartDirective,
	}[s.rng.IntN(5)]}
	if v.directive == proto.StopDirective {
		s.may |= mayHandler
		if s.plan.goexit {
			runtime.Goexit()
		}
	}
	panic(v)
}

// strategy does what the panic says. Anything else, such as runtime.Goexit, means stop.
type strategy struct{ rep *report }

// HandleFailure decides.
func (st strategy) HandleFailure(_ *proto.ActorSystem, sup proto.Supervisor, child *proto.PID,
	_ *proto.RestartStatistics, reason, _ any) {
	directive := proto.StopDirective
	if p, ok := reason.(*actor.PanicError); ok {
		switch v := p.Value.(type) {
		case panicValue:
			directive = v.directive
		case error: // runtime.Goexit
			if _, bug := v.(interface{ RuntimeError() }); bug {
				st.rep.violation(child.Id, fmt.Sprintf("a panic that was not planned: %v\n%s", p.Value, p.Stack))
			}
		default:
			st.rep.violation(child.Id, fmt.Sprintf("a panic that was not planned: %v\n%s", p.Value, p.Stack))
		}
	}
	switch directive {
	case proto.ResumeDirective:
		sup.ResumeChildren(child)
	case proto.RestartDirective:
		st.rep.add(countRestarts, 1)
		sup.RestartChildren(child)
	default:
		sup.StopChildren(child)
	}
}

var _ proto.SupervisorStrategy = strategy{}
