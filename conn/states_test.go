package conn_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
)

// A stateRig is a connection that is brought into a state and then given one input.
type stateRig struct {
	*conntest.Rig
	rec    conntest.Recorder
	layers []*stateLayer
}

// A stateLayer passes everything, and is ready when it is told to be.
type stateLayer struct {
	interceptor.Pass
	link  interceptor.Link
	ready bool
}

func (l *stateLayer) Open(link interceptor.Link) error {
	if l.link = link; l.ready {
		link.Ready()
	}
	return nil
}

func (l *stateLayer) CloseWrite(link interceptor.Link) error {
	return link.Down([][]byte{[]byte("bye")})
}

func (l *stateLayer) Expire(link interceptor.Link, _ time.Time) error {
	link.Raise("expired")
	return nil
}

// layer makes a factory of layers that are ready or wait for it.
func (r *stateRig) layer(ready bool) interceptor.Factory {
	return func() interceptor.Interceptor {
		l := &stateLayer{ready: ready}
		r.layers = append(r.layers, l)
		return l
	}
}

// top is how the layer nearest the handler reaches its neighbours; nil if there is none.
func (r *stateRig) top() interceptor.Link {
	if len(r.layers) == 0 {
		return nil
	}
	return r.layers[len(r.layers)-1].link
}

// stateSetups bring a fresh connection into each state. layered says whether it has a layer.
var stateSetups = []struct {
	name  string
	state conn.State
	opts  []conntest.Option
	ready bool // the first layer
	do    func(r *stateRig)
}{
	{"Connecting", conn.StateConnecting, []conntest.Option{conntest.Dialed()}, true, nil},
	{"Starting", conn.StateStarting, nil, false, nil},
	{"Connected", conn.StateConnected, nil, true, nil},
	{"Connected, throttled", conn.StateConnected, nil, true, func(r *stateRig) { r.throttle() }},
	{"Connected, paused, bytes wait", conn.StateConnected, nil, true, func(r *stateRig) {
		r.do(func(c *conn.Conn) { c.Pause() })
		r.Feed("unread")
	}},
	{"Connected, the peer has ended", conn.StateConnected, nil, true, func(r *stateRig) { r.FeedEOF() }},
	{"Connected, our end is sent", conn.StateConnected, nil, true, func(r *stateRig) { r.do((*conn.Conn).CloseWrite) }},
	{"Upgrading", conn.StateUpgrading, nil, true, func(r *stateRig) {
		r.do(func(c *conn.Conn) { _ = c.Upgrade(r.layer(false)) })
	}},
	{"Closing, draining", conn.StateClosing, nil, true, func(r *stateRig) {
		r.throttle()
		r.do((*conn.Conn).Close)
	}},
	{"Closing, our end is sent", conn.StateClosing, nil, true, func(r *stateRig) { r.do((*conn.Conn).Close) }},
	{"Closed, OnClosed is due", conn.StateClosed, nil, true, func(r *stateRig) {
		r.Do(func(c *conn.Conn) { c.Abort(nil) })
		r.Turn()
	}},
	{"Closed", conn.StateClosed, nil, true, func(r *stateRig) { r.do(func(c *conn.Conn) { c.Abort(nil) }) }},
}

func (r *stateRig) do(f func(*conn.Conn)) {
	r.Do(f)
	r.Settle()
}

// throttle has more pending than HighWater, and the system take nothing.
func (r *stateRig) throttle() {
	r.Allow(0)
	r.do(func(c *conn.Conn) {
		if _, err := c.Send(bytes.Repeat([]byte{'w'}, 20)); err != nil {
			panic(err)
		}
	})
}

