package liveness_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// FuzzLIV34 lets anything happen to a layer, and compares what it tells with what its twin does, and what it sends with
// the format.
func FuzzLIV34(f *testing.F) {
	f.Add([]byte("0"))
	for seed := range uint64(30) {
		f.Add(randomBytes(seed))
	}
	f.Fuzz(runWorld)
}

// TestLIV34_RandomWorlds is the same, by seed, for every run of the tests.
func TestLIV34_RandomWorlds(t *testing.T) {
	n := uint64(1500)
	if testing.Short() || raceEnabled {
		n = 200
	}
	for seed := range n {
		if runWorld(t, randomBytes(seed)); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomBytes(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 34))
	p := make([]byte, 20+r.IntN(400))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// A world is one connection to which things happen.
type world struct {
	*side
	t    *testing.T
	in   []byte // decides what happens; when it is used up, the world ends
	cfg  liveness.Config
	form string

	spy    *spy
	twin   *twin
	story  []string
	last   int // events that were compared
	choice int // what the handler decides next

	paused, halfClosed bool
	rest               string // of a frame that the peer has begun
	fed                string
	wire, sent         strings.Builder
	peer               time.Duration // its T
	since              time.Duration // ... since then
}

func runWorld(t *testing.T, in []byte) {
	w := &world{t: t, in: in, peer: liveness.Never}
	w.open()
	for len(w.in) > 0 && !w.Done() && !t.Failed() {
		w.act()
	}
	w.finish()
	if t.Failed() {
		t.Logf("%s, T %v, suspect at %v, on down %v:\n%s", w.form, w.cfg.Timeout, w.cfg.Suspect, w.cfg.OnDown, strings.Join(w.story, "\n"))
	}
}

func (w *world) draw(n int) int {
	if len(w.in) == 0 {
		return 0
	}
	b := w.in[0]
	w.in = w.in[1:]
	return int(b) % n
}

func (w *world) time() time.Duration { return w.Now().Sub(w.began) }

func (w *world) closing() bool { return w.Conn().State() >= conn.StateClosing }

func (w *world) note(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%12v  ", w.time())+fmt.Sprintf(format, args...))
}

var onDown = []liveness.Verdict{{}, liveness.KeepFor(3 * s), liveness.Close(), liveness.Abort()}

func (w *world) open() {
	w.cfg = liveness.Config{
		Timeout: []time.Duration{10 * ms, 100 * ms, s, 40 * s}[w.draw(4)],
		Suspect: []float64{0, 0.3, 1}[w.draw(3)],
		OnDown:  onDown[w.draw(len(onDown))],
	}
	form := liveness.Framed
	switch w.form = []string{"framed", "passive", "passive with a probe"}[w.draw(3)]; w.form {
	case "passive with a probe":
		w.cfg.Probe = ping
		fallthrough
	case "passive":
		form = liveness.Passive
	}
	maker := made(w.t, form, w.cfg)
	waits := conn.Setting(1 + w.draw(2))
	mayStandAside := w.draw(4) > 0
	w.twin = newTwin(w.cfg)
	w.side = open(w.t, func() interceptor.Interceptor {
		w.spy = &spy{Layer: maker().(*liveness.Layer), w: w, mayStandAside: mayStandAside}
		return w.spy
	}, conntest.Manual(), onEvent(w.onEvent), with(func(cfg *conn.Config) { cfg.ReadWaits = waits }))
	w.side.find = func() *liveness.Layer { return w.spy.Layer }
	w.Settle()
	if w.form == "framed" {
		w.feed(hello(w.anyTimeout(), 0))
	}
	w.check()
}

// act lets one thing happen.
func (w *world) act() {
	k := w.draw(24)
	span := func() time.Duration { return w.twin.t * time.Duration(1+w.draw(255)) / 128 }
	switch {
	case k < 6:
		w.pass(span() / 8)
	case k < 9:
		w.pass(span())
	case k < 14:
		w.feed(w.word(1 + w.draw(20)))
	case k == 14:
		w.pause()
	case k == 15:
		n := []int{1, 10, 100, 70_000}[w.draw(4)]
		w.note("send %d", n)
		w.Do(func(c *conn.Conn) {
			p := strings.Repeat(string(rune('a'+w.sent.Len()%26)), n)
			if _, err := c.Send([]byte(p)); err == nil {
				w.sent.WriteString(p)
			}
		})
	case k == 16:
		n := []int{0, 1, 50, -1}[w.draw(4)]
		w.note("the system takes %d more", n)
		w.Allow(n)
	case k == 17:
		d, p := span(), ""
		if w.draw(2) == 0 {
			p = w.word(1 + w.draw(20))
		}
		w.note("nothing for %v, then %q", d, p)
		w.Stall(d)
		w.feed(p)
	case k == 18:
		w.note("the machine sleeps")
		w.Slept(h)
	case k == 19:
		w.choice = w.draw(8)
	case k == 20:
		d := []time.Duration{10 * ms, 100 * ms, s, 40 * s}[w.draw(4)]
		w.note("SetTimeout %v", d)
		w.Do(func(*conn.Conn) {
			w.twin.change(w.time(), d, w.cfg.Suspect)
			_ = w.layer().SetTimeout(d)
		})
	case k == 21:
		w.note("Heard")
		w.Do(func(*conn.Conn) {
			w.spy.probes = 0
			w.twin.hear(w.time(), w.closing())
			w.layer().Heard()
		})
	case k == 22:
		w.note("Speak")
		w.Do(func(*conn.Conn) {
			w.spy.asked = true
			_ = w.layer().Speak()
			w.spy.asked = false
		})
	default:
		w.end(w.draw(24))
	}
	w.Settle()
	w.check()
}

// pass lets d pass. It stops when the connection wants a turn, and when the twin wants its layer to have had one.
func (w *world) pass(d time.Duration) {
	w.note("%v pass", d)
	// What has become due by what happened just now is looked at as soon as time passes.
	due := func(now time.Duration) time.Duration {
		if at := w.twin.due(); at != 0 && !w.Done() {
			return max(at, now+1)
		}
		return 1<<63 - 1
	}
	for end := w.time() + d; ; {
		next := min(end, due(w.time()))
		if at := w.Deadline(); !at.IsZero() && !w.Done() {
			next = min(next, at.Sub(w.began))
		}
		before := w.time()
		w.Stall(max(next-before, 0))
		w.Settle()
		w.check()
		if at := due(before); at <= w.time() && !w.t.Failed() {
			w.t.Errorf("something was due at %v, and nobody looked", at)
		}
		w.spoken()
		if w.time() >= end || w.t.Failed() {
			return
		}
	}
}

// word returns what the peer says next. A frame that is not DATA comes in one piece: how long it may take is another
// matter.
func (w *world) word(n int) string {
	if w.form != "framed" {
		return strings.Repeat("x", n)
	}
	if w.rest == "" {
		switch w.draw(6) {
		case 0:
			return timings(w.anyTimeout(), 0)
		case 1:
			return frameOf(0x80, "later")
		case 2:
			return data("")
		default:
			w.rest = data(strings.Repeat("d", 1+n*n))
		}
	}
	p := w.rest[:min(n, len(w.rest))]
	w.rest = w.rest[len(p):]
	return p
}

func (w *world) feed(p string) {
	if p != "" && !w.spy.theEnd {
		w.note("the peer says %q", p)
		w.fed += p
		w.Feed(p)
	}
	w.Settle()
}

// anyTimeout is what the peer may want, from less than is allowed on. It is not so little that a test takes for ever.
func (w *world) anyTimeout() time.Duration {
	return []time.Duration{liveness.Never, w.cfg.Timeout / 10, w.cfg.Timeout, 1000 * w.cfg.Timeout}[w.draw(4)]
}

func (w *world) pause() {
	w.paused = !w.paused
	w.note("paused: %v", w.paused)
	w.Do(func(c *conn.Conn) {
		if w.paused {
			c.Pause()
		} else {
			c.Resume()
		}
	})
}

func (w *world) end(k int) {
	switch {
	case k == 0 && !w.spy.theEnd:
		w.note("the peer ends")
		w.spy.theEnd = true
		w.FeedEOF()
	case k == 1 && !w.spy.theEnd && w.form == "framed" && w.rest == "":
		w.note("the peer says goodbye")
		w.spy.theEnd = true
		w.Feed(bye(0, ""))
		w.FeedEOF()
	case k == 2:
		w.note("half-close")
		w.halfClosed = true
		w.Do((*conn.Conn).CloseWrite)
	case k == 3:
		w.note("Close")
		w.Do((*conn.Conn).Close)
	case k == 4:
		w.note("Abort")
		w.Do(func(c *conn.Conn) { c.Abort(nil) })
	}
}

// onEvent decides, or leaves it to the configuration. The twin is told.
func (w *world) onEvent(c *conn.Conn, ev any) {
	if t, ok := ev.(liveness.PeerTimings); ok {
		w.peer, w.since = t.Timeout, w.time()
	}
	down, ok := ev.(liveness.PeerDown)
	if !ok {
		return
	}
	isDown := w.twin.state == liveness.StateDown
	keepFor := func(d time.Duration) {
		if isDown {
			w.twin.keepUntil = w.time() + d
		}
	}
	switch w.choice {
	case 0:
		down.Keep()
	case 1, 2, 3:
		d := w.cfg.Timeout * time.Duration(w.choice)
		keepFor(d)
		down.KeepFor(d)
	case 4:
		c.Close()
	case 5:
		c.Abort(down.Err())
	default:
		if w.cfg.OnDown == liveness.KeepFor(3*s) {
			keepFor(3 * s)
		}
	}
}

// check compares what was told.
func (w *world) check() {
	w.spy.sync()
	got, want := w.told[w.last:], w.twin.told[w.last:]
	for i := range max(len(got), len(want)) {
		g, t := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			t = want[i]
		}
		w.note("told: %s", g)
		if g != t {
			w.t.Errorf("event %d is %q, and the twin's %q", w.last+i+1, g, t)
			return
		}
	}
	w.last += len(got)
	if !w.Done() && w.spy.opened && w.layer().Status().State != w.twin.state && w.twin.state != liveness.StateClosing &&
		w.layer().Status().State != liveness.StateClosing {
		w.t.Errorf("the state is %v, and the twin's %v", w.layer().Status().State, w.twin.state)
	}
	w.wire.WriteString(w.Wire())
}

