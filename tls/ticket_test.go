package tls_test

import (
	stdtls "crypto/tls"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/tls"
)

// Tickets of TLS 1.3 (RFC 8446, section 4.6.1) come behind the handshake: a server sends them of its own accord, and a
// client takes them among the data.

// ticket is the message with the ticket of that number.
func ticket(number byte) string {
	const head = "\x00\x00\x0e\x10" + "\x01\x02\x03\x04" // it is good for an hour; what its age is hidden with
	body := head + "\x01" + string([]byte{number})       // a nonce of its own for each
	name := fmt.Sprintf("ticket %d", number)
	body += string(binary.BigEndian.AppendUint16(nil, uint16(len(name)))) + name + "\x00\x00"
	return "\x04" + string([]byte{0, byte(len(body) >> 8), byte(len(body))}) + body
}

// tickets is a client's store that counts what it is given, and keeps none.
type tickets struct {
	t    testing.TB
	list []string
}

func (s *tickets) Get(string) (*stdtls.ClientSessionState, bool) { return nil, false }

func (s *tickets) Put(_ string, session *stdtls.ClientSessionState) {
	name, _, err := session.ResumptionState()
	require.NoError(s.t, err)
	s.list = append(s.list, string(name))
}

// keeping is a forged talk of a client that keeps tickets, of which the test plays the server.
func keeping(t *testing.T, cfg conn.Config, setup func(k *talk)) (k *talk, from, to *sealer, kept *tickets) {
	t.Helper()
	server, client := versions[1].configs(t)
	server.SessionTicketsDisabled = true // the test makes them
	kept = &tickets{t: t}
	client.ClientSessionCache = kept
	k, from, to = forgedWith(t, asClient, server, client, cfg, setup)
	return k, from, to, kept
}

func TestTLS13_TicketsBesideAPause(t *testing.T) {
	for _, before := range []bool{true, false} {
		k, from, to, kept := keeping(t, conn.Config{}, func(k *talk) {
			k.rec.Return = func(c *conn.Conn, _ []byte) error { c.Pause(); return nil }
		})
		if before {
			k.Feed(from.seal(typeHandshake, ticket(1)) + from.seal(typeApplication, "pause"))
		} else {
			k.Feed(from.seal(typeApplication, "pause") + from.seal(typeHandshake, ticket(1)))
		}
		assert.Equal(t, []string{"ticket 1"}, kept.list, "it is taken in the turn of the pause")
		assert.Equal(t, "pause", k.rec.Received())

		// What comes during the pause is held, unread, and taken after it.
		next := from.seal(typeHandshake, ticket(2)+ticket(3)) + from.seal(typeApplication, "after")
		k.Feed(next)
		assert.Equal(t, len(next), k.Unread())
		assert.Len(t, kept.list, 1)
		k.Do((*conn.Conn).Resume)
		assert.Equal(t, []string{"ticket 1", "ticket 2", "ticket 3"}, kept.list)
		assert.Equal(t, "after", k.rec.Received())
		assert.Empty(t, k.wrote(to), "a ticket has no answer")
	}
}

// While the peer does not read, a client reads on, unless ReadWaits says that it waits. Neither costs it a ticket.
func TestTLS13_TicketsWhileThrottled(t *testing.T) {
	for _, waits := range []conn.Setting{conn.Off, conn.On} {
		const high = 4096
		k, from, to, kept := keeping(t, conn.Config{HighWater: high, ReadWaits: waits}, nil)
		k.Allow(0)
		sends := k.throttle(high)
		pending := k.Conn().Stats().Pending
		const rounds = 100
		fed := 0
		for i := range rounds {
			p := from.seal(typeHandshake, ticket(byte(i))) + from.seal(typeApplication, ".")
			fed += len(p)
			k.Feed(p)
			require.Equal(t, pending, k.Conn().Stats().Pending, "a ticket has no answer")
		}
		if waits == conn.On {
			assert.Equal(t, fed, k.Unread(), "reading rests")
			assert.Empty(t, kept.list)
			k.Allow(-1)
		}
		require.Len(t, kept.list, rounds)
		for i, name := range kept.list {
			assert.Equal(t, fmt.Sprintf("ticket %d", i), name)
		}
		assert.Equal(t, strings.Repeat(".", rounds), k.rec.Received())
		k.Allow(-1)
		assert.Len(t, k.wrote(to), sends)
	}

	// Without any data between them, crypto/tls has enough after a few.
	k, from, _, kept := keeping(t, conn.Config{}, nil)
	for i := range 100 {
		k.Feed(from.seal(typeHandshake, ticket(byte(i))))
	}
	k.FeedEOF()
	k.done()
	var broken *tls.RecordError
	require.ErrorAs(t, k.ends.closed, &broken)
	assert.ErrorContains(t, broken, "too many")
	assert.Less(t, len(kept.list), 20)
}