// newStateRig brings a connection into a state. Turns are taken only by Settle.
func newStateRig(t *testing.T, i int, layered bool) *stateRig {
	s := stateSetups[i]
	r := new(stateRig)
	r.rec = conntest.Recorder{Stay: true, TB: t}
	cfg := conn.Config{HighWater: 10, MaxPending: 100, MaxFrame: 50}
	if layered {
		cfg.Layers = []interceptor.Factory{r.layer(s.ready)}
	}
	r.Rig = conntest.New(&r.rec, cfg, append([]conntest.Option{conntest.Manual(), conntest.Checked(t)}, s.opts...)...)
	r.Settle()
	if s.do != nil {
		s.do(r)
		if s.state != conn.StateClosed {
			r.Settle()
		}
	}
	require.Equal(t, s.state, r.Conn().State(), s.name)
	r.rec.Calls()
	r.Wire()
	return r
}

var errState = errors.New("why")

// A stateInput is something that may happen to a connection. do says what it returned, "" if it returns nothing.
type stateInput struct {
	name string
	do   func(r *stateRig) string
}

// ownerInput is an input that the owner gives in a turn.
func ownerInput(name string, f func(r *stateRig, c *conn.Conn) string) stateInput {
	return stateInput{name, func(r *stateRig) (out string) {
		r.Do(func(c *conn.Conn) { out = f(r, c) })
		if !r.Done() {
			r.Turn()
		}
		return out
	}}
}

// outerInput is an input that the world gives, between two turns.
func outerInput(name string, f func(r *stateRig)) stateInput {
	return stateInput{name, func(r *stateRig) string { f(r); return "" }}
}

// layerInput is an input that the top layer gives.
func layerInput(name string, f func(l interceptor.Link) error) stateInput {
	return stateInput{"layer: " + name, func(r *stateRig) string {
		l := r.top()
		if l == nil {
			return "there is none"
		}
		ran, settled := false, false
		l.Post(func() error {
			ran = true
			assertNoCall(r, settled)
			return f(l)
		})
		settled = true
		r.Settle()
		if !ran {
			return "it does not run"
		}
		return ""
	}}
}

// then lets something follow the input.
func (in stateInput) then(f func(*stateRig)) stateInput {
	do := in.do
	in.do = func(r *stateRig) string {
		out := do(r)
		f(r)
		return out
	}
	return in
}

func feedData(r *stateRig)   { r.Feed("data") }
func passSecond(r *stateRig) { r.pass(time.Second) }

func assertNoCall(r *stateRig, later bool) {
	if !later {
		panic("a posted function runs inside Post")
	}
}

