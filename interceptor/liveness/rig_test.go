package liveness_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A side is one end of a connection on passed-in time. It writes down what its layer tells, with the time since the side
// began.
type side struct {
	*conntest.Rig
	t           testing.TB
	rec         *conntest.Recorder
	began       time.Time
	told        []string // events of package liveness, such as "1s PeerDown"; without PeerTimings
	events      []any    // all of them
	decide      func(c *conn.Conn, ev any)
	find        func() *liveness.Layer // if not nil, instead of liveness.Of
	onConnected func(c *conn.Conn)
	closed      error // what OnClosed was given
	failed      error // what OnConnectFailed was given
	over        bool
	all         []string // the calls so far
}

// A sideOption changes a side before it is opened.
type sideOption func(s *side, cfg *conn.Config)

func open(t testing.TB, layer liveness.Maker, opts ...any) *side {
	t.Helper()
	s := &side{t: t, rec: &conntest.Recorder{TB: t, Stay: true}}
	s.rec.Do = func(_ *conn.Conn, call string) { s.all = append(s.all, call) }
	cfg := conn.Config{Layers: []interceptor.Factory{layer}}
	rigOpts := []conntest.Option{conntest.Checked(t), func(r *conntest.Rig) { s.Rig, s.began = r, r.Now() }}
	for _, o := range opts {
		switch o := o.(type) {
		case conntest.Option:
			rigOpts = append(rigOpts, o)
		case sideOption:
			o(s, &cfg)
		default:
			t.Fatalf("%T is no option", o)
		}
	}
	s.Rig = conntest.New(&tap{s.rec, s}, cfg, rigOpts...)
	return s
}

// onEvent sets what the side does when it is told of something.
func onEvent(f func(c *conn.Conn, ev any)) sideOption {
	return func(s *side, _ *conn.Config) { s.decide = f }
}

// with changes the configuration.
func with(f func(cfg *conn.Config)) sideOption { return func(_ *side, cfg *conn.Config) { f(cfg) } }

// A tap is the Recorder, but for what a side looks at.
type tap struct {
	*conntest.Recorder
	s *side
}

func (h *tap) OnEvent(c *conn.Conn, ev any) {
	h.Recorder.OnEvent(c, ev)
	s := h.s
	s.events = append(s.events, ev)
	name := strings.TrimPrefix(fmt.Sprintf("%T", ev), "liveness.")
	switch ev := ev.(type) {
	case liveness.PeerSuspect:
		s.note(name, ev.Info)
	case liveness.PeerDown:
		if ev.Repeat > 0 {
			name += fmt.Sprint(" ", ev.Repeat)
		}
		s.note(name, ev.Info)
	case liveness.PeerUp:
		s.note(fmt.Sprint(name, " after ", ev.DownFor), ev.Info)
	}
	if s.decide != nil {
		s.decide(c, ev)
	}
}

func (s *side) note(what string, info liveness.Info) {
	if s.over {
		s.t.Errorf("%s after the last callback", what)
	}
	if info.Cause != liveness.Silence {
		what += " (" + info.Cause.String() + ")"
	}
	s.told = append(s.told, fmt.Sprint(s.Now().Sub(s.began), " ", what))
	assert.Same(s.t, s.layer(), info.Layer)
}

func (h *tap) OnConnected(c *conn.Conn) {
	h.Recorder.OnConnected(c)
	if h.s.onConnected != nil {
		h.s.onConnected(c)
	}
}

func (h *tap) OnClosed(c *conn.Conn, err error) {
	h.s.closed, h.s.over = err, true
	h.Recorder.OnClosed(c, err)
}

func (h *tap) OnConnectFailed(c *conn.Conn, err error) {
	h.s.failed, h.s.over = err, true
	h.Recorder.OnConnectFailed(c, err)
}

// layer returns the side's layer.
func (s *side) layer() *liveness.Layer {
	s.t.Helper()
	if s.find != nil {
		return s.find()
	}
	l, ok := liveness.Of(s.Conn().Layers())
	require.True(s.t, ok)
	return l
}

// want asserts what the side was told since the last want.
func (s *side) want(what string, told ...string) {
	s.t.Helper()
	assert.Equal(s.t, strings.Join(told, "\n"), strings.Join(s.told, "\n"), what)
	s.told = nil
}

// state asserts what the layer thinks.
func (s *side) state(want liveness.State) {
	s.t.Helper()
	assert.Equal(s.t, want, s.layer().Status().State)
}

// calls returns the callbacks that were not events.
func (s *side) calls() (calls []string) {
	for _, call := range s.rec.Calls() {
		if !strings.HasPrefix(call, "OnEvent") {
			calls = append(calls, call)
		}
	}
	return calls
}

// send sends p as the owner's message.
func (s *side) send(p string) {
	s.t.Helper()
	s.Do(func(c *conn.Conn) {
		_, err := c.Send([]byte(p))
		assert.NoError(s.t, err)
	})
}

// A wire connects two sides, whose clocks it moves together. What the one writes the other reads at once, unless the wire
// is cut: then it waits.
type wire struct {
	t       testing.TB
	a, b    *side
	cut     bool   // in both directions
	cutBack bool   // from b to a
	lost    string // from a to b, while it was cut; and the other way round
	back    string
	sees    func(from *side, p string)
	done    map[*side]bool // whose end the other side knows
}

// connect joins two sides, and carries what they have said by now.
func connect(t testing.TB, a, b *side) *wire {
	t.Helper()
	w := &wire{t: t, a: a, b: b, done: map[*side]bool{}}
	w.carry()
	return w
}

