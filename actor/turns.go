package actor

import (
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
)

// turns is what all turns of one goroutine share. They never overlap, so what only one turn needs lies here once, and
// not in every connection.
type turns struct {
	now     time.Time
	mem     *conn.Memory
	current *connection   // whose turn it is; nil between turns
	making  *connection   // it is being spawned
	ctx     proto.Context // of current, once it was needed in this turn
	more    bool          // current wants another turn

	notice Notice // the one message that carries a notice
	due    bool   // notice was not delivered yet
	reads  bool   // the turn's reading did not take place yet

	acks ackPool
}

func (t *turns) begin(c *connection, now time.Time, m *conn.Memory) {
	t.now, t.mem, t.current = now, m, c
}

func (t *turns) end() {
	t.mem, t.current, t.ctx = nil, nil, nil
	t.due, t.reads, t.more = false, false, false
}