func stateInputs() []stateInput {
	say := func(l interceptor.Link) error { return l.Down([][]byte{[]byte("mine")}) }
	size := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
	send := func(bufs ...[]byte) func(*stateRig, *conn.Conn) string {
		return func(_ *stateRig, c *conn.Conn) string {
			t, err := c.Send(bufs...)
			return fmt.Sprintf("%d, %v", t, err)
		}
	}
	return []stateInput{
		ownerInput("Send 1 byte", send(size(1))),
		ownerInput("Send nothing", send()),
		ownerInput("Send 11 bytes, more than HighWater", send(size(5), size(6))),
		ownerInput("Send 101 bytes, more than MaxPending", send(size(101))),
		ownerInput("Write", func(_ *stateRig, c *conn.Conn) string {
			n, err := c.Write(size(3))
			return fmt.Sprintf("%d, %v", n, err)
		}),
		ownerInput("IsWriteable", func(_ *stateRig, c *conn.Conn) string { return fmt.Sprint(c.IsWriteable()) }),
		ownerInput("Flush", func(_ *stateRig, c *conn.Conn) string { c.Flush(); return "" }),
		ownerInput("Close", func(_ *stateRig, c *conn.Conn) string { c.Close(); return "" }),
		ownerInput("Close twice", func(_ *stateRig, c *conn.Conn) string { c.Close(); c.Close(); return "" }),
		ownerInput("CloseWrite", func(_ *stateRig, c *conn.Conn) string { c.CloseWrite(); return "" }),
		ownerInput("Abort", func(_ *stateRig, c *conn.Conn) string { c.Abort(errState); return "" }),
		ownerInput("Pause", func(_ *stateRig, c *conn.Conn) string { c.Pause(); return "" }).then(feedData),
		ownerInput("Resume", func(_ *stateRig, c *conn.Conn) string { c.Resume(); return "" }),
		ownerInput("SetSplit", func(_ *stateRig, c *conn.Conn) string { c.SetSplit(bufio.ScanWords); return "" }).
			then(func(r *stateRig) { r.Feed("two words ") }),
		ownerInput("Upgrade", func(r *stateRig, c *conn.Conn) string { return fmt.Sprint(c.Upgrade(r.layer(true))) }),
		ownerInput("Upgrade, with no factory", func(_ *stateRig, c *conn.Conn) string { return fmt.Sprint(c.Upgrade(nil)) }),
		ownerInput("SetIdleTimeout 1 s", func(_ *stateRig, c *conn.Conn) string { c.SetIdleTimeout(time.Second); return "" }).
			then(passSecond),
		ownerInput("StartTimer 1 s", func(_ *stateRig, c *conn.Conn) string { return fmt.Sprint(c.StartTimer(time.Second)) }).
			then(passSecond),
		ownerInput("StopTimer of one that runs", func(_ *stateRig, c *conn.Conn) string {
			return fmt.Sprint(c.StopTimer(c.StartTimer(time.Second)))
		}),
		ownerInput("StopTimer of none", func(_ *stateRig, c *conn.Conn) string { return fmt.Sprint(c.StopTimer(99)) }),
		ownerInput("State", func(_ *stateRig, c *conn.Conn) string { return c.State().String() }),
		ownerInput("Layers", func(_ *stateRig, c *conn.Conn) string {
			n := 0
			for range c.Layers().All() {
				n++
			}
			return fmt.Sprint(n)
		}),
		ownerInput("LocalAddr, RemoteAddr", func(_ *stateRig, c *conn.Conn) string { return fmt.Sprint(c.LocalAddr(), " ", c.RemoteAddr()) }),
		ownerInput("Stats", func(_ *stateRig, c *conn.Conn) string {
			s := c.Stats()
			return fmt.Sprintf("accepted %d, sent %d, failed %d, pending %d", s.Accepted, s.Sent, s.Failed, s.Pending)
		}),

		outerInput("Driver.Connecting", func(r *stateRig) { r.Connecting(2) }),
		outerInput("Driver.Connected", func(r *stateRig) { r.Connected() }),
		outerInput("Driver.Failed", func(r *stateRig) { r.Fail(conn.StageDial, errState) }),
		outerInput("Driver.Ready, and nothing is", func(r *stateRig) { r.Feed("") }),
		outerInput("bytes come", func(r *stateRig) { r.Feed("data") }),
		outerInput("the peer ends", func(r *stateRig) { r.FeedEOF() }),
		outerInput("bytes and the end come", func(r *stateRig) { r.Feed("data"); r.FeedEOF() }),
		outerInput("the peer resets", func(r *stateRig) { r.Reset() }),
		outerInput("reading fails", func(r *stateRig) { r.FeedError(syscall.ETIMEDOUT) }),
		outerInput("the system takes all", func(r *stateRig) { r.Allow(-1) }),
		outerInput("writing fails", func(r *stateRig) { r.FailWrite(syscall.EPIPE) }),
		outerInput("a suspended turn", func(r *stateRig) { r.Suspend(true); r.Turn(); r.Suspend(false) }),
		outerInput("10 s pass", func(r *stateRig) { r.pass(10 * time.Second) }),
		ownerInput("Driver.Abort", func(r *stateRig, _ *conn.Conn) string { r.Driver().Abort(conn.CauseHandler, errState); return "" }),

		layerInput("Up", func(l interceptor.Link) error { return l.Up([]byte("up")) }),
		layerInput("Down", say),
		layerInput("EOF", func(l interceptor.Link) error { return l.EOF() }),
		layerInput("Ready", func(l interceptor.Link) error { l.Ready(); return nil }),
		layerInput("Raise", func(l interceptor.Link) error { l.Raise("event"); return nil }),
		layerInput("Post", func(l interceptor.Link) error { l.Post(func() error { l.Raise("posted"); return nil }); return nil }),
		layerInput("Hold", func(l interceptor.Link) error { l.Hold(); return nil }).then(feedData),
		layerInput("Hold, Release", func(l interceptor.Link) error { l.Hold(); l.Release(); return nil }).then(feedData),
		layerInput("End", func(l interceptor.Link) error { l.End(errState); return nil }),
		layerInput("Down, End", func(l interceptor.Link) error { err := say(l); l.End(errState); return err }),
		layerInput("SetDeadline in 1 s", func(l interceptor.Link) error { l.SetDeadline(l.Now().Add(time.Second)); return nil }).
			then(passSecond),
		layerInput("Info", func(l interceptor.Link) error { l.Raise(l.Info().Remote.String()); return nil }),
		layerInput("an error", func(interceptor.Link) error { return errState }),
		layerInput("last words and an error", func(l interceptor.Link) error { return errors.Join(say(l), errState) }),
	}
}