// spoken looks whether the peer hears us as often as it wants to.
func (w *world) spoken() {
	if w.form != "framed" || w.peer == liveness.Never || w.closing() || w.halfClosed || w.Conn().Stats().Pending > 0 {
		return
	}
	last := max(w.spy.wrote, w.since)
	if limit := max(w.peer/4, 2500*us); w.time()-last > limit+1 {
		w.t.Errorf("nothing was said since %v, and the peer's T is %v", last, w.peer)
	}
}

// finish looks at all that was sent and received.
func (w *world) finish() {
	if w.Rig == nil {
		return
	}
	got := w.rec.Received()
	if w.form == "framed" {
		sent, keepalives := payload(w.t, w.wire.String())
		if !strings.HasPrefix(w.sent.String(), sent) {
			w.t.Errorf("sent was %d bytes, not the first of what was to be sent", len(sent))
		}
		if keepalives < w.spy.keepalives-1 {
			w.t.Errorf("%d keepalives on the wire, of %d", keepalives, w.spy.keepalives)
		}
		want, _ := payload(w.t, w.fed)
		if !strings.HasPrefix(want, got) {
			w.t.Errorf("received were %d bytes, which is not what was sent", len(got))
		}
	} else if !strings.HasPrefix(w.fed, got) {
		w.t.Errorf("received was %q", got)
	}
	if over := w.rec.Calls(); w.Done() && !strings.HasPrefix(over[len(over)-1], "OnClosed") &&
		!strings.HasPrefix(over[len(over)-1], "OnConnectFailed") {
		w.t.Errorf("the last call is %s", over[len(over)-1])
	}
}

