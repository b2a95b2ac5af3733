package actor

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
	"github.com/galago-go/galago/interceptor"
)

// A rig is a connection actor without socket and loop: the test takes the turns, and says what the system does.
type rig struct {
	*connection
	t    testing.TB
	sup  *supervisor
	sys  *fakeSocket
	mem  conn.Memory
	now  time.Time
	more bool // the last turn wants another one
}

// newRig spawns a for a connection that is not connected yet. Options go to its Props.
func newRig(t testing.TB, a Actor, cfg conn.Config, options ...proto.PropsOption) *rig {
	t.Helper()
	return newRigOf(t, newRigSupervisor(t), a, cfg, options...)
}

func newRigSupervisor(t testing.TB) *supervisor {
	t.Helper()
	l, err := loop.New(loop.Config{})
	require.NoError(t, err)
	require.NoError(t, l.Close()) // so that nobody but the test takes turns
	n := &Network{sys: System, strategy: stopAlways, log: slog.New(slog.DiscardHandler), down: make(chan struct{})}
	s := newSupervisor(n, l)
	n.sups = []*supervisor{s}
	return s
}

// newRigOf is newRig for the loop of s, which has no other one's turn at the same time.
func newRigOf(t testing.TB, s *supervisor, a Actor, cfg conn.Config, options ...proto.PropsOption) *rig {
	t.Helper()
	k := newKind(s, func() Actor { return a }, &ListenConfig{Conn: cfg, Props: options})
	r := &rig{connection: &connection{kind: k}, t: t, sup: s, sys: &fakeSocket{allowed: 1 << 40}, now: time.Now()}
	require.NoError(t, k.equip(r.connection))
	r.init(r.sys)
	require.NoError(t, s.spawnAccepted(r.connection))
	t.Cleanup(func() {
		r.PostSystemMessage(stopMessage)
		r.run()
		s.stop()
		r.superviseAll()
	})
	return r
}

// connect connects the socket, and takes the turns that are due then.
func (r *rig) connect() *rig {
	r.Connected()
	r.Turn()
	r.run()
	return r
}

// Turn takes one turn, and says whether another one is due.
func (r *rig) Turn() bool {
	r.more = r.connection.Turn(r.now, &r.mem)
	return r.more
}

// run takes all turns that are due, also those of the supervisor.
func (r *rig) run() {
	for i := 0; r.Turn() || r.superviseAll() || i == 0; i++ {
		require.Less(r.t, i, 100_000, "it never rests")
	}
}

func (r *rig) superviseAll() (any bool) {
	for r.sup.mail.hasSystem() {
		any = true
		r.sup.Turn(r.now, &r.mem)
	}
	return any
}

// feed lets the peer send p.
func (r *rig) feed(p string) {
	r.sys.in = append(r.sys.in, p)
	r.driver.Ready(conn.Readable)
}

// A fakeSocket is a conn.Backend that does what the test says, and writes down what it is told.
type fakeSocket struct {
	in      []string // each is one Read
	inErr   error    // what Read returns when in is empty; if nil, ErrWouldBlock
	allowed int      // bytes that the system takes yet
	out     strings.Builder
	writes  []int // sizes
	ends    []string
}

var _ conn.Backend = (*fakeSocket)(nil)

func (s *fakeSocket) Read(p []byte) (int, error) {
	switch {
	case len(s.in) > 0:
		n := copy(p, s.in[0])
		s.in = s.in[1:]
		return n, nil
	case s.inErr != nil:
		return 0, s.inErr
	}
	return 0, conn.ErrWouldBlock
}

func (s *fakeSocket) Unread() (int, error) {
	if len(s.in) > 0 {
		return len(s.in[0]), nil
	}
	return 0, s.inErr
}

func (s *fakeSocket) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		k := min(len(b), s.allowed)
		s.allowed -= k
		s.out.Write(b[:k])
		n += k
	}
	if n == 0 {
		return 0, conn.ErrWouldBlock
	}
	s.writes = append(s.writes, n)
	return n, nil
}

func (s *fakeSocket) Arm(conn.Interest) {}
func (s *fakeSocket) CloseWrite() error { s.ends = append(s.ends, "FIN"); return nil }
func (s *fakeSocket) Close(reset bool) error {
	s.ends = append(s.ends, fmt.Sprint("close ", reset))
	return nil
}
func (s *fakeSocket) Post(func())            {}
func (s *fakeSocket) Info() interceptor.Info { return interceptor.Info{} }

// A scribe is an actor that writes down what happens to it.
type scribe struct {
	Base
	calls      []string
	onReceived func(data []byte) error
	receive    func(ctx proto.Context)
}

func (s *scribe) note(format string, args ...any) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

// take returns what was written down since the last call.
func (s *scribe) take() []string {
	calls := s.calls
	s.calls = nil
	return calls
}

func (s *scribe) OnConnected(*conn.Conn)                      { s.note("OnConnected") }
func (s *scribe) OnConnectFailed(*conn.Conn, error)           { s.note("OnConnectFailed") }
func (s *scribe) OnSent(_ *conn.Conn, t conn.SendToken)       { s.note("OnSent %d", t) }
func (s *scribe) OnSendFailed(_ *conn.Conn, t conn.SendToken) { s.note("OnSendFailed %d", t) }
func (s *scribe) OnClosed(*conn.Conn, error)                  { s.note("OnClosed") }
func (s *scribe) OnTimer(*conn.Conn, conn.TimerToken)         { s.note("OnTimer") }
func (s *scribe) OnThrottled(*conn.Conn)                      { s.note("OnThrottled") }
func (s *scribe) OnReceived(_ *conn.Conn, data []byte) error {
	s.note("OnReceived %s", data)
	if s.onReceived != nil {
		return s.onReceived(data)
	}
	return nil
}

func (s *scribe) Receive(ctx proto.Context) {
	switch m := ctx.Message().(type) {
	case int, string:
		s.note("Receive %v", m)
	default:
		s.note("Receive %T", m)
	}
	if s.receive != nil {
		s.receive(ctx)
	}
}

// An inbox is a process that keeps what it is sent.
type inbox struct {
	pid  *proto.PID
	msgs []any
	hook func(msg any) // if not nil, is shown each message
}

func newInbox(t testing.TB) *inbox {
	t.Helper()
	b := new(inbox)
	b.pid, _ = System.ProcessRegistry.Add(b, "inbox"+System.ProcessRegistry.NextId())
	t.Cleanup(func() { System.ProcessRegistry.Remove(b.pid) })
	return b
}

func (b *inbox) SendUserMessage(_ *proto.PID, msg any) {
	b.msgs = append(b.msgs, msg)
	if b.hook != nil {
		b.hook(msg)
	}
}

func (b *inbox) SendSystemMessage(pid *proto.PID, msg any) { b.SendUserMessage(pid, msg) }
func (b *inbox) Stop(*proto.PID)                           {}

func (b *inbox) take() []any {
	msgs := b.msgs
	b.msgs = nil
	return msgs
}

// from wraps a message as if b's owner had sent it.
func (b *inbox) from(msg any) any { return &proto.MessageEnvelope{Message: msg, Sender: b.pid} }

var errReset = io.ErrClosedPipe // stands for any error of the system's
