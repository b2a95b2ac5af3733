//go:build linux

package actor_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// A probe is an actor that writes down what happens to it, and does what its hooks say. Hooks must be set before it is
// given to the network.
type probe struct {
	actor.Base
	diary
	law

	onConnected    func(p *probe)
	onReceived     func(p *probe, data []byte) error
	onEOF          func(p *probe)
	onSent         func(p *probe, t conn.SendToken)
	onThrottled    func(p *probe)
	onUnthrottled  func(p *probe)
	onTimer        func(p *probe)
	onIdle         func(p *probe)
	onEvent        func(p *probe, ev any)
	onClosed       func(p *probe, err error)
	onFailed       func(p *probe, err error)
	receive        func(p *probe, ctx proto.Context)
	trip           func(where string) // called in each callback, behind the note
	quiet          bool               // only what belongs to the life of the connection is written down
	self           *proto.PID
	err            error // of the last callback; to be read once that was seen
	received, sent int
}

// enter notes a callback, and fails in it if it is to. leave must follow.
func (p *probe) enter(note string, quiet bool) {
	p.law.enter(note)
	if !quiet {
		p.note(note)
	}
	if p.trip != nil {
		p.trip(strings.Split(note, " ")[0])
	}
}

func (p *probe) OnConnected(*conn.Conn) {
	p.self = p.Context().Self()
	defer p.leave()
	p.enter("OnConnected", false)
	call(p, p.onConnected)
}

func (p *probe) OnConnectFailed(_ *conn.Conn, err error) {
	p.err = err
	defer p.leave()
	p.enter("OnConnectFailed", false)
	call1(p, p.onFailed, err)
}

func (p *probe) OnReceived(_ *conn.Conn, data []byte) error {
	p.received += len(data)
	defer p.leave()
	p.enter("OnReceived "+string(data[:min(len(data), 40)]), p.quiet)
	if p.onReceived == nil {
		return nil
	}
	return p.onReceived(p, data)
}

func (p *probe) OnEOF(c *conn.Conn, err error) {
	defer p.leave()
	p.enter("OnEOF", false)
	if p.onEOF != nil {
		p.onEOF(p)
		return
	}
	p.Base.OnEOF(c, err)
}

func (p *probe) OnThrottled(*conn.Conn) {
	defer p.leave()
	p.enter("OnThrottled", false)
	call(p, p.onThrottled)
}

func (p *probe) OnUnthrottled(*conn.Conn) {
	defer p.leave()
	p.enter("OnUnthrottled", false)
	call(p, p.onUnthrottled)
}

func (p *probe) OnSent(_ *conn.Conn, t conn.SendToken) {
	p.sent++
	defer p.leave()
	p.enter(fmt.Sprintf("OnSent %d", t), p.quiet)
	call1(p, p.onSent, t)
}

func (p *probe) OnSendFailed(_ *conn.Conn, t conn.SendToken) {
	defer p.leave()
	p.enter(fmt.Sprintf("OnSendFailed %d", t), false)
}

func (p *probe) OnTimer(*conn.Conn, conn.TimerToken) {
	defer p.leave()
	p.enter("OnTimer", false)
	call(p, p.onTimer)
}

func (p *probe) OnIdle(*conn.Conn) {
	defer p.leave()
	p.enter("OnIdle", false)
	call(p, p.onIdle)
}

func (p *probe) OnEvent(_ *conn.Conn, ev any) {
	defer p.leave()
	p.enter("OnEvent", false)
	call1(p, p.onEvent, ev)
}

func (p *probe) OnClosed(_ *conn.Conn, err error) {
	p.err = err
	defer p.leave()
	p.enter("OnClosed", false)
	call1(p, p.onClosed, err)
}

func (p *probe) Receive(ctx proto.Context) {
	name := strings.TrimPrefix(fmt.Sprintf("%T", ctx.Message()), "*actor.")
	defer p.leave()
	p.enter(name, p.quiet && !strings.HasPrefix(name, "St"))
	if f, ok := ctx.Message().(func()); ok {
		f() // a test looks around in the actor's turn
	}
	call1(p, p.receive, ctx)
}

func call(p *probe, f func(*probe)) {
	if f != nil {
		f(p)
	}
}

func call1[T any](p *probe, f func(*probe, T), v T) {
	if f != nil {
		f(p, v)
	}
}

// A diary is a list of what happened, in order, that a test can wait for.
type diary struct {
	mu      sync.Mutex
	list    []string
	changed chan struct{} // closed at the next note
}

func (d *diary) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, what)
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

func (d *diary) notes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

// count returns how many notes begin with what.
func (d *diary) count(what string) (n int) {
	for _, s := range d.notes() {
		if strings.HasPrefix(s, what) {
			n++
		}
	}
	return n
}

// await waits until a note begins with what; awaitN, until n do.
func (d *diary) await(t testing.TB, what string) {
	t.Helper()
	d.awaitN(t, 1, what, patience)
}

func (d *diary) awaitN(t testing.TB, n int, what string, max time.Duration) {
	t.Helper()
	late := time.After(max)
	for {
		d.mu.Lock()
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()
		if d.count(what) >= n {
			return
		}
		select {
		case <-changed:
		case <-late:
			require.FailNow(t, "waited for "+what, "%d of %d came; there is: %s", d.count(what), n, d.tail())
		}
	}
}

func (d *diary) tail() string {
	list := d.notes()
	return strings.Join(list[max(0, len(list)-60):], ", ")
}

// A friend is a plain actor that writes down what it is told.
type friend struct {
	diary
	pid *proto.PID

	mu   sync.Mutex
	msgs []any
}

func newFriend(t testing.TB) *friend {
	f := new(friend)
	f.pid = system.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
		switch m := ctx.Message().(type) {
		case *proto.Started, *proto.Stopping, *proto.Stopped:
		case *watch:
			if m.pid != nil {
				ctx.Watch(m.pid)
			}
			ctx.Respond(true)
		case *proto.Terminated:
			f.note("Terminated " + m.Who.Id)
		default:
			f.mu.Lock()
			f.msgs = append(f.msgs, m)
			f.mu.Unlock()
			f.note(fmt.Sprintf("%T", m))
		}
	}))
	t.Cleanup(func() { _ = system.Root.StopFuture(f.pid).Wait() })
	return f
}

type watch struct{ pid *proto.PID }

// watch makes f watch pid. Since system messages keep their order, pid knows when it returns.
func (f *friend) watch(t testing.TB, pid *proto.PID) {
	t.Helper()
	_, err := system.Root.RequestFuture(f.pid, &watch{pid}, patience).Result()
	require.NoError(t, err)
}

// sync returns when f has noted all that was sent to it before.
func (f *friend) sync(t testing.TB) {
	t.Helper()
	f.watch(t, nil)
}

func (f *friend) heard() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.msgs)
}

// ask sends msg to pid in the name of f.
func (f *friend) ask(pid *proto.PID, msg any) { system.Root.RequestWithCustomSender(pid, msg, f.pid) }

// last is the last n notes of p.
func last(p *probe, n int) string {
	list := p.notes()
	return strings.Join(list[max(0, len(list)-n):], ",")
}
