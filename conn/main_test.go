package conn

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain fails the package if goroutines are left: the core starts none, and a test that does must end it.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" // then package testing keeps one for signals
	if code == 0 && !fuzzing && !settled(before) {
		stacks := make([]byte, 1<<20)
		fmt.Printf("left: %d goroutines\n%s\n", runtime.NumGoroutine()-before, stacks[:runtime.Stack(stacks, true)])
		code = 1
	}
	os.Exit(code)
}

// settled waits for goroutines that are about to end, for some seconds at most.
func settled(before int) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if runtime.NumGoroutine() <= before {
			return true
		}
	}
	return false
}
