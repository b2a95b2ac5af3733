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
	now     work       // of the method that runs; empty between them, and during the handshake
	vec     [1][]byte  // what is passed down: an array of its own would be allocated each time
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
	if len(p.now.in) == 0 {
		return 0, errWouldBlock
	}
	n := p.records.take(b, p.now.in)
	p.now.in = p.now.in[n:]
	return n, nil
}

func (p *pipe) Write(b []byte) (int, error) {
	switch {
	case p.hs != nil:
		p.hs.write(b)
	case p.now.link != nil:
		p.vec[0] = b
		if err := p.now.link.Down(p.vec[:]); err != nil && p.now.err == nil {
			p.now.err = err
		}
		p.vec[0] = nil
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
	link interceptor.Link
	in   []byte // came up and is not read yet
	err  error  // the first one that going down met
}

// begin leads p to l's neighbours. end goes back to what was before; it must be deferred, for a neighbour may panic.
// Methods nest: what goes up may come down within.
func (p *pipe) begin(l interceptor.Link, in []byte) (outer work) {
	outer, p.now = p.now, work{link: l, in: in}
	return outer
}

func (p *pipe) end(outer work) { p.now = outer }

// A scratch is for plain text. It is borrowed for the time of a method, if at all.
type scratch [2 * maxPlain]byte

const maxPlain = 16 << 10 // the plain text of one record

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// room is memory for plain text that saves a copy, if the neighbour lends enough for a record; else it is none.
func (p *pipe) room() []byte {
	if l, ok := p.now.link.(interceptor.Lender); ok {
		if r := l.Room(); len(r) >= maxPlain {
			return r
		}
	}
	return nil
}
