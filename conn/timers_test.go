package conn

import (
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor"
)

// A quietSocket takes everything and gives, at each Read, what is in it.
type quietSocket struct {
	in    int  // bytes that wait
	ended bool // behind them
}

func (s *quietSocket) Read(p []byte) (int, error) {
	n := min(s.in, len(p))
	s.in -= n
	switch {
	case n > 0:
		return n, nil
	case s.ended:
		return 0, io.EOF
	}
	return 0, ErrWouldBlock
}

func (s *quietSocket) Write(bufs [][]byte) (n int, err error) {
	for _, b := range bufs {
		n += len(b)
	}
	return n, nil
}

func (s *quietSocket) Unread() (int, error) { return s.in, nil }
func (s *quietSocket) Arm(Interest)         {}
func (s *quietSocket) CloseWrite() error    { return nil }
func (s *quietSocket) Close(bool) error     { return nil }
func (s *quietSocket) Post(func())          {}
func (s *quietSocket) Info() interceptor.Info {
	return interceptor.Info{Remote: netip.MustParseAddrPort("192.0.2.2:40000")}
}

// A clockHandler writes down when timers and idleness are told.
type clockHandler struct {
	Defaults
	now    time.Time
	timers []TimerToken
	idles  []time.Time
}

func (h *clockHandler) OnTimer(_ *Conn, t TimerToken) { h.timers = append(h.timers, t) }
func (h *clockHandler) OnIdle(*Conn)                  { h.idles = append(h.idles, h.now) }

// A clockRig is a connection whose time is all that matters.
type clockRig struct {
	clockHandler
	d     Driver
	b     quietSocket
	m     Memory
	cfg   Config
	born  time.Time
	moves int // how often the deadline was another one
	last  time.Time
}

func newClockRig(idle time.Duration) *clockRig {
	r := &clockRig{born: time.Unix(1_700_000_000, 0), cfg: Config{IdleTimeout: idle}}
	r.now = r.born
	r.d.Init(r, &r.b, &r.cfg)
	r.d.Connected()
	r.turns(nil)
	return r
}

// turns takes a turn, with f as the owner's message, and those that are wanted then.
func (r *clockRig) turns(f func(*Conn)) {
	for more := r.d.Turn(r.now, &r.m, f); more; {
		more = r.d.Turn(r.now, &r.m, nil)
	}
	if at := r.d.Deadline(); !at.Equal(r.last) {
		r.moves++
		r.last = at
	}
}

// advance lets d pass with a turn at each deadline, as a shell does.
func (r *clockRig) advance(d time.Duration) {
	target := r.now.Add(d)
	for at := r.d.Deadline(); !at.IsZero() && !at.After(target); at = r.d.Deadline() {
		r.now = at
		r.turns(nil)
	}
	r.now = target
}

// after is how long after the beginning each idle timeout was told.
func (r *clockRig) after() (d []time.Duration) {
	for _, at := range r.idles {
		d = append(d, at.Sub(r.born))
	}
	return d
}

func (r *clockRig) receive() {
	r.b.in = 1
	r.d.Ready(Readable)
	r.turns(nil)
}

func TestTimersAgainstASortedList(t *testing.T) {
	type entry struct {
		at    time.Time
		token TimerToken
	}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 6))
		rig := newClockRig(0)
		rig.advance(time.Second) // at the very first instant, no time at all is a nanosecond
		var twin []entry
		var want []TimerToken
		for range 200 {
			switch r.IntN(4) {
			case 0, 1:
				d := time.Duration(r.IntN(20)) * time.Second
				rig.turns(func(c *Conn) { twin = append(twin, entry{rig.now.Add(d), c.StartTimer(d)}) })
			case 2:
				if len(twin) == 0 {
					break
				}
				i := r.IntN(len(twin))
				rig.turns(func(c *Conn) {
					// The turn that brings this message has expired what was due.
					due := !twin[i].at.After(rig.now)
					assert.True(t, due || c.StopTimer(twin[i].token), "seed %d", seed)
					if !due {
						twin = slices.Delete(twin, i, i+1)
						assert.False(t, c.StopTimer(9999), "a token that was never issued")
					}
				})
			case 3:
				rig.advance(time.Duration(r.IntN(6)) * time.Second)
			}
			rig.turns(nil)
			slices.SortStableFunc(twin, func(a, b entry) int { return a.at.Compare(b.at) })
			for len(twin) > 0 && !twin[0].at.After(rig.now) {
				want = append(want, twin[0].token)
				twin = twin[1:]
			}
			require.Equal(t, want, rig.timers, "seed %d", seed)
			if len(twin) == 0 {
				require.True(t, rig.d.Deadline().IsZero(), "seed %d: nothing ticks", seed)
				require.Zero(t, rig.m.InUse(), "seed %d: nothing ticks, and memory is held", seed)
			} else {
				require.Equal(t, twin[0].at, rig.d.Deadline(), "seed %d", seed)
			}
		}
	}
}

func TestTMR2_OneLateTurnTellsTimersInTheOrderOfTheirTimes(t *testing.T) {
	rig := newClockRig(0)
	due := rand.New(rand.NewPCG(1, 7)).Perm(1000)
	tokens := make([]TimerToken, 1000)
	rig.turns(func(c *Conn) {
		for _, ms := range due {
			tokens[ms] = c.StartTimer(time.Duration(ms+1) * time.Millisecond)
		}
		for ms := 1; ms < 1000; ms += 2 {
			assert.True(t, c.StopTimer(tokens[ms]))
		}
	})
	rig.now = rig.now.Add(5 * time.Second)
	rig.turns(nil)
	var want []TimerToken
	for ms := 0; ms < 1000; ms += 2 {
		want = append(want, tokens[ms])
	}
	assert.Equal(t, want, rig.timers)
}

