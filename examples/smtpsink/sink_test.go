package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
	"github.com/galago-go/galago/examples/internal/selfsigned"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m, main)) }

// A sink is the running program.
type sink struct {
	*program.Process
	cert string // file with its certificate
	pool *x509.CertPool
}

// start runs the program at a free port, with a certificate of which the tests know.
func start(t *testing.T, args ...string) *sink {
	t.Helper()
	cert, key, pool := certificate(t)
	return &sink{program.Start(t, append([]string{"-cert", cert, "-key", key}, args...)...), cert, pool}
}

// certificate makes files with one for localhost, its key, and the pool of those who trust it.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	pair, err := selfsigned.New()
	require.NoError(t, err)
	cert, key, err = selfsigned.Write(t.TempDir(), pair)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(leaf)
	return cert, key, pool
}

// A talk is a client's side of a session.
type talk struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

// open connects, and hears the greeting.
func (s *sink) open(t *testing.T) *talk {
	t.Helper()
	nc := s.Dial(t)
	c := &talk{t, nc, bufio.NewReader(nc)}
	c.expect("220 localhost ESMTP smtpsink\r\n")
	return c
}

// secure does the handshake of TLS, and talks through it from here on.
func (c *talk) secure(cfg *tls.Config) {
	c.t.Helper()
	require.Zero(c.t, c.in.Buffered(), "clear text that nobody asked for")
	over := tls.Client(c.nc, cfg)
	require.NoError(c.t, over.Handshake())
	c.nc, c.in = over, bufio.NewReader(over)
}

func (c *talk) send(text string) {
	c.t.Helper()
	_, err := c.nc.Write([]byte(text))
	require.NoError(c.t, err)
}

// expect reads as many lines as want has. In want, "..." stands for the rest of a line.
func (c *talk) expect(want string) {
	c.t.Helper()
	for line := range strings.Lines(want) {
		got, err := c.in.ReadString('\n')
		require.NoError(c.t, err, "after %q", got)
		if head, ok := strings.CutSuffix(line, "...\r\n"); ok {
			require.True(c.t, strings.HasPrefix(got, head), "wanted %q, got %q", line, got)
			continue
		}
		require.Equal(c.t, line, got)
	}
}

// say sends a line and expects an answer.
func (c *talk) say(line, want string) {
	c.t.Helper()
	c.send(line + "\r\n")
	c.expect(want + "\r\n")
}

const (
	helloClear = "250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-SIZE 1048576\r\n250 STARTTLS"
	helloTLS   = "250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 1048576"
)
