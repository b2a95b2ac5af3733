package liveness_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
)

// A sink is the Link around many chains at once: it keeps nothing.
type sink struct{ now time.Time }

func (*sink) Up([]byte) error                     { return nil }
func (*sink) Down([][]byte) error                 { return nil }
func (*sink) EOF() error                          { return nil }
func (*sink) Ready()                              {}
func (*sink) Raise(any)                           {}
func (*sink) Post(func() error)                   {}
func (*sink) Hold()                               {}
func (*sink) Release()                            {}
func (*sink) End(error)                           {}
func (*sink) Closing() bool                       { return false }
func (*sink) Unread() int                         { return 0 }
func (*sink) Info() interceptor.Info              { return interceptor.Info{} }
func (k *sink) Now() time.Time                    { return k.now }
func (*sink) SetDeadline(time.Time)               {}
func (k *sink) pass(d time.Duration)              { k.now = k.now.Add(d) }
func (k *sink) expire(c *interceptor.Chain) error { return c.Expire(k, k.now) }

// open opens a chain with the layer, and lets it live for a while: it hears its peer, and speaks.
func (k *sink) open(t testing.TB, layer interceptor.Factory, words ...string) *interceptor.Chain {
	t.Helper()
	c := new(interceptor.Chain)
	require.NoError(t, c.Push(layer()))
	require.NoError(t, c.Open(k))
	for _, w := range words {
		require.NoError(t, c.Up(k, []byte(w)))
	}
	c.Wrote(k, 40, 0)
	return c
}

// heap returns what is left on the heap, in bytes for each of n, of what f makes.
func heap(n int, f func() any) float64 {
	kept := make([]any, 0, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		kept = append(kept, f())
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
}

// What a connection at rest pays for being watched, and what of that is the chain's, which any layer needs.
func TestAnIdleConnectionPays64Bytes(t *testing.T) {
	const n = 20_000
	k := &sink{now: time.Now()}
	pass := func() interceptor.Interceptor { return interceptor.Pass{} }
	chain := heap(n, func() any { return k.open(t, pass) })
	before := runtime.NumGoroutine()
	for _, f := range []struct {
		name  string
		layer interceptor.Factory
		words []string
	}{
		{"Framed", framed(t, liveness.Config{Timeout: 10 * s}), []string{hello(10*s, 0), data(""), data("abc"), data("")}},
		{"Passive", passive(t, liveness.Config{Timeout: 10 * s}), []string{"abc"}},
		{"Passive with a Probe", passive(t, liveness.Config{Timeout: 10 * s, Probe: ping}), []string{"abc"}},
	} {
		all := make([]*interceptor.Chain, 0, n)
		both := heap(n, func() any {
			c := k.open(t, f.layer, f.words...)
			all = append(all, c)
			return c
		})
		t.Logf("%s: %.0f bytes in all: %.0f are the chain with a place for one layer, %.0f the layer", f.name, both, chain, both-chain)
		assert.LessOrEqual(t, both-chain, 64.5, f.name)
		k.pass(2600 * ms)
		for _, c := range all[:10] {
			require.NoError(t, k.expire(c))
			require.NoError(t, c.Up(k, []byte(f.words[len(f.words)-1])))
		}
	}
	assert.Equal(t, before, runtime.NumGoroutine(), "and no goroutine")
}

// Bytes either way, a keepalive, a deadline that moves, and asking for the Status allocate nothing.
func TestNothingIsAllocatedInATurn(t *testing.T) {
	for _, f := range []struct {
		name  string
		layer interceptor.Factory
		words []string
	}{
		{"Framed", framed(t, liveness.Config{Timeout: 10 * s}), []string{hello(10*s, 0), data("abc")}},
		{"Passive", passive(t, liveness.Config{Timeout: 10 * s, Probe: ping}), []string{"abc"}},
		{"Watchdog", made(t, liveness.Watchdog, liveness.Config{Timeout: 10 * s, Probe: ping}), []string{"abc"}},
	} {
		k := &sink{now: time.Now()}
		c := k.open(t, f.layer, f.words...)
		l, _ := liveness.Of(c)
		word := []byte(f.words[len(f.words)-1])
		large := [][]byte{make([]byte, 64), make([]byte, 100_000)}
		for name, what := range map[string]func(){
			"hearing":  func() { _ = c.Up(k, word) },
			"speaking": func() { _ = c.Down(k, large[:1]); c.Wrote(k, 68, 0) },
			"cutting":  func() { _ = c.Down(k, large); c.Wrote(k, 68, 0) },
			"a keepalive, due": func() {
				_ = c.Up(k, word)
				k.pass(13 * s / 4)
				_ = c.Expire(k, k.now)
				c.Wrote(k, 4, 0)
				l.Answered()
			},
			"holding": func() { c.Reading(k, true); c.Reading(k, false) },
			"status":  func() { _ = l.Status() },
		} {
			what() // what stays once it is there
			if n := testing.AllocsPerRun(500, what); n > 0 && !raceEnabled {
				t.Errorf("%s: %s allocates %v times", f.name, name, n)
			}
		}
	}
}

func BenchmarkPassiveUp(b *testing.B) {
	k := &sink{now: time.Now()}
	c := k.open(b, passive(b, liveness.Config{}))
	p := make([]byte, 64)
	for b.Loop() {
		_ = c.Up(k, p)
	}
}

func BenchmarkFramedUp(b *testing.B) {
	k := &sink{now: time.Now()}
	c := k.open(b, framed(b, liveness.Config{}), hello(h, 0))
	p := []byte(data(string(make([]byte, 64))))
	for b.Loop() {
		_ = c.Up(k, p)
	}
}

func BenchmarkPassUp(b *testing.B) {
	k := &sink{now: time.Now()}
	c := k.open(b, func() interceptor.Interceptor { return interceptor.Pass{} })
	p := make([]byte, 64)
	for b.Loop() {
		_ = c.Up(k, p)
	}
}

func BenchmarkPassiveDown(b *testing.B) {
	k := &sink{now: time.Now()}
	c := k.open(b, passive(b, liveness.Config{}))
	benchmarkDown(b, k, c)
}

func BenchmarkFramedDown(b *testing.B) {
	k := &sink{now: time.Now()}
	c := k.open(b, framed(b, liveness.Config{}), hello(h, 0))
	benchmarkDown(b, k, c)
}

func benchmarkDown(b *testing.B, k *sink, c *interceptor.Chain) {
	bufs := [][]byte{make([]byte, 64)}
	for b.Loop() {
		_ = c.Down(k, bufs)
		c.Wrote(k, 64, 0)
	}
}
