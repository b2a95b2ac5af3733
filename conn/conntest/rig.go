package conntest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A Rig is a connection on a scripted socket. Each method that lets something happen also takes the turns that are
// then due, until nothing is left to do without new input. (Unless the Rig is [Manual].)
//
// A Rig belongs to one goroutine. Its time begins at a fixed instant and moves by Advance and Stall alone.
type Rig struct {
	d   conn.Driver
	cfg conn.Config
	h   conn.Handler
	b   socket
	m   *conn.Memory
	now time.Time

	info      interceptor.Info
	dialed    bool
	manual    bool
	armedOnly bool
	suspended bool

	messages []func(*conn.Conn) // of the owner, for the next turn
	phase    phase
	turns    int
	called   int      // callbacks of the Deliver or Read that runs
	last     []string // the last callbacks, for the report of a Rig that spins

	tb         testing.TB
	violations []string
	trace      func(string) // what the socket is told, for scripts
	onTurn     func()
}

// An Option changes how New builds a Rig.
type Option func(*Rig)

// Dialed is for a connection that is dialed: it begins in StateConnecting, and Connecting, Connected and Fail say how
// that goes on. Without it the connection is accepted, and connected from the start.
func Dialed() Option { return func(r *Rig) { r.dialed = true } }

// Manual is for tests of single turns: verbs only take note, until Turn takes one turn, or Settle all that are due.
func Manual() Option { return func(r *Rig) { r.manual = true } }

// ArmedOnly has readiness reported only for the directions that the connection is armed for, like a poller that
// looks at nothing else. Without it everything is reported, like an edge-triggered one.
func ArmedOnly() Option { return func(r *Rig) { r.armedOnly = true } }

// Shared has the Rig take its turns with m, as the connections of one loop do. Without it each Rig has a Memory of its
// own.
func Shared(m *conn.Memory) Option { return func(r *Rig) { r.m = m } }

// WithInfo says what the socket connects. Without it, addresses reserved for documentation do.
func WithInfo(info interceptor.Info) Option { return func(r *Rig) { r.info = info } }

// Checked has each violation fail tb.
func Checked(tb testing.TB) Option { return func(r *Rig) { r.tb = tb } }

// start is when the time of every Rig begins.
var start = time.Date(2001, time.February, 3, 4, 5, 6, 0, time.UTC)

var (
	nearAddr = netip.MustParseAddrPort("192.0.2.1:7669")
	farAddr  = netip.MustParseAddrPort("198.51.100.7:49152")
)

// New connects h to a Rig, and takes the turns that are then due: if no layer has to wait for the peer, OnConnected
// was called when New returns. It panics if cfg cannot work.
func New(h conn.Handler, cfg conn.Config, opts ...Option) *Rig {
	if err := cfg.Validate(); err != nil {
		panic("conntest: " + err.Error())
	}
	r := &Rig{cfg: cfg, h: h, now: start}
	r.b = socket{r: r, room: everything, readable: true, writable: true, bell: make(chan struct{}, 1)}
	for _, o := range opts {
		o(r)
	}
	if r.m == nil {
		r.m = new(conn.Memory)
	}
	if r.info == (interceptor.Info{}) {
		r.info = interceptor.Info{Local: nearAddr, Remote: farAddr}
		if r.dialed {
			r.info.Host = "far.example"
		}
	}
	r.info.Dialed = r.dialed
	r.input(func() {
		r.d.Init((*observer)(r), &r.b, &r.cfg)
		if !r.dialed {
			r.b.connected = true
			r.d.Connected()
		}
	})
	return r
}

// Turn takes one turn, whether or not one is due. If the Rig is not Manual, those that are then due follow.
func (r *Rig) Turn() {
	r.turn()
	r.verb()
}

