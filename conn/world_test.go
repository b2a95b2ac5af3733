package conn_test

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A world is one connection, its socket, its layers and its owner, all moved by dice, and an account of everything
// that happened, kept apart from the connection's own. check is called with the words of a promise; a promise that
// does not hold stops the run.
//
// The files: world_model_test.go says what must follow, world_socket_test.go and world_layer_test.go play the system,
// the peer and the layers, world_run_test.go takes the turns, world_owner_test.go calls the methods and
// world_handler_test.go receives the callbacks.
type world struct {
	dice   *dice
	habit  habit
	driver conn.Driver
	c      *conn.Conn
	cfg    conn.Config
	mem    conn.Memory
	socket *socket
	layers []*testLayer
	dialed bool
	now    time.Time
	seen   time.Time // the time of the last turn
	born   time.Time // ... and of the first

	// where the run is
	turn       int
	part       part
	inTurn     bool
	inMethod   bool
	inCallback bool
	callbacks  int  // of the Deliver that runs
	quiet      bool // nothing may happen now: the connection said that it has nothing to do
	panicked   bool // OnReceived panicked in this turn
	passive    bool // layers only pass on

	// what must be told; see world_model_test.go
	due        []cause
	inputs     []input // what the next turn begins with
	lastTold   stamp
	state      conn.State // at the last look
	stateEnded bool       // ... writeEnded

	// the way from the beginning to the end
	started     bool // the shell said Connected
	dialFailed  bool // ... or Failed
	connected   bool
	upgrading   bool
	closeCalled bool
	writeEnded  bool // Close or CloseWrite was called
	closing     bool
	ended       bool
	limit       time.Time // when the state has lasted too long
	limitIn     int       // the turn in which that was set

	// why it ends
	fatals      []fatal
	layerFailed bool
	lastWords   bool // of a layer that failed, for certain
	failedIn    int  // the turn in which a layer failed without last words, for certain
	timedOut    bool
	orderly     bool
	reset       bool // the end was a reset, or came before OnConnected: what waits is dropped

	// sending
	flight             *flight
	accepted, outcomes int // sends
	sent, failed       int // outcomes
	refused            int
	ends               []int // wire offset of each accepted send's end
	taken              int   // sends that the system has taken whole
	sentBytes          int   // application bytes accepted
	down               int   // wire bytes passed down
	runs               []run // whose they are
	firstRun           int   // the first of runs that is not written yet
	ownTotal           int   // bytes that layers made on their own
	ownAtTurn          int   // ... when the turn began
	layersFirst        int   // layers at the start
	upgradedAt         int   // application bytes accepted before Upgrade; -1: none
	unheard            bool  // nobody listens to OnSent
	unwriteable        bool  // Send must be refused
	easing             bool  // OnUnthrottled is due
	throttled          bool  // OnThrottled was the last of the two
	throttles          int

	// receiving
	topFed     int // bytes that came up at the top
	got        int // of those, what was cut
	received   int // calls of OnReceived
	split      splitKind
	splitEnded bool // the framing said that the stream is over
	newSplit   int  // the turn of the last SetSplit
	asked      bool // the framing was asked what it makes of the end
	token      int  // the length of the frame cut last; -1: none
	paused     bool
	yielded    int  // the turn in which OnReceived yielded
	deaf       bool // what arrives may be dropped: a pause, a hold or an error met Close
	readTurn   int  // the last turn with a complete reading
	dataTurn   int  // the turn of the last OnReceived
	endKnown   int  // the turn in which the end of the stream was known
	streamCut  bool // a layer or the framing ended it before the peer did
	cutting    bool // a layer is about to
	truncated  bool // a layer said that it was cut short
	eofTold    bool
	eofBad     bool // OnEOF had an error

	// time and layers
	timers, firing map[conn.TimerToken]time.Time // those that run, those that are due
	timer          conn.TimerToken
	idle           time.Duration
	moved          time.Time // when a byte last moved, or idleness was counted anew
	expired        bool      // the deadlines of this turn's reading are in the account
	events, posts  int
	nextPost       int      // the number of the function that is about to be posted
	unhold         []func() // end the layers' holds

	loud bool
	log  []string
}

// note keeps a line for the report of a run that fails; it is played again for that.
func (w *world) note(format string, args ...any) {
	if !w.loud {
		return
	}
	line := fmt.Sprintf(format, args...)
	if n := len(w.log); n > 1 && w.log[n-2] == line && strings.HasPrefix(w.log[n-1], "  ... ") {
		return
	} else if n > 0 && w.log[n-1] == line {
		line = "  ... again"
	}
	w.log = append(w.log, line)
}

// dice turn fuzz input into decisions. When they run out, every decision is the first one.
type dice struct{ data []byte }

func (d *dice) roll(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := int(d.data[0])
	d.data = d.data[1:]
	return b % n
}

func (d *dice) one(in int) bool { return d.roll(in) == in-1 }

// rare is for what one byte is too coarse for.
func (d *dice) rare() bool { return d.one(32) && d.one(4) }

