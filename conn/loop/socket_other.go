//go:build !linux

package loop

import (
	"context"
	"errors"
	"time"

	"github.com/galago-go/galago/conn"
)

// Open fails on this system.
func (s *Socket) Open(a *Accepted, _ Owner) error {
	a.giveUp()
	return errors.ErrUnsupported
}

// Read fails on this system.
func (s *Socket) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Write fails on this system.
func (s *Socket) Write([][]byte) (int, error) { return 0, errors.ErrUnsupported }

// Unread fails on this system.
func (s *Socket) Unread() (int, error) { return 0, errors.ErrUnsupported }

// CloseWrite fails on this system.
func (s *Socket) CloseWrite() error { return errors.ErrUnsupported }

// Close keeps the socket from being opened.
func (s *Socket) Close(bool) error {
	s.closed = true
	return nil
}

func (s *Socket) learn() {
	if s.about == nil {
		s.about = new(about)
	}
}

func closeSocket(int, bool) error { return nil }

// An acceptor accepts nothing on this system.
type acceptor struct {
	Link
	loop *Loop
}

func (a *acceptor) Turn(time.Time, *conn.Memory) bool { return false }

func (a *acceptor) close() error { return nil }

func (ln *Listener) open(context.Context, string, string) error { return errors.ErrUnsupported }

func (ln *Listener) shut() error { return nil }
