package conntest

import (
	"io"
	"syscall"
	"testing"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
)

// A wire connects two scripted sockets. Each holds at most capacity bytes for a reader that does not read.
type wire struct{ ends [2]*socket }

const capacity = 64 << 10

func newWire(t *testing.T) *wire {
	w := new(wire)
	for i := range w.ends {
		r := &Rig{tb: t, phase: phaseMessages, info: interceptor.Info{Local: nearAddr, Remote: farAddr}}
		if i == 1 {
			r.info.Local, r.info.Remote = farAddr, nearAddr
		}
		r.b = socket{r: r, connected: true, room: capacity, readable: true, writable: true}
		w.ends[i] = &r.b
	}
	return w
}

// carry moves what was written at one end to the other.
func (w *wire) carry() {
	for i, from := range w.ends {
		to := w.ends[1-i]
		if len(from.wire) > 0 {
			to.in = append(to.in, arrival{data: from.wire})
			from.wire = nil
		}
		from.room = max(0, capacity-to.waiting())
		switch {
		case from.reset && to.end != syscall.ECONNRESET:
			to.end, to.endReported, to.fails = syscall.ECONNRESET, false, syscall.ECONNRESET
		case (from.fin || from.closed) && to.end == nil:
			to.end = io.EOF
		}
	}
}

func (w *wire) pair() Pair {
	return Pair{
		Near: w.ends[0],
		Far:  w.ends[1],
		Turn: func(b conn.Backend, f func()) {
			for _, posted := range b.(*socket).takePosted() {
				posted()
			}
			f()
			w.carry()
		},
		Ready: func(b conn.Backend) conn.Interest { return b.(*socket).report() },
	}
}

func TestSHL1_TheScriptedBackendKeepsItsContract(t *testing.T) {
	TestBackend(t, func(t *testing.T) Pair { return newWire(t).pair() })
}
