package loop

import (
	"context"
	"net"
	"net/netip"
	"strconv"
)

// A route is where from and where to a connection may go.
type route struct {
	from netip.AddrPort   // zero: the system's choice
	to   []netip.AddrPort // in the order in which they are tried; zones are numbers
}

// host returns the host as dialed.
func (c *DialConfig) host() string {
	if c.Network == "unix" {
		return ""
	}
	host, _, _ := net.SplitHostPort(c.Addr)
	return host
}

// literal reports whether resolve needs nobody's help, so that it may be called on a loop.
func (c *DialConfig) literal() bool {
	if c.Network == "unix" {
		return true
	}
	host, port, _ := net.SplitHostPort(c.Addr)
	if _, err := strconv.Atoi(port); err != nil || !isNumber(c.Local.Addr().Zone()) {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && isNumber(a.Zone())
}

// isNumber reports whether a zone is a number, or missing.
func isNumber(zone string) bool {
	_, err := strconv.ParseUint(zone, 10, 32)
	return zone == "" || err == nil
}

// resolve finds the route. c must be valid.
func (c *DialConfig) resolve(ctx context.Context) (r route, err error) {
	if c.Network == "unix" {
		return route{to: make([]netip.AddrPort, 1)}, nil
	}
	host, service, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return r, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, c.Network, service)
	if err != nil {
		return r, err
	}
	local, err := numbered(c.Local.Addr())
	if err != nil {
		return r, err
	}
	r.from = netip.AddrPortFrom(local, c.Local.Port())
	family, _ := c.family()
	addrs, err := c.lookUp(ctx, family, host)
	if err != nil {
		return r, err
	}
	for _, a := range interleaved(addrs) {
		r.to = append(r.to, netip.AddrPortFrom(a, uint16(port)))
	}
	return r, nil
}

// lookUp returns the addresses of a host that are of this family, each once. There is at least one.
func (c *DialConfig) lookUp(ctx context.Context, family, host string) ([]netip.Addr, error) {
	var found []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		found = []netip.Addr{a}
	} else if host == "" {
		found = []netip.Addr{loopback(family == "ip6")}
	} else {
		var r Resolver = net.DefaultResolver
		if c.Resolver != nil {
			r = c.Resolver
		}
		if found, err = r.LookupNetIP(ctx, family, host); err != nil {
			return nil, err
		}
	}
	var addrs []netip.Addr
	seen := make(map[netip.Addr]bool, len(found))
	for _, a := range found {
		a, err := numbered(a)
		if err != nil {
			return nil, err
		}
		if a.IsUnspecified() {
			a = loopback(a.Is6())
		}
		if a.IsValid() && fits(a, family) && !seen[a] {
			seen[a] = true
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no suitable address for " + c.Network, Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func loopback(six bool) netip.Addr {
	if six {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// numbered returns a as the system takes it: an IPv4 address without IPv6's clothes, and a zone by its number.
func numbered(a netip.Addr) (netip.Addr, error) {
	a = a.Unmap()
	if isNumber(a.Zone()) {
		return a, nil
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return a, &net.AddrError{Err: "no such zone: " + err.Error(), Addr: a.String()}
	}
	return a.WithZone(strconv.Itoa(i.Index)), nil
}

// interleaved changes between the families, as RFC 8305 wants it: where one of them leads nowhere, it costs one attempt.
// It begins with the address that the resolver put first, which knows (RFC 6724) whether this host can use IPv6.
func interleaved(addrs []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	all := make([]netip.Addr, 0, len(addrs))
	for len(first) > 0 {
		all = append(all, first[0])
		first, second = second, first[1:]
	}
	return append(all, second...)
}
