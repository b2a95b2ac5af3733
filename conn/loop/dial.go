package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// DialConfig says what [Socket.Dial] connects to, and how.
type DialConfig struct {
	Network string // "tcp", "tcp4", "tcp6" or "unix"
	// Addr is as for net.Dial: a host, by name or number, and a port, as "[::1]:7669"; if the host is empty or
	// unspecified, it is this one. For "unix", it is a path, or the name of an abstract socket with "@" before it.
	Addr string
	// Local is what to connect from; if zero, the system chooses. If the address is not valid or unspecified, only the
	// port counts. Addresses of another family than Local's are left out. It is not for "unix".
	Local   netip.AddrPort
	Options Options
	// Resolver looks names up; if nil, net.DefaultResolver does. It is called by a goroutine of its own, which nobody
	// waits for if it does not heed its context.
	Resolver Resolver
}

// A Resolver finds the addresses of a host, the best first. network is "ip", "ip4" or "ip6". It is a part of
// [net.Resolver].
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ Resolver = (*net.Resolver)(nil)

// attemptDelay is how long an address has before the next one is tried as well: the Connection Attempt Delay of
// RFC 8305.
const attemptDelay = 250 * time.Millisecond

// maxUnixPath is how many bytes fit into an address of the system, before a final zero.
const maxUnixPath = 107

// Validate returns an error that names each value that cannot work, and what would.
func (c *DialConfig) Validate() error {
	errs := []error{c.Options.Validate()}
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("loop: DialConfig.%s is %v: it must be %s", field, value, want))
	}
	quoted := strconv.Quote(c.Addr)
	switch c.Network {
	case "tcp", "tcp4", "tcp6":
	case "unix":
		most := longestPath(c.Addr)
		if len(c.Addr) == 0 || len(c.Addr) > most {
			bad("Addr", quoted, fmt.Sprintf("a path of 1 to %d bytes", most))
		}
		if c.Local != (netip.AddrPort{}) {
			bad("Local", c.Local, "zero for unix")
		}
		return errors.Join(errs...)
	default:
		errs = append(errs, fmt.Errorf("loop: DialConfig.Network is %q: it must be tcp, tcp4, tcp6 or unix: %w", c.Network,
			net.UnknownNetworkError(c.Network)))
		return errors.Join(errs...)
	}
	family, ok := c.family()
	if !ok {
		bad("Local", c.Local, "of the family of "+c.Network)
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		errs = append(errs, fmt.Errorf("loop: DialConfig.Addr is %s: it must be host:port or [host]:port: %w", quoted, err))
		return errors.Join(errs...)
	}
	// What is no number is the name of a service, such as http. It is looked up with the host.
	if n, err := strconv.Atoi(port); port == "" || err == nil && (n < 1 || n > 65535) || errors.Is(err, strconv.ErrRange) {
		bad("Addr", quoted, "host:port with a port from 1 to 65535")
	}
	if a, err := netip.ParseAddr(host); ok && err == nil && !fits(a.Unmap(), family) {
		want := "an address for " + c.Network
		if c.Local.Addr().IsValid() {
			want += " that " + c.Local.Addr().String() + " can connect to"
		}
		bad("Addr", quoted, want)
	}
	return errors.Join(errs...)
}

// family returns which addresses may be tried, as a Resolver has it. ok is false if there can be none.
func (c *DialConfig) family() (family string, ok bool) {
	family = map[string]string{"tcp": "ip", "tcp4": "ip4", "tcp6": "ip6"}[c.Network]
	local := c.Local.Addr().Unmap()
	switch {
	case !local.IsValid() || local.IsUnspecified():
		return family, true
	case !fits(local, family):
		return family, false
	case local.Is4():
		return "ip4", true
	}
	return "ip6", true
}

// fits reports whether a, which is not an IPv4 address in IPv6's clothes, is of this family.
func fits(a netip.Addr, family string) bool {
	return family == "ip" || a.Is4() == (family == "ip4")
}
