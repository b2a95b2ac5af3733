package tls_test

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"testing"
	"time"
)

// patience is how long something may take that must happen.
const patience = 10 * time.Second

func TestMain(m *testing.M) {
	if r, w, err := os.Pipe(); err == nil { // the runtime keeps two descriptors once it has seen one that can wait
		_, _ = r.Close(), w.Close()
	}
	heard := make(chan os.Signal, 1) // and package signal a goroutine, which fuzzing uses
	signal.Notify(heard, os.Interrupt)
	signal.Stop(heard)
	before := census()
	code := m.Run()
	if left := before.wait(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "leaked by the package's tests:", left)
		code = 1
	}
	os.Exit(code)
}

// A count is what must not leak.
type count struct{ goroutines, descriptors int }

func census() count {
	list, _ := os.ReadDir("/proc/self/fd") // elsewhere nothing is counted
	return count{runtime.NumGoroutine(), len(list)}
}

// wait waits until there is no more than before, and says what there is if it does not come to that.
func (before count) wait() string {
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		now := census()
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return ""
		}
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			return fmt.Sprintf("%+v before, %+v now\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// noLeak asserts at the end of a test that nothing of it is left.
func noLeak(t *testing.T) {
	t.Helper()
	before := census()
	t.Cleanup(func() {
		if left := before.wait(); left != "" {
			t.Errorf("leaked: %s", left)
		}
	})
}