// pair connects two sides with a layer each.
func pair(t testing.TB, a, b liveness.Config, opts ...any) *wire {
	t.Helper()
	return connect(t, open(t, framed(t, a), opts...), open(t, framed(t, b), opts...))
}

func framed(t testing.TB, cfg liveness.Config) liveness.Maker {
	t.Helper()
	return made(t, liveness.Framed, cfg)
}

func passive(t testing.TB, cfg liveness.Config) liveness.Maker {
	t.Helper()
	return made(t, liveness.Passive, cfg)
}

func made(t testing.TB, form func(liveness.Config) (liveness.Maker, error), cfg liveness.Config) liveness.Maker {
	t.Helper()
	m, err := form(cfg)
	require.NoError(t, err)
	return m
}

// carry carries bytes until nothing moves.
func (w *wire) carry() {
	for w.move(w.a, w.b, &w.lost) || w.move(w.b, w.a, &w.back) {
	}
}

func (w *wire) move(from, to *side, kept *string) (moved bool) {
	p := from.Wire()
	if p != "" && w.sees != nil {
		w.sees(from, p)
	}
	if w.cut || w.cutBack && from == w.b {
		*kept += p
		return false
	}
	if p = *kept + p; p != "" {
		*kept = ""
		to.Feed(p)
		moved = true
	}
	closed, reset := from.Closed()
	if (closed || from.FIN()) && !w.done[from] {
		w.done[from], moved = true, true
		if reset {
			to.Reset()
		} else {
			to.FeedEOF()
		}
	}
	return moved
}

// pass lets d pass on both sides. It stops wherever one of them has something to do.
func (w *wire) pass(d time.Duration) {
	w.t.Helper()
	w.carry() // what tests did before
	for end := w.a.Now().Add(d); ; {
		next := end
		for _, s := range []*side{w.a, w.b} {
			if at := s.Deadline(); !at.IsZero() && at.Before(next) && !s.Done() {
				next = at
			}
		}
		step := max(next.Sub(w.a.Now()), 0)
		w.a.Advance(step)
		w.b.Advance(step)
		w.carry()
		if !w.a.Now().Before(end) {
			return
		}
	}
}

// A counter counts frames on a wire, as the format has them, from each side.
type counter struct {
	streams map[*side]string
	frames  map[*side]map[byte]int // by type
	empty   map[*side]int
	sizes   map[*side][]int // of DATA
	times   map[*side][]time.Duration
}

func count(w *wire) *counter {
	c := &counter{map[*side]string{}, map[*side]map[byte]int{w.a: {}, w.b: {}}, map[*side]int{}, map[*side][]int{}, map[*side][]time.Duration{}}
	w.sees = func(from *side, p string) {
		s := c.streams[from] + p
		for len(s) >= 4 {
			n := int(s[1])<<16 | int(s[2])<<8 | int(s[3])
			if len(s) < 4+n {
				break
			}
			c.frames[from][s[0]]++
			if s[0] == 0 && n == 0 {
				c.empty[from]++
				c.times[from] = append(c.times[from], from.Now().Sub(from.began))
			} else if s[0] == 0 {
				c.sizes[from] = append(c.sizes[from], n)
			}
			s = s[4+n:]
		}
		c.streams[from] = s
	}
	return c
}

// gaps returns the shortest and the longest time between two keepalives of a side.
func (c *counter) gaps(s *side) (least, most time.Duration) {
	times := c.times[s]
	for i := 1; i < len(times); i++ {
		gap := times[i] - times[i-1]
		if least == 0 || gap < least {
			least = gap
		}
		most = max(most, gap)
	}
	return least, most
}

// count returns how many calls there were that begin with prefix.
func (s *side) count(prefix string) (n int) {
	for _, call := range s.all {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

// ending is the error that the connection ended with, or never began.
func (s *side) ending() error { return errors.Join(s.closed, s.failed) }

// hello is the HELLO of a peer with these timings.
func hello(timeout, minSpeak time.Duration) string {
	return "\x01\x00\x00\x24FLM1\x01\x01\x00\x00" + micros(timeout) + micros(minSpeak) + "a nonce.\x00\x00\x00\x00"
}

func micros(d time.Duration) string {
	if d == liveness.Never {
		d = 0
	}
	return string(binary.BigEndian.AppendUint64(nil, uint64(d/us)))
}

// A chatterbox is a layer that has something to say at any time.
type chatterbox struct {
	interceptor.Pass
	link interceptor.Link
}

func (c *chatterbox) Open(l interceptor.Link) error {
	c.link = l
	l.Ready()
	return nil
}

// below puts it nearest the socket.
func (c *chatterbox) below(_ *side, cfg *conn.Config) {
	cfg.Layers = append([]interceptor.Factory{func() interceptor.Interceptor { return c }}, cfg.Layers...)
}

func splitWords(s string) []string { return strings.Fields(s) }

func text(v any) string { return fmt.Sprint(v) }

// run is Advance for a Manual rig: it stops at each deadline, and settles.
func (s *side) run(d time.Duration) {
	s.Settle()
	for end := s.Now().Add(d); ; {
		at := s.Deadline()
		if at.IsZero() || at.After(end) || s.Done() {
			at = end
		}
		s.Stall(max(at.Sub(s.Now()), 0))
		s.Settle()
		if !s.Now().Before(end) {
			return
		}
	}
}
