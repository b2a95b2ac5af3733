package tls_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/tls"
)

// A sealer is one direction of an open connection of TLS 1.3 with AES-128-GCM, made by hand (RFC 8446, sections 5.2 and
// 7), so that a test can send what crypto/tls never does, and read what follows.
type sealer struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func newSealer(t testing.TB, secret []byte) *sealer {
	t.Helper()
	s := new(sealer)
	s.use(t, secret)
	return s
}

func (s *sealer) use(t testing.TB, secret []byte) {
	t.Helper()
	s.secret = secret
	block, err := aes.NewCipher(expandLabel(t, secret, "key", 16))
	require.NoError(t, err)
	s.aead, err = cipher.NewGCM(block)
	require.NoError(t, err)
	s.iv = expandLabel(t, secret, "iv", 12)
}

// update goes on with the next generation of keys.
func (s *sealer) update(t testing.TB) {
	t.Helper()
	s.use(t, expandLabel(t, s.secret, "traffic upd", 32))
	s.seq = 0
}

func expandLabel(t testing.TB, secret []byte, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(info, byte(len(label))), label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	require.NoError(t, err)
	return out
}

func (s *sealer) nonce() []byte {
	n := append([]byte(nil), s.iv...)
	for i := range 8 {
		n[11-i] ^= byte(s.seq >> (8 * i))
	}
	s.seq++
	return n
}

const (
	typeAlert       = 21
	typeHandshake   = 22
	typeApplication = 23
)

