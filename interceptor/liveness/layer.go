package liveness

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// A Layer watches the peer of one connection. Its methods belong to the connection's turns: call them in callbacks, or
// where the owner handles its messages. Those of [interceptor.Interceptor] and the like are for the connection.
type Layer struct {
	// It takes 64 bytes, and so does what most connections never need lie elsewhere.
	cfg   *settings
	link  interceptor.Link // nil before Open
	heard int64            // when something came up last
	spoke int64            // when the system took bytes of ours last; or, while bytes wait, no earlier than the first did
	peer  int64            // the peer's T, for Framed; before its HELLO, what ours is known by
	rare  *rare

	part  [3]byte // Framed: of a frame, as mode says
	mode  uint8   // Framed: where in a frame reading is; Passive: how many probes went out since something was heard
	flood uint16  // Framed: milliseconds; when empty frames of this number would be due, one each millisecond
	flags flags
}

var (
	_ interceptor.Interceptor   = (*Layer)(nil)
	_ interceptor.Timed         = (*Layer)(nil)
	_ interceptor.WriteObserver = (*Layer)(nil)
	_ interceptor.ReadObserver  = (*Layer)(nil)
	_ interceptor.SleepObserver = (*Layer)(nil)
)

// Of finds the layer of a connection: liveness.Of(c.Layers()). If there are several, it is the one nearest the handler.
func Of(chain *interceptor.Chain) (*Layer, bool) { return interceptor.Find[*Layer](chain) }

// flags are the state, in the lowest bits, and facts.
type flags uint16

const (
	stateBits flags = 1<<3 - 1

	pending  flags = 1 << (iota + 2) // bytes of ours were passed down, and the system did not take all yet
	stalled                          // ... so that nothing was added to them when it was time to speak
	told                             // ... and the handler knows
	held                             // reading is held back
	excused                          // what was our own fault was excused in this silence; no more of it
	shut                             // nothing more goes down
	goodbye                          // the peer has said BYE
	ownCopy                          // cfg is this layer's alone
	aside                            // the layer sees no writes, and, if Passive, no bytes: it asks when it must know
	notAside                         // ... but was refused; it asks again when a deadline comes
)

func (f flags) has(x flags) bool { return f&x != 0 }
func (f *flags) set(x flags)     { *f |= x }
func (f *flags) clear(x flags)   { *f &^= x }

// State is what a [Layer] thinks of the peer.
type State uint8

const (
	StateWaiting   State = iota // Framed: for the peer's first frame; nothing is judged
	StateUp                     // it was heard in time
	StateSuspect                // it was silent for most of T
	StateDown                   // it was silent for T
	StateEnded                  // it has ended its stream: there is nothing to hear, and nothing is judged
	StateClosing                // the connection is about to end: nothing is judged
	StateReopening              // Watchdog: three answers are wanted
)

// String names the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

var stateNames = [...]string{"Waiting", "Up", "Suspect", "Down", "Ended", "Closing", "Reopening"}

func (l *Layer) state() State     { return State(l.flags & stateBits) }
func (l *Layer) setState(s State) { l.flags = l.flags&^stateBits | flags(s) }

// rare is what a connection has whose peer was silent, whose reading was held back, or that uses Watchdog. It stays once
// it is there.
type rare struct {
	from      int64 // silence counts from here at the earliest
	notBefore int64 // nor is the peer called down before this
	retry     int64 // look again then, for bytes wait to be heard; never, if not
	stuckFrom int64 // our bytes are not taken for stuck before this

	cause     Cause
	downAt    int64 // when it became suspect, and then down
	keepUntil int64 // when PeerDown comes again; never, if not
	id        uint32
	repeat    int
	decided   bool

	looked   bool  // unread is from this time of being held
	lookedAt int64 // when it was looked last; or when reading was held back
	unread   int   // bytes that waited in the system then
	sign     int64 // when they were seen to have become more

	probed  int64 // Passive: when a peer that is down was probed last
	frameAt int64 // Framed: when a frame that is not DATA must be complete; never, if there is none
	control []byte
	kind    byte
	wants   wants

	watch watch
}

func (l *Layer) needRare() *rare {
	if l.rare == nil {
		l.rare = &rare{from: math.MinInt64, notBefore: math.MinInt64, stuckFrom: math.MinInt64, sign: math.MinInt64,
			retry: never, keepUntil: never, frameAt: never}
	}
	return l.rare
}

// now is the time of this turn; at translates.
func (l *Layer) now() int64             { return l.at(l.link.Now()) }
func (l *Layer) at(t time.Time) int64   { return int64(t.Sub(l.cfg.base)) }
func (l *Layer) time(t int64) time.Time { return l.cfg.base.Add(time.Duration(t)) }

