package conntest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// TestRandomConversationsBreakNoPromise has everything happen in any order. What the Rig and the Recorder look at must
// hold throughout; each conversation must come to rest after each step, reach its end, and leave nothing borrowed.
// CONNTEST_RUNS asks for more of them, CONNTEST_SEED for one.
func TestRandomConversationsBreakNoPromise(t *testing.T) {
	runs, first := number("CONNTEST_RUNS", 3000), number("CONNTEST_SEED", 0)
	if first != 0 {
		runs = 1
	}
	for seed := first; seed < first+runs; seed++ {
		if story := converse(uint64(seed)); story != "" {
			t.Fatalf("CONNTEST_SEED=%d\n%s", seed, story)
		}
	}
}

func number(env string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(env)); err == nil {
		return n
	}
	return otherwise
}

// A talk is one random conversation.
type talk struct {
	*rand.Rand
	rig   *Rig
	rec   *Recorder
	story []string

	timers   map[conn.TimerToken]time.Time // those that must still fire
	overdue  string
	manual   bool
	awaiting bool // the owner is suspended
}

func (k *talk) tell(format string, args ...any) {
	k.story = append(k.story, fmt.Sprintf(format, args...))
}

func (k *talk) oneIn(n int) bool { return k.IntN(n) == 0 }

// converse returns the story of a conversation that broke a promise, or nothing.
func converse(seed uint64) (broken string) {
	k := &talk{Rand: rand.New(rand.NewPCG(seed, 7))}
	defer func() {
		if v := recover(); v != nil {
			broken = fmt.Sprintf("%v\n%s", v, strings.Join(k.story, "\n"))
		}
	}()
	k.rec = &Recorder{Stay: k.oneIn(2)}
	k.rec.Do = func(c *conn.Conn, call string) {
		k.tell("  %s", call)
		if t, ok := strings.CutPrefix(call, "OnTimer "); ok {
			n, _ := strconv.Atoi(t)
			delete(k.timers, conn.TimerToken(n))
		}
		if k.oneIn(3) {
			k.act(c)
		}
	}
	k.rec.Return = func(*conn.Conn, []byte) error {
		switch k.IntN(40) {
		case 0:
			return errors.New("refused")
		case 1, 2, 3:
			return conn.Yield
		}
		return nil
	}
	k.begin()
	for range 5 + k.IntN(40) {
		k.step()
		k.look()
	}
	k.end()
	problems := append(k.rec.Violations(), k.rig.Violations()...)
	if k.overdue != "" {
		problems = append(problems, k.overdue)
	}
	if !k.rig.Done() {
		problems = append(problems, "the conversation has no end")
	} else if n := k.rig.Memory().InUse(); n != 0 {
		problems = append(problems, fmt.Sprintf("%d bytes are still borrowed", n))
	}
	if len(problems) > 0 {
		return strings.Join(append(problems, k.story...), "\n")
	}
	return ""
}

// look finds timers that should have fired.
func (k *talk) look() {
	if k.manual || k.awaiting || k.rig.Conn().State() == conn.StateClosed {
		return
	}
	for t, due := range k.timers {
		if due.Before(k.rig.Now()) {
			k.tell("timer %d is overdue", t)
			k.overdue = fmt.Sprintf("timer %d did not fire", t)
		}
	}
}

func (k *talk) begin() {
	k.timers = make(map[conn.TimerToken]time.Time)
	cfg := conn.Config{HighWater: 1 + k.IntN(50), MaxPending: 200, MaxFrame: 60}
	cfg.LowWater = k.IntN(cfg.HighWater)
	cfg.ReadWaits = conn.Setting(k.IntN(3))
	cfg.Split = k.split()
	if k.oneIn(3) {
		cfg.IdleTimeout = time.Second
	}
	for range k.IntN(3) {
		cfg.Layers = append(cfg.Layers, k.layer())
	}
	opts := []Option{func(r *Rig) { k.rig = r }}
	for i, o := range []Option{Dialed(), Manual(), ArmedOnly()} {
		if k.oneIn(3) {
			k.tell("option %d", i)
			opts = append(opts, o)
			k.manual = k.manual || i == 1
		}
	}
	k.tell("config %+v", cfg)
	New(k.rec, cfg, opts...)
}

func (k *talk) split() (split bufioSplit) {
	switch k.IntN(5) {
	case 0:
		return frame.Fixed(1 + k.IntN(9))
	case 1:
		return frame.Prefixed(1, 50)
	case 2:
		return frame.Lines(50)
	}
	return nil
}

type bufioSplit = func(data []byte, atEOF bool) (advance int, token []byte, err error)

