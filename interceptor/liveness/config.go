package liveness

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// A Maker makes one [Layer] for each connection, and is given to conn.Config.Layers. Its connections share one copy of
// the configuration.
type Maker = interceptor.Factory

// Never is a Timeout without limit: the peer is never down, and need not speak.
const Never time.Duration = math.MaxInt64

// Config is what one side wants. The zero Config is usable, but for Watchdog, which needs a Probe.
type Config struct {
	// Timeout, called T, is the silence after which the peer is down: 10 ms to 100 years, or Never. If zero, 120 s.
	// For Watchdog it is Tw, from 6 s on; if zero, 30 s.
	Timeout time.Duration
	// Fraction says how often this side speaks: at least every peer's T / Fraction, or, with a Probe, whenever nothing was
	// heard for our own T / Fraction. 2 to 16; if zero, 4. Not for Watchdog.
	Fraction int
	// MinSpeak is how often this side speaks at most, if it has nothing to say. A framed peer is told. If zero, there is no
	// floor. Not for Watchdog.
	MinSpeak time.Duration
	// Suspect is the share of T at which PeerSuspect is told; 1: never. If zero, 0.75. Not for Watchdog.
	Suspect float64
	// Reconcile says what to do where the peer wants to hear more often than MinSpeak allows, or the other way round. For
	// Framed only.
	Reconcile Reconcile
	// OnDown is what becomes of a connection whose peer is down, if OnEvent decides nothing. The zero Verdict is Keep, but
	// for Watchdog Close, as RFC 3539 has it.
	OnDown Verdict
	// Probe appends to dst a message of the application's protocol that makes a living peer answer. It is called in the
	// connection's turn. Passive may have one, Watchdog must. See also Layer.SetProbe.
	Probe func(dst []byte) []byte
	// Reopen says that the connection replaces one that went down: the peer is up again after three answers. For Watchdog
	// only.
	Reopen bool
}

// Reconcile is what a side does where the timings of the two do not go together: the peer's T is below 4 times our
// MinSpeak, or below 10 ms.
type Reconcile uint8

const (
	// Trust lets each side keep its T. We speak as often as MinSpeak lets us, and the peer may call us down meanwhile.
	Trust Reconcile = iota
	// Stretch raises our own T to 4 times the peer's MinSpeak, if it is less, as BFD (RFC 5880) does. Two sides that
	// stretch never clash.
	Stretch
	// Smaller uses the smaller T of the two on this side, both to judge and to speak, as QUIC (RFC 9000) does.
	Smaller
	// Refuse ends the connection with ErrTooFast.
	Refuse
)

// String names the mode.
func (r Reconcile) String() string {
	if int(r) < len(reconcileNames) {
		return reconcileNames[r]
	}
	return fmt.Sprintf("Reconcile(%d)", uint8(r))
}

var reconcileNames = [...]string{"trust", "stretch", "smaller", "refuse"}

// A Verdict is what becomes of a connection whose peer is down.
type Verdict struct {
	kind verdict
	d    time.Duration
}

type verdict uint8

const (
	undecided verdict = iota
	keep
	keepFor
	closeIt
	abortIt
)

// Keep stays connected, and says nothing more until the peer speaks.
func Keep() Verdict { return Verdict{kind: keep} }

// KeepFor stays connected for now. If the peer is still silent after d, PeerDown comes again. A d of less than 10 ms
// counts as 10 ms.
func KeepFor(d time.Duration) Verdict { return Verdict{keepFor, d} }

// Close ends the connection in order: what is queued, a goodbye, FIN. OnClosed reports a [*DownError].
func Close() Verdict { return Verdict{kind: closeIt} }

// Abort resets the connection. OnClosed reports a [*DownError].
func Abort() Verdict { return Verdict{kind: abortIt} }

// Framed makes layers that have frames of their own on the wire, a few bytes each, and tell each other how patient they
// are. Both ends of a connection must have one, at the same place among their layers; above TLS, if there is that.
func Framed(cfg Config) (Maker, error) { return newMaker(framed, cfg) }

// Passive makes layers that add nothing to the wire, but for the messages of Config.Probe, if there is one. So it works
// with peers that know nothing of it. Nearest the wire is best, where half a TLS record counts as life; with a Probe it
// must lie where the application's messages pass.
func Passive(cfg Config) (Maker, error) { return newMaker(passive, cfg) }

// Watchdog makes layers that follow RFC 3539, Appendix A, to the letter. The application must call Layer.Answered for
// each answer to a probe.
func Watchdog(cfg Config) (Maker, error) { return newMaker(watchdog, cfg) }

type form uint8

const (
	framed form = iota
	passive
	watchdog
)

var formNames = [...]string{"Framed", "Passive", "Watchdog"}

// Times are nanoseconds since the first layer of a Maker was opened. That is no later than any of its connections, and
// one grid of times for all of them.
const never = math.MaxInt64

