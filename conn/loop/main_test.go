package loop

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"testing"
	"time"
)

// TestMain fails the package if goroutines or descriptors are left.
func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		os.Exit(child(name))
	}
	// What the runtime opens on first use stays.
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = ln.Close()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	signal.Stop(signals)
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	if code == 0 && !settled(goroutines, files) {
		stacks := make([]byte, 1<<20)
		fmt.Printf("left: %d goroutines, %d descriptors\n%s\n", runtime.NumGoroutine()-goroutines, openFiles()-files,
			stacks[:runtime.Stack(stacks, true)])
		code = 1
	}
	os.Exit(code)
}

// settled waits for what ends by itself.
func settled(goroutines, files int) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if runtime.NumGoroutine() <= goroutines && openFiles() <= files {
			return true
		}
	}
	return false
}

// openFiles counts descriptors; -1 where that cannot be told.
func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(names)
}

// childEnv makes the test program play the child of a test.
const childEnv = "GALAGO_LOOP_CHILD"

// child lives until its input ends.
func child(string) int {
	fmt.Println("here")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return 0
}