// A key update that comes while Send is refused waits unread, if reading does; else its answer waits behind the sends.
func TestTLS13_KeyUpdatesWhileThrottled(t *testing.T) {
	for _, as := range []role{asServer, asClient} {
		for _, waits := range []conn.Setting{conn.Off, conn.On} {
			const high = 4096
			k, from, to := forged(t, as, conn.Config{HighWater: high, ReadWaits: waits}, nil)
			k.Allow(0)
			sends := k.throttle(high)
			pending := k.Conn().Stats().Pending
			fed := from.seal(typeHandshake, keyUpdateAsked)
			from.update(t)
			fed += from.seal(typeApplication, "behind it")
			k.Feed(fed)
			got := k.rec.Received()
			if waits == conn.On {
				assert.Equal(t, len(fed), k.Unread())
				assert.Equal(t, pending, k.Conn().Stats().Pending)
				assert.Empty(t, got)
			} else {
				assert.Equal(t, pending+answerLen, k.Conn().Stats().Pending)
				assert.Equal(t, "behind it", got)
			}
			k.Allow(-1)
			wrote := k.wrote(to) // which opens what we wrote with the keys of before the answer, then with those of after it
			require.Len(t, wrote, sends+1)
			assert.Equal(t, answered, wrote[sends])
			assert.Equal(t, "behind it", got+k.rec.Received())
			k.Do(func(c *conn.Conn) {
				_, err := c.Send([]byte("go on"))
				assert.NoError(t, err)
			})
			assert.Equal(t, []string{"23 go on"}, k.wrote(to))
		}
	}
}

// If a server asks for a certificate, its ticket follows the client's last word of the handshake. If the client does not
// read just then, the ticket waits with what is sent behind it, and goes out first.
func TestTLS13_ATicketThatNobodyReadsYet(t *testing.T) {
	const high = 4096
	server, client := versions[1].configs(t)
	server.ClientAuth = stdtls.RequestClientCert
	client.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	for _, resumed := range []bool{false, true} {
		h := newHushed()
		p := playWith(asServer, server, client, h.part)
		p.conn = conn.Config{HighWater: high}
		full := false
		p.setup = func(k *talk) {
			k.sniff = func(string) {
				if !full { // our flight is out: from here on nobody reads
					full = true
					k.Allow(0)
				}
			}
		}
		k := p.begin(t)
		t.Cleanup(func() { close(h.do) })
		k.connected()
		assert.Equal(t, resumed, k.ends.events[0].(tls.Established).Layer.State().DidResume,
			"the ticket of the first connection is good for the second")
		waiting := k.Conn().Stats().Pending
		assert.Less(t, waiting, high)
		if !resumed { // a second time nobody is asked, and the ticket comes with our flight
			require.Positive(t, waiting, "the ticket waits")
		}
		var want strings.Builder
		for range k.throttle(high) {
			want.WriteString(message)
		}
		sent := k.Conn().Stats().Pending - waiting
		assert.Greater(t, sent, high, "it takes no room of the sends")
		assert.LessOrEqual(t, sent, high+len(message)+recordCost)
		k.Settle()
		k.peer(h, writes("nobody answers"))
		k.step()
		assert.Empty(t, k.rec.Received(), "reading rests")

		k.Allow(-1)
		k.settle()
		assert.Zero(t, k.Conn().Stats().Pending)
		assert.Equal(t, "nobody answers", k.rec.Received())
		assert.Equal(t, want.String(), k.peerReads(h, want.Len()), "and no record is lost, or out of order")
		k.Do((*conn.Conn).Close)
		k.step()
		k.peer(h, readToEnd)
		k.step()
		k.ended = true
		k.FeedEOF()
		k.done()
		assert.NoError(t, k.ends.closed)
	}
}

const message = "a message of some length, of which many are sent."

// recordCost is what a record costs: header, type and tag; answerLen is a record with a KeyUpdate.
const (
	recordCost = 5 + 1 + 16
	answerLen  = recordCost + len(keyUpdate)
)

// throttle sends until Send is refused, and returns how often it was taken.
func (k *talk) throttle(high int) (sends int) {
	k.t.Helper()
	k.Do(func(c *conn.Conn) {
		for c.IsWriteable() {
			if _, err := c.Send([]byte(message)); !assert.NoError(k.t, err) {
				return
			}
			sends++
		}
	})
	k.calls = append(k.calls, k.rec.Calls()...)
	require.Greater(k.t, k.Conn().Stats().Pending, high)
	require.True(k.t, k.has("OnThrottled"))
	return sends
}
