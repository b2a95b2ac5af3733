package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/selfsigned"
)

// certificate makes files with one for localhost, and its key.
func certificate(t *testing.T) (pair tls.Certificate, cert, key string) {
	t.Helper()
	pair, err := selfsigned.New()
	require.NoError(t, err)
	cert, key, err = selfsigned.Write(t.TempDir(), pair)
	require.NoError(t, err)
	return pair, cert, key
}

// Every frame comes back through TLS, by name and by number, and both ends see an orderly end.
func TestTLS(t *testing.T) {
	_, cert, key := certificate(t)
	server, port := startEcho(t, "-tls", "-cert", cert, "-key", key)
	for _, host := range []string{"localhost", "127.0.0.1"} {
		to := net.JoinHostPort(host, port)
		p := launch(t, nil, clientProgram, "-to", to, "-tls", "-ca", cert, "-count", "20", "-size", "32768")
		assert.Equal(t, 0, p.end(t))
		assert.Regexp(t, fmt.Sprintf(`^20 frames of 32768 bytes came back from %s \(TLS 1\.3, TLS_[A-Z0-9_]+\) in [0-9.]+(µs|ms|s)\n$`, to),
			p.stdout.String())
		assert.Empty(t, p.stderr.String())
	}
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, 0, server.end(t))
	assert.Equal(t, "echo: shut down; connections closed in order: 0, aborted: 0\n", server.stderr.String())
}

// A certificate that nobody vouches for is refused, unless any will do; and so is one for another name.
func TestCertificatesThatAreNotTrusted(t *testing.T) {
	_, port := startEcho(t, "-tls") // with a certificate of its own
	to := net.JoinHostPort("localhost", port)
	_, cert, _ := certificate(t)
	for _, trust := range [][]string{nil, {"-ca", cert}} {
		p := launch(t, nil, clientProgram, append([]string{"-to", to, "-tls"}, trust...)...)
		assert.Equal(t, 1, p.end(t))
		assert.Empty(t, p.stdout.String())
		assert.Contains(t, p.stderr.String(), "unknown authority")
		assert.Contains(t, p.stderr.String(), "0 of 100 frames")
	}
	p := launch(t, nil, clientProgram, "-to", to, "-tls", "-insecure")
	assert.Equal(t, 0, p.end(t))
	assert.Contains(t, p.stdout.String(), "(TLS 1.3, ")

	_, cert, key := certificate(t)
	_, port = startEcho(t, "-cert", cert, "-key", key)
	p = launch(t, nil, clientProgram, "-to", net.JoinHostPort("127.0.0.2", port), "-tls", "-ca", cert)
	assert.Equal(t, 1, p.end(t))
	assert.Contains(t, p.stderr.String(), "127.0.0.2")
}

// A server that speaks no TLS is no fallback to clear text.
func TestTLSWithAPlainServer(t *testing.T) {
	_, port := startEcho(t)
	p := launch(t, nil, clientProgram, "-to", net.JoinHostPort("localhost", port), "-tls", "-insecure")
	assert.Equal(t, 1, p.end(t))
	assert.Empty(t, p.stdout.String())
	assert.Contains(t, p.stderr.String(), "handshake")
}

// And one that does is not spoken to in clear text.
func TestPlainWithATLSServer(t *testing.T) {
	_, port := startEcho(t, "-tls")
	p := launch(t, nil, clientProgram, "-to", net.JoinHostPort("localhost", port))
	assert.Equal(t, 1, p.end(t))
	assert.Empty(t, p.stdout.String())
}

// The client ends TLS in order: the server sees close_notify, and not only the end of the stream.
func TestTLSEndsInOrder(t *testing.T) {
	pair, cert, _ := certificate(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	require.NoError(t, err)
	defer ln.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer c.Close()
		buf := make([]byte, 1<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				ended <- err // EOF is close_notify; without it, it is ErrUnexpectedEOF
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				ended <- err
				return
			}
		}
	}()
	p := launch(t, nil, clientProgram, "-to", ln.Addr().String(), "-tls", "-ca", cert, "-count", "3")
	assert.Equal(t, 0, p.end(t))
	assert.EqualError(t, <-ended, "EOF")
}