func newWorld(data []byte) *world {
	w := &world{dice: &dice{data}, now: time.Unix(1_000_000, 0), upgradedAt: -1, yielded: -1, token: -1,
		timers: map[conn.TimerToken]time.Time{}, firing: map[conn.TimerToken]time.Time{}}
	w.socket = &socket{w: w, room: math.MaxInt / 2}
	d := w.dice
	w.cfg.HighWater = []int{64, 1, 1000, 40000}[d.roll(4)]
	w.cfg.LowWater = d.roll(2) * d.roll(min(w.cfg.HighWater+1, 256))
	w.cfg.MaxPending = []int{128, 10, 20000, 40000}[d.roll(4)]
	w.cfg.ReadWaits = []conn.Setting{conn.Auto, conn.On, conn.Off}[d.roll(3)]
	w.cfg.StartTimeout = []time.Duration{0, time.Second}[d.roll(2)]
	w.cfg.CloseTimeout = []time.Duration{0, time.Second}[d.roll(2)]
	w.dialed = d.one(3)
	w.cfg.MaxFrame = []int{9, 60_000}[d.roll(2)]
	w.split = splitKind(d.roll(int(splitKinds)))
	if w.split == splitHuge && w.cfg.MaxFrame < hugeFrame {
		w.split = splitNone
	}
	w.cfg.Split = w.splitFunc(w.split)
	if d.one(4) {
		w.cfg.IdleTimeout = 3 * time.Second
	}
	w.idle = w.cfg.IdleTimeout
	if w.layersFirst = d.roll(3); w.layersFirst == 2 {
		w.layersFirst = d.roll(3)
	}
	for range w.layersFirst {
		w.cfg.Layers = append(w.cfg.Layers, w.newLayer)
	}
	if d.one(3) {
		w.socket.room = d.roll(256)
	}
	w.socket.uncounted = d.one(3)
	w.habit = habit(d.roll(int(habits)))
	if err := w.cfg.Validate(); err != nil {
		panic(err)
	}
	w.driver.Init(w, w.socket, &w.cfg)
	if d.one(4) {
		w.hear(false)
	}
	w.c = w.driver.Conn()
	return w
}

func (w *world) newLayer() interceptor.Interceptor {
	l := &testLayer{w: w, index: len(w.layers)}
	w.layers = append(w.layers, l)
	return l
}

// pattern is the byte that a stream has at offset i.
func pattern(i int) byte { return byte(i*7 + i/251) }

func patterned(from, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = pattern(from + i)
	}
	return p
}

// A broken is the panic value of a promise that did not hold.
type broken struct{ promise, detail string }

func check(ok bool, promise, detail string, args ...any) {
	if !ok {
		breaks(promise, detail, args...)
	}
}

func breaks(promise, detail string, args ...any) {
	panic(broken{promise, fmt.Sprintf(detail, args...)})
}

// The promises, in the words of the package documentation, and what else must hold for them to be worth something.
const (
	promiseEnds      = "OnConnectFailed comes alone; or OnConnected comes first and OnClosed last. Each comes once. Only OnEvent may come before."
	promiseNotInside = "No callback runs inside a method of Conn, nor while another runs."
	promiseLaterTurn = "A notice comes in a later turn than the one that caused it. Notices keep their order."
	promiseData      = "Data does not overtake notices: those of earlier turns come before it, and reading ends as soon as it causes one."
	promiseOutcome   = "Every accepted Send gets one OnSent or one OnSendFailed, in order of sending, before OnClosed; after the first OnSendFailed there is no OnSent."
	promiseRefused   = "A refused Send leaves no trace: no byte, no token, no callback. (If a layer fails in it, it returns ErrNotConnected, and the connection ends.)"
	promiseThrottle  = "OnThrottled and OnUnthrottled alternate. In OnThrottled Send is refused; from OnUnthrottled on it is accepted. Every ErrNotWriteable is followed by OnUnthrottled or OnClosed."
	promiseBound     = "Pending bytes of the application never exceed HighWater + MaxPending."
	promiseClose     = "Close loses no accepted byte, unless CloseTimeout or a failure ends it."
	promisePause     = "After Pause there is no OnReceived until Resume; after Yield, none in that turn. No byte is lost."
	promiseTruncated = "A stream that ends inside a frame is reported, in OnEOF and in OnClosed."
	promiseDeadlines = "Connecting, Starting, Upgrading and Closing have deadlines."

	contractBackend   = "the contract of Backend"
	contractDriver    = "the contract of Driver"
	contractLayers    = "a layer is opened once, released once, last, and never while one of its methods runs"
	contractMemory    = "what was borrowed is given back"
	contractRest      = "a connection with nothing to do rests, and one with something to do says so"
	contractIsWrite   = "IsWriteable tells what Send will do"
	contractTimer     = "OnTimer comes once, never early, and never after StopTimer"
	contractIdle      = "OnIdle comes after each idle timeout in which no byte moved"
	contractPost      = "a posted function runs once, in order, after what was raised before it, and never after the end"
	contractReading   = "reading rests while somebody holds it, and a layer hears when that changes"
	contractLastWords = "a layer's last words are written before the end, and without any the end comes at once"
	contractCause     = "the first cause given stays the cause"
	contractStats     = "Stats counts what happened"
)

// promises are those of the package documentation, in their order there.
var promises = []string{
	promiseEnds, promiseNotInside, promiseLaterTurn, promiseData, promiseOutcome, promiseRefused, promiseThrottle,
	promiseBound, promiseClose, promisePause, promiseTruncated, promiseDeadlines,
}
