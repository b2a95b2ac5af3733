package loop

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkTurn is what a turn costs beside what it does.
func BenchmarkTurn(b *testing.B) {
	l := newLoop(b, Config{StallWarning: time.Second})
	done := make(chan struct{})
	n := 0
	s := &step{do: func(time.Time) bool {
		if n++; n == b.N {
			close(done)
			return false
		}
		return true
	}}
	b.ReportAllocs()
	b.ResetTimer()
	l.Queue(s)
	<-done
}

// BenchmarkWake is a message to a loop that sleeps, and word that it was handled.
func BenchmarkWake(b *testing.B) {
	for _, cfg := range []Config{{}, {noParks: true}} {
		b.Run(fmt.Sprintf("noParks=%t", cfg.noParks), func(b *testing.B) {
			l := newLoop(b, cfg)
			handled := make(chan struct{})
			s := &step{do: func(time.Time) bool { handled <- struct{}{}; return false }}
			b.ReportAllocs()
			for b.Loop() {
				l.Queue(s)
				<-handled
			}
		})
	}
}
