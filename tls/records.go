package tls

const (
	headerLen     = 5             // type, version, length of what follows (RFC 8446, section 5.1)
	maxCiphertext = 16<<10 + 2048 // RFC 5246, section 6.2.3

	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23
)

// records follows the records of a stream.
type records struct {
	left int32 // bytes until the end of this record; 0 before one, and within a header
	have uint8 // bytes of the header that were taken while it was not whole
	head [headerLen]byte
}

// take copies the beginning of p to b, up to the end of a record.
func (r *records) take(b, p []byte) int {
	if r.left == 0 {
		n := int(r.have) + copy(r.head[r.have:], p)
		if n < headerLen {
			k := copy(b, p)
			r.have += uint8(k)
			return k
		}
		r.left = int32(headerLen + bodyLen(r.head[:]) - int(r.have))
		r.have = 0
	}
	n := copy(b[:min(len(b), int(r.left))], p)
	r.left -= int32(n)
	return n
}

// whole reports whether crypto/tls can read on without waiting if p comes next: p begins with a whole record, or with
// something that is none, or goes on with one of which the beginning was taken.
func (r *records) whole(p []byte) bool {
	if r.left > 0 {
		return len(p) > 0
	}
	return len(p) >= headerLen && (!plausible(p) || len(p) >= headerLen+bodyLen(p))
}

func bodyLen(head []byte) int { return int(head[3])<<8 | int(head[4]) }

// plausible reports whether head may begin a record of TLS. If it may not, crypto/tls says what is wrong with it.
func plausible(head []byte) bool {
	return head[0] >= typeChangeCipherSpec && head[0] <= typeApplicationData && head[1] == 3 && bodyLen(head) <= maxCiphertext
}

// worthReading reports whether p, which came first, holds all of the first handshake message, so that there is
// something to do; or something else, so that there is nothing to wait for.
func worthReading(p []byte) bool {
	const messageHead = 4 // type, length in three bytes
	var message [messageHead]byte
	for got, need := 0, messageHead; ; {
		switch {
		case len(p) < headerLen:
			return false
		case p[0] != typeHandshake || !plausible(p) || bodyLen(p) == 0:
			return true
		}
		body := p[headerLen:min(len(p), headerLen+bodyLen(p))]
		if got < messageHead {
			if got+copy(message[got:], body) >= messageHead {
				need = messageHead + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
			}
		}
		got += len(body)
		if got >= messageHead && (got >= need || need > maxHello) || got > maxHello {
			return true
		}
		if len(p) <= headerLen+bodyLen(p) {
			return false
		}
		p = p[headerLen+bodyLen(p):]
	}
}

// maxHello is how much of a first message is kept without a handshake that works on it. Longer ones, which nobody sends
// in good faith, have one that waits with them.
const maxHello = 16 << 10
