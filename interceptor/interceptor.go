package interceptor

import (
	"net/netip"
	"time"
)

// An Interceptor is one layer of one connection. Its methods are called in the connection's turns, one at a time. An
// error from any of them but EOF ends the connection.
type Interceptor interface {
	// Open starts the layer; the one below is ready. The layer calls l.Ready, now or later, when the one above may
	// open. To refuse a connection before its first byte is read, Open returns an error; l.Info names both ends.
	Open(l Link) error
	// Up takes bytes from below. p is valid during the call only. A layer that expands bytes passes them on in parts,
	// the rest with l.Post.
	Up(l Link, p []byte) error
	// EOF says that no more bytes come from below; then the layer above is told. A layer that was not done yet
	// returns io.ErrUnexpectedEOF: OnEOF and OnClosed will say that the stream was cut short.
	EOF(l Link) error
	// Down takes bytes from above, valid during the call only, and passes on all that they become before it returns:
	// a layer that kept some back would make OnSent a lie. It changes neither bufs nor what they hold.
	Down(l Link, bufs [][]byte) error
	// CloseWrite says that no more bytes come from above. Parting words, such as the close_notify of TLS, go to
	// l.Down; then the layer below is told.
	CloseWrite(l Link) error
	// Close releases the layer: once, last, and never while another of its methods is running.
	Close()
}

// A Link is how a layer reaches its neighbours. Post may be called by any goroutine, at any time, also after the end;
// the others only while a method of the layer, or a function it posted, runs.
type Link interface {
	// Up passes bytes to the layer above; p stays the caller's. What a layer passes up before it is ready waits there
	// until the layer above has opened, at the top until after OnConnected.
	Up(p []byte) error
	// Down passes bytes to the layer below, in order; bufs and what they hold stay the caller's.
	Down(bufs [][]byte) error
	// EOF says that the layer above gets no more, though the wire may go on.
	EOF() error
	// Ready lets the layer above open; a second call does nothing.
	Ready()
	// Raise tells the handler: OnEvent, in a later turn.
	Raise(ev any)
	// Post runs f in a later turn, after what was raised before; its error ends the connection. f never runs once the
	// connection has ended.
	Post(f func() error)
	// Hold holds reading back until Release. There is one hold per layer, and no counting. Until the layer is ready it
	// holds the peer's end back, too: what the layer works on may be all that it needed. Later the end is told as soon
	// as nothing is unread.
	Hold()
	// Release lets reading go on, unless another holds it.
	Release()
	// End ends the connection in order, with this reason: what was passed Down is flushed, then comes FIN. Nothing
	// that arrives later is delivered. OnClosed or OnConnectFailed reports err.
	End(err error)
	// Closing reports whether the connection is on its way to its end: Close, Abort or End was called, by whomever, or
	// both directions have ended. A function posted after Raise thus learns what OnEvent decided.
	Closing() bool
	// Unread returns how many bytes of the peer wait in the system, with nobody having read them; -1 if that cannot be
	// known. It takes nothing. It may cost system calls, so a layer asks when something depends on it.
	Unread() int
	// Info says what the connection connects.
	Info() Info
	// Now is the time of this turn.
	Now() time.Time
	// SetDeadline says when a Timed layer wants Expire; it replaces the deadline set before. The zero time means never.
	SetDeadline(t time.Time)
}

// A Lender is a Link that lends memory to layers that make other bytes of what comes up. The Link of each layer is one;
// whether it has something to lend depends on what is above.
type Lender interface {
	// Room returns memory that is free until the method of the layer returns; it may be none. What is written from its
	// beginning on, and then passed Up, need not be copied. Ask again after Up.
	Room() []byte
}

// A Meter is a Link that knows when the connection's bytes moved, so that a layer which only watches them need not see
// each. The Link of each layer is one.
type Meter interface {
	// Skip says what the layer need not see from the next bytes on; it takes the place of what was said before, and the
	// end of the stream or of writing does not change it. It returns false, and the layer sees everything, if Traffic
	// does not speak of the layer's own bytes: one below makes others of them, or sees them at least; or if the layer is
	// not ready, or was told CloseWrite.
	Skip(s Skips) bool
	// Traffic returns what is known of the connection's bytes; ok is false where Skip would return false.
	Traffic() (t Traffic, ok bool)
}

// Skips says which methods of a layer are left out.
type Skips uint8

const (
	SkipWrote Skips = 1 << iota // Wrote
	SkipBytes                   // Up and Down: bytes go from neighbour to neighbour as they are
)

// Traffic says when the bytes of a connection moved.
type Traffic struct {
	Read    time.Time // when the system gave bytes last; if it never did, when the connection began
	Wrote   time.Time // when it took bytes last; or, if that is later, when the first of those was queued that wait now
	Pending int       // bytes that wait to be taken
}

// Info says what a connection connects.
type Info struct {
	Local, Remote netip.AddrPort // zero for unix-domain sockets
	Host          string         // the host as dialed, else empty
	Addr          string         // what was dialed, host and port or a path, else empty
	Dialed        bool           // not accepted or adopted
}

// Timed is implemented by layers that set deadlines. Expire is called once for each deadline, after the turn's reading,
// so that the layer has heard all there was to hear; if the reading used up its budget, a turn later. It never comes
// early: now less the deadline is how late it is served.
type Timed interface {
	Expire(l Link, now time.Time) error
}

// WriteObserver is implemented by layers that follow the connection's writing: the system took n more bytes, and
// pending are still queued. n is never 0.
type WriteObserver interface{ Wrote(l Link, n, pending int) }

// ReadObserver is implemented by layers that must know when reading is held back, by anyone, and when it runs again.
type ReadObserver interface{ Reading(l Link, held bool) }

// SleepObserver is implemented by layers that must know when the machine has slept. For that time, d, the clock that Now
// and deadlines go by stood still, while the world went on. It is told before anything else in the first turn after.
type SleepObserver interface{ Slept(l Link, d time.Duration) }

// A Factory makes a fresh Interceptor for each connection.
type Factory func() Interceptor

// Pass is an Interceptor that is ready at once and passes everything on. Embed it in a layer that needs only some
// methods.
type Pass struct{}

// Open is ready at once.
func (Pass) Open(l Link) error { l.Ready(); return nil }

// Up passes p on.
func (Pass) Up(l Link, p []byte) error { return l.Up(p) }

// EOF has nothing to add.
func (Pass) EOF(Link) error { return nil }

// Down passes bufs on.
func (Pass) Down(l Link, bufs [][]byte) error { return l.Down(bufs) }

// CloseWrite has no parting words.
func (Pass) CloseWrite(Link) error { return nil }

// Close has nothing to release.
func (Pass) Close() {}

var _ Interceptor = Pass{}
