//go:build race

package liveness_test

const raceEnabled = true // sync.Pool then drops things on purpose
