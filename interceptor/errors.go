package interceptor

import (
	"errors"
	"fmt"
)

// ErrClosed is what a closed [Chain] answers to bytes, and to Open and Push.
var ErrClosed = errors.New("interceptor: the chain is closed")

var (
	errNilLayer = errors.New("interceptor: the layer is nil: a Factory must make one for each connection")
	errNotFresh = errors.New("interceptor: the chain to push or open is nil, open, closed, or the one it shall join")
	errNotOpen  = errors.New("interceptor: the chain is not open")
)

// maxEarly bounds what a [Chain] keeps for one layer that is not open yet, in bytes.
const maxEarly = 64 << 10

// An EarlyError reports a layer that passed up more than a [Chain] keeps while the layer above is not open. It ends
// the connection.
type EarlyError struct {
	Layer string // the type of the layer that passed up too much
	Max   int    // what is kept, in bytes
}

// Error names the layer and the bound.
func (e *EarlyError) Error() string {
	return fmt.Sprintf("interceptor: %s passed up more than %d bytes before the layer above was open", e.Layer, e.Max)
}

// A Panic is what a layer panics with, in its turn, for a panic that it recovered on another goroutine: a worker, say,
// whose failure is the connection's. Whoever recovers it reports Value and Stack, not those of the turn.
type Panic struct {
	Value any
	Stack []byte // of the goroutine that panicked, as runtime/debug.Stack formats it
}

// Error tells both.
func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }
