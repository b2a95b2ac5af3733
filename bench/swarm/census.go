package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// A census counts what may leak.
type census struct {
	goroutines  int
	descriptors int
	heap        uint64 // bytes, after a collection
}

func takeCensus() census {
	return census{runtime.NumGoroutine(), descriptors(), liveHeap()}
}

func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// settle waits until no more is there than before, and returns what still is at the end of patience.
func (before census) settle(patience time.Duration, heapGrowth uint64) (leaks []string) {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		leaks = before.leaks(takeCensus(), heapGrowth)
		if len(leaks) == 0 || time.Now().After(end) {
			break
		}
	}
	if len(leaks) > 0 && runtime.NumGoroutine() > before.goroutines {
		stacks := make([]byte, 64<<10)
		leaks = append(leaks, string(stacks[:runtime.Stack(stacks, true)]))
	}
	return leaks
}

// leaks compares.
func (before census) leaks(now census, heapGrowth uint64) (leaks []string) {
	if now.goroutines > before.goroutines {
		leaks = append(leaks, fmt.Sprintf("%d goroutines more than before", now.goroutines-before.goroutines))
	}
	if now.descriptors > before.descriptors {
		leaks = append(leaks, fmt.Sprintf("%d descriptors more than before", now.descriptors-before.descriptors))
	}
	if now.heap > before.heap+heapGrowth {
		leaks = append(leaks, fmt.Sprintf("the heap grew by %d KiB, more than %d",
			(now.heap-before.heap)>>10, heapGrowth>>10))
	}
	return leaks
}
