//go:build !linux

package loop

// On this system all loops are portable.

type system struct{}

type poller struct{ scratch scratch }

type scratch struct{}

func (l *Loop) systemWaiter() waiter { return nil }
