//go:build !linux

package loop

import "errors"

// On this system package net has all sockets.

// Read reads once, as [conn.Backend] has it.
func (s *Socket) Read(p []byte) (int, error) { return s.readPort(p) }

// Write writes once, as [conn.Backend] has it.
func (s *Socket) Write(bufs [][]byte) (int, error) { return s.writePort(bufs) }

func (s *Socket) writeWith(_ *scratch, bufs [][]byte) (int, error) { return s.writePort(bufs) }

// Unread tells what the next Read would meet, as [conn.Backend] has it.
func (s *Socket) Unread() (int, error) { return s.unreadPort() }

func (s *Socket) unreadWith(*scratch) (int, error) { return s.unreadPort() }

// CloseWrite sends FIN.
func (s *Socket) CloseWrite() error { return s.closeWritePort() }

func (s *Socket) register(int32, uint32) error { return errors.ErrUnsupported }

func (s *Socket) deregister() error { return nil }

func (s *Socket) learn() {
	if s.about == nil {
		s.about = new(about)
	}
}

func closeSocket(int, bool) error { return nil }
