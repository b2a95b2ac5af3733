package conntest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// newRig returns a Rig with a Recorder; the test fails with each violation.
func newRig(t *testing.T, cfg conn.Config, opts ...Option) (*Rig, *Recorder) {
	rec := &Recorder{TB: t}
	r := New(rec, cfg, append([]Option{Checked(t)}, opts...)...)
	return r, rec
}

func send(s string) func(*conn.Conn) { return func(c *conn.Conn) { _, _ = c.Send([]byte(s)) } }

func TestNewConnectsAnAcceptedConnection(t *testing.T) {
	r, rec := newRig(t, conn.Config{})
	assert.Equal(t, []string{"OnConnected"}, rec.Calls())
	assert.Equal(t, conn.StateConnected, r.Conn().State())
	assert.Equal(t, "192.0.2.1:7669", r.Conn().LocalAddr().String())
	assert.Equal(t, "198.51.100.7:49152", r.Conn().RemoteAddr().String())
	assert.False(t, r.info.Dialed)
	assert.Empty(t, r.Wire())
	assert.True(t, r.Deadline().IsZero())
}

func TestNewRefusesAConfigThatCannotWork(t *testing.T) {
	assert.PanicsWithValue(t, "conntest: conn: Config.MaxFrame is -1: it must be 0 (for the default) or a number of bytes",
		func() { New(&Recorder{}, conn.Config{MaxFrame: -1}) })
}

func TestADialedConnectionIsToldHowItGoes(t *testing.T) {
	r, rec := newRig(t, conn.Config{}, Dialed())
	assert.Empty(t, rec.Calls())
	assert.Equal(t, conn.StateConnecting, r.Conn().State())
	r.Feed("early") // it lies in the socket, and waits
	r.Connecting(1)
	r.Connecting(2)
	assert.Equal(t, []string{"OnEvent conn.Connecting{1}", "OnEvent conn.Connecting{2}"}, rec.Calls())
	r.Connected()
	assert.Equal(t, []string{"OnConnected", `OnReceived "early"`}, rec.Calls())

	r, rec = newRig(t, conn.Config{}, Dialed())
	r.Fail(conn.StageDNS, errors.New("no such host"))
	assert.Equal(t, []string{"OnConnectFailed conn: connect far.example: look-up: no such host"}, rec.Calls())
	assert.True(t, r.Done())
}

func TestWithInfoSaysWhatTheSocketConnects(t *testing.T) {
	r, _ := newRig(t, conn.Config{}, WithInfo(interceptor.Info{Host: "unix"}))
	assert.False(t, r.Conn().RemoteAddr().IsValid())
}

func TestEachFeedIsOneReadUnlessItIsTooLong(t *testing.T) {
	r, rec := newRig(t, conn.Config{})
	rec.Calls()
	r.Feed("a", "b")
	assert.Equal(t, []string{`OnReceived "a"`, `OnReceived "b"`}, rec.Calls())
	before := r.Reads()
	long := strings.Repeat("0123456789", 20_000)
	r.Feed(long)
	assert.Greater(t, r.Reads()-before, 1, "the read buffer is smaller")
	assert.Equal(t, "ab"+long, rec.Received())
	assert.Zero(t, r.Unread())
	r.Feed("")
	assert.Empty(t, rec.Received(), "readiness without data")
}

func TestAnArrivalIsReportedOnce(t *testing.T) {
	r, rec := newRig(t, conn.Config{}, Manual())
	r.Turn()
	r.Turn()
	rec.Calls()
	r.Feed("a", "b")
	assert.Equal(t, conn.Readable, r.b.report())
	assert.Zero(t, r.b.report(), "the second one comes to the front when the first was read")
	r.d.Ready(conn.Readable) // in place of the report that was taken
	r.Settle()
	assert.Equal(t, "ab", rec.Received())
}

