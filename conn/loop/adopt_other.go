//go:build !linux

package loop

import "net"

// Adopt fails on this system.
func (s *Socket) Adopt(nc net.Conn, _ *Loop, _ Owner) error { return &AdoptError{nc} }