// seal makes a record.
func (s *sealer) seal(typ byte, body string) string {
	head := []byte{typeApplication, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(head[3:], uint16(len(body)+1+s.aead.Overhead()))
	return string(s.aead.Seal(head, s.nonce(), append([]byte(body), typ), head))
}

// open opens a record.
func (s *sealer) open(record string) (typ byte, body string, err error) {
	plain, err := s.aead.Open(nil, s.nonce(), []byte(record[5:]), []byte(record[:5]))
	if err != nil {
		return 0, "", err
	}
	return plain[len(plain)-1], string(plain[:len(plain)-1]), nil
}

const (
	keyUpdate      = "\x18\x00\x00\x01\x00"
	keyUpdateAsked = "\x18\x00\x00\x01\x01" // an answer is requested
)

// forged is a talk that is connected, of which the peer is played by hand from then on.
func forged(t *testing.T, as role, cfg conn.Config, setup func(k *talk)) (k *talk, from, to *sealer) {
	t.Helper()
	server, client := versions[1].configs(t)
	return forgedWith(t, as, server, client, cfg, setup)
}

// forgedWith is forged, with other configurations. None of them may bring about a ticket.
func forgedWith(t *testing.T, as role, server, client *tls.Config, cfg conn.Config, setup func(k *talk),
) (k *talk, from, to *sealer) {
	t.Helper()
	var log syncBuffer
	server.KeyLogWriter = &log
	h := newHushed()
	p := playWith(as, server, client, h.part)
	p.conn, p.setup = cfg, setup
	k = p.begin(t)
	t.Cleanup(func() { close(h.do) })
	k.connected()
	k.settle()
	secret := func(label string) []byte {
		_, after, ok := strings.Cut(log.String(), label+" ")
		require.True(t, ok, label)
		fields := strings.Fields(after)
		b, err := hex.DecodeString(fields[1])
		require.NoError(t, err)
		return b
	}
	ours, theirs := secret("SERVER_TRAFFIC_SECRET_0"), secret("CLIENT_TRAFFIC_SECRET_0")
	if as == asClient {
		ours, theirs = theirs, ours
	}
	return k, newSealer(t, theirs), newSealer(t, ours) // there was no ticket, for the client keeps none
}

// wrote opens what we wrote.
func (k *talk) wrote(s *sealer) (list []string) {
	k.t.Helper()
	all, rest := records(k.Wire())
	assert.Empty(k.t, rest)
	for _, r := range all {
		typ, body, err := s.open(r)
		require.NoError(k.t, err, "record %d of %d", len(list)+1, len(all))
		list = append(list, fmt.Sprintf("%d %s", typ, body))
		if typ == typeHandshake {
			s.update(k.t)
		}
	}
	return list
}

var answered = fmt.Sprintf("%d %s", typeHandshake, keyUpdate)

func TestTLS13_AKeyUpdateIsAnswered(t *testing.T) {
	for _, as := range []role{asServer, asClient} {
		k, from, to := forged(t, as, conn.Config{}, nil)
		for range 3 {
			k.Feed(from.seal(typeHandshake, keyUpdateAsked))
			from.update(t)
			assert.Equal(t, []string{answered}, k.wrote(to))
			var want strings.Builder
			for i := range 100 {
				message := fmt.Sprintf("message %d.", i)
				want.WriteString(message)
				k.Feed(from.seal(typeApplication, message))
			}
			assert.Equal(t, want.String(), k.rec.Received())
			k.Do(func(c *conn.Conn) {
				_, err := c.Send([]byte("behind it"))
				assert.NoError(t, err)
			})
			assert.Equal(t, []string{"23 behind it"}, k.wrote(to))
		}
		k.Feed(from.seal(typeHandshake, keyUpdate)) // which asks for nothing
		from.update(t)
		assert.Empty(t, k.wrote(to))
		k.Feed(from.seal(typeApplication, "more"))
		assert.Equal(t, "more", k.rec.Received())
	}
}

// The answer goes out in the turn in which the application pauses.
func TestTLS13_AKeyUpdateBesideAPause(t *testing.T) {
	for _, as := range []role{asServer, asClient} {
		for _, before := range []bool{true, false} {
			k, from, to := forged(t, as, conn.Config{}, func(k *talk) {
				k.rec.Return = func(c *conn.Conn, _ []byte) error { c.Pause(); return nil }
			})
			var read string
			if before {
				read = from.seal(typeHandshake, keyUpdateAsked)
				from.update(t)
				read += from.seal(typeApplication, "pause")
			} else {
				read = from.seal(typeApplication, "pause") + from.seal(typeHandshake, keyUpdateAsked)
				from.update(t)
			}
			turns := k.Turns()
			k.Feed(read)
			assert.Equal(t, 1, k.Turns()-turns)
			assert.Equal(t, []string{answered}, k.wrote(to))

			// What comes during the pause is held, unread, and is answered after it.
			next := from.seal(typeHandshake, keyUpdateAsked)
			from.update(t)
			next += from.seal(typeApplication, "after")
			k.Feed(next)
			assert.Empty(t, k.wrote(to))
			assert.Equal(t, len(next), k.Unread())
			k.Do((*conn.Conn).Resume)
			assert.Equal(t, []string{answered}, k.wrote(to))
			assert.Equal(t, "pauseafter", k.rec.Received())
		}
	}
}

// A peer that does not read and asks for new keys without end gets no more answers than HighWater holds.
func TestTLS13_AFloodOfKeyUpdates(t *testing.T) {
	for _, as := range []role{asServer, asClient} {
		const high = 4096
		k, from, to := forged(t, as, conn.Config{HighWater: high}, nil)
		k.Allow(0)
		const rounds = 1000
		for range rounds {
			p := from.seal(typeHandshake, keyUpdateAsked)
			from.update(t)
			k.Feed(p + from.seal(typeApplication, "."))
			require.LessOrEqual(t, k.Conn().Stats().Pending, high+100)
		}
		assert.Positive(t, k.Unread(), "reading rests")
		k.Allow(-1)
		got := k.wrote(to)
		require.Len(t, got, rounds)
		assert.Equal(t, strings.Repeat(".", rounds), k.rec.Received())
	}

	// Without any data between them, crypto/tls has enough after a few.
	k, from, _ := forged(t, asServer, conn.Config{}, nil)
	for range 100 {
		k.Feed(from.seal(typeHandshake, keyUpdateAsked))
		from.update(t)
	}
	k.FeedEOF()
	k.done()
	var broken *tls.RecordError
	require.ErrorAs(t, k.ends.closed, &broken)
	assert.ErrorContains(t, broken, "too many")
}

// What does not belong into an open connection ends it, with an alert.
func TestWhatDoesNotBelongThere(t *testing.T) {
	for name, x := range map[string]struct {
		typ   byte
		body  string
		alert tls.AlertError
	}{
		"a hello":            {typeHandshake, "\x01\x00\x00\x00", 50},
		"an unknown message": {typeHandshake, "\x63\x00\x00\x00", 10},
		"an unknown type":    {99, "body", 10},
		"an empty handshake": {typeHandshake, "", 10},
		"a long alert":       {typeAlert, "\x02\x28\x00", 10},
	} {
		k, from, to := forged(t, asServer, conn.Config{}, nil)
		k.Feed(from.seal(x.typ, x.body))
		wrote := k.wrote(to)
		require.Len(t, wrote, 1, name)
		assert.Equal(t, fmt.Sprintf("%d \x02%c", typeAlert, x.alert), wrote[0], name)
		k.FeedEOF()
		k.done()
		var broken *tls.RecordError
		require.ErrorAs(t, k.ends.closed, &broken, name)
		var alert tls.AlertError
		if errors.As(broken, &alert) {
			assert.Equal(t, x.alert, alert, name)
		}
	}
}

// An alert of the peer is its reason, and needs no answer.
func TestThePeersAlert(t *testing.T) {
	k, from, to := forged(t, asServer, conn.Config{}, nil)
	k.Feed(from.seal(typeApplication, "last words") + from.seal(typeAlert, "\x02\x50"))
	assert.Equal(t, "last words", k.rec.Received())
	assert.Empty(t, k.wrote(to))
	k.done()
	var broken *tls.RecordError
	require.ErrorAs(t, k.ends.closed, &broken)
	assert.Equal(t, tls.RecordError{Alert: 80, Remote: true, Err: broken.Err}, *broken)
	assert.ErrorContains(t, broken, "internal error")
}

// Nothing that is not sealed is taken, whatever it says.
func TestPlainRecordsInAnOpenConnection(t *testing.T) {
	each(t, func(t *testing.T, v version, as role) {
		for _, record := range []string{
			"\x16\x03\x03\x00\x04\x01\x00\x00\x00", "\x17\x03\x03\x00\x04data", "\x15\x03\x03\x00\x02\x01\x00",
		} {
			k, _ := talking(t, v, as, conn.Config{}, nil)
			k.Feed(record)
			k.FeedEOF()
			k.done()
			assert.False(t, k.has("OnReceived"))
			var broken *tls.RecordError
			require.ErrorAs(t, k.ends.closed, &broken)
			assert.NotZero(t, broken.Alert)
		}
	})
}