func TestArmedOnlyReportsWhatTheConnectionWaitsFor(t *testing.T) {
	r, rec := newRig(t, conn.Config{}, ArmedOnly())
	r.Do((*conn.Conn).Pause)
	rec.Calls()
	r.Feed("x")
	assert.Zero(t, r.b.unreported(), "the connection is paused, and armed for nothing")
	assert.Equal(t, 1, r.Unread())
	r.Do((*conn.Conn).Resume)
	assert.Equal(t, []string{`OnReceived "x"`}, rec.Calls())
	assert.Contains(t, r.Arms(), conn.Hangup)
	assert.Equal(t, conn.Readable|conn.Hangup, r.Arms()[len(r.Arms())-1])
}

func TestAllowCountsWhatTheSystemTakes(t *testing.T) {
	r, rec := newRig(t, conn.Config{})
	rec.Calls()
	r.Do(send("all"))
	assert.Equal(t, "all", r.Wire())
	r.Allow(0)
	r.Do(send("hello"))
	assert.Empty(t, r.Wire())
	r.Allow(2)
	assert.Equal(t, "he", r.Wire())
	r.Allow(2)
	assert.Equal(t, "ll", r.Wire())
	writes := r.Writes()
	r.Allow(5) // more than is there: 4 are left
	assert.Equal(t, "o", r.Wire())
	assert.Equal(t, 1, r.Writes()-writes)
	r.Allow(1)
	r.Do(send("123456789"))
	assert.Equal(t, "12345", r.Wire())
	r.Allow(-1)
	assert.Equal(t, "6789", r.Wire())
	r.Allow(0)
	r.Do(send("x"))
	r.Allow(math.MaxInt)
	assert.Equal(t, "x", r.Wire())
	assert.Equal(t, []string{"OnSent 1", "OnSent 2", "OnSent 3", "OnSent 4"}, rec.Calls())
}

func TestFailWriteTakesWhatIsAllowedFirst(t *testing.T) {
	r, rec := newRig(t, conn.Config{}, Manual())
	r.Settle()
	rec.Calls()
	r.Allow(4)
	r.FailWrite(syscall.EPIPE)
	r.Do(send("abc"))
	r.Do(send("def"))
	r.Settle()
	assert.Equal(t, "abcd", r.Wire())
	assert.Equal(t, 1, r.Writes())
	assert.Equal(t, []string{"OnSent 1", "OnSendFailed 2", "OnClosed conn: connection ended: write: broken pipe"}, rec.Calls())
}

func TestFailWriteIsReportedToAConnectionThatWaits(t *testing.T) {
	r, rec := newRig(t, conn.Config{})
	r.Allow(0)
	r.Do(send("abc"))
	rec.Calls()
	r.FailWrite(syscall.EPIPE)
	assert.Equal(t, []string{"OnSendFailed 1", "OnClosed conn: connection ended: write: broken pipe"}, rec.Calls())
}

func TestThePeerEndsInThreeWays(t *testing.T) {
	r, rec := newRig(t, conn.Config{})
	r.Feed("x")
	r.FeedEOF()
	assert.Equal(t, []string{"OnConnected", `OnReceived "x"`, "OnEOF", "OnClosed"}, rec.Calls())
	assert.True(t, r.FIN())
	closed, reset := r.Closed()
	assert.True(t, closed)
	assert.False(t, reset)

	r, rec = newRig(t, conn.Config{}, Manual())
	r.Feed("x")
	r.FeedError(errors.New("bad cable"))
	r.Settle()
	assert.Equal(t, []string{"OnConnected", `OnReceived "x"`, "OnClosed conn: connection ended: read: bad cable"}, rec.Calls())
	_, reset = r.Closed()
	assert.True(t, reset)

	r, rec = newRig(t, conn.Config{})
	r.Allow(0)
	r.Do(send("lost"))
	rec.Calls()
	r.Reset()
	assert.Equal(t, []string{"OnSendFailed 1", "OnClosed conn: connection ended: read: connection reset by peer"}, rec.Calls())
	assert.False(t, r.FIN())
}

