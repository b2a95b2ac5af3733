package loop

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/galago-go/galago/conn"
)

// A port does the I/O of one connection over any [net.Conn], as [conn.Backend] has it: it turns calls that block into
// readiness. One goroutine reads ahead, all the time: an end or a reset must be noticed while nobody reads. It notices
// them behind what is unread, so behind 64 KiB and what one more read brought it sees nothing. Another goroutine
// writes a copy of the first bytes. It lives only while something is in flight: to start one costs what waking one
// would, and an idle connection has no second stack.
//
// read, write, unread, closeWrite and close belong to whoever has the turn. None blocks.
type port struct {
	nc     net.Conn
	notify func(conn.Interest)
	wg     *sync.WaitGroup
	plain  bool // nc is of package net itself: its Close does not block, and a read that timed out does no harm
	timed  bool // a write that timed out does none either, and tells how much was taken

	mu   sync.Mutex // guards what follows; no call that may block is made with it
	cond sync.Cond  // held, closed or tries has changed

	in     *portBuffer // what the reader reads into; nil while it waits for room
	inDue  time.Time   // the read deadline of nc, zero if there is none
	unseen *portBuffer // bytes that nobody read yet; nil if there are none
	held   *portBuffer // what had no room in unseen; the reader waits until it has moved there
	eof    bool        // the peer has ended, behind unseen
	err    error       // what the connection died of, the first of either direction
	reads  uint        // how many calls of nc.Read are over
	hurry  bool        // explain waits for one more, so the read deadline has passed, and stays

	writer  func()      // writeOut; nil until the first write
	flight  *portBuffer // what the writer is writing; nil if there is no writer
	outDue  time.Time   // the write deadline of nc, if timed
	taken   int         // bytes that the system took and no write has reported
	owed    bool        // a read waits until they are reported
	tries   uint        // how many calls of nc.Write are over
	inWrite bool        // one is not
	outErr  error       // what the writer met
	fin     bool        // closeWrite was called
	gone    bool        // nc was closed because it cannot be closed by half
	closed  bool
}

const (
	portSmall = 4 << 10  // what an idle connection reads into, and a piece of a write that cannot time out
	portLarge = 64 << 10 // bounds a buffer, what is unread, and what is in flight

	firstTry   = 20 * time.Millisecond // how long a write waits before it tells what was taken
	longestTry = 100 * time.Millisecond
	quietTime  = 50 * time.Millisecond // without input, a large buffer is let go

	maxEmptyReads = 100 // in a row, without an error
)

// newPort takes over nc. notify is called whenever something became ready, by goroutines of the port or in write; it must
// not block.
func newPort(nc net.Conn, notify func(conn.Interest)) *port {
	p := &port{nc: nc, notify: notify}
	p.cond.L = &p.mu
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		p.plain, p.timed = true, runtime.GOOS != "windows" // where a write that timed out does not know what was taken
	default:
		p.plain = isPipe(nc)
		p.timed = p.plain
	}
	return p
}

// isPipe reports whether nc is of net.Pipe, whose type has no exported name.
func isPipe(nc net.Conn) bool {
	t := reflect.TypeOf(nc)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "net" && t.Elem().Name() == "pipe"
}

// start starts reading. All goroutines are counted in wg. Later calls of the port may start more, so wait for wg when
// no more calls come.
func (p *port) start(wg *sync.WaitGroup) {
	p.wg = wg
	_ = p.nc.SetDeadline(time.Time{}) // whoever had it before may have set one
	p.in = getPortBuffer(portSmall)
	p.spawn(p.readAhead)
}

func (p *port) spawn(f func()) {
	if p.wg != nil { // it is nil if the port was never started, and is closed
		p.wg.Add(1)
	}
	go func() {
		if p.wg != nil {
			defer p.wg.Done()
		}
		f()
	}()
}

// readAhead is the reader.
func (p *port) readAhead() {
	for in, empty := p.in, 0; in != nil; {
		n, err := p.nc.Read(in.p)
		switch {
		case n > 0:
			in, empty = p.arrived(n), 0
		case err == nil: // it means that nothing happened, but not for ever
			if empty++; empty == maxEmptyReads {
				err = io.ErrNoProgress
			}
		}
		switch {
		case err == nil:
		case p.plain && errors.Is(err, os.ErrDeadlineExceeded):
			if n == 0 {
				in = p.quiet()
			}
		default:
			p.ended(err)
			return
		}
	}
}

