package conn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
)

// A duo is two connected scenes, a dialed client and the server that accepted it. What one writes the other reads; the
// wire between them holds so many bytes, and no more, each way.
type duo struct {
	client, server *end
	sniff          func(from *scene, p string) // sees everything on the wire
}

// An end is one side of a duo.
type end struct {
	*scene
	capacity int    // what the wire from here holds
	granted  uint64 // bytes that the wire ever took or would take
	told     bool   // the other side knows that this one has ended
}

// openDuo connects two prepared scenes. Nothing flows until run. The wire holds so many bytes to the server, and to the
// client.
func openDuo(t *testing.T, client, server *scene, clientCfg, serverCfg conn.Config, toServer, toClient int) *duo {
	t.Helper()
	d := &duo{client: &end{scene: client, capacity: toServer}, server: &end{scene: server, capacity: toClient}}
	server.open(serverCfg, conntest.Manual())
	client.open(clientCfg, conntest.Manual(), conntest.Dialed())
	for _, e := range []*end{d.client, d.server} {
		e.Allow(e.capacity)
		e.granted = uint64(e.capacity)
	}
	client.Connected()
	return d
}

// run carries bytes until nothing moves any more.
func (d *duo) run() {
	for {
		a, b := d.carry(d.client, d.server), d.carry(d.server, d.client)
		if !a && !b {
			return
		}
	}
}

func (d *duo) carry(from, to *end) (moved bool) {
	from.Settle()
	if p := from.Wire(); p != "" {
		moved = true
		if d.sniff != nil {
			d.sniff(from.scene, p)
		}
		to.Feed(p)
		to.Settle()
	}
	closed, reset := from.Closed()
	if (from.FIN() || closed) && !from.told {
		moved, from.told = true, true
		if reset {
			to.Reset()
		} else {
			to.FeedEOF()
		}
		to.Settle()
	}
	room := int(from.granted - from.Conn().Stats().BytesWritten)
	if more := from.capacity - to.Unread() - room; more > 0 {
		moved = true
		from.granted += uint64(more)
		from.Allow(more)
		from.Settle()
	}
	return moved
}

// pump sends data in pieces, as long as it may, again in each OnUnthrottled, and then does then.
func (s *scene) pump(data string, piece int, then func(*conn.Conn)) {
	at := 0
	more := func(c *conn.Conn) {
		for at < len(data) && c.IsWriteable() {
			n := min(piece, len(data)-at)
			s.send(c, data[at:at+n])
			at += n
		}
		if at == len(data) && then != nil {
			then(c)
			then = nil
		}
	}
	s.on("OnConnected", more)
	s.on("OnUnthrottled", more)
}

// echo has the scene answer all it receives; no answer may be refused.
func (s *scene) echo() {
	s.rec.Return = func(c *conn.Conn, data []byte) error {
		_, err := c.Send(data)
		assert.NoError(s.t, err)
		return err
	}
}
