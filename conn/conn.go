package conn

import (
	"bufio"
	"net/netip"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// A Conn is one TCP connection as its owner sees it. Only the owner may call its methods, and only during a turn:
// in a callback, or while the turn handles the owner's messages. A call from another goroutine is a data race, even if
// it seems to work; whoever is not the owner sends it a message, with package actor an actor.Write, Close or Abort, or
// one that Receive acts on.
type Conn struct {
	// What every turn needs comes first, what is seldom needed last: of many connections few lines are in the cache.
	state State
	armed Interest
	holds holder
	skips interceptor.Skips // what the layers need not see
	flags flags

	h   Handler
	b   Backend
	cfg *Config
	m   *Memory // of this turn; nil between turns

	born time.Time // of the first turn; all times below are nanoseconds since then, 0 meaning never
	now  int64

	queue   writeQueue
	ledger  ledger
	notices noticeQueue
	inputs  *[]notice // what was heard between two turns; nil if nothing

	chain *interceptor.Chain // nil if there are no layers
	split bufio.SplitFunc
	held  *held // what is read, or passed up by layers, and not delivered yet; nil if nothing

	readAt, wroteAt int64 // when the system gave bytes last, and when it took some
	idleAt          int64 // when to look at the idle timeout
	layerAt         int64 // when a layer wants Expire
	told            int64 // what Deadline said last; -1 if that has come
	timers          *timerSet

	accepted, sent      SendToken // the last one issued; the last one told as sent
	received, bytesRead uint64

	limit int64 // when starting, upgrading or closing has taken too long; 0 in StateConnected

	rare *rare // nil until it is needed
}

// rare is what most connections never have. It stays once it is there.
type rare struct {
	timer           TimerToken // the last one issued
	failed, refused uint64
	throttle        throttle
	blocked         blocked
	idle            int64       // the idle timeout, if the owner has set it; less than 0 if to none
	idleCuts        int         // tokens that split cut in a row without taking a byte
	reason          *CloseError // why an orderly end is not a clean one; or why a layer ended the connection
}

var never rare // what a connection has that has none; nobody changes it

// rarely returns c's rare for reading, needRare for changing.
func (c *Conn) rarely() *rare {
	if c.rare == nil {
		return &never
	}
	return c.rare
}

func (c *Conn) needRare() *rare {
	if c.rare == nil {
		c.rare = new(rare)
	}
	return c.rare
}

// flags are facts about a connection that outlive a call.
type flags uint32

func (f flags) has(x flags) bool { return f&x != 0 }
func (f *flags) set(x flags)     { *f |= x }
func (f *flags) clear(x flags)   { *f &^= x }

const (
	// the socket
	flagReadable     flags = 1 << iota // a Read may find something
	flagWritable                       // a Write may take something
	flagHangup                         // an error or the peer's end was reported
	flagLook                           // ... and Unread was not asked about it yet
	flagPeerEnded                      // Read returned io.EOF
	flagFIN                            // CloseWrite was called
	flagSocketJoined                   // the shell said Connected; the next turn begins with it

	// the application's stream
	flagConnected   // OnConnected was given
	flagTopEOF      // no more bytes come up at the top
	flagEOFTold     // OnEOF is queued or given, or will never be
	flagDry         // what is held needs more bytes to make a frame
	flagDeaf        // what comes up is dropped: a pause or an error met Close
	flagWaits       // ReadWaits is on
	flagUnwriteable // Send is refused; OnThrottled is queued or given
	flagEasing      // OnUnthrottled is queued

	// the way to the end
	flagWriteEnded // Close or CloseWrite was called: FIN when the queue is empty
	flagGoodbye    // ... but the layers were not asked for their last words yet
	flagWireDeaf   // a layer ended the connection: what is read is dropped
	flagBroken     // a layer failed; the connection ends with this turn
	flagMute       // ... or failed and had last words: the layers are not called any more
	flagAborted    // it did not end in order
	flagEnded      // the last callback is queued
	flagDone       // ... and given
	flagReleased   // what the connection held is given back

	// this turn
	flagReadDone // Read was called
	flagFilled   // ... and read from the socket
	flagYielded  // ... and OnReceived yielded
	flagRaised   // a notice was caused since reading began
	flagLate     // Expire was put off once
	flagHeldTold // the layers were told that reading is held
	flagReady    // the top layer is ready
	flagUnheard  // nobody listens to OnSent
)

const turnFlags = flagReadDone | flagFilled | flagYielded | flagRaised

// A SendToken names one accepted Send of one connection. They count from 1.
type SendToken uint64

// State returns where the connection is in its life.
func (c *Conn) State() State { return c.state }

// Layers returns the connection's interceptors, nil if there are none; see [interceptor.Find].
func (c *Conn) Layers() *interceptor.Chain { return c.chain }

// LocalAddr and RemoteAddr are zero for unix-domain sockets. They may still be asked in OnClosed.
func (c *Conn) LocalAddr() netip.AddrPort { return c.b.Info().Local }

// RemoteAddr returns the peer's address; see LocalAddr.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.b.Info().Remote }

// Now returns the time of this turn, or of the last one: the same for all that happens in it. Like that of [time.Now] it
// counts on when the wall clock is set; in a test it is what the test says.
func (c *Conn) Now() time.Time { return c.time(c.now) }

// Stats returns what was counted so far.
func (c *Conn) Stats() Stats {
	r := c.rarely()
	return Stats{
		BytesRead:    c.bytesRead,
		BytesWritten: c.queue.out,
		Received:     c.received,
		Accepted:     uint64(c.accepted),
		Sent:         uint64(c.sent),
		Failed:       r.failed,
		Refused:      r.refused,
		Pending:      c.queue.pending,
		Throttles:    r.throttle.count,
		Throttled:    c.throttledFor(),
	}
}

// SetSplit changes the framing from the next byte not yet delivered. If nil, there is none.
func (c *Conn) SetSplit(split bufio.SplitFunc) {
	c.split = split
	c.flags.clear(flagDry)
}
