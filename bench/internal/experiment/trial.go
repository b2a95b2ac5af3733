package experiment

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/rounds"
	"github.com/galago-go/galago/bench/internal/serve"
)

// patience is how long it waits for what should come at once.
const patience = 5 * time.Second

// A trial is what happened when one server went through the script once.
type trial struct {
	x        *Experiment
	settings pressure.Settings
	command  []string
	reports  bool // whether the server tells what it holds

	begin int64  // of pressure.Now
	steps []step // and what comes after them
	lines []pressure.Line
	seen  []sight

	sent             int // records, by the peers
	arrived, skipped [2]int
	wrong            []string
	drained          bool          // everything had ended in time
	took             time.Duration // until it had
	cpu              time.Duration // of the server, in the steps
	busy             float64       // the share of its processor that the load used in them
}

// A step is what the peers saw of it.
type step struct {
	from, to int64
	bytes    [2]int                     // that came to ordinary and to special peers
	delays   [2]*hdrhistogram.Histogram // of the records that were due in it, in nanoseconds
}

// A sight is what was seen at one time.
type sight struct {
	at    int64
	bytes [2]int
	age   [2]int64
	rss   uint64
}

// A trier runs trials.
type trier struct {
	x      *Experiment
	rival  rounds.Rival
	launch rounds.Launch
	loads  proc.CPUs
	tls    *tls.Config // of the peers
}

// A watcher collects what a server reports.
type watcher struct {
	mu    sync.Mutex
	lines []pressure.Line
	ended chan struct{}
}

func watch(s *proc.Server, cpus proc.CPUs) *watcher {
	w := &watcher{ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		if release, err := proc.Pin(cpus); err == nil {
			defer release()
		}
		s.EachLine(func(text []byte) {
			var line pressure.Line
			if json.Unmarshal(text, &line) == nil && line.At > 0 {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.lines = append(w.lines, line)
			}
		})
	}()
	return w
}

// last returns the newest line, which is empty if there is none.
func (w *watcher) last() (line pressure.Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.lines); n > 0 {
		line = w.lines[n-1]
	}
	return line
}

// gone returns an error if the server has ended.
func (w *watcher) gone(s *proc.Server) error {
	select {
	case <-w.ended:
		s.Stop()
		return fmt.Errorf("the server ended:\n%s", s.Stderr())
	default:
		return nil
	}
}

// try runs the script once. The calling goroutine must be bound to the processors of the load. Without special, nobody
// is: all peers go on reading.
func (t *trier) try(ctx context.Context, settings pressure.Settings, special bool) (_ *trial, err error) {
	t.launch.Pressure, t.launch.Role = settings.String(), t.x.Role
	r := &trial{x: t.x, settings: settings, reports: t.rival.Shell == ""}
	server, command, err := t.launch.Start(t.rival)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	r.command = command
	w := watch(server, t.loads)
	peers, err := t.gather(server, settings, special)
	if err != nil {
		return nil, errors.Join(err, w.gone(server))
	}
	defer peers.Close()
	s := &stage{trial: r, server: server, watcher: w, peers: peers}
	for _, act := range []func(context.Context) error{s.assemble, s.play, s.close} {
		if err := errors.Join(act(ctx), w.gone(server)); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r.lines = w.lines
	r.account(peers)
	return r, nil
}

func (t *trier) gather(server *proc.Server, settings pressure.Settings, special bool) (*load.Peers, error) {
	g := load.Gathering{To: server.Addr, TLS: t.tls, Number: t.x.Peers, Record: settings.Record, Buffer: settings.Buffer}
	if special {
		g.Special = t.x.Special
	}
	return g.Gather()
}

// account takes what the peers saw in all.
func (r *trial) account(peers *load.Peers) {
	r.sent = peers.Sent()
	for g, special := range []bool{false, true} {
		r.arrived[g], r.skipped[g] = peers.Records(special)
		for i := range r.steps {
			r.steps[i].delays[g] = peers.Delays(i, special)
		}
	}
	r.wrong = peers.Wrong(!r.x.Abandons && r.drained)
	r.wrong = append(r.wrong, r.last().Wrong...)
}

// last returns what the server said last.
func (r *trial) last() (line pressure.Line) {
	if n := len(r.lines); n > 0 {
		line = r.lines[n-1]
	}
	return line
}

// A stage is where a trial takes place.
type stage struct {
	*trial
	server  *proc.Server
	watcher *watcher
	peers   *load.Peers
	next    int64 // when to look again
}

// run lets the peers go on until a time, or until done, and looks from time to time.
func (s *stage) run(ctx context.Context, until int64, done func() bool) error {
	for over := false; !over; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.peers.Run(min(until, s.next), done); err != nil {
			return err
		}
		now := pressure.Now()
		if now >= s.next {
			if err := s.look(now); err != nil {
				return err
			}
		}
		over = now >= until || done != nil && done()
	}
	return nil
}

