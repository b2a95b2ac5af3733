package load

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/serve"
)

var anyServer = &tls.Config{InsecureSkipVerify: true}

// listenTLS echoes over TLS. Each version has a handshake of its own.
func listenTLS(t *testing.T, version uint16) netip.AddrPort {
	cfg, err := serve.Certificate()
	require.NoError(t, err)
	cfg.MinVersion, cfg.MaxVersion = version, version
	return listen(t, func(nc net.Conn) {
		secure := tls.Server(nc, cfg)
		io.Copy(secure, secure)
	})
}

func TestLoadsOverTLS(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		to := listenTLS(t, version)
		t.Run("echo "+name, func(t *testing.T) {
			// Larger than the system takes at once, so that records are left over.
			e, err := Connect(to, anyServer, 2, 2, func(i int) []byte { return serve.Message(i, 900_000) })
			require.NoError(t, err)
			defer e.Close()
			require.NoError(t, e.Start())
			served := 0
			for deadline := time.Now().Add(20 * time.Second); served < 10 && time.Now().Before(deadline); {
				_, messages, err := e.Run(50 * time.Millisecond)
				require.NoError(t, err)
				served += messages
			}
			assert.GreaterOrEqual(t, served, 10)
		})
		t.Run("guests "+name, func(t *testing.T) {
			available, err := proc.Available()
			require.NoError(t, err)
			team, err := NewTeam(available, 10, func(first, n int) (*Guests, error) {
				return NewGuests(to, anyServer, first, n)
			})
			require.NoError(t, err)
			defer team.Close()
			served := 0
			for deadline := time.Now().Add(20 * time.Second); served < 30 && time.Now().Before(deadline); {
				tally, err := team.Run(50 * time.Millisecond)
				require.NoError(t, err)
				served += tally.Count
			}
			assert.GreaterOrEqual(t, served, 30, "some come in a run and are served in the next")
		})
	}
}
