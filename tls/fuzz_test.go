package tls_test

import (
	stdtls "crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/tls"
)

// fuzzed returns configurations that all runs share, so that a run is little but its handshake.
func fuzzed(f *testing.F) map[uint16][2]*tls.Config {
	all := make(map[uint16][2]*tls.Config)
	for _, v := range versions {
		server, client := v.configs(f)
		all[v.number] = [2]*tls.Config{server, client}
	}
	return all
}

// FuzzGarbage gives our side whatever there is, in pieces, and then the end. It must end, soon, in order or not, and
// neither deliver anything nor keep anything.
func FuzzGarbage(f *testing.F) {
	configs := fuzzed(f)
	_, client := versions[1].configs(f)
	hello := helloOf(f, client)
	f.Add(true, uint16(5), []byte("GET / HTTP/1.0\r\n\r\n"))
	f.Add(false, uint16(1), []byte("220 mail.example\r\n"))
	f.Add(true, uint16(100), []byte(hello))
	f.Add(true, uint16(100), []byte(hello+"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x20"+strings.Repeat("x", 32)))
	f.Add(false, uint16(7), []byte("\x16\x03\x03\x00\x04\x02\x00\x00\x00"))
	f.Add(false, uint16(7), []byte("\x15\x03\x03\x00\x02\x02\x28"))
	f.Fuzz(func(t *testing.T, server bool, piece uint16, data []byte) {
		both := configs[stdtls.VersionTLS13]
		p := play{layer: tls.Client(both[1]), brief: true}
		if server {
			p.layer = tls.Server(both[0])
		}
		p.peer = func(nc net.Conn) error { _, err := nc.Write(data); return err }
		k := p.begin(t)
		defer k.over()
		k.cut = func(_ int, p string) (pieces []string) {
			for n := max(int(piece), 1); len(p) > n; p = p[n:] {
				pieces = append(pieces, p[:n])
			}
			return append(pieces, p)
		}
		k.done()
		if k.has("OnReceived") || k.has("OnConnected") {
			t.Fatalf("garbage became %q", k.calls)
		}
		var shake *tls.HandshakeError
		if !errors.As(k.ends.failed, &shake) {
			t.Fatalf("it ended with %v", k.ends.failed)
		}
		if n := k.Conn().Stats().BytesWritten; n > 64<<10 {
			t.Fatalf("%d bytes were written", n)
		}
	})
}

// FuzzFlippedBits changes one bit of what the peer says, in the handshake or behind it, and cuts the stream in two there.
// What is delivered must be the beginning of what was said; and whatever was changed is noticed, but for the goodbye, and
// for the version that the first record has in its header, which nobody looks at.
func FuzzFlippedBits(f *testing.F) {
	configs := fuzzed(f)
	for at := range uint16(40) {
		f.Add(at%2 == 0, at%3 == 0, at*70, byte(at))
	}
	f.Fuzz(func(t *testing.T, server, old bool, at uint16, bit byte) {
		v, as := versions[1], asClient
		if old {
			v = versions[0]
		}
		if server {
			as = asServer
		}
		both := configs[v.number]
		p := playWith(as, both[0], both[1], func(c *stdtls.Conn) error {
			return errors.Join(writes(short.all())(c), readToEnd(c))
		})
		p.brief = true
		k := p.begin(t)
		defer k.over()
		var got strings.Builder
		k.rec.Return = func(_ *conn.Conn, data []byte) error { got.Write(data); return nil }
		place := int(at) % 6000
		k.cut = func(from int, p string) []string {
			n := place - from
			if n < 0 || n >= len(p) {
				return []string{p}
			}
			changed := []byte(p)
			changed[n] ^= 1 << (bit % 8)
			return []string{string(changed[:n]), string(changed[n:])}
		}
		all := short.all()
		// If a length was changed, each side waits for the other.
		k.Await(100*time.Millisecond, func() bool { k.step(); return k.Done() || got.Len() >= len(all) })
		if !strings.HasPrefix(all, got.String()) {
			t.Fatal("what came is not what was sent")
		}
		const header, goodbye = 5, 31
		if got.Len() == len(all) && place >= header && place < k.fed-goodbye {
			t.Fatalf("byte %d of %d was changed, and nobody noticed", place, k.fed)
		}
		k.Do((*conn.Conn).Close)
		k.Advance(time.Hour)
		if !k.Done() {
			t.Fatalf("it does not end: %q", k.calls)
		}
	})
}