// payload takes a stream of frames apart: what DATA carries, and how many are empty. The last frame may be cut off.
func payload(t *testing.T, wire string) (data string, empty int) {
	t.Helper()
	var all strings.Builder
	for len(wire) >= 4 {
		kind, n := wire[0], int(wire[1])<<16|int(wire[2])<<8|int(wire[3])
		body := wire[4:min(4+n, len(wire))]
		wire = wire[4+len(body):]
		switch {
		case kind == 0 && n == 0:
			empty++
		case kind == 0:
			all.WriteString(body)
		case kind > 3 && kind < 0x80 || kind == 1 && n != 36 || kind == 2 && n != 16:
			t.Errorf("a frame of type %#02x with %d bytes", kind, n)
		}
	}
	return all.String(), empty
}

// A spy is the layer, and tells the twin what the layer is told.
type spy struct {
	*liveness.Layer
	w          *world
	opened     bool
	theEnd     bool // the peer's end was fed
	keepalives int
	probes     int // since something was heard, without those that were asked for
	asked      bool
	wrote      time.Duration

	mayStandAside       bool
	skips               interceptor.Skips
	asides              int    // times that it stood aside
	bytesRead, bytesOut uint64 // of which the twin knows
}

// Open gives the layer a Link that looks at what goes down.
func (s *spy) Open(k interceptor.Link) error { s.opened = true; return s.Layer.Open(s.link(k)) }

func (s *spy) link(k interceptor.Link) interceptor.Link {
	if s.mayStandAside {
		return &spiedMeter{spiedLink{k, s}}
	}
	return &spiedLink{k, s}
}

