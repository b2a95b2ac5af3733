package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// spin lets d pass without giving the processor up.
func spin(d time.Duration) {
	for begun := time.Now(); time.Since(begun) < d; {
	}
}

func TestAGlanceNeverMissesALongTurn(t *testing.T) {
	var c clock
	for range 1000 {
		c.tick()
		spin(slack)
		assert.False(t, c.glance(), "after %v", slack)
	}
}

func TestAfterGlancesTheTimeIsLateRatherThanEarly(t *testing.T) {
	if !hasCycles {
		t.Skip("this processor has no counter that is worth a glance")
	}
	var c clock
	glances := 0
	for range 100_000 {
		c.tick()
		if !c.glance() {
			continue // the machine took the processor away
		}
		glances++
		now := time.Now()
		for c.glance() {
			now = time.Now() // at least one more glance, or what follows may be late
		}
		at, real := c.forTurn(false), time.Now()
		if real.Sub(c.now) < slack { // else it took the processor away just now
			assert.False(t, at.Before(now))
			assert.LessOrEqual(t, at.Sub(now), slack)
		}
		at, real = c.forTurn(true), time.Now()
		assert.False(t, at.After(real), "who has a deadline gets the exact time")
		assert.False(t, at.Before(now))
		assert.Zero(t, c.glances)
	}
	assert.Greater(t, glances, 50_000)
}

func TestWhoGlancesReadsNowAndThen(t *testing.T) {
	var c clock
	c.tick()
	for n := 0; c.glance(); n++ {
		c.cycle = cycles() // as if the counter stood still
		assert.Less(t, n, maxGlances)
	}
	c.exact = true
	c.tick()
	assert.False(t, c.glance())
}

func BenchmarkClock(b *testing.B) {
	b.Run("glance", func(b *testing.B) {
		var c clock
		c.tick()
		for b.Loop() {
			if !c.glance() {
				c.read()
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		var c clock
		c.tick()
		for b.Loop() {
			c.read()
		}
	})
}