// Open begins to watch. Framed speaks first, and is ready once the peer has.
func (l *Layer) Open(k interceptor.Link) error {
	l.link = k
	l.cfg.start(k.Now())
	now := l.now()
	l.heard, l.spoke = now, now
	l.flood = inMs(now)
	if l.cfg.form == framed {
		return l.sayHello()
	}
	l.setState(StateUp)
	if l.cfg.form == watchdog {
		l.startWatch(now)
	}
	l.arm(now)
	l.flags.clear(notAside) // nobody may before it is ready
	k.Ready()
	return nil
}

// Up takes note that something was heard, whatever it means.
func (l *Layer) Up(k interceptor.Link, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if !l.flags.has(aside) {
		l.hear(l.now())
		l.standAside()
	}
	if l.cfg.form == framed {
		return l.frames(k, p)
	}
	return k.Up(p)
}

// EOF ends the watch over what is heard. A framed peer says goodbye before it ends.
func (l *Layer) EOF(interceptor.Link) error {
	l.catchUp()
	if l.state() != StateClosing {
		l.setState(StateEnded)
	}
	l.arm(l.now())
	if l.cfg.form == framed && !l.flags.has(goodbye) {
		return errCutShort
	}
	return nil
}

var errCutShort = fmt.Errorf("liveness: the peer ended without a goodbye: %w", io.ErrUnexpectedEOF)

// Down notes that bytes wait, for the system has not taken them yet.
func (l *Layer) Down(k interceptor.Link, bufs [][]byte) error {
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	if total == 0 {
		return nil // in Framed, an empty frame would be a keepalive
	}
	if !l.flags.has(aside) {
		l.queued()
	}
	if l.cfg.form == framed {
		return l.frame(k, bufs, total)
	}
	return k.Down(bufs)
}

// queued notes that bytes of ours wait.
func (l *Layer) queued() {
	if !l.flags.has(pending) {
		l.flags.set(pending)
		l.spoke = l.now()
		if l.state() == StateEnded { // nothing else is watched, so there may be no deadline
			l.arm(l.spoke)
		}
	}
}

// Wrote notes what the system took. Bytes that layers below make on their own do not count, for the peer's layer does not
// hear them.
func (l *Layer) Wrote(_ interceptor.Link, _, left int) {
	if !l.flags.has(pending) {
		return
	}
	now := l.now()
	l.spoke = now
	l.flags.clear(stalled | told)
	if left == 0 {
		l.flags.clear(pending)
	}
	switch l.state() {
	case StateSuspect, StateDown:
		l.moved(now)
	case StateEnded:
		l.arm(now)
	}
	l.standAside()
}

// CloseWrite ends speaking. It also comes for a half-close, after which the peer is still heard and judged.
func (l *Layer) CloseWrite(k interceptor.Link) (err error) {
	l.catchUp()
	if l.cfg.form == framed && !l.flags.has(shut) {
		l.queued()
		err = k.Down([][]byte{byeFrame(byeDone, "")})
	}
	l.flags.set(shut)
	if k.Closing() {
		l.setState(StateClosing)
	}
	l.arm(l.now())
	return err
}

// Close has nothing to release.
func (l *Layer) Close() {}

// Expire judges first, for what there was to hear has been heard, and then speaks. One deadline serves for all: it
// is set anew each time, by what has happened since, and nothing that happens often moves it.
func (l *Layer) Expire(_ interceptor.Link, t time.Time) error {
	now := l.at(t)
	l.catchUp()
	l.flags.clear(notAside)
	if l.rare != nil && now >= l.rare.frameAt {
		return l.refuse(byeProtocol, fmt.Errorf("%w: it was not complete within %v", ErrFrame, frameLimit))
	}
	if err := l.judge(now); err != nil {
		return err
	}
	if err := l.maybeSpeak(now); err != nil {
		return err
	}
	l.arm(now)
	return nil
}

// Slept gives the peer time, for it could not be heard, and lets it hear us.
func (l *Layer) Slept(k interceptor.Link, _ time.Duration) {
	if s := l.state(); s == StateWaiting || s == StateClosing {
		return
	}
	now := l.now()
	l.catchUp()
	l.pardon(now)
	if err := l.speakUp(now); err != nil {
		k.Post(func() error { return err })
	}
	l.arm(now)
}

// arm sets the deadline for what comes next.
func (l *Layer) arm(now int64) {
	l.catchUp()
	l.standAside()
	next := min(l.nextLook(now), l.nextWord(now))
	if r := l.rare; r != nil {
		next = min(next, r.frameAt)
	}
	if next == never {
		l.link.SetDeadline(time.Time{})
		return
	}
	l.link.SetDeadline(l.time(max(next, now+1)))
}