func TestAdvanceStopsAtEachDeadlineAndStallDoesNot(t *testing.T) {
	timers := func(c *conn.Conn) {
		c.StartTimer(time.Second)
		c.StartTimer(2 * time.Second)
	}
	var at []time.Duration
	r, rec := newRig(t, conn.Config{})
	rec.Do = func(*conn.Conn, string) { at = append(at, r.Now().Sub(start)) }
	r.Do(timers)
	assert.Equal(t, time.Second, r.Deadline().Sub(r.Now()))
	r.Advance(999 * time.Millisecond)
	assert.Empty(t, at)
	r.Advance(10 * time.Second)
	assert.Equal(t, []time.Duration{time.Second, 2 * time.Second}, at)
	assert.Equal(t, start.Add(10999*time.Millisecond), r.Now())

	at = nil
	began, turns := r.Now().Sub(start), r.Turns()
	r.Do(timers)
	r.Stall(3 * time.Second)
	assert.Equal(t, []time.Duration{began + 3*time.Second, began + 3*time.Second}, at)
	assert.Equal(t, 3, r.Turns()-turns, "Do, the turn that met the deadline, and the one that told")
}

func TestAManualRigOnlyTakesNote(t *testing.T) {
	r, rec := newRig(t, conn.Config{Split: frame.Fixed(1)}, Manual())
	assert.Empty(t, rec.Calls())
	r.Turn()
	assert.Equal(t, []string{"OnConnected"}, rec.Calls(), "what is heard between two turns is told in the next")
	r.Feed("ab")
	r.Do(send("x"))
	r.Do(send("y"))
	r.Advance(time.Hour)
	assert.Empty(t, rec.Calls())
	assert.Zero(t, r.Writes())
	r.Turn()
	assert.Equal(t, []string{`OnReceived "a"`, `OnReceived "b"`}, rec.Calls())
	assert.Equal(t, "xy", r.Wire(), "one write for the turn")
	r.Turn()
	assert.Equal(t, []string{"OnSent 1", "OnSent 2"}, rec.Calls())
	assert.Equal(t, 3, r.Turns())
}

func TestDoWorksAfterTheEnd(t *testing.T) {
	r, _ := newRig(t, conn.Config{})
	r.Do(func(c *conn.Conn) { c.Abort(nil) })
	require.True(t, r.Done())
	turns := r.Turns()
	var err error
	r.Do(func(c *conn.Conn) { _, err = c.Send([]byte("x")) })
	assert.Equal(t, conn.ErrNotConnected, err)
	r.Turn()
	r.Feed("x")
	assert.Equal(t, turns, r.Turns(), "there are no more turns")
}

func TestDataIsSpoiledWhenOnReceivedReturns(t *testing.T) {
	var kept []byte
	r, rec := newRig(t, conn.Config{})
	rec.Return = func(_ *conn.Conn, data []byte) error {
		kept = data
		assert.Equal(t, "abc", string(data))
		return nil
	}
	r.Feed("abc")
	assert.Equal(t, []byte{0xff, 0xff, 0xff}, kept)
}

func TestARigThatNeverRestsPanicsWithTheLastCalls(t *testing.T) {
	rec := &Recorder{Do: func(c *conn.Conn, call string) {
		if strings.HasPrefix(call, "OnSent") {
			send("on and on")(c)
		}
	}}
	r := New(rec, conn.Config{})
	defer func() {
		v, _ := recover().(string)
		assert.Contains(t, v, "100000 turns at one instant")
		assert.Contains(t, v, "OnSent")
	}()
	r.Do(send("begin"))
	t.Error("it came to rest")
}

func TestAPanicOfACallbackReachesTheTestAndTheTurnEnds(t *testing.T) {
	boom := true
	r, rec := newRig(t, conn.Config{Split: frame.Fixed(1)})
	rec.Return = func(c *conn.Conn, data []byte) error {
		send(string(data))(c)
		if boom {
			boom = false
			panic("boom")
		}
		return nil
	}
	assert.PanicsWithValue(t, "boom", func() { r.Feed("ab") })
	assert.Equal(t, "a", r.Wire(), "End wrote")
	r.Settle()
	assert.Equal(t, "b", r.Wire(), "the second frame was kept")
	assert.Empty(t, r.Violations())
}