// arrived passes on that n bytes were read, and returns where to read next; nil if the port was closed.
func (p *port) arrived(n int) *portBuffer {
	p.mu.Lock()
	p.readOver()
	size := len(p.in.p)
	p.in.w = n
	p.settle()              // what the peer answers, it has read: that comes first
	tell := p.unseen == nil // else it was told, and no read has been short since
	switch {
	case tell && !p.closed:
		p.unseen, p.in = p.in, nil
	case !p.closed && p.unseen.len()+n <= portLarge:
		p.unseen = p.unseen.append(p.in.rest())
	case !p.closed:
		p.held, p.in = p.in, nil
		p.cond.Broadcast() // whoever waits for what this read meets has waited for settle, too
		for p.held != nil && !p.closed {
			p.cond.Wait()
		}
	}
	in := p.nextIn(size, n)
	closed := p.closed
	p.mu.Unlock()
	if tell && !closed {
		p.notify(conn.Readable)
	}
	return in
}

// nextIn chooses the next buffer to read into: a larger one if n bytes filled the last one.
func (p *port) nextIn(size, n int) *portBuffer {
	switch {
	case n == size && p.plain: // others have buffers of their own, and no deadline to let a large one go
		size = min(2*size, portLarge)
	case n < size/4:
		size = max(size/2, portSmall)
	}
	return p.setIn(size)
}

// setIn gives the reader a buffer of that size, and a large one a deadline. It leaves that of explain alone.
func (p *port) setIn(size int) *portBuffer {
	if p.in != nil && (len(p.in.p) != size || p.closed) {
		p.in.release()
		p.in = nil
	}
	if p.closed {
		return nil
	}
	if p.in == nil {
		p.in = getPortBuffer(size)
	}
	p.in.r, p.in.w = 0, 0
	switch {
	case p.hurry: // explain began after the last read was over, and before this one begins
	case size > portSmall:
		if now := time.Now(); p.inDue.Sub(now) < quietTime/2 { // not each time, for it costs
			p.inDue = now.Add(quietTime)
			_ = p.nc.SetReadDeadline(p.inDue)
		}
	case !p.inDue.IsZero():
		p.inDue = time.Time{}
		_ = p.nc.SetReadDeadline(p.inDue)
	}
	return p.in
}

// quiet lets a large buffer go: nothing has come for a while.
func (p *port) quiet() *portBuffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readOver()
	p.inDue = time.Unix(1, 0) // not zero: it has passed, whoever set it, and must be taken away
	return p.setIn(portSmall)
}

// ended passes on that reading met err.
func (p *port) ended(err error) {
	p.mu.Lock()
	p.settle()
	p.readOver()
	p.in.release()
	p.in = nil
	var i conn.Interest
	switch {
	case p.closed:
	case p.err != nil: // it was told. The system tells a reset once: if the writer met it, the reader meets an end
		if err != io.EOF && !p.gone {
			p.err = err // if the reader met it, the writer meets a broken pipe
		}
	case err == io.EOF && p.outErr != nil:
		i = p.failed(p.outErr)
	case err == io.EOF || p.gone:
		p.eof = true
		i = conn.Readable | conn.Hangup
	default:
		i = p.failed(err)
	}
	p.mu.Unlock()
	if i != 0 {
		p.notify(i)
	}
}

// settle waits until the write in progress, if there is one, has told what it took or met. It hurries it.
func (p *port) settle() {
	for tries := p.tries; p.timed && p.inWrite && p.tries == tries && !p.closed; {
		p.outDue = time.Time{}
		_ = p.nc.SetWriteDeadline(time.Unix(1, 0))
		p.cond.Wait()
	}
}

// explain waits until the read in progress, if there is one, has told what it met: the system tells the reason once, and
// who asks then gets a broken pipe. It hurries the read. If the reader is between two reads, for it waited in settle for
// this very write, it is the next one: that cannot know the reason, which was still there for the writer, and so may be
// over before it has asked the system.
func (p *port) explain() {
	for reads := p.reads; p.plain && p.in != nil && p.reads == reads && !p.closed; {
		p.hurry = true
		p.inDue = time.Unix(1, 0)
		_ = p.nc.SetReadDeadline(p.inDue)
		p.cond.Wait()
	}
	p.hurry = false // also if the reader waits for room: what it reads next is in no hurry
}

// readOver says that a read has told what it met, as soon as mu is free.
func (p *port) readOver() {
	p.reads++
	p.hurry = false
	p.cond.Broadcast()
}

// failed notes what the connection died of, and returns what to tell.
func (p *port) failed(err error) conn.Interest {
	if p.closed || p.err != nil {
		return 0
	}
	p.err = err
	return conn.Readable | conn.Writable | conn.Hangup
}

// fate is the error that the connection died of, if it may be told. What the system took before is reported first.
func (p *port) fate() error {
	if p.taken > 0 {
		return nil // the next write reports it, and has the error told anew
	}
	return p.err
}

