//go:build !amd64

package proc

// waits are calls that this architecture lacks.
var waits []int