// A spiedMeter is a spiedLink by which the layer may stand aside.
type spiedMeter struct{ spiedLink }

func (k *spiedMeter) Skip(what interceptor.Skips) bool {
	k.s.sync()
	ok := k.Link.(interceptor.Meter).Skip(what)
	if k.s.skips = 0; ok {
		k.s.skips = what
		k.s.asides++
	}
	return ok
}

func (k *spiedMeter) Traffic() (interceptor.Traffic, bool) {
	return k.Link.(interceptor.Meter).Traffic()
}

// sync tells the twin what the layer was not shown.
func (s *spy) sync() {
	if s == nil {
		return
	}
	w, now, stats := s.w, s.w.time(), s.w.Conn().Stats()
	read, wrote := stats.BytesRead > s.bytesRead, stats.BytesWritten > s.bytesOut
	s.bytesRead, s.bytesOut = stats.BytesRead, stats.BytesWritten
	if s.skips&interceptor.SkipBytes != 0 {
		if read {
			s.probes = 0
			w.twin.hear(now, w.closing())
		}
		if wrote || stats.Pending > 0 {
			w.twin.queue(now)
		}
	}
	if s.skips&interceptor.SkipWrote != 0 && wrote {
		s.wrote = now
		w.twin.wrote(now, stats.Pending, w.closing())
	}
}

func (s *spy) Up(k interceptor.Link, p []byte) error {
	if s.sync(); s.skips&interceptor.SkipBytes != 0 {
		s.w.t.Error("bytes come up to a layer that stands aside")
	}
	s.probes = 0
	s.w.twin.hear(s.w.time(), s.w.closing())
	return s.Layer.Up(s.link(k), p)
}

func (s *spy) EOF(k interceptor.Link) error {
	s.sync()
	s.w.twin.end()
	return s.Layer.EOF(s.link(k))
}

func (s *spy) Down(k interceptor.Link, bufs [][]byte) error {
	if s.sync(); s.skips&interceptor.SkipBytes != 0 {
		s.w.t.Error("bytes come down to a layer that stands aside")
	}
	s.w.twin.queue(s.w.time())
	return s.Layer.Down(s.link(k), bufs)
}

func (s *spy) Wrote(k interceptor.Link, n, left int) {
	if s.sync(); s.skips&interceptor.SkipWrote != 0 {
		s.w.t.Error("a layer that stands aside hears of writing")
	}
	s.wrote = s.w.time()
	s.w.twin.wrote(s.w.time(), left, s.w.closing())
	s.Layer.Wrote(s.link(k), n, left)
}

func (s *spy) Reading(k interceptor.Link, held bool) {
	s.sync()
	s.w.twin.hold(s.w.time(), held)
	s.Layer.Reading(s.link(k), held)
}

func (s *spy) Slept(k interceptor.Link, d time.Duration) {
	s.sync()
	if !s.w.twin.over() {
		s.w.twin.pardon(s.w.time())
	}
	s.Layer.Slept(s.link(k), d)
}

func (s *spy) CloseWrite(k interceptor.Link) error {
	if s.sync(); k.Closing() {
		s.skips = 0 // for it sees what is left
		s.w.twin.state = liveness.StateClosing
	}
	return s.Layer.CloseWrite(s.link(k))
}

func (s *spy) Expire(k interceptor.Link, now time.Time) error {
	s.sync()
	s.w.twin.look(s.w.time(), s.w.Unread(), k.Closing())
	return s.Layer.Expire(s.link(k), now)
}

type spiedLink struct {
	interceptor.Link
	s *spy
}

func (k *spiedLink) EOF() error {
	k.s.w.twin.end()
	return k.Link.EOF()
}

func (k *spiedLink) Down(bufs [][]byte) error {
	w := k.s.w
	all := ""
	for _, b := range bufs {
		all += string(b)
	}
	pending := w.Conn().Stats().Pending
	switch {
	case all == "\x00\x00\x00\x00":
		if k.s.keepalives++; pending > 0 {
			w.t.Errorf("%v: a keepalive behind %d bytes that wait", w.time(), pending)
		}
	case all == "PING\r\n":
		if !k.s.asked {
			k.s.probes++
		}
		switch {
		case pending > 0:
			w.t.Errorf("%v: a probe behind %d bytes that wait", w.time(), pending)
		case !k.s.asked && w.twin.state != liveness.StateDown && k.s.probes > 3:
			w.t.Errorf("%v: probe %d in a silence", w.time(), k.s.probes)
		}
	}
	w.twin.queue(w.time())
	return k.Link.Down(bufs)
}
