package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// CheckAddr returns an error, which says what would work, if nobody can listen at addr, whatever the system says. addr
// is as for [net.Listen], but must not be empty: a setting that was forgotten should not open a random port to all. Of
// other networks than "tcp", "tcp4", "tcp6" and "unix" it says nothing.
func CheckAddr(network, addr string) error {
	bad := func(want string) error {
		return fmt.Errorf("loop: the address to listen at is %q: it must be %s", addr, want)
	}
	if network == "unix" {
		if most := longestPath(addr); len(addr) > most {
			return bad(fmt.Sprintf("a path of at most %d bytes", most))
		}
		return nil
	}
	family := map[string]string{"tcp": "ip", "tcp4": "ip4", "tcp6": "ip6"}[network]
	if family == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: %w", bad("host:port or [host]:port, such as 127.0.0.1:7669 or :7669"), err)
	}
	// What is no number is the name of a service, such as http, and is looked up with the host.
	if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > 65535) || errors.Is(err, strconv.ErrRange) {
		return bad("host:port with a port from 0, for a free one, to 65535")
	}
	if a, err := netip.ParseAddr(host); err == nil && !fits(a.Unmap(), family) {
		return bad("an address for " + network)
	}
	return nil
}

// longestPath returns how many bytes an address of a unix-domain socket that begins like addr may have.
func longestPath(addr string) int {
	if strings.HasPrefix(addr, "@") { // abstract, and without a final zero
		return maxUnixPath + 1
	}
	return maxUnixPath
}

// A ListenError says that nobody can listen at an address, and, if that is known, what to do about it.
type ListenError struct {
	Addr string // as it was given to Listen
	Err  error
}

// Error names the address and the cure.
func (e *ListenError) Error() string {
	return fmt.Sprintf("loop: cannot listen at %q: %s%v", e.Addr, e.cure(), e.Err)
}

// Unwrap returns what the system said.
func (e *ListenError) Unwrap() error { return e.Err }

func (e *ListenError) cure() string {
	var unknown *net.DNSError
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return "the address is already in use: end the program that listens there, " +
			"or take another port (0 takes a free one): "
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return "it must be an address of this machine, such as 127.0.0.1, or none, for all of them: "
	case errors.Is(e.Err, syscall.EACCES), errors.Is(e.Err, syscall.EPERM):
		return "this program may not: take a port above 1023, or a directory that it may write to: "
	case errors.Is(e.Err, syscall.ENOENT):
		return "the directory must be there: "
	case errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded):
		return "the context ended before: "
	case errors.As(e.Err, &unknown):
		return "the host must have an address, and the port must be a number or the name of a service: "
	}
	return ""
}
