//go:build !linux

package loop

import "net/netip"

func (d *dialer) newAttempt(to netip.AddrPort) attempt {
	return &portedAttempt{d: d, loop: d.loop, to: to}
}
