package loop

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/conn"
)

// ported is the number of a Socket that package net reads and writes: on a portable loop, or because it is none of the
// system's, as the end of a net.Pipe.
const ported = -1

// A portedSocket is the port of a Socket, and the task that brings what its goroutines say to the loop.
type portedSocket struct {
	Link
	*port
	socket *Socket
	events atomic.Uint32
}

// openPort starts to read and write nc. What that finds is told in later turns.
func (s *Socket) openPort(nc net.Conn) {
	p := &portedSocket{socket: s}
	p.port = newPort(nc, p.notify)
	s.about = &about{local: addrPortOf(nc.LocalAddr()), host: s.about.host, addr: s.about.addr,
		dialed: s.about.dialed, ported: p}
	p.start(&s.loop.helpers)
}

// notify is called by the goroutines of the port.
func (p *portedSocket) notify(i conn.Interest) {
	p.events.Or(uint32(i))
	p.socket.loop.Queue(p)
}

// Turn tells the owner.
func (p *portedSocket) Turn(time.Time, *conn.Memory) bool {
	if i := conn.Interest(p.events.Swap(0)); i != 0 && p.socket.number == ported {
		p.socket.loop.ready(p.socket, i)
	}
	return false
}

// String names the task where a long turn is reported.
func (p *portedSocket) String() string { return "news for " + fmt.Sprint(p.socket.owner) }

// port is nil if the socket is not open, or has a descriptor.
func (s *Socket) port() *portedSocket {
	if s.number != ported {
		return nil
	}
	return s.about.ported
}

func (s *Socket) readPort(b []byte) (int, error) {
	if p := s.port(); p != nil {
		return p.read(b)
	}
	return 0, net.ErrClosed
}

func (s *Socket) writePort(bufs [][]byte) (int, error) {
	if p := s.port(); p != nil {
		return p.write(bufs)
	}
	return 0, net.ErrClosed
}

func (s *Socket) unreadPort() (int, error) {
	if p := s.port(); p != nil {
		return p.unread()
	}
	return 0, net.ErrClosed
}

func (s *Socket) closeWritePort() error {
	if p := s.port(); p != nil {
		return p.closeWrite()
	}
	return net.ErrClosed
}

// addrPortOf is zero where there is no port.
func addrPortOf(a net.Addr) netip.AddrPort {
	if a, ok := a.(*net.TCPAddr); ok {
		return unmapped(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
