package liveness

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// Where in a frame reading is. From 0 to 3: so many bytes of a head are in part.
const (
	inData    = 4 // part says how many bytes are left
	inSkipped = 5 // as inData
	inControl = 6 // rare.control collects
)

// frameLimit is how long a frame that is not DATA may take to arrive.
const frameLimit = 10 * time.Second

func (l *Layer) left() int { return int(l.part[0])<<16 | int(l.part[1])<<8 | int(l.part[2]) }

// setLeft notes that n bytes are left of a payload. With the last one the frame is over.
func (l *Layer) setLeft(n int) {
	if n == 0 {
		l.mode = 0
	}
	l.part = [3]byte{byte(n >> 16), byte(n >> 8), byte(n)}
}

// sayHello says what we want. Until the peer has answered, our nonce takes the place of its T.
func (l *Layer) sayHello() error {
	nonce := l.cfg.rand()
	l.peer = int64(nonce)
	l.queued()
	return l.link.Down([][]byte{helloFrame(hello{version, version, l.cfg.wanted, l.cfg.minSpeak, nonce})})
}

// frames takes frames apart, wherever p begins and ends. DATA is passed up as it comes.
func (l *Layer) frames(k interceptor.Link, p []byte) (err error) {
	if l.mode == 0 && l.flags&(stateBits|goodbye) == flags(StateUp) && wholeData(p) { // as nearly always, if there is little
		return k.Up(p[headSize:])
	}
	for len(p) > 0 && err == nil {
		switch l.mode {
		case inData, inSkipped:
			n, data := min(l.left(), len(p)), l.mode == inData
			l.setLeft(l.left() - n)
			switch {
			case data:
				err = k.Up(p[:n])
			case l.mode == 0:
				l.frameOver()
			}
			p = p[n:]
		case inControl:
			p, err = l.collect(k, p)
		default:
			p, err = l.head(k, p)
		}
	}
	if err == nil {
		l.watchFrame()
	}
	return err
}

// watchFrame bounds how long a frame may take that is not DATA. It is asked when all that came was looked at.
func (l *Layer) watchFrame() {
	partial := l.mode == inSkipped || l.mode == inControl || l.mode > 0 && l.mode < headSize && l.part[0] != frameData
	if partial && l.needRare().frameAt == never {
		l.catchUp()
		l.rare.frameAt = after(l.heard, int64(frameLimit))
		l.arm(l.heard)
	}
}

// wholeData reports whether p is one frame of DATA that is not empty.
func wholeData(p []byte) bool {
	return len(p) > headSize && p[0] == frameData && len(p)-headSize == int(p[1])<<16|int(p[2])<<8|int(p[3])
}

func (l *Layer) frameOver() {
	if l.rare != nil {
		l.rare.frameAt = never
	}
}

// head reads the head of a frame, of which some bytes may have come before, and begins the frame.
func (l *Layer) head(k interceptor.Link, p []byte) ([]byte, error) {
	have := int(l.mode)
	if have == 0 {
		if err := l.checkKind(p[0]); err != nil {
			return nil, err
		}
	}
	if have+len(p) < headSize {
		copy(l.part[have:], p)
		l.mode += uint8(len(p))
		return nil, nil
	}
	var head [headSize]byte
	copy(head[:], l.part[:have])
	copy(head[have:], p[:headSize-have])
	p = p[headSize-have:]
	l.mode = 0
	return l.begin(k, head[0], int(head[1])<<16|int(head[2])<<8|int(head[3]), p)
}

// checkKind looks at the first byte of a frame, as soon as it is there: who is no peer of ours is told at once.
func (l *Layer) checkKind(kind byte) error {
	waiting := l.state() == StateWaiting
	switch {
	case l.flags.has(goodbye):
		return l.refuse(byeProtocol, fmt.Errorf("%w: a frame after its BYE", ErrProtocol))
	case kind == frameHello && !waiting:
		return l.refuse(byeProtocol, fmt.Errorf("%w: a second HELLO", ErrProtocol))
	case (kind == frameData || kind == frameTimings) && waiting:
		return l.refuse(byeProtocol, fmt.Errorf("%w: a frame of type %#02x before its HELLO", ErrProtocol, kind))
	case kind <= frameBye:
		return nil
	case waiting:
		return l.refuse(byeNotLiveness, fmt.Errorf("%w: its first byte is %#02x", ErrNotLiveness, kind))
	case kind < frameLater:
		return l.refuse(byeProtocol, fmt.Errorf("%w: a frame of unknown type %#02x", ErrProtocol, kind))
	}
	return nil
}

// begin begins a frame of n bytes; p is what comes behind its head. A frame that must be wrong is refused before anything
// is kept for it.
func (l *Layer) begin(k interceptor.Link, kind byte, n int, p []byte) ([]byte, error) {
	if kind == frameData || kind >= frameLater {
		if n > 0 && kind == frameData {
			l.mode = inData
			l.setLeft(n)
			return p, nil
		}
		if err := l.countEmpty(); err != nil {
			return nil, err
		}
	}
	if n > maxControl {
		return nil, l.refuse(byeProtocol, fmt.Errorf("%w: type %#02x, %d bytes, but may have %d", ErrFrame, kind, n, maxControl))
	}
	switch {
	case kind == frameData: // a keepalive
		return p, l.answer()
	case kind >= frameLater:
		if l.mode = inSkipped; n == 0 {
			l.frameOver()
		}
		l.setLeft(n)
		return p, nil
	case kind == frameHello && n < helloSize:
		return nil, l.refuse(byeNotLiveness, fmt.Errorf("%w: its first frame is no HELLO, for that has %d bytes and more, "+
			"and it %d", ErrNotLiveness, helloSize, n))
	case kind == frameTimings && n != timingsSize, kind == frameBye && (n < 2 || n > 2+maxReason):
		return nil, l.refuse(byeProtocol, fmt.Errorf("%w: a frame of type %#02x has %d bytes", ErrProtocol, kind, n))
	case n <= len(p):
		l.frameOver()
		return p[n:], l.control(k, kind, p[:n])
	}
	r := l.needRare()
	r.kind, r.control = kind, make([]byte, 0, n)
	l.mode = inControl
	return p, nil
}

