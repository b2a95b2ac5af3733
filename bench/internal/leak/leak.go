// Package leak fails the tests of a package that leave goroutines or descriptors behind.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// patience is how long what ends by itself may take.
const patience = 5 * time.Second

// Run runs tests, as the method Run of testing.M does, and returns their exit code: 1 if they leave something behind.
func Run(tests func() int) int {
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := tests()
	if code != 0 {
		return code
	}
	for end := time.Now().Add(patience); runtime.NumGoroutine() > goroutines || openFiles() > files; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			fmt.Printf("left: %d goroutines, %d descriptors\n%s\n", runtime.NumGoroutine()-goroutines, openFiles()-files,
				stacks[:runtime.Stack(stacks, true)])
			return 1
		}
	}
	return 0
}

// openFiles counts descriptors; it is 0 where that cannot be told.
func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}
