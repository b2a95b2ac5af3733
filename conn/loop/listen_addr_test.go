package loop

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLSN3_AddressesThatNobodyCanListenAtAreNamed(t *testing.T) {
	const hostPort = "host:port or [host]:port, such as 127.0.0.1:7669 or :7669"
	path := strings.Repeat("x", maxUnixPath+1)
	for _, test := range []struct{ network, addr, want string }{
		{"tcp", "", hostPort + ": missing port in address"},
		{"tcp", "127.0.0.1", hostPort + ": address 127.0.0.1: missing port in address"},
		{"tcp", "::1:80", hostPort + ": address ::1:80: too many colons in address"},
		{"tcp", "127.0.0.1:65536", "host:port with a port from 0, for a free one, to 65535"},
		{"tcp6", "[::1]:-1", "host:port with a port from 0, for a free one, to 65535"},
		{"tcp", "localhost:99999999999999999999", "host:port with a port from 0, for a free one, to 65535"},
		{"tcp4", "[::1]:0", "an address for tcp4"},
		{"tcp6", "127.0.0.1:0", "an address for tcp6"},
		{"tcp6", "[::ffff:127.0.0.1]:0", "an address for tcp6"},
		{"unix", path, "a path of at most 107 bytes"},
		{"unix", "@" + path, "a path of at most 108 bytes"},
	} {
		want := "loop: the address to listen at is \"" + test.addr + "\": it must be " + test.want
		assert.EqualError(t, CheckAddr(test.network, test.addr), want)
	}
	for _, good := range [][2]string{
		{"tcp", ":0"}, {"tcp", "127.0.0.1:"}, {"tcp", "localhost:65535"}, {"tcp", "localhost:http"},
		{"tcp", "[fe80::1%lo]:7669"}, {"tcp4", "127.0.0.1:0"}, {"tcp4", "[::ffff:127.0.0.1]:0"}, {"tcp6", "[::]:0"},
		{"unix", path[1:]}, {"unix", "@" + path[1:]}, {"unix", ""}, {"udp", "127.0.0.1:-1"},
	} {
		assert.NoError(t, CheckAddr(good[0], good[1]), good)
	}
}

func TestLSN2_ListenErrorsNameTheCure(t *testing.T) {
	bind := func(errno error) error {
		return &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", errno)}
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{bind(syscall.EADDRINUSE), "the address is already in use: end the program that listens there, or take another port"},
		{bind(syscall.EADDRNOTAVAIL), "an address of this machine"},
		{bind(syscall.EACCES), "a port above 1023"},
		{bind(syscall.ENOENT), "the directory must be there"},
		{&net.DNSError{Name: "nobody.invalid", IsNotFound: true}, "the host must have an address"},
		{context.Canceled, "the context ended"},
	} {
		err := &ListenError{"127.0.0.1:7669", test.err}
		assert.ErrorContains(t, err, `loop: cannot listen at "127.0.0.1:7669": `)
		assert.ErrorContains(t, err, test.want)
		assert.ErrorContains(t, err, test.err.Error())
		assert.ErrorIs(t, err, test.err)
	}
	assert.EqualError(t, &ListenError{":0", errors.New("who knows")}, `loop: cannot listen at ":0": who knows`)
}