// pass lets time pass, with the turns that are due on the way.
func (r *stateRig) pass(d time.Duration) {
	for end := r.Now().Add(d); r.Now().Before(end); {
		r.Settle()
		at := r.Deadline()
		if at.IsZero() || at.After(end) || !at.After(r.Now()) {
			at = end
		}
		r.Advance(at.Sub(r.Now()))
	}
	r.Settle()
}

// TestStates prints what each input leads to in each state, and compares it with testdata/states.golden;
// "go test ./conn -run TestStates -rewrite" writes that file. Read the difference as the change of behaviour that it is.
func TestStates(t *testing.T) {
	const golden = "testdata/states.golden"
	var out strings.Builder
	fmt.Fprint(&out, "What each input leads to, in each state: what it returns; the callbacks; what the socket is told; the state then.\n"+
		"HighWater is 10 bytes, MaxPending 100. Layers say \"bye\" before the end. The handler does nothing.\n")
	for i, s := range stateSetups {
		for _, layered := range []bool{false, true} {
			if !layered && s.state == conn.StateStarting {
				continue // it passes within one turn
			}
			kind := "no layers"
			if layered {
				kind = "one layer"
			}
			fmt.Fprintf(&out, "\n# %s; %s\n\n", s.name, kind)
			for _, input := range stateInputs() {
				if !layered && strings.HasPrefix(input.name, "layer: ") && s.state != conn.StateUpgrading {
					continue
				}
				r := newStateRig(t, i, layered)
				fmt.Fprintf(&out, "%-38s %s\n", input.name, r.give(input))
				assert.Empty(t, r.Violations(), "%s: %s", s.name, input.name)
			}
		}
	}
	if flag.Lookup("rewrite").Value.String() == "true" {
		require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o644))
		return
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	section := ""
	wanted, got := bufio.NewScanner(bytes.NewReader(want)), bufio.NewScanner(strings.NewReader(out.String()))
	for more := true; more; {
		more = got.Scan()
		require.Equal(t, more, wanted.Scan(), "the file has another length")
		if strings.HasPrefix(got.Text(), "#") {
			section = got.Text()
		}
		assert.Equal(t, wanted.Text(), got.Text(), "in the section %s", section)
	}
}

// give gives one input and says what it led to.
func (r *stateRig) give(input stateInput) string {
	closed, _ := r.Closed()
	fin := r.FIN()
	returned := input.do(r)
	r.Settle()
	parts := []string{}
	add := func(s string) { parts = append(parts, s) }
	if returned != "" {
		add(returned)
	}
	parts = append(parts, r.rec.Calls()...)
	if wire := r.Wire(); wire != "" {
		add(fmt.Sprintf("write %q", wire))
	}
	if r.FIN() && !fin {
		add("FIN")
	}
	if now, reset := r.Closed(); now && !closed && reset {
		add("reset")
	} else if now && !closed {
		add("closed")
	}
	add(r.Conn().State().String())
	return strings.Join(parts, " | ")
}
