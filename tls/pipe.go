package tls

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// A pipe is the net.Conn that crypto/tls reads and writes. While the handshake runs, on its own goroutine, it leads to
// what has come up and what is to go down; afterwards straight to the neighbours of the layer whose method is running.
//
// Writing never fails: crypto/tls would remember the error for ever. What a neighbour answered is kept for the layer's
// method to return.
type pipe struct {
	hs      *handshake // nil once it is over; changes in a turn, when its goroutine is gone
	work    *work      // of the method that runs; nil between them, and during the handshake
	records records
	local   netip.AddrPort
	remote  netip.AddrPort
}

var _ net.Conn = (*pipe)(nil)

// Read gives bytes of one record at most. So crypto/tls, which keeps its buffer as long as the connection, lets it grow
// to the longest record only, and never moves what it read ahead.
func (p *pipe) Read(b []byte) (int, error) {
	if p.hs != nil {
		return p.hs.read(b)
	}
	if p.work == nil || len(p.work.in) == 0 {
		return 0, errWouldBlock
	}
	n := p.records.take(b, p.work.in)
	p.work.in = p.work.in[n:]
	return n, nil
}

func (p *pipe) Write(b []byte) (int, error) {
	switch {
	case p.hs != nil:
		p.hs.write(b)
	case p.work != nil:
		p.work.down(b)
	}
	return len(b), nil
}

// Close does nothing: whoever has ended the handshake has said so to it already.
func (p *pipe) Close() error { return nil }

// LocalAddr and RemoteAddr are for callbacks of the configuration, which find the pipe in their ClientHelloInfo.
func (p *pipe) LocalAddr() net.Addr  { return address(p.local) }
func (p *pipe) RemoteAddr() net.Addr { return address(p.remote) }

// Deadlines are those of the connection.
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

func address(a netip.AddrPort) net.Addr {
	if !a.IsValid() {
		return &net.UnixAddr{Net: "unix"}
	}
	return net.TCPAddrFromAddrPort(a)
}

// wouldBlock says that all bytes there are were read. crypto/tls lets such an error pass and goes on with the next Read,
// if it is temporary, and the handshake is over. It does not promise so; tests with every split of a conversation
// watch over it.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "tls: nothing to read yet" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock net.Error = wouldBlock{}

// A work is what a layer needs while one of its methods runs.
type work struct {
	link  interceptor.Link
	in    []byte // came up and is not read yet
	err   error  // the first one that going down met
	vec   [1][]byte
	plain [plainSize]byte
}

const (
	maxPlain  = 16 << 10 // the plain text of one record
	plainSize = 64<<10 + maxPlain
)

var works = sync.Pool{New: func() any { return new(work) }}

// begin lends a work to p. end takes it back; it must be deferred, for a neighbour may panic. Methods nest: what goes
// up may come down within.
func (p *pipe) begin(l interceptor.Link, in []byte) (w, outer *work) {
	w = works.Get().(*work)
	w.link, w.in, w.err = l, in, nil
	outer, p.work = p.work, w
	return w, outer
}

func (p *pipe) end(w, outer *work) {
	p.work = outer
	w.link, w.in, w.err, w.vec[0] = nil, nil, nil, nil
	works.Put(w)
}

func (w *work) down(b []byte) {
	w.vec[0] = b
	if err := w.link.Down(w.vec[:]); err != nil && w.err == nil {
		w.err = err
	}
}
