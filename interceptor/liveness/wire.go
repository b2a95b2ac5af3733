package liveness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/galago-go/galago/interceptor"
)

// The wire format of Framed, version 1. All numbers are big-endian and unsigned. A frame is a type, a length of three
// bytes, and so many bytes more.
const (
	frameData    = 0x00 // bytes of the application, passed up as they come; none: a keepalive
	frameHello   = 0x01 // the first one each way
	frameTimings = 0x02 // T and MinSpeak, as in HELLO, from now on
	frameBye     = 0x03 // a code and a reason; no DATA follows
	frameLater   = 0x80 // from here on: skipped, for later versions

	version = 1
	magic   = "FLM1"

	headSize    = 4
	helloSize   = 36
	timingsSize = 16
	maxReason   = 256
	maxControl  = 1024  // bytes in a frame that is not DATA
	maxData     = 65535 // bytes in a DATA frame of ours; a peer's may have as many as the length can say
)

// The codes of BYE.
const (
	byeDone        = 0
	byeVersion     = 1
	byeNotLiveness = 2
	byeProtocol    = 3
	byeTooFast     = 4
)

// What a framed peer can do wrong. The errors are wrapped in others that say more.
var (
	ErrNotLiveness = errors.New("liveness: the peer does not speak this protocol")
	ErrVersion     = errors.New("liveness: there is no version that both sides speak")
	ErrProtocol    = errors.New("liveness: the peer broke the protocol")
	ErrFrame       = errors.New("liveness: bad frame")
	ErrTooFast     = errors.New("liveness: a side wants to hear more often than the other is willing to speak")
	ErrFlood       = errors.New("liveness: too many empty frames")
	ErrSelfConnect = errors.New("liveness: connected to itself")
)

// A ByeError is how a framed peer said that it cannot go on. It matches the error above that its Code stands for.
type ByeError struct {
	Code   uint16 // 1: ErrVersion, 2: ErrNotLiveness, 3: ErrProtocol, 4: ErrTooFast
	Reason string // the peer's words
}

// Error gives the peer's words.
func (e *ByeError) Error() string {
	return fmt.Sprintf("liveness: the peer said goodbye, code %d: %q", e.Code, e.Reason)
}

// Is reports whether target is what the code stands for.
func (e *ByeError) Is(target error) bool {
	switch e.Code {
	case byeVersion:
		return target == ErrVersion
	case byeNotLiveness:
		return target == ErrNotLiveness
	case byeProtocol:
		return target == ErrProtocol
	case byeTooFast:
		return target == ErrTooFast
	}
	return false
}

// A hello is what the first frame says.
type hello struct {
	lowest, highest   byte
	timeout, minSpeak int64 // never: no limit
	nonce             uint64
}

func appendHead(p []byte, kind byte, n int) []byte {
	return append(p, kind, byte(n>>16), byte(n>>8), byte(n))
}

// helloFrame has no extensions: this version knows none.
func helloFrame(h hello) []byte {
	p := appendHead(make([]byte, 0, headSize+helloSize), frameHello, helloSize)
	p = append(p, magic...)
	p = append(p, h.lowest, h.highest, 0, 0)
	p = appendTimings(p, h.timeout, h.minSpeak)
	p = binary.BigEndian.AppendUint64(p, h.nonce)
	return append(p, 0, 0, 0, 0)
}

// appendTimings appends microseconds. T is rounded down and MinSpeak up: so the peer does no less than what is wanted.
func appendTimings(p []byte, timeout, minSpeak int64) []byte {
	us := int64(time.Microsecond)
	t := uint64(0)
	if timeout != never {
		t = uint64(timeout / us)
	}
	p = binary.BigEndian.AppendUint64(p, t)
	return binary.BigEndian.AppendUint64(p, uint64((minSpeak+us-1)/us))
}

// timings are the reverse. What no Duration can hold counts as without end.
func timings(p []byte) (timeout, minSpeak int64) {
	timeout, minSpeak = micros(p), micros(p[8:])
	if timeout == 0 {
		timeout = never
	}
	return timeout, minSpeak
}

func micros(p []byte) int64 {
	const us = uint64(time.Microsecond)
	if n := binary.BigEndian.Uint64(p); n <= never/us {
		return int64(n * us)
	}
	return never
}

func timingsFrame(timeout, minSpeak int64) []byte {
	return appendTimings(appendHead(nil, frameTimings, timingsSize), timeout, minSpeak)
}

func byeFrame(code uint16, reason string) []byte {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
		for !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	p := appendHead(nil, frameBye, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(p, code), reason...)
}

// parseHello reads the payload of a HELLO.
func parseHello(p []byte) (h hello, err error) {
	if len(p) < helloSize || string(p[:4]) != magic {
		return h, fmt.Errorf("%w: its first frame is no HELLO", ErrNotLiveness)
	}
	h.lowest, h.highest = p[4], p[5]
	h.timeout, h.minSpeak = timings(p[8:])
	h.nonce = binary.BigEndian.Uint64(p[24:])
	size := int(binary.BigEndian.Uint16(p[32:]))
	switch {
	case h.lowest > h.highest:
		return h, fmt.Errorf("%w: its HELLO offers versions %d to %d", ErrProtocol, h.lowest, h.highest)
	case p[6] != 0 || p[7] != 0 || p[34] != 0 || p[35] != 0:
		return h, fmt.Errorf("%w: reserved bytes of its HELLO are not zero", ErrProtocol)
	case helloSize+size != len(p):
		return h, fmt.Errorf("%w: its HELLO has %d bytes of extensions, and says %d", ErrProtocol, len(p)-helloSize, size)
	}
	for x := p[helloSize:]; len(x) > 0; { // this version knows none
		if len(x) < 2 || len(x) < 2+int(x[1]) {
			return h, fmt.Errorf("%w: an extension of its HELLO is longer than that", ErrProtocol)
		}
		x = x[2+int(x[1]):]
	}
	if h.lowest > version || h.highest < version {
		return h, fmt.Errorf("%w: the peer speaks %d to %d, and this side %d", ErrVersion, h.lowest, h.highest, version)
	}
	return h, nil
}

// frame passes bytes of the application down as DATA: in one call, and cut as the format wants it.
func (l *Layer) frame(k interceptor.Link, bufs [][]byte, total int) error {
	s := scratches.Get().(*scratch)
	defer s.giveBack()
	s.bytes = s.bytes[:0]
	for left := total; left > 0; left -= maxData {
		s.bytes = appendHead(s.bytes, frameData, min(left, maxData))
	}
	heads := s.bytes // it does not move any more
	room := 0        // in the frame that was begun
	for _, b := range bufs {
		for len(b) > 0 {
			if room == 0 {
				s.bufs = append(s.bufs, heads[:headSize])
				heads = heads[headSize:]
				room = maxData
			}
			n := min(len(b), room)
			s.bufs = append(s.bufs, b[:n])
			b = b[n:]
			room -= n
		}
	}
	return k.Down(s.bufs)
}

// reasonOf is what the peer is told: what went wrong, without the name of this package.
func reasonOf(err error) string { return strings.TrimPrefix(err.Error(), "liveness: ") }