// layer makes one of the layers that scripts have; some fail, some never get ready.
func (k *talk) layer() interceptor.Factory {
	specs := [][]string{{"wrap", "<", ">"}, {"hello", "H", "\x01"}, {"bye", "bye"}, {"silent"}, {"break", "\x07"},
		{"break", "\x07", "alert"}, {"wrap", "", ""}, {"bye", ""}}
	spec := specs[k.IntN(len(specs))]
	k.tell("layer %q", spec)
	for _, l := range builtin {
		if l.Name == spec[0] {
			f, err := l.Make(spec[1:])
			if err != nil {
				panic(err)
			}
			return f
		}
	}
	panic("there is no layer " + spec[0])
}

// bytes are small numbers: they make valid prefixes, and meet what the layers look for.
func (k *talk) bytes(most int) []byte {
	p := make([]byte, k.IntN(most))
	for i := range p {
		p[i] = byte(1 + k.IntN(12))
	}
	return p
}

// act does something as the owner.
func (k *talk) act(c *conn.Conn) {
	switch n := k.IntN(24); n {
	default:
		t, err := c.Send(k.bytes(40), k.bytes(3))
		k.tell("    send: %v %v", t, err)
	case 10:
		t, err := c.Send(bytes.Repeat([]byte("x"), 195+k.IntN(10)))
		k.tell("    send much: %v %v", t, err)
	case 11:
		k.tell("    flush")
		c.Flush()
	case 12, 13:
		k.tell("    pause")
		c.Pause()
	case 14, 15, 16:
		k.tell("    resume")
		c.Resume()
	case 17:
		k.tell("    split")
		c.SetSplit(k.split())
	case 18:
		d := time.Duration(k.IntN(3)) * time.Second
		t := c.StartTimer(d)
		k.tell("    timer %d in %v", t, d)
		if t != 0 {
			k.timers[t] = k.rig.Now().Add(d)
		}
	case 19:
		t := conn.TimerToken(k.IntN(4))
		k.tell("    stop %d: %v", t, c.StopTimer(t))
		delete(k.timers, t)
	case 20:
		k.tell("    idle")
		c.SetIdleTimeout(time.Duration(k.IntN(3)) * time.Second)
	case 21:
		k.tell("    upgrade: %v", c.Upgrade(k.layer()))
	case 22:
		k.tell("    closewrite")
		c.CloseWrite()
	case 23:
		if k.oneIn(3) {
			k.tell("    abort")
			c.Abort(errors.New("enough"))
		} else if k.oneIn(3) {
			k.tell("    close")
			c.Close()
		}
	}
}

// step has something happen.
func (k *talk) step() {
	r := k.rig
	if c := r.Conn(); c.State() == conn.StateConnecting && k.oneIn(3) {
		if k.oneIn(5) {
			k.tell("fail")
			r.Fail(conn.StageDial, errors.New("nobody there"))
			return
		}
		k.tell("connected")
		r.Connected()
		return
	}
	switch n := k.IntN(20); n {
	case 0, 1, 2, 3, 4:
		p := k.bytes(30)
		k.tell("feed %q", p)
		r.Feed(string(p))
	case 5:
		k.tell("feed much")
		r.Feed(strings.Repeat("0123\n", 30_000))
	case 6:
		k.tell("eof")
		r.FeedEOF()
	case 7:
		if k.oneIn(4) {
			k.tell("reset")
			r.Reset()
		} else if k.oneIn(4) {
			k.tell("write fails")
			r.FailWrite(io.ErrShortWrite)
		}
	case 8, 9, 10:
		n := k.IntN(60) - 1
		k.tell("allow %d", n)
		r.Allow(n)
	case 11, 12:
		d := time.Duration(k.IntN(3000)) * time.Millisecond
		k.tell("advance %v", d)
		r.Advance(d)
	case 13:
		k.tell("stall")
		r.Stall(time.Second)
	case 14:
		k.tell("turn")
		r.Turn()
	case 15:
		k.tell("settle")
		r.Settle()
	case 16:
		on := k.oneIn(2)
		k.tell("suspend %v", on)
		k.awaiting = on
		r.Suspend(on)
	default:
		k.tell("do")
		r.Do(k.act)
	}
}

// end lets the conversation end within its deadlines: the owner closes, and takes what comes.
func (k *talk) end() {
	r := k.rig
	k.tell("the end")
	r.Suspend(false)
	r.Settle()
	r.Do((*conn.Conn).Close)
	r.Settle()
	for range 5 {
		r.Advance(11 * time.Second)
		r.Settle()
	}
}
