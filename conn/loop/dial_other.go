//go:build !linux

package loop

import (
	"context"
	"errors"
)

// Dial fails on this system.
func (s *Socket) Dial(_ context.Context, _ *Loop, _ Owner, cfg DialConfig) error {
	return errors.Join(cfg.Validate(), errors.ErrUnsupported)
}

// A dialer connects nothing on this system.
type dialer struct{}