func TestStopTimerTakesBackWhatIsDue(t *testing.T) {
	rig := newClockRig(0)
	var first, second TimerToken
	rig.turns(func(c *Conn) { first, second = c.StartTimer(time.Second), c.StartTimer(time.Second) })
	rig.now = rig.now.Add(2 * time.Second)
	more := rig.d.Turn(rig.now, &rig.m, func(c *Conn) { // both are due, and neither is told yet
		assert.True(t, c.StopTimer(first))
		assert.False(t, c.StopTimer(first))
		assert.False(t, c.StopTimer(0), "no timer has this token")
	})
	assert.True(t, more)
	rig.turns(nil)
	assert.Equal(t, []TimerToken{second}, rig.timers)
}

// Activity only stores when it was: a connection that is never idle for long does not trouble the loop's timers.
func TestTMR6_ActivityDoesNotMoveTheDeadline(t *testing.T) {
	rig := newClockRig(time.Minute)
	rig.moves = 0
	for range 100_000 {
		rig.now = rig.now.Add(59 * time.Second / 100_000)
		rig.receive()
	}
	assert.LessOrEqual(t, rig.moves, 3)
	assert.Empty(t, rig.idles)
	rig.advance(59 * time.Second)
	assert.Empty(t, rig.idles, "the minute counts from the last byte")
	rig.advance(time.Second)
	assert.Len(t, rig.idles, 1)

	rig = newClockRig(0)
	rig.receive()
	assert.True(t, rig.d.Deadline().IsZero(), "without an idle timeout nothing ticks")
}

// The idle deadline against a twin that moves it at each byte.
func TestIdleAgainstAnEagerTwin(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 8))
		idle := time.Duration(1+r.IntN(5)) * time.Second
		rig := newClockRig(idle)
		last := rig.now
		var want []time.Time
		pass := func(to time.Time) {
			for idle > 0 && !last.Add(idle).After(to) {
				last = last.Add(idle)
				want = append(want, last)
			}
		}
		for range 100 {
			d := time.Duration(r.IntN(8000)) * time.Millisecond
			pass(rig.now.Add(d))
			rig.advance(d)
			switch r.IntN(5) {
			case 0:
				rig.receive()
				last = rig.now
			case 1:
				rig.turns(func(c *Conn) { _, _ = c.Send([]byte("x")) })
				last = rig.now
			case 2:
				idle = time.Duration(r.IntN(6)) * time.Second
				rig.turns(func(c *Conn) { c.SetIdleTimeout(idle) })
				last = rig.now
			case 3:
				rig.turns(func(c *Conn) { c.Pause(); c.Resume(); c.Flush() }) // no byte moves
			}
			require.Equal(t, want, rig.idles, "seed %d", seed)
		}
	}
}

func TestTMR8_IdlenessCountsFromTheLastByte(t *testing.T) {
	rig := newClockRig(5 * time.Second)
	for range 4 {
		rig.receive()
		rig.advance(2 * time.Second)
	}
	rig.advance(20 * time.Second)
	assert.Equal(t, []time.Duration{11 * time.Second, 16 * time.Second, 21 * time.Second, 26 * time.Second}, rig.after())
}

func TestTMR13_FarDeadlinesDoNotOverflow(t *testing.T) {
	rig := newClockRig(0)
	rig.advance(time.Hour)
	rig.turns(func(c *Conn) {
		c.StartTimer(math.MaxInt64)
		c.SetIdleTimeout(math.MaxInt64)
	})
	assert.True(t, rig.d.Deadline().IsZero(), "they never come")
	rig.advance(10 * 365 * 24 * time.Hour)
	rig.turns(nil)
	assert.Empty(t, rig.timers)
	assert.Empty(t, rig.idles)
}

func TestANegativeTimeIsNoTime(t *testing.T) {
	rig := newClockRig(-time.Second)
	assert.True(t, rig.d.Deadline().IsZero(), "no idle timeout")
	rig.advance(time.Second)
	rig.turns(func(c *Conn) {
		c.SetIdleTimeout(-1)
		c.StartTimer(-time.Hour)
	})
	assert.Len(t, rig.timers, 1, "due at once")
	assert.True(t, rig.d.Deadline().IsZero())
}

// A clock that was set back must neither fire anything twice nor stop the connection's time.
func TestTimeDoesNotRunBackwards(t *testing.T) {
	rig := newClockRig(0)
	rig.advance(time.Hour)
	rig.turns(func(c *Conn) { c.StartTimer(time.Second) })
	at := rig.d.Deadline()
	rig.now = rig.now.Add(-30 * time.Minute)
	rig.turns(nil)
	assert.Empty(t, rig.timers)
	assert.Equal(t, at, rig.d.Deadline())
	rig.turns(func(c *Conn) { c.StartTimer(time.Second) })
	rig.now = at
	rig.turns(nil)
	assert.Len(t, rig.timers, 2, "the second counts from the connection's time, not from the clock")
}

func TestTimersAreGivenBackAtTheEnd(t *testing.T) {
	rig := newClockRig(0)
	rig.turns(func(c *Conn) {
		for range 10 {
			c.StartTimer(time.Hour)
		}
	})
	assert.Positive(t, rig.m.InUse())
	rig.turns(func(c *Conn) { c.Abort(nil) })
	assert.Zero(t, rig.m.InUse())
	assert.True(t, rig.d.Deadline().IsZero())
	assert.Empty(t, rig.timers)
}
