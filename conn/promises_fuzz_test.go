package conn_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// play runs one world and returns the promise that did not hold.
func play(data []byte, loud bool) (w *world, failed *broken) {
	w = newWorld(data)
	w.loud = loud
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

// mustKeep fails t if the world of data breaks a promise. It is played again then, to tell how it came to that. name
// says where data is from.
func mustKeep(t testing.TB, name string, data []byte) {
	t.Helper()
	if _, b := play(data, false); b == nil {
		return
	}
	w, b := play(data, true)
	if b == nil {
		t.Fatal("the world is not deterministic")
	}
	log := w.log
	if len(log) > 80 {
		log = log[len(log)-80:]
	}
	t.Fatalf("this promise does not hold:\n  %s\n  %s\n\nlast events of %s:\n%s", b.promise, b.detail, name,
		strings.Join(log, "\n"))
}

// FuzzPromises drives a connection with random inputs and checks every promise of the package documentation.
func FuzzPromises(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(randomBytes(seed, 300))
	}
	f.Fuzz(func(t *testing.T, data []byte) { mustKeep(t, "the input", data) })
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
	const parts, scripts = 4, 2500
	for part := range uint64(parts) {
		t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
			t.Parallel()
			for i := range uint64(scripts) {
				seed := part*scripts + i
				mustKeep(t, fmt.Sprint("seed ", seed), randomBytes(seed, 50+int(seed%700)))
			}
		})
	}
}