// collect collects a frame that came in pieces.
func (l *Layer) collect(k interceptor.Link, p []byte) ([]byte, error) {
	r := l.rare
	n := min(cap(r.control)-len(r.control), len(p))
	if r.control = append(r.control, p[:n]...); len(r.control) < cap(r.control) {
		return nil, nil
	}
	whole := r.control
	r.control, l.mode = nil, 0
	l.frameOver()
	return p[n:], l.control(k, r.kind, whole)
}

// control does what a frame says.
func (l *Layer) control(k interceptor.Link, kind byte, p []byte) error {
	switch kind {
	case frameHello:
		return l.heardHello(k, p)
	case frameTimings:
		t, m := timings(p)
		return l.heardTimings(t, m)
	default:
		return l.heardBye(k, binary.BigEndian.Uint16(p), p[2:])
	}
}

func (l *Layer) heardHello(k interceptor.Link, p []byte) error {
	h, err := parseHello(p)
	if err != nil {
		return l.refuse(codeOf(err), err)
	}
	if h.nonce == uint64(l.peer) {
		return l.refuse(byeProtocol, ErrSelfConnect)
	}
	l.setState(StateUp)
	if err := l.heardTimings(h.timeout, h.minSpeak); err != nil {
		return err
	}
	l.flags.clear(notAside)
	k.Ready()
	return nil
}

// heardTimings takes note of what the peer wants, from now on.
func (l *Layer) heardTimings(timeout, minSpeak int64) error {
	ours := max(l.cfg.minSpeak, quickest)
	l.peer = timeout
	switch l.cfg.reconcile {
	case Refuse:
		if timeout/clashFactor < ours {
			return l.refuse(byeTooFast, fmt.Errorf("%w: the peer's timeout is %v, and this side speaks no more often than "+
				"every %v", ErrTooFast, time.Duration(timeout), time.Duration(ours)))
		}
	case Stretch, Smaller:
		l.needRare().wants = wants{timeout, minSpeak}
	}
	l.reconcile()
	l.link.Raise(PeerTimings{Timeout: time.Duration(timeout), MinSpeak: time.Duration(minSpeak)})
	l.arm(l.now())
	return nil
}

// wants are the peer's timings, where they change our own.
type wants struct{ timeout, minSpeak int64 }

// reconcile finds the T that counts, of what this side and the peer want. If it changes, silence counts from now on.
func (l *Layer) reconcile() {
	t := l.cfg.wanted
	switch l.cfg.reconcile {
	case Stretch:
		if m := l.rare.wants.minSpeak; m > never/clashFactor {
			t = never
		} else {
			t = max(t, clashFactor*m)
		}
	case Smaller:
		t = min(t, l.rare.wants.timeout)
		l.peer = t
	}
	if t != l.cfg.timeout {
		l.own().setTimeout(t)
		l.restart()
	}
}

// heardBye ends the application's stream, unless the peer could not go on.
func (l *Layer) heardBye(k interceptor.Link, code uint16, reason []byte) error {
	if l.state() == StateWaiting || code >= byeVersion && code <= byeTooFast {
		return &ByeError{Code: code, Reason: strings.ToValidUTF8(string(reason), "\ufffd")}
	}
	l.flags.set(goodbye)
	if l.state() != StateClosing {
		l.setState(StateEnded)
	}
	l.arm(l.now())
	return k.EOF()
}

// refuse tells the peer why, as far as that is still possible, and returns the error that ends the connection.
func (l *Layer) refuse(code uint16, err error) error {
	if !l.flags.has(shut) {
		l.flags.set(shut)
		if e := l.link.Down([][]byte{byeFrame(code, reasonOf(err))}); e != nil {
			return e
		}
	}
	return err
}

// codeOf is what BYE says of an error.
func codeOf(err error) uint16 {
	for code := uint16(byeVersion); code <= byeTooFast; code++ {
		if (&ByeError{Code: code}).Is(unwrapped(err)) {
			return code
		}
	}
	return byeProtocol
}

func unwrapped(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}

// Empty frames, and those that are skipped, may come a thousand times a second, and as many at once. flood is the
// millisecond that the last one would have been due in, had they come evenly; only its lowest 16 bits, which do while
// settleFlood sees to it that it is never far behind.
const floodBurst = 1000

func inMs(t int64) uint16 { return uint16(t / ms) }

// settleFlood is called before heard changes.
func (l *Layer) settleFlood(now int64) {
	if at := inMs(now); now-l.heard > floodBurst*ms || int16(l.flood-at) < 0 {
		l.flood = at
	}
}

func (l *Layer) countEmpty() error {
	l.catchUp()
	if l.flood++; int16(l.flood-inMs(l.heard)) > floodBurst {
		return l.refuse(byeProtocol, fmt.Errorf("%w: more than %d in a second", ErrFlood, floodBurst))
	}
	return nil
}
