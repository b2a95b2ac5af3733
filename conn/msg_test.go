package conn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
)

// Of messages, package conn sees what they do in a turn, between reading and the one write. What it owes the mailbox is
// shown here: the errors of a Write in each state, the order of a turn, and whose outcome a notice is.

func TestMSG2_ASendOfAMessageInEachState(t *testing.T) {
	silent := func(s *scene) []interceptor.Factory {
		return []interceptor.Factory{s.layer("silent", func(l *sceneLayer) {
			l.open = func(interceptor.Link) error { return nil }
		})}
	}
	for name, k := range map[string]struct {
		prepare func(s *scene)
		size    int
		want    conn.SendError
	}{
		"connecting":  {func(s *scene) { s.open(conn.Config{}, conntest.Dialed()) }, 10, conn.ErrNotConnected},
		"handshaking": {func(s *scene) { s.open(conn.Config{Layers: silent(s)}) }, 10, conn.ErrNotReady},
		"unwriteable": {func(s *scene) {
			s.open(conn.Config{})
			s.Allow(0)
			s.doSend(big(65_537))
			require.Equal(s.t, 1, s.count("OnThrottled"))
		}, 10, conn.ErrNotWriteable},
		"closing": {func(s *scene) {
			s.open(conn.Config{})
			s.Allow(0)
			s.doSend("earlier")
			s.Do((*conn.Conn).Close)
		}, 10, conn.ErrNotConnected},
		"more than MaxPending": {func(s *scene) {
			s.open(conn.Config{})
			s.Allow(0)
			s.doSend("earlier")
		}, 1<<20 + 1, conn.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			k.prepare(s)
			before := s.Conn().Stats()
			asked := false
			s.Do(func(c *conn.Conn) {
				token, err := c.Send(make([]byte, k.size))
				assert.Equal(t, k.want, err)
				assert.Zero(t, token)
				asked = true
			})
			require.True(t, asked)
			after := s.Conn().Stats()
			assert.Equal(t, before.Pending, after.Pending)
			assert.Equal(t, before.Accepted, after.Accepted)
			if before.Pending > 0 {
				s.Allow(-1)
				assert.Len(t, s.Wire(), before.Pending, "an earlier send is unaffected")
				assert.Equal(t, 1, s.count("OnSent"))
			}
			assert.Zero(t, s.count("OnSendFailed"))
		})
	}
}

func TestMSG8_TheOrderOfATurn(t *testing.T) {
	s := openScene(t, conn.Config{}, conntest.Manual())
	s.Settle()
	s.doSend("earlier")
	s.Turn()
	require.Equal(t, "earlier", s.Wire())
	s.want("OnSent 1 is due", "OnConnected")

	s.Feed("10 bytes..")
	var want []string
	for i := 1; i <= 64; i++ {
		s.Do(func(c *conn.Conn) {
			s.all = append(s.all, fmt.Sprint("message ", i))
			s.send(c, strings.Repeat("w", 100))
		})
		want = append(want, fmt.Sprint("message ", i))
	}
	writes := s.Writes()
	s.Turn()
	s.want("notices, reading, messages", append([]string{"OnSent 1", `OnReceived "10 bytes.."`}, want...)...)
	assert.Equal(t, writes+1, s.Writes(), "one flush")
	assert.Len(t, s.Wire(), 6400)

	s.Feed("10 more...")
	s.Do(func(*conn.Conn) { s.all = append(s.all, "message 65") })
	s.Turn()
	s.want("reading comes before the next message",
		append(sents(2, 65), `OnReceived "10 more..."`, "message 65")...)
}

// The mailbox keeps who sent what, and asks each notice whose outcome it is; it need not deliver those of others.
func TestMSG12_TheOwnerHearsOfItsOwnSendsOnly(t *testing.T) {
	for _, ends := range []string{"sent", "failed"} {
		t.Run(ends, func(t *testing.T) {
			s := newScene(t)
			s.rec.Others = true
			s.open(conn.Config{}, conntest.Manual())
			s.Settle()
			s.Allow(0)
			s.Do(func(c *conn.Conn) {
				s.send(c, "own")
				s.send(c, "other")
				s.send(c, "own")
			})
			s.Settle()
			s.skip()
			if ends == "sent" {
				s.Allow(-1)
			} else {
				s.Reset()
				s.Turn() // it is noticed here, and told in the next turn
			}
			if ends == "sent" {
				s.Turn()
			}
			d := s.Driver()
			d.Begin(s.Now(), s.Memory())
			var outcomes []string
			for n, ok := d.Next(); ok; n, ok = d.Next() {
				token, sent, settles := n.Outcome()
				if settles {
					outcomes = append(outcomes, fmt.Sprint(token, " ", sent, " ", n))
				}
				if token != 2 {
					d.Deliver(n)
				}
			}
			d.End()
			if ends == "sent" {
				assert.Equal(t, []string{"1 true OnSent 1", "2 true OnSent 2", "3 true OnSent 3"}, outcomes)
				s.want("its own two", "OnSent 1", "OnSent 3")
			} else {
				assert.Equal(t, []string{"1 false OnSendFailed 1", "2 false OnSendFailed 2", "3 false OnSendFailed 3"}, outcomes)
				s.want("its own two", "OnSendFailed 1", "OnSendFailed 3", "OnClosed...")
			}
			stats := s.Conn().Stats()
			assert.EqualValues(t, 3, stats.Sent+stats.Failed)
		})
	}
}