// Settle takes all turns that are due, also if the Rig is Manual.
func (r *Rig) Settle() {
	if r.suspended {
		r.turn()
		return
	}
	for n := 0; r.due(); n++ {
		if n == spin {
			panic(fmt.Sprintf("conntest: %d turns at one instant, and one more is wanted. The last callbacks:\n%s",
				spin, strings.Join(r.last, "\n")))
		}
		r.turn()
	}
}

// spin is how many turns one instant may need before the connection is taken for one that never rests.
const spin = 100_000

// verb takes the turns that are due after something happened.
func (r *Rig) verb() {
	if !r.manual {
		r.Settle()
	}
}

// input runs f, which tells the driver something between two turns, and takes the turns that are then due.
func (r *Rig) input(f func()) {
	r.phase = phaseInput
	f()
	r.phase = phaseNone
	r.verb()
}

// due reports whether a turn is wanted now.
func (r *Rig) due() bool {
	if r.d.Done() {
		r.runPosted() // they must do no harm
		return false
	}
	at := r.d.Deadline()
	return len(r.messages) > 0 || r.b.anyPosted() || r.b.unreported() != 0 || r.d.Pending() ||
		!at.IsZero() && !at.After(r.now)
}

// turn takes one turn, as a shell does.
func (r *Rig) turn() {
	if r.d.Done() {
		r.runMessages()
		return
	}
	r.phase = phaseInput
	if i := r.b.report(); i != 0 {
		r.d.Ready(i)
	}
	r.runPosted()
	r.turns++
	if r.onTurn != nil {
		r.onTurn()
	}
	r.phase = phaseBegin
	// A callback may panic. The turn then ends all the same, and the panic goes on to the test.
	defer func() {
		r.phase = phaseEnd
		r.d.End()
		r.phase = phaseNone
	}()
	r.d.Begin(r.now, r.m)
	if r.suspended {
		return
	}
	r.deliver()
	r.read()
	r.phase = phaseMessages
	r.runMessages()
}

// deliver makes the callbacks that wait for this turn.
func (r *Rig) deliver() {
	for {
		r.phase = phaseNext
		n, ok := r.d.Next()
		if !ok {
			return
		}
		r.phase, r.called = phaseDeliver, 0
		r.d.Deliver(n)
		if r.called > 1 {
			r.violate("one Deliver, of %s, made %d callbacks", n, r.called)
		}
	}
}

// read has the connection read, also when it says that there is nothing to do: then it must do nothing.
func (r *Rig) read() {
	r.phase, r.called = phaseRead, 0
	idle, reads := !r.d.Reads(), r.b.reads
	r.d.Read()
	if idle && (r.called > 0 || r.b.reads > reads) {
		r.violate("Reads said that there is nothing to read, but Read made %d callbacks and read %d times", r.called,
			r.b.reads-reads)
	}
}

func (r *Rig) runMessages() {
	messages := r.messages
	r.messages = nil
	for _, f := range messages {
		f(r.d.Conn())
	}
}

// runPosted runs what was posted until now. What that posts waits for the next turn.
func (r *Rig) runPosted() {
	for _, f := range r.b.takePosted() {
		f()
	}
}

// Violations returns what the connection did that its contract forbids: a callback in the wrong place, or a call of
// the backend that conn.Backend rules out. It is empty unless package conn, or the test itself, has a bug.
func (r *Rig) Violations() []string { return r.violations }

func (r *Rig) violate(format string, args ...any) {
	v := fmt.Sprintf(format, args...)
	r.violations = append(r.violations, v)
	if r.tb != nil {
		r.tb.Helper()
		r.tb.Errorf("conntest: %s (in %s of turn %d)", v, r.phase, r.turns)
	}
}

// phase is where in a turn the Rig is.
type phase uint8

const (
	phaseNone phase = iota // between two turns, or the test uses the Driver itself
	phaseInput
	phaseBegin
	phaseNext
	phaseDeliver
	phaseRead
	phaseMessages
	phaseEnd
)

func (p phase) String() string {
	return [...]string{"no part", "the input", "Begin", "Next", "Deliver", "Read", "the messages", "End"}[p]
}
