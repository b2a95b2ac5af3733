package main

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"net"

	"github.com/galago-go/galago/bench/internal/serve"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// A secrecy is the TLS of one door: galago's layers for its actors, and crypto/tls over package net for its witnesses.
type secrecy struct {
	server, client           *stdtls.Config
	serverLayer, clientLayer interceptor.Factory
}

// drawSecrecy draws versions, and whether clients take sessions up again; nil means clear text.
func (w *world) drawSecrecy(r *rand.Rand) (*secrecy, error) {
	if !happens(r, w.set.tls) {
		return nil, nil
	}
	server, err := serve.Certificate()
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(server.Certificates[0].Certificate[0])
	if err != nil {
		return nil, err
	}
	client := &stdtls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"} // unix sockets have no name to check
	client.RootCAs.AddCert(leaf)
	if happens(r, 0.3) {
		server.MaxVersion = stdtls.VersionTLS12
	}
	if happens(r, 0.5) {
		client.ClientSessionCache = stdtls.NewLRUClientSessionCache(0)
	}
	return &secrecy{server, client, tls.Server(server), tls.Client(client)}, nil
}

// layers are list above TLS, if there is any.
func (s *secrecy) layers(dialed bool, list []interceptor.Factory) []interceptor.Factory {
	switch {
	case s == nil:
		return list
	case dialed:
		return append([]interceptor.Factory{s.clientLayer}, list...)
	}
	return append([]interceptor.Factory{s.serverLayer}, list...)
}

// over is nc as a witness uses it.
func (s *secrecy) over(nc net.Conn, dialed bool) net.Conn {
	switch {
	case s == nil:
		return nc
	case dialed:
		return secretConn{stdtls.Client(nc, s.client), nc}
	}
	return secretConn{stdtls.Server(nc, s.server), nc}
}

// A secretConn ends a direction as a layer of galago does: close_notify, and then FIN.
type secretConn struct {
	*stdtls.Conn
	raw net.Conn
}

// CloseWrite ends one direction.
func (c secretConn) CloseWrite() error {
	if err := c.Conn.CloseWrite(); err != nil {
		return err
	}
	return c.raw.(interface{ CloseWrite() error }).CloseWrite()
}
