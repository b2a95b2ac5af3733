//go:build linux

package actor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// A certified is a certificate for localhost and 127.0.0.1, and those who trust it.
type certified struct {
	pair     tls.Certificate
	pool     *x509.CertPool
	cert, pk []byte // in PEM
}

func certify(t testing.TB, name string) *certified {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	c := &certified{
		pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		pool: x509.NewCertPool(),
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pk:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}),
	}
	c.pool.AddCert(leaf)
	return c
}

// server and client are configurations of both sides. Changes are made by set, which may be nil.
func (c *certified) server(set func(*tls.Config)) *tls.Config {
	cfg := &tls.Config{Certificates: []tls.Certificate{c.pair}}
	if set != nil {
		set(cfg)
	}
	return cfg
}

func (c *certified) client(set func(*tls.Config)) *tls.Config {
	cfg := &tls.Config{RootCAs: c.pool, ServerName: "localhost"}
	if set != nil {
		set(cfg)
	}
	return cfg
}

func layered(layer interceptor.Factory) conn.Config {
	return conn.Config{Layers: []interceptor.Factory{layer}}
}

// serves is a listener that speaks TLS.
func serves(cfg *tls.Config) actor.ListenConfig {
	return actor.ListenConfig{Conn: layered(tls.Server(cfg))}
}

func calls(cfg *tls.Config) actor.DialConfig {
	return actor.DialConfig{Conn: layered(tls.Client(cfg))}
}

// A secret is a client that speaks TLS, by crypto/tls over package net.
type secret struct {
	*stdtls.Conn
	raw *peer
	t   testing.TB
}

// over has p speak TLS from here on.
func (p *peer) over(cfg *tls.Config) *secret {
	p.t.Helper()
	s := &secret{stdtls.Client(p.TCPConn, cfg), p, p.t}
	require.NoError(p.t, s.SetDeadline(time.Now().Add(slow)))
	require.NoError(p.t, s.Handshake())
	return s
}

// openTLS connects, and waits for OnConnected. No other client may connect meanwhile.
func (s *server) openTLS(cfg *tls.Config) (*secret, *probe) {
	s.t.Helper()
	c := s.dial().over(cfg)
	p := s.next()
	p.await(s.t, "OnConnected")
	return c, p
}

func (s *secret) send(text string) {
	s.t.Helper()
	_, err := io.WriteString(s, text)
	require.NoError(s.t, err)
}

func (s *secret) expect(text string) {
	s.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(s, got)
	require.NoError(s.t, err, "after %q", got[:n])
	require.Equal(s.t, text, string(got))
}

// state is what the handshake of the event ev agreed on.
func state(ev any) (tls.ConnectionState, bool) {
	e, ok := ev.(tls.Established)
	if !ok {
		return tls.ConnectionState{}, false
	}
	return e.Layer.State(), true
}

// shakeError is why there is no TLS.
func (p *probe) shakeError(t testing.TB) *tls.HandshakeError {
	t.Helper()
	failed := p.connectError(t)
	require.Equal(t, conn.StageHandshake, failed.Stage, "%v", failed)
	var shake *tls.HandshakeError
	require.ErrorAs(t, failed, &shake)
	return shake
}

// alert is the alert in what crypto/tls says.
func alert(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) {
		return ""
	}
	return op.Err.Error()
}
