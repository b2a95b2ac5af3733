package conn_test

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// play runs one world and returns the promise that did not hold.
func play(data []byte) (w *world, failed *broken) {
	w = newWorld(data)
	defer func() {
		if p := recover(); p != nil {
			if b, ok := p.(broken); ok {
				failed = &b
				return
			}
			panic(p)
		}
	}()
	w.run()
	return w, nil
}

func report(t testing.TB, w *world, b *broken) {
	t.Helper()
	log := w.log
	if len(log) > 80 {
		log = log[len(log)-80:]
	}
	t.Fatalf("this promise does not hold:\n  %s\n  %s\n\nlast events:\n%s", b.promise, b.detail, strings.Join(log, "\n"))
}

// FuzzPromises drives a connection with random inputs and checks every promise of the package documentation.
func FuzzPromises(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomBytes(seed, 300))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, b := play(data); b != nil {
			report(t, w, b)
		}
	})
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func TestCLS22_TenThousandRandomScripts(t *testing.T) {
	for seed := range uint64(10_000) {
		if w, b := play(randomBytes(seed, 50+int(seed%700))); b != nil {
			t.Logf("seed %d", seed)
			report(t, w, b)
		}
	}
}
