package loop

const hasCycles = true

// cycles reads the processor's time stamp counter, which counts on at a steady rate of some thousand million a second. It
// costs a fifth of reading the clock.
func cycles() int64