func TestWhileSuspendedOnlyDeadlinesAct(t *testing.T) {
	r, rec := newRig(t, conn.Config{CloseTimeout: time.Second})
	rec.Calls()
	r.Suspend(true)
	r.Feed("x")
	r.Do((*conn.Conn).Close)
	r.Advance(time.Minute)
	assert.Empty(t, rec.Calls())
	assert.False(t, r.FIN(), "the owner's message waits as well")
	r.Suspend(false)
	assert.Equal(t, []string{`OnReceived "x"`}, rec.Calls())
	assert.True(t, r.FIN())
	r.Suspend(true)
	r.Advance(time.Minute)
	closed, reset := r.Closed()
	assert.True(t, closed && reset, "CloseTimeout does not wait for callbacks")
	assert.Empty(t, rec.Calls())
	r.Suspend(false)
	assert.Len(t, rec.Calls(), 1)
}

func TestTwoRigsMayShareAMemory(t *testing.T) {
	m := new(conn.Memory)
	a, recA := newRig(t, conn.Config{Split: frame.Fixed(4)}, Shared(m))
	b, recB := newRig(t, conn.Config{Split: frame.Fixed(4)}, Shared(m))
	a.Feed("AAAAaa")
	b.Feed("BBBBbb")
	a.Feed("aa")
	b.Feed("bb")
	assert.Equal(t, "AAAAaaaa", recA.Received())
	assert.Equal(t, "BBBBbbbb", recB.Received())
	assert.Same(t, m, a.Memory())
	assert.Zero(t, m.InUse())
}

func TestPostedFunctionsRunBeforeTheTurn(t *testing.T) {
	r, rec := newRig(t, conn.Config{})
	rec.Calls()
	ran := 0
	r.b.Post(func() { ran++; r.b.Post(func() { ran++ }) })
	assert.Zero(t, ran)
	r.Settle()
	assert.Equal(t, 2, ran)
	r.Do(func(c *conn.Conn) { c.Abort(nil) })
	r.b.Post(func() { ran++ })
	r.Settle()
	assert.Equal(t, 3, ran, "after the end they still run, and must do no harm")
}

func TestTheSocketObjectsToWhatItsContractRulesOut(t *testing.T) {
	buf := make([]byte, 8)
	some := [][]byte{[]byte("xy")}
	for want, misuse := range map[string]func(r *Rig, s *socket){
		"Read into no memory":    func(_ *Rig, s *socket) { _, _ = s.Read(nil) },
		"Read without readiness": func(_ *Rig, s *socket) { _, _ = s.Read(buf); _, _ = s.Read(buf) },
		"Read after EOF": func(_ *Rig, s *socket) {
			s.end, s.hangup, s.readable = errors.New("EOF"), true, true
			_, _ = s.Read(buf)
			s.readable = true
			_, _ = s.Read(buf)
		},
		"Write of nothing":     func(_ *Rig, s *socket) { _, _ = s.Write([][]byte{nil}) },
		"Write of 257 buffers": func(_ *Rig, s *socket) { _, _ = s.Write(append(make([][]byte, 256), buf)) },
		"Write without readiness": func(_ *Rig, s *socket) {
			s.room = 0
			_, _ = s.Write(some)
			_, _ = s.Write(some)
		},
		`Write of "z", but what was not taken before begins with "y"`: func(_ *Rig, s *socket) {
			s.room = 1
			_, _ = s.Write(some)
			s.writable = true
			_, _ = s.Write([][]byte{[]byte("z")})
		},
		"Write after CloseWrite":              func(_ *Rig, s *socket) { _ = s.CloseWrite(); _, _ = s.Write(some) },
		"a second CloseWrite":                 func(_ *Rig, s *socket) { _ = s.CloseWrite(); _ = s.CloseWrite() },
		"Close after Close":                   func(_ *Rig, s *socket) { _ = s.Close(true); _ = s.Close(true) },
		"Arm after Close":                     func(_ *Rig, s *socket) { _ = s.Close(true); s.Arm(0) },
		"Unread after Close":                  func(_ *Rig, s *socket) { _ = s.Close(false); _, _ = s.Unread() },
		"Read after Close":                    func(_ *Rig, s *socket) { _ = s.Close(false); _, _ = s.Read(buf) },
		"Write after Close":                   func(_ *Rig, s *socket) { _ = s.Close(false); _, _ = s.Write(some) },
		"Read before the socket is connected": func(_ *Rig, s *socket) { s.connected = false; _, _ = s.Read(buf) },
		"Arm outside a turn":                  func(r *Rig, s *socket) { r.phase = phaseInput; s.Arm(0) },
		"OnIdle came in the messages":         func(r *Rig, _ *socket) { r.phase = phaseMessages; (*observer)(r).at("OnIdle") },
		"OnReceived came in Deliver":          func(r *Rig, _ *socket) { r.phase = phaseDeliver; (*observer)(r).at("OnReceived") },
		"OnSent came in Read":                 func(r *Rig, _ *socket) { r.phase = phaseRead; (*observer)(r).at("OnSent") },
	} {
		r := New(&Recorder{}, conn.Config{})
		r.b.readable = true
		misuse(r, &r.b)
		if assert.NotEmpty(t, r.Violations(), want) {
			assert.Contains(t, r.Violations()[0], want)
		}
	}
}

