//go:build linux

package actor_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// Whoever gets an answer knows already that the request was sent: a client that upgrades its connection on the word of
// the server relies on it, since Upgrade wants nothing unsettled.
func TestSND1_TheOutcomeComesBeforeTheAnswer(t *testing.T) {
	const rounds = 1000
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			sent, early := 0, 0
			next := func(p *probe) {
				_, err := p.Conn().Send([]byte{1})
				assert.NoError(t, err)
			}
			p.onConnected = next
			p.onSent = func(*probe, conn.SendToken) { sent++ }
			answers := 0
			p.onReceived = func(p *probe, data []byte) error {
				assert.Len(t, data, 1)
				if answers++; sent < answers {
					early++
				}
				if answers == rounds {
					assert.Zero(t, early)
					p.Conn().Close()
					return nil
				}
				next(p)
				return nil
			}
		})
		c, p := s.open()
		_, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		assert.NoError(t, err)
		assert.NoError(t, c.Close())
		p.awaitN(t, 1, "Stopped", slow)
		assert.NoError(t, p.err)
	})
}
