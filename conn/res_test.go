package conn_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
)

// noAllocs asserts that f, which is warm, allocates nothing in 10,000 runs: testing.AllocsPerRun rounds down, so each
// of its runs is a hundred of ours.
func noAllocs(t *testing.T, f func()) {
	t.Helper()
	n := testing.AllocsPerRun(100, func() {
		for range 100 {
			f()
		}
	})
	assert.Zero(t, n, "allocations in 100 runs")
}

// runs is how often noAllocs calls its function: AllocsPerRun warms up with one run of its own.
const runs = 101 * 100

func TestRES3_MemoryFollowsTheBytesReceived(t *testing.T) {
	const announced, sent, peers = 16 << 20, 1024, 100
	for name, layers := range map[string]bool{"plain": false, "through a layer": true} {
		t.Run(name, func(t *testing.T) {
			var m conn.Memory
			cfg := conn.Config{Split: frame.Prefixed(4, announced), MaxFrame: announced}
			var rigs []*conntest.Rig
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range peers {
				s := newScene(t)
				c := cfg
				if layers {
					c.Layers = append(c.Layers, s.layer("pass", nil))
				}
				s.open(c, conntest.Shared(&m))
				s.Feed(string(frame.AppendPrefix(nil, 4, announced)))
				for range 4 {
					s.Feed(big(sent / 4))
				}
				require.EqualValues(t, 4+sent, s.Conn().Stats().BytesRead)
				require.Zero(t, s.count("OnReceived"))
				rigs = append(rigs, s.Rig)
			}
			runtime.ReadMemStats(&after)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10<<20), "bytes allocated in all, freed ones too")
			assert.GreaterOrEqual(t, m.InUse(), peers*sent, "what came is held")
			assert.LessOrEqual(t, m.InUse(), 4*peers*sent, "and not much more")
			for _, r := range rigs {
				r.Do(func(c *conn.Conn) { c.Abort(nil) })
			}
			assert.Zero(t, m.InUse())
		})
	}
}

func TestRES4_TurnsAllocateNothing(t *testing.T) {
	cases := map[string]struct {
		cfg     conn.Config
		arrived []byte
	}{
		"64 bytes":           {conn.Config{}, make([]byte, 64)},
		"framed, one frame":  {conn.Config{Split: frame.Prefixed(2, 64)}, frame.AppendPrefix(make([]byte, 0, 66), 2, 64)[:66]},
		"framed, 16 frames":  {conn.Config{Split: frame.Fixed(4)}, make([]byte, 64)},
		"written directly":   {conn.Config{}, make([]byte, 32<<10)},
		"through a layer":    {conn.Config{Layers: []interceptor.Factory{passLayer}}, make([]byte, 64)},
		"through two layers": {conn.Config{Layers: []interceptor.Factory{passLayer, passLayer}, Split: frame.Fixed(4)}, make([]byte, 64)},
		"with a deadline":    {conn.Config{IdleTimeout: time.Hour}, make([]byte, 64)},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			h := new(bareEcho)
			c := openBare(h, &k.cfg, new(conn.Memory), k.arrived)
			perTurn := 1
			if c.echoTurn(); h.received > 1 {
				perTurn = h.received
			}
			c.turn(nil)
			h.received, h.sent, c.b.written = 0, 0, 0
			noAllocs(t, func() {
				c.echoTurn()
				c.turn(nil)
			})
			require.Equal(t, runs*perTurn, h.received)
			require.Equal(t, runs*perTurn, h.sent, "the notices are among it")
			require.GreaterOrEqual(t, c.b.written, runs*(len(k.arrived)-2))
			require.False(t, c.d.Pending())
			assert.Zero(t, c.m.InUse())

			noAllocs(t, func() { c.echoTurn() }) // each settles the one before
			require.Equal(t, 2*runs*perTurn, h.received)
		})
	}
}

func passLayer() interceptor.Interceptor { return interceptor.Pass{} }

func TestRES4_AnAnswerToEachOfManyFramesAllocatesNothing(t *testing.T) {
	h, c := newPiped()
	c.echoTurn()
	h.received, c.b.written = 0, 0
	noAllocs(t, func() { c.echoTurn() })
	require.Equal(t, runs*piped, h.received)
	require.Equal(t, runs*len(c.b.arrived), c.b.written)
	assert.Zero(t, c.m.InUse())
}

func TestRES4_APartOfAFrameAllocatesNothing(t *testing.T) {
	h := new(bareEcho)
	c := openBare(h, &conn.Config{Split: frame.Fixed(128)}, new(conn.Memory), make([]byte, 64))
	half := func() {
		c.echoTurn()
		c.turn(nil)
	}
	half()
	require.Positive(t, c.m.InUse(), "half a frame is held")
	require.Zero(t, h.received)
	half()
	require.Zero(t, c.m.InUse())
	require.Equal(t, 1, h.received)
	noAllocs(t, half)
	require.Equal(t, 1+runs/2, h.received)
}

