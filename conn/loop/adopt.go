package loop

import (
	"errors"
	"fmt"
	"net"
)

// An AdoptError says that a connection cannot be adopted, because it is no stream socket of the system's, or more than
// that: a descriptor would pass by what its Read and Write do. It matches [errors.ErrUnsupported].
type AdoptError struct {
	Conn net.Conn // still the caller's
}

// Error names the type of the connection, and what would do.
func (e *AdoptError) Error() string {
	return fmt.Sprintf("loop: a %T cannot be adopted: it must be a *net.TCPConn, or a *net.UnixConn that is a stream", e.Conn)
}

// Is reports whether target is errors.ErrUnsupported.
func (e *AdoptError) Is(target error) bool { return target == errors.ErrUnsupported }