func TestACallbackInsideAMethodIsSeen(t *testing.T) {
	r := New(&Recorder{}, conn.Config{})
	r.Do(func(c *conn.Conn) { (*observer)(r).OnSent(c, 1) }) // as if Send had called it
	require.Len(t, r.Violations(), 1)
	assert.Contains(t, r.Violations()[0], "OnSent came in the messages")
}

// A failing is a testing.TB that keeps what it is told.
type failing struct {
	testing.TB
	errors []string
}

func (f *failing) Helper() {}

func (f *failing) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func TestViolationsFailTheTest(t *testing.T) {
	tb := new(failing)
	rec := &Recorder{TB: tb}
	r := New(rec, conn.Config{}, Checked(tb))
	r.Do(func(*conn.Conn) { r.b.Arm(0) }) // allowed in a turn
	require.Empty(t, tb.errors)
	r.input(func() { r.b.Arm(0) })
	rec.OnConnected(r.Conn())
	assert.Equal(t, []string{
		"conntest: Arm outside a turn (in the input of turn 2)",
		`conntest: OnConnected: it comes a second time. The last calls: ["OnConnected" "OnConnected"]`,
	}, tb.errors)
}

// A worker is a layer that is ready when a goroutine says so.
type worker struct {
	interceptor.Pass
	work chan struct{}
}

func (w *worker) Open(l interceptor.Link) error {
	go func() {
		<-w.work
		l.Post(func() error { l.Ready(); return nil })
	}()
	return nil
}

func TestAwaitTakesTheTurnsThatGoroutinesAskFor(t *testing.T) {
	for _, opts := range [][]Option{nil, {Manual()}} {
		w := &worker{work: make(chan struct{})}
		r, rec := newRig(t, conn.Config{Layers: []interceptor.Factory{func() interceptor.Interceptor { return w }}}, opts...)
		var calls []string
		connected := func() bool { calls = append(calls, rec.Calls()...); return len(calls) > 0 }
		assert.False(t, r.Await(time.Millisecond, connected), "it is not done in time")
		close(w.work)
		assert.True(t, r.Await(time.Minute, connected))
		assert.Equal(t, []string{"OnConnected"}, calls)
	}
}

func TestRingHasAwaitAskAgain(t *testing.T) {
	r, _ := newRig(t, conn.Config{})
	var rung atomic.Bool
	go func() { rung.Store(true); r.Ring() }()
	assert.True(t, r.Await(time.Minute, rung.Load))
}

func TestAwaitTakesTurnsForWhatDoneDoes(t *testing.T) {
	r, rec := newRig(t, conn.Config{}, Manual())
	asked := 0
	assert.True(t, r.Await(time.Minute, func() bool {
		if asked++; asked == 1 {
			r.Feed("data")
		}
		return rec.Received() == "data"
	}))
}
