package conn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

// proveUnheard is prove with a recorder that does not insist on outcomes.
func proveUnheard(t *testing.T, opts ...conntest.Option) *proof {
	p := prove(t, conn.Config{}, opts...)
	p.rec.TB = nil
	return p
}

func TestAnUnheardOutcomeIsCountedAndCostsNoTurn(t *testing.T) {
	p := proveUnheard(t, conntest.Manual())
	p.Settle()
	p.heard("", "OnConnected")
	p.Driver().Hear(false)
	p.Do(func(c *conn.Conn) {
		p.send("a")(c)
		p.send("")(c)
		c.Flush()
		assert.EqualValues(t, 2, c.Stats().Sent, "at once")
		p.send("b")(c)
	})
	p.Turn()
	assert.False(t, p.Driver().Pending(), "there is nothing to tell")
	assert.EqualValues(t, 3, p.Driver().Conn().Stats().Sent)
	assert.Zero(t, p.Memory().InUse())
	p.Settle()
	p.heard("nobody wanted to hear")
}

func TestAnUnheardOutcomeOvertakesNone(t *testing.T) {
	p := proveUnheard(t, conntest.Manual())
	p.Settle()
	p.Do(func(c *conn.Conn) {
		p.send("a")(c)
		c.Flush() // this is told
		p.Driver().Hear(false)
		p.send("b")(c)
		c.Flush() // and so this is, for it must not come before
		assert.Zero(t, c.Stats().Sent)
	})
	p.Turn()
	p.Turn()
	p.heard("in order", "OnConnected", "OnSent 1", "OnSent 2")
	p.Do(p.send("c"))
	p.Settle()
	p.heard("from here on nobody listens")
	p.Driver().Hear(true)
	p.Do(p.send("d"))
	p.Settle()
	p.heard("now somebody does", "OnSent 4")
}

// Failures are heard by whoever does not hear of success.
func TestUnheardSendsFailAloud(t *testing.T) {
	p := proveUnheard(t)
	p.Driver().Hear(false)
	p.Allow(1)
	p.Do(func(c *conn.Conn) {
		p.send("a")(c)
		p.send("bc")(c)
	})
	assert.EqualValues(t, 1, p.Driver().Conn().Stats().Sent)
	p.Do(func(c *conn.Conn) { c.Abort(nil) })
	p.heard("the second was not taken", "OnConnected", "OnSendFailed 2", "OnClosed conn: connection ended: aborted")
}
