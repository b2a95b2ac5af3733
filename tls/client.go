package tls

import (
	"net/netip"
	"sync"
)

// named returns cfg for a host, with that as the ServerName if it has none. A program dials few hosts, most often one:
// the last copy is kept.
func named(cfg *Config) func(host string) *Config {
	var mu sync.Mutex
	var last *Config
	return func(host string) *Config {
		if cfg.ServerName != "" || host == "" {
			return cfg // which crypto/tls may refuse, and says how to help it
		}
		if a, err := netip.ParseAddr(host); err == nil {
			host = a.WithZone("").String() // the zone is ours alone
		}
		mu.Lock()
		defer mu.Unlock()
		if last == nil || last.ServerName != host {
			last = cfg.Clone()
			last.ServerName = host
		}
		return last
	}
}