func TestRES4_ASendOfSeveralBuffersAllocatesNothing(t *testing.T) {
	for name, layers := range map[string][]interceptor.Factory{"plain": nil, "through a layer": {passLayer}} {
		for _, size := range []int{10, 20_000} {
			t.Run(name, func(t *testing.T) {
				h := new(bareEcho)
				c := openBare(h, &conn.Config{Layers: layers}, new(conn.Memory), nil)
				head, body := make([]byte, 4), make([]byte, size)
				send := func(c *conn.Conn) { _, _ = c.Send(head, body) }
				noAllocs(t, func() {
					c.turn(send)
					c.turn(nil)
				})
				require.Equal(t, runs, h.sent)
				require.Equal(t, runs*(4+size), c.b.written)
			})
		}
	}
}

func TestRES4_AThrottleCycleAllocatesNothing(t *testing.T) {
	for name, layers := range map[string][]interceptor.Factory{"plain": nil, "through a layer": {passLayer}} {
		t.Run(name, func(t *testing.T) {
			h := new(bareEcho)
			c := openBare(h, &conn.Config{Layers: layers}, new(conn.Memory), nil)
			data := make([]byte, highWater+1)
			send := func(c *conn.Conn) { _, _ = c.Send(data) }
			cycle := func() {
				c.b.room = 0
				c.turn(send) // the system takes nothing
				c.turn(nil)  // OnThrottled
				c.b.room = -1
				c.d.Ready(conn.Writable)
				c.turn(nil) // the write
				c.turn(nil) // OnSent, OnUnthrottled
			}
			cycle()
			noAllocs(t, cycle)
			require.Equal(t, runs+1, h.throttled)
			require.Equal(t, runs+1, h.unthrottled)
			require.Equal(t, runs+1, h.sent)
			assert.Zero(t, c.m.InUse())
		})
	}
}

func TestSND22_ARefusedSendAllocatesNothing(t *testing.T) {
	data := make([]byte, maxPending+1)
	cases := map[string]struct {
		prepare func(c *bareConn)
		size    int
		want    conn.SendError
	}{
		"not writeable": {func(c *bareConn) {
			c.b.room = 0
			c.turn(func(c *conn.Conn) { _, _ = c.Send(data[:highWater+1]) })
			c.turn(nil)
		}, 64, conn.ErrNotWriteable},
		"too large":     {func(*bareConn) {}, maxPending + 1, conn.ErrTooLarge},
		"not connected": {func(c *bareConn) { c.turn((*conn.Conn).Close) }, 64, conn.ErrNotConnected},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			c := openBare(new(bareEcho), new(conn.Config), new(conn.Memory), nil)
			k.prepare(c)
			before := c.d.Conn().Stats()
			c.turn(func(c *conn.Conn) {
				same := true
				noAllocs(t, func() {
					_, err := c.Send(data[:k.size])
					same = same && err == k.want // by plain comparison
				})
				assert.True(t, same)
			})
			if k.want == conn.ErrNotWriteable {
				before.Refused += runs
			}
			assert.Equal(t, before, c.d.Conn().Stats())
		})
	}
}

func TestRES4_MovingAnIdleDeadlineAllocatesNothing(t *testing.T) {
	h := new(bareEcho)
	c := openBare(h, &conn.Config{IdleTimeout: time.Second}, new(conn.Memory), make([]byte, 64))
	moved := 0
	noAllocs(t, func() {
		before := c.d.Deadline()
		c.now = c.now.Add(600 * time.Millisecond)
		c.echoTurn()
		c.turn(nil)
		if c.d.Deadline() != before {
			moved++
		}
	})
	require.Greater(t, moved, runs/3, "the deadline came, and was moved")
	require.Zero(t, h.idle, "for it was never idle")

	noAllocs(t, func() {
		c.turn(func(c *conn.Conn) { c.SetIdleTimeout(2 * time.Second) })
	})
	h.idle = 0
	noAllocs(t, func() {
		c.now = c.now.Add(2 * time.Second)
		c.turn(nil)
		c.turn(nil)
	})
	assert.Equal(t, runs, h.idle, "OnIdle allocates nothing either")
}

func TestRES4_AnotherTimerAllocatesNothing(t *testing.T) {
	h := new(bareEcho)
	c := openBare(h, new(conn.Config), new(conn.Memory), nil)
	cycle := func() {
		c.turn(func(c *conn.Conn) {
			c.StartTimer(time.Second)
			c.StopTimer(c.StartTimer(time.Minute))
		})
		c.now = c.now.Add(time.Second)
		c.turn(nil)
		c.turn(nil)
	}
	cycle()
	noAllocs(t, cycle)
	assert.Equal(t, runs+1, h.timers)
	assert.Zero(t, c.m.InUse())
}