// read reads once, as [conn.Backend] has it. It is not before a write that reports what was taken: else an answer would
// be read before the outcome of the request is known.
func (p *port) read(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case p.taken > 0 && (p.unseen != nil || p.eof):
		p.owed = true
		return 0, conn.ErrWouldBlock
	}
	for n < len(b) && p.unseen != nil {
		k := copy(b[n:], p.unseen.rest())
		n += k
		if p.unseen.r += k; p.unseen.len() == 0 {
			p.unseen.release()
			p.unseen = p.held
			if p.held != nil {
				p.held = nil
				p.cond.Broadcast()
			}
		}
	}
	switch {
	case n > 0:
		return n, nil
	case p.fate() != nil:
		return 0, p.err
	case p.eof && p.err == nil:
		return 0, io.EOF
	}
	return 0, conn.ErrWouldBlock
}

// unread tells what the next read would meet, as [conn.Backend] has it.
func (p *port) unread() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.unseen.len() + p.held.len()
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case p.fate() != nil:
		return n, p.err
	case p.eof && p.err == nil && n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// write reports what the system took of bufs since they were first seen, as [conn.Backend] has it, and hands what
// follows to the writer if it has nothing left to write.
func (p *port) write(bufs [][]byte) (int, error) {
	p.mu.Lock()
	n, err := p.reportAndWrite(bufs)
	owed := p.owed && p.taken == 0 && !p.closed
	p.owed = p.owed && !owed
	p.mu.Unlock()
	if owed {
		p.notify(conn.Readable)
	}
	return n, err
}

func (p *port) reportAndWrite(bufs [][]byte) (int, error) {
	if p.closed {
		return 0, net.ErrClosed
	}
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	n := min(p.taken, total)
	p.taken -= n
	switch {
	case p.err != nil && n > 0:
		p.spawn(func() { p.notify(conn.Readable | conn.Writable | conn.Hangup) }) // whoever asked before was not told
		return n, nil
	case p.err != nil:
		return 0, p.err
	}
	if p.flight == nil && total > n { // then nothing is taken that was not reported
		p.flight = getPortBuffer(min(total-n, portLarge))
		p.flight.fill(bufs, n)
		if p.writer == nil {
			p.writer = p.writeOut // once, for each such value is allocated
		}
		p.wg.Add(1)
		go p.writer()
	}
	if n == 0 && total > 0 {
		return 0, conn.ErrWouldBlock
	}
	return n, nil
}

// writeOut is the writer. It ends when it has written what is in flight.
func (p *port) writeOut() {
	defer p.wg.Done()
	patience := firstTry
	for {
		n, i, more := p.try(patience)
		if i != 0 {
			p.notify(i)
		}
		if !more {
			return
		}
		if patience *= 2; n > 0 {
			patience = firstTry
		}
		patience = min(patience, longestTry)
	}
}

// try writes once, for no longer than patience if that can be. It returns how much was taken, and what to tell.
func (p *port) try(patience time.Duration) (n int, i conn.Interest, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.beginTry(patience); b != nil {
		p.mu.Unlock()
		var err error
		if n, err = p.nc.Write(b); n == 0 && err == nil {
			err = io.ErrShortWrite
		}
		p.mu.Lock()
		i = p.endTry(n, err)
	}
	if p.flight.len() > 0 && p.err == nil && !p.closed {
		return n, i, true
	}
	p.flight.release()
	p.flight = nil
	if p.fin && p.err == nil && !p.closed {
		i |= p.finish()
	}
	return n, i, false
}

// beginTry returns what to write next, nil if there is no point in it.
func (p *port) beginTry(patience time.Duration) []byte {
	if p.err != nil || p.closed {
		return nil
	}
	p.inWrite = true
	b := p.flight.rest()
	if !p.timed {
		return b[:min(len(b), portSmall)]
	}
	if now := time.Now(); p.outDue.Sub(now) < patience/2 { // not each time, for it costs
		p.outDue = now.Add(patience)
		_ = p.nc.SetWriteDeadline(p.outDue)
	}
	return b
}

// endTry notes what became of a write, and returns what to tell.
func (p *port) endTry(n int, err error) (i conn.Interest) {
	p.inWrite = false
	p.tries++
	p.cond.Broadcast()
	p.flight.r += n
	p.taken += n
	if n > 0 && !p.closed {
		i = conn.Writable
	}
	if err != nil && !(p.timed && errors.Is(err, os.ErrDeadlineExceeded)) {
		p.outErr = err
		p.explain()
		i |= p.failed(err)
	}
	return i
}