func (s *stage) look(now int64) error {
	s.next = now + int64(s.settings.Report)
	rss, err := s.server.Resident()
	if err != nil {
		return errors.Join(s.watcher.gone(s.server), err)
	}
	v := sight{at: now, rss: rss, age: [2]int64{s.peers.Age(false, now), s.peers.Age(true, now)}}
	v.bytes[0], v.bytes[1] = s.peers.Bytes()
	s.seen = append(s.seen, v)
	return nil
}

// assemble waits until the server knows of all peers, and lets it begin.
func (s *stage) assemble(ctx context.Context) error {
	there := func() bool { return !s.reports || s.watcher.last().Open == s.x.Peers }
	if err := s.run(ctx, pressure.Now()+int64(patience), there); err != nil {
		return err
	}
	if !there() {
		return fmt.Errorf("the server has %d connections, not %d, after %v", s.watcher.last().Open, s.x.Peers, patience)
	}
	s.seen = nil
	if s.x.Role == serve.Flood {
		return nil
	}
	return s.peers.Say(pressure.Begin)
}

// play goes through the steps.
func (s *stage) play(ctx context.Context) error {
	before, err := s.server.CPU()
	if err != nil {
		return err
	}
	own := proc.ThreadCPU()
	s.begin = pressure.Now()
	for _, step := range s.x.Steps {
		s.enter()
		if err := s.behave(step.Reads, step.Sends); err != nil {
			return err
		}
		if err := s.run(ctx, s.steps[len(s.steps)-1].from+int64(step.For), nil); err != nil {
			return err
		}
		s.leave()
	}
	took := pressure.Now() - s.begin
	s.busy = float64(proc.ThreadCPU()-own) / float64(took)
	after, err := s.server.CPU()
	s.cpu = after.Minus(before).Total
	return err
}

// enter begins a step where the last one ended.
func (s *stage) enter() {
	from := s.begin
	if n := len(s.steps); n > 0 {
		from = s.steps[n-1].to
	}
	st := step{from: from}
	st.bytes[0], st.bytes[1] = s.peers.Bytes()
	s.steps = append(s.steps, st)
	s.peers.Phase()
}

func (s *stage) leave() {
	st := &s.steps[len(s.steps)-1]
	ordinary, special := s.peers.Bytes()
	st.to = pressure.Now()
	st.bytes = [2]int{ordinary - st.bytes[0], special - st.bytes[1]}
}

func (s *stage) behave(reads, sends load.Speed) error {
	for _, c := range s.peers.Special() {
		if err := s.peers.Read(c, reads); err != nil {
			return err
		}
		s.peers.Send(c, sends)
	}
	return nil
}

// close ends the sending, and waits until everything that was accepted has arrived, or was given up.
func (s *stage) close(ctx context.Context) error {
	s.enter()
	reads := load.Free
	if s.x.Abandons {
		reads = load.Stopped
	}
	if err := s.behave(reads, load.Stopped); err != nil {
		return err
	}
	over := s.over
	if s.x.Role != serve.Flood {
		if err := s.peers.Say(pressure.End); err != nil {
			return err
		}
	}
	begin := pressure.Now()
	if err := s.run(ctx, begin+int64(s.settings.CloseTime+patience), over); err != nil {
		return err
	}
	s.drained, s.took = over(), time.Duration(pressure.Now()-begin)
	s.leave()
	return s.settle(ctx)
}

// over reports whether all has arrived, or was given up.
func (s *stage) over() bool {
	switch {
	case s.x.Abandons:
		return s.watcher.last().Open == 0
	case s.x.Role == serve.Flood:
		came, _ := s.peers.Records(true)
		refused := 0
		for _, n := range s.watcher.last().Refused {
			refused += n
		}
		return came+refused >= s.peers.Sent()
	}
	return s.peers.Ended() == s.x.Peers
}

// settle lets everybody go, and waits for the server's last account.
func (s *stage) settle(ctx context.Context) error {
	if s.x.Abandons { // take what the system still has for us
		if err := s.behave(load.Free, load.Stopped); err != nil {
			return err
		}
		ended := func() bool { return s.peers.Ended() == s.x.Peers }
		if err := s.run(ctx, pressure.Now()+int64(patience), ended); err != nil {
			return err
		}
	}
	s.peers.Hang()
	if !s.reports {
		return nil
	}
	asked := pressure.Now()
	closed := func() bool { last := s.watcher.last(); return last.Open == 0 && last.At > asked }
	if err := s.run(ctx, asked+int64(patience), closed); err != nil {
		return err
	}
	if !closed() {
		s.drained = false
	}
	return nil
}
