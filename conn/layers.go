package conn

import (
	"errors"
	"io"
	"math"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// The chain meets the connection here: link is its lower and upper neighbour, and the functions below are the only
// ones that call it.

// link is a Conn as its layers see it.
type link Conn

var (
	_ interceptor.Link   = (*link)(nil)
	_ interceptor.Lender = (*link)(nil)
	_ interceptor.Meter  = (*link)(nil)
)

func (c *Conn) link() *link   { return (*link)(c) }
func (c *Conn) layered() bool { return c.chain != nil }

// shown reports whether there are layers that want to see the bytes.
func (c *Conn) shown() bool { return c.chain != nil && c.skips&interceptor.SkipBytes == 0 }

// Up keeps what comes up at the top. It is delivered by the same loop as plain data.
func (l *link) Up(p []byte) error {
	(*Conn)(l).collect(p)
	return nil
}

// Down queues what comes down at the bottom. Only what a Send did not cause counts as the layers' own.
func (l *link) Down(bufs [][]byte) error {
	c := (*Conn)(l)
	switch {
	case c.state == StateClosed, c.state == StateConnecting:
		return ErrNotConnected
	case c.flags.has(flagFIN):
		return nil // our direction has ended; a layer that answers the peer then is no reason to fail
	}
	n := 0
	for _, b := range bufs {
		c.queue.push(c.m, b)
		n += len(b)
	}
	if n > 0 && (c.m == nil || !c.m.sending) {
		c.ledger.addOwn(c.m, n, c.queue.end())
	}
	return nil
}

// EOF ends the application's stream, though the wire may go on.
func (l *link) EOF() error {
	if err := l.chain.Truncated(); err != nil {
		(*Conn)(l).truncate(err)
	}
	l.flags.set(flagTopEOF)
	l.flags.clear(flagDry)
	return nil
}

func (l *link) Ready() {
	c := (*Conn)(l)
	c.flags.set(flagReady)
	switch c.state {
	case StateStarting:
		c.notify(noticeConnected, 0, nil)
	case StateUpgrading:
		c.notify(noticeUpgraded, 0, Upgraded{Layer: c.top()})
	}
}

func (l *link) Raise(ev any) { (*Conn)(l).notify(noticeEvent, 0, ev) }

// Post takes its place behind the notices there are when the turn begins that runs it.
func (l *link) Post(f func() error) {
	c := (*Conn)(l)
	c.b.Post(func() { c.input1(notice{kind: noticePosted, value: f}) })
}

func (l *link) Hold()    { l.holds |= holdLayer }
func (l *link) Release() { l.holds &^= holdLayer }

// End ends the connection in order, for a layer.
func (l *link) End(err error) {
	c := (*Conn)(l)
	if c.state == StateClosed || c.state == StateConnecting || c.flags.has(flagWireDeaf|flagBroken) {
		return
	}
	c.endByLayer(err)
	if !c.flags.has(flagWriteEnded) {
		c.flags.set(flagWriteEnded | flagGoodbye) // asked for when no layer is on the stack
	}
}

// Closing is asked by layers in posted functions and deadlines; a connection that is over runs neither.
func (l *link) Closing() bool {
	return l.state == StateClosing || l.state == StateClosed || l.flags.has(flagBroken)
}

// Unread leaves an error to watch, at the end of the turn: it must not end the connection inside a layer. The peer's
// end is reported by the system, too.
func (l *link) Unread() int {
	if l.state == StateConnecting || l.state == StateClosed || l.m == nil {
		return -1
	}
	n, err := l.b.Unread()
	if err != nil && err != io.EOF && err != ErrWouldBlock {
		l.flags.set(flagLook)
	}
	return n
}

func (l *link) Info() interceptor.Info { return l.b.Info() }

func (l *link) Now() time.Time {
	if l.m == nil {
		return (*Conn)(l).time(l.now)
	}
	return l.m.now
}

func (l *link) SetDeadline(t time.Time) {
	c := (*Conn)(l)
	if t.IsZero() {
		c.layerAt = 0
		return
	}
	c.layerAt = max(int64(t.Sub(c.born)), 1)
	c.flags.clear(flagLate)
}

// Skip leaves the layers out.
func (l *link) Skip(s interceptor.Skips) bool {
	l.skips = s
	return true
}

func (l *link) Traffic() (interceptor.Traffic, bool) {
	c := (*Conn)(l)
	at := c.wroteAt
	switch b := c.rarely().blocked; {
	case c.queue.pending == 0:
	case c.flags.has(flagWritable): // none of it was tried yet
		at = c.now
	case b.out == c.queue.out:
		at = max(at, b.at)
	}
	return interceptor.Traffic{Read: c.time(c.readAt), Wrote: c.time(at), Pending: c.queue.pending}, true
}

// blocked is where in the stream the system took no more, and since when bytes wait there.
type blocked struct {
	out uint64
	at  int64
}

// block notes that the system took n bytes, and not all. If it took none, that may not be news.
func (c *Conn) block(n int) {
	b := &c.needRare().blocked
	if n > 0 || b.at == 0 || b.out != c.queue.out {
		*b = blocked{c.queue.out, c.now}
	}
}

// openLayers builds and opens the chain of a connection that has just got its socket.
func (c *Conn) openLayers() {
	chain := new(interceptor.Chain)
	for _, f := range c.cfg.Layers {
		if err := chain.Push(f()); err != nil {
			c.fail(CauseLayer, err)
			return
		}
	}
	c.chain = chain
	before := c.queue.end()
	if err := chain.Open(c.link()); err != nil {
		c.layerFailed(err, before)
	}
}

func (c *Conn) layerUp(p []byte) {
	before := c.queue.end()
	if err := c.chain.Up(c.link(), p); err != nil {
		c.layerFailed(err, before)
	}
}

// layerEOF lets the end travel up. Its error does not end the connection: it says that the stream was cut short.
func (c *Conn) layerEOF() {
	if err := c.chain.EOF(c.link()); err != nil {
		c.truncate(err)
	}
	switch c.state {
	case StateStarting, StateUpgrading:
		if c.flags.has(flagReady) {
			break // it was ready before the end came, which is told first
		}
		err := c.reasonErr()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		c.fail(CauseTruncated, err)
		return
	}
	c.flags.set(flagTopEOF)
	c.flags.clear(flagDry)
}

func (c *Conn) layersCloseWrite() {
	if c.chain == nil || c.flags.has(flagMute) {
		return
	}
	before := c.queue.end()
	if err := c.chain.CloseWrite(c.link()); err != nil {
		c.layerFailed(err, before)
	}
}

// goodbye asks the layers for their last words where Link.End could not, for a layer was on the stack.
func (c *Conn) goodbye() {
	if c.flags.has(flagGoodbye) {
		c.flags.clear(flagGoodbye)
		c.layersCloseWrite()
	}
}

func (c *Conn) runPosted(f func() error) {
	if c.state == StateClosed || c.flags.has(flagMute) {
		return
	}
	before := c.queue.end()
	if err := f(); err != nil {
		c.layerFailed(err, before)
	}
}

func (c *Conn) expireLayers() {
	before := c.queue.end()
	if err := c.chain.Expire(c.link(), c.time(c.now)); err != nil {
		c.layerFailed(err, before)
	}
}

// layersSlept tells the layers, at the beginning of a turn.
func (c *Conn) layersSlept(d time.Duration) {
	if c.chain != nil && c.state != StateClosed && !c.flags.has(flagMute) {
		c.chain.Slept(c.link(), d)
	}
}

// layerFailed ends the connection because of a layer. If the layer passed last words down since the queue ended at before,
// they are flushed, then comes FIN; else nothing more is written, and the connection ends with this turn. What it had
// passed up is delivered in both cases.
func (c *Conn) layerFailed(err error, before uint64) {
	if c.state == StateClosed || c.flags.has(flagMute) {
		return
	}
	c.flags.set(flagMute)
	switch {
	case c.queue.end() > before && !c.flags.has(flagFIN):
		c.endByLayer(err)
		c.flags.set(flagWriteEnded)
		c.flags.clear(flagGoodbye)
	default:
		c.setReason(err)
		c.flags.set(flagBroken | flagWireDeaf)
	}
}

// endByLayer is the orderly end that a layer asks for: nothing that arrives from now on is for anybody.
func (c *Conn) endByLayer(err error) {
	c.setReason(err)
	c.flags.set(flagWireDeaf)
	if c.state != StateClosing {
		c.startClosing()
	}
}

func (c *Conn) setReason(err error) {
	if c.rarely().reason == nil || c.rarely().reason.Cause == CauseTruncated {
		c.needRare().reason = &CloseError{CauseLayer, err}
	}
}

// tellReading tells the layers when reading is held or runs again. It is looked at before reading and at the end of
// the turn, never in the middle of a layer's method.
func (c *Conn) tellReading() {
	if c.chain == nil || c.state == StateClosed || c.flags.has(flagMute) {
		return
	}
	if held := c.holders() != 0; held != c.flags.has(flagHeldTold) {
		c.flags ^= flagHeldTold
		c.chain.Reading(c.link(), held)
	}
}

func (c *Conn) top() (top interceptor.Interceptor) {
	for i := range c.chain.All() {
		top = i
	}
	return top
}

// Upgrade pushes a layer onto an open connection, as STARTTLS needs. It is refused where plain bytes could be taken
// for protected ones. The error is always a [*UpgradeError]. The event [Upgraded] or OnClosed follows.
// Config.StartTimeout bounds it.
func (c *Conn) Upgrade(f interceptor.Factory) error {
	switch {
	case c.state == StateUpgrading, c.state == StateStarting:
		return &UpgradeError{Err: ErrNotReady}
	case c.state != StateConnected || c.flags.has(flagWriteEnded|flagBroken|flagPeerEnded|flagTopEOF):
		return &UpgradeError{Err: ErrNotConnected}
	case f == nil:
		return &UpgradeError{Err: errors.New("conn: the factory is nil: it must be a function that makes a layer")}
	}
	if unread, unsent := c.unread(), int(c.accepted-c.sent); unread > 0 || unsent > 0 {
		return &UpgradeError{Unread: unread, Unsent: unsent}
	}
	c.setState(StateUpgrading)
	c.flags.clear(flagReady)
	c.limit = c.after(c.cfg.startTimeout())
	before := c.queue.end()
	var err error
	if c.chain == nil {
		c.chain = new(interceptor.Chain)
		if err = c.chain.Push(f()); err == nil {
			err = c.chain.Open(c.link())
		}
	} else {
		err = c.chain.Push(f())
	}
	if err != nil {
		c.layerFailed(err, before)
	}
	return nil
}

// after is d from now; time the other way round. Far futures do not overflow: they never come.
func (c *Conn) after(d time.Duration) int64 {
	if int64(d) > math.MaxInt64-c.now {
		return math.MaxInt64
	}
	return max(c.now+int64(d), 1)
}

func (c *Conn) time(t int64) time.Time { return c.born.Add(time.Duration(t)) }
