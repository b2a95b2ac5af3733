//go:build !linux && !darwin && !freebsd

package liveness

// options are none here. OS.KeepAlive works all the same, by way of package net.
func (o OS) options() (set []osOption, missing []string) {
	missing = []string{"keepalive"}
	if o.UserTimeout > 0 {
		missing = append(missing, "TCP_USER_TIMEOUT")
	}
	return nil, missing
}

func setOption(uintptr, osOption) error { return nil }
