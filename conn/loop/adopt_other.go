//go:build !linux

package loop

import "net"

func (s *Socket) adopt(nc net.Conn, l *Loop, owner Owner) error { return s.adoptPorted(nc, l, owner) }
