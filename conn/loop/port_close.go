package loop

import (
	"net"

	"github.com/galago-go/galago/conn"
)

// closeWrite sends FIN, as [conn.Backend] has it, behind what is in flight. Where nc can only be closed as a whole, it
// is, and reading ends.
func (p *port) closeWrite() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return net.ErrClosed
	case p.fin:
		return nil
	}
	p.fin = true
	switch {
	case p.flight != nil: // the writer does it
	case p.plain:
		return p.halfClose()
	default:
		p.spawn(func() {
			p.mu.Lock()
			i := p.finish()
			p.mu.Unlock()
			if i != 0 {
				p.notify(i)
			}
		})
	}
	return nil
}

// finish is halfClose on a goroutine of the port; it returns what to tell.
func (p *port) finish() conn.Interest {
	if err := p.halfClose(); err != nil {
		return p.failed(err)
	}
	return 0
}

// halfClose ends our direction. It lets go of mu for a call that may block.
func (p *port) halfClose() error {
	end := p.nc.Close
	if half, ok := p.nc.(interface{ CloseWrite() error }); ok {
		end = half.CloseWrite
	} else {
		p.gone = true
	}
	p.mu.Unlock()
	err := end()
	p.mu.Lock()
	if p.plain { // then the connection is gone, the peer was faster, and reading tells what happened
		return nil
	}
	return err
}

// close gives nc up, as [conn.Backend] has it. What is unread or in flight is lost. The goroutines end soon after.
func (p *port) close(reset bool) error {
	p.mu.Lock()
	p.closed = true
	p.unseen.release()
	p.held.release()
	p.unseen, p.held = nil, nil
	p.cond.Broadcast()
	p.mu.Unlock()
	if reset {
		p.reset()
	}
	if p.plain {
		return p.nc.Close()
	}
	p.spawn(func() { _ = p.nc.Close() })
	return nil
}

// reset sees to it that the peer gets a reset, if it is a TCP peer. What nc wraps is closed at once: closing nc may
// send what looks like an orderly end.
func (p *port) reset() {
	nc := p.nc
	for {
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = w.NetConn()
	}
	if c, ok := nc.(*net.TCPConn); ok {
		_ = c.SetLinger(0) // it fails where the connection is gone already
		if !p.plain {
			_ = c.Close()
		}
	}
}
