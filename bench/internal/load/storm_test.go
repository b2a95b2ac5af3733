package load

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func storm(t *testing.T, to netip.AddrPort, until int) error {
	s, err := NewStorm(to, anyServer, 5)
	require.NoError(t, err)
	defer s.Close()
	for deadline := time.Now().Add(20 * time.Second); s.Served() < until && time.Now().Before(deadline); {
		if err := s.Step(); err != nil {
			return err
		}
	}
	assert.GreaterOrEqual(t, s.Served(), until)
	return nil
}

func TestAStormIsAnswered(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		require.NoError(t, storm(t, listenTLS(t, version), 50))
	}
}

func TestAStormThatIsNotAnswered(t *testing.T) {
	to := listen(t, func(nc net.Conn) { nc.Read(make([]byte, 100)) })
	assert.ErrorContains(t, storm(t, to, 1), "not answered")
	to = listen(t, func(nc net.Conn) { nc.Write([]byte("220 hello")) })
	assert.ErrorContains(t, storm(t, to, 1), "answered with 3232302068656c6c")
}

// What runs beside an open loop runs all the time, and its failure is one of the loop.
func TestBesideAnOpenLoop(t *testing.T) {
	p, err := Pace(listen(t, func(nc net.Conn) { buf := make([]byte, 64); n, _ := nc.Read(buf); nc.Write(buf[:n]) }), nil, 1, 10, 1, message)
	require.NoError(t, err)
	defer p.Close()
	times := 0
	p.Beside = func() error {
		if times++; times > 100 {
			return assert.AnError
		}
		return nil
	}
	_, _, err = p.Run(time.Second)
	assert.ErrorIs(t, err, assert.AnError)
}
