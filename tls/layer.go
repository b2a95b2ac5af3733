package tls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/galago-go/galago/interceptor"
)

// A Layer is TLS on one connection. See [interceptor.Find] for how to get at it.
type Layer struct {
	options *options
	tls     *tls.Conn
	pipe    pipe
	phase   phase
}

type phase uint8

const (
	shaking phase = iota // the handshake goes on
	open                 // records are opened and sealed
	ended                // the peer has said goodbye; records are sealed
	failed               // nothing passes any more
)

var _ interceptor.Interceptor = (*Layer)(nil)

// State returns what the handshake agreed on. Before then, and if it failed, it is the zero value.
func (l *Layer) State() tls.ConnectionState {
	if l.phase == open || l.phase == ended {
		return l.tls.ConnectionState()
	}
	return tls.ConnectionState{}
}

// Open begins the handshake. A server waits for its client.
func (l *Layer) Open(k interceptor.Link) error {
	if l.options.wrong != nil {
		l.fail()
		return &HandshakeError{Err: l.options.wrong}
	}
	info := k.Info()
	l.pipe.local, l.pipe.remote = info.Local, info.Remote
	h := newHandshake(l, k, l.options)
	h.host = info.Host
	l.pipe.hs = h
	if h.gate == nil {
		h.begin()
	}
	return nil
}

// begin makes the crypto/tls side, on the goroutine of h.
func (l *Layer) begin(h *handshake) *tls.Conn {
	if h.gate != nil {
		l.tls = tls.Server(&l.pipe, l.options.config(""))
	} else {
		l.tls = tls.Client(&l.pipe, l.options.config(h.host))
	}
	return l.tls
}

// established is the end of a handshake that succeeded. rest came up behind its last record.
func (l *Layer) established(k interceptor.Link, rest []byte) error {
	l.phase = open
	k.Release()
	k.Raise(Established{l})
	k.Ready()
	if len(rest) == 0 {
		return nil
	}
	return l.read(k, rest)
}

// fail notes that nothing passes any more.
func (l *Layer) fail() { l.phase = failed }

// Up opens the records that p makes whole.
func (l *Layer) Up(k interceptor.Link, p []byte) error {
	switch l.phase {
	case shaking:
		l.pipe.hs.feed(p)
	case open:
		return l.read(k, p)
	}
	return nil
}

// read passes up what p holds. crypto/tls answers within, where the protocol asks for it.
func (l *Layer) read(k interceptor.Link, p []byte) error {
	outer := l.pipe.begin(k, p)
	defer l.pipe.end(outer)
	for {
		more, err := l.readSome(k)
		if !more {
			return err
		}
	}
}

// readSome passes up as much as there is room for at once, and reports whether there is more.
func (l *Layer) readSome(k interceptor.Link) (more bool, err error) {
	to := l.pipe.room()
	if to == nil {
		s := scratches.Get().(*scratch)
		defer scratches.Put(s)
		to = s[:]
	}
	n, err := l.fill(to)
	if n > 0 {
		if err := k.Up(to[:n]); err != nil {
			return false, err
		}
	}
	switch {
	case err == nil:
		return true, nil
	case err == errWouldBlock:
		return false, l.pipe.now.err
	case err == io.EOF:
		l.phase = ended
		return false, errors.Join(l.pipe.now.err, k.EOF())
	default:
		l.fail()
		return false, recordError(err)
	}
}

// fill reads to p until there is no more, or no room for another record.
func (l *Layer) fill(p []byte) (n int, err error) {
	for n <= len(p)-maxPlain {
		k, err := l.tls.Read(p[n:])
		n += k
		if err != nil {
			return n, err
		}
		if len(l.pipe.now.in) == 0 {
			return n, errWouldBlock // crypto/tls has no record ahead of the one that it gave
		}
	}
	return n, nil
}

// EOF objects, unless the peer has said goodbye.
func (l *Layer) EOF(interceptor.Link) error {
	switch l.phase {
	case shaking:
		return &HandshakeError{Err: fmt.Errorf("tls: the peer ended during the handshake: %w", io.ErrUnexpectedEOF)}
	case open:
		return fmt.Errorf("tls: the peer ended without close_notify: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// Down seals bufs. Small ones that come together share a record.
func (l *Layer) Down(k interceptor.Link, bufs [][]byte) error {
	if l.phase != open && l.phase != ended {
		return errNotOpen
	}
	outer := l.pipe.begin(k, nil)
	defer l.pipe.end(outer)
	if len(bufs) == 1 {
		return l.seal(bufs[0])
	}
	return l.sealAll(bufs)
}

// sealAll seals bufs, of which small ones share records.
func (l *Layer) sealAll(bufs [][]byte) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	n := 0
	for i, b := range bufs {
		alone := len(b) >= gatherBelow || n == 0 && i == len(bufs)-1
		if n > 0 && (alone || n+len(b) > maxPlain) {
			if err := l.seal(s[:n]); err != nil {
				return err
			}
			n = 0
		}
		if alone {
			if err := l.seal(b); err != nil {
				return err
			}
			continue
		}
		n += copy(s[n:], b)
	}
	return l.seal(s[:n])
}

// gatherBelow is the size up to which copying a buffer costs less than a record for itself.
const gatherBelow = 4 << 10

var errNotOpen = errors.New("tls: the handshake is not done")

func (l *Layer) seal(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := l.tls.Write(p); err != nil {
		l.fail()
		return recordError(err)
	}
	return l.pipe.now.err
}

// CloseWrite says goodbye: close_notify.
func (l *Layer) CloseWrite(k interceptor.Link) error {
	switch l.phase {
	case shaking:
		l.giveUp()
	case open, ended:
		outer := l.pipe.begin(k, nil)
		defer l.pipe.end(outer)
		_ = l.tls.CloseWrite() // it can only say that an alert was sent already
		return l.pipe.now.err
	}
	return nil
}

// Close ends the handshake, if it goes on.
func (l *Layer) Close() {
	if l.phase == shaking {
		l.giveUp()
	}
}

func (l *Layer) giveUp() {
	l.fail()
	l.pipe.hs.giveUp(errGaveUp)
}