const (
	ms = int64(time.Millisecond)

	defaultTimeout  = 120 * time.Second
	minTimeout      = 10 * time.Millisecond
	maxTimeout      = 100 * 365 * 24 * time.Hour
	defaultTw       = 30 * time.Second
	minTw           = 6 * time.Second
	twJitter        = 2 * time.Second // Tw is drawn from so much less to so much more
	defaultFraction = 4
	defaultSuspect  = 0.75

	// quickest is how often anybody is spoken to, whatever it wants: what a T of 10 ms asks for.
	quickest = int64(minTimeout) / defaultFraction
	// clashFactor is how many keepalives must fit into a T.
	clashFactor  = 4
	shortestKeep = 10 * time.Millisecond
)

// settings are a checked Config. Layers share them; one that changes something makes a copy first.
type settings struct {
	form      form
	reconcile Reconcile
	reopen    bool
	onDown    Verdict
	fraction  int64
	wanted    int64 // T as configured, or as SetTimeout has it; never: no limit
	timeout   int64 // T after reconciling
	suspect   int64 // after so much silence the peer is suspect; never if it is not to be
	minSpeak  int64
	share     float64 // Config.Suspect
	probe     func(dst []byte) []byte
	*common
}

// common is what copies of settings share.
type common struct {
	once sync.Once
	base time.Time // when the first layer was opened
	rand func() uint64
}

func newMaker(f form, cfg Config) (Maker, error) {
	if err := cfg.validate(f); err != nil {
		return nil, err
	}
	s := &settings{
		form: f, reconcile: cfg.Reconcile, reopen: cfg.Reopen, onDown: cfg.OnDown, probe: cfg.Probe,
		fraction: int64(orDefault(cfg.Fraction, defaultFraction)),
		minSpeak: int64(cfg.MinSpeak), share: orDefault(cfg.Suspect, defaultSuspect),
		common: &common{rand: rand.Uint64},
	}
	d := defaultTimeout
	if f == watchdog {
		d, s.share = defaultTw, 1 // suspicion is a state of its own there
	}
	if s.onDown.kind == undecided {
		s.onDown = Keep()
		if f == watchdog {
			s.onDown = Close()
		}
	}
	s.wanted = int64(orDefault(cfg.Timeout, d))
	s.setTimeout(s.wanted)
	return func() interceptor.Interceptor { return &Layer{cfg: s} }, nil
}

func orDefault[T int | float64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// setTimeout sets the T that counts, and what follows from it.
func (s *settings) setTimeout(t int64) {
	s.timeout, s.suspect = t, never
	if t != never && s.share < 1 {
		s.suspect = int64(float64(t) * s.share)
	}
}

func (s *settings) start(now time.Time) { s.once.Do(func() { s.base = now }) }

// validate returns an error that names each value that cannot work, and what would.
func (cfg *Config) validate(f form) error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("liveness: %s: Config.%s is %v: it must be %s", formNames[f], field, value, want))
	}
	if err := checkTimeout(f, cfg.Timeout); err != nil {
		bad("Timeout", cfg.Timeout, err.Error())
	}
	if n := cfg.Fraction; n != 0 && (n < 2 || n > 16) {
		bad("Fraction", n, "0 (for 4) or 2 to 16")
	}
	if d := cfg.MinSpeak; d < 0 || d > maxTimeout {
		bad("MinSpeak", d, "0 (no floor) or a time up to 100 years")
	}
	if s := cfg.Suspect; !(s >= 0 && s <= 1) { // NaN too
		bad("Suspect", s, "0 (for 0.75), or above 0 and up to 1 (never)")
	}
	if int(cfg.Reconcile) >= len(reconcileNames) {
		bad("Reconcile", cfg.Reconcile, "Trust, Stretch, Smaller or Refuse")
	}
	if v := cfg.OnDown; v.kind == keepFor && v.d <= 0 {
		bad("OnDown", fmt.Sprintf("KeepFor(%v)", v.d), "for a time above 0")
	}
	switch f {
	case framed:
		if cfg.Probe != nil {
			bad("Probe", "set", "nil: frames take the place of probes")
		}
	case watchdog:
		if cfg.Probe == nil {
			bad("Probe", "nil", "a function that appends a message which makes a living peer answer")
		}
		if cfg.Fraction != 0 || cfg.MinSpeak != 0 || cfg.Suspect != 0 {
			bad("Fraction, MinSpeak and Suspect", fmt.Sprintf("%d, %v, %v", cfg.Fraction, cfg.MinSpeak, cfg.Suspect),
				"0 each: RFC 3539 leaves no choice")
		}
	}
	if cfg.Reconcile != Trust && f != framed {
		bad("Reconcile", cfg.Reconcile, "Trust: the peer says nothing of its timings")
	}
	if cfg.Reopen && f != watchdog {
		bad("Reopen", true, "false: it is for Watchdog")
	}
	return errors.Join(errs...)
}

// checkTimeout returns an error that says what would do, if d does not. Zero does.
func checkTimeout(f form, d time.Duration) error {
	switch {
	case d == 0:
	case f == watchdog && (d < minTw || d > maxTimeout):
		return errors.New("0 (for 30 s) or 6 s to 100 years, as RFC 3539 has it")
	case f != watchdog && d != Never && (d < minTimeout || d > maxTimeout):
		return errors.New("0 (for 120 s), 10 ms to 100 years, or Never")
	}
	return nil
}

// after is t + d; what is beyond all times never comes.
func after(t, d int64) int64 {
	if d == never || d > 0 && t > never-d {
		return never
	}
	return t + d
}
