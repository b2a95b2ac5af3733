//go:build !linux

package loop

import "context"

func (ln *Listener) open(ctx context.Context, network, addr string) error {
	return ln.openPorted(ctx, network, addr)
}
