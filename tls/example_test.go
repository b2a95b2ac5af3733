package tls_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/conntest"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// An exampleServer answers in capitals.
type exampleServer struct{ conn.Defaults }

func (*exampleServer) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(bytes.ToUpper(data))
	return err
}

func (*exampleServer) OnConnectFailed(_ *conn.Conn, err error) {
	var failed *tls.HandshakeError
	fmt.Println("a handshake error:", errors.As(err, &failed), "- about who the peer is:", failed.Auth)
	fmt.Println(failed)
}

// An exampleClient says hello, and prints what it hears.
type exampleClient struct {
	conn.Defaults
	heard bool
}

func (*exampleClient) OnEvent(_ *conn.Conn, ev any) {
	if e, ok := ev.(tls.Established); ok {
		s := e.Layer.State()
		fmt.Printf("TLS %#x with %s, %q\n", s.Version, s.ServerName, s.NegotiatedProtocol)
	}
}

func (*exampleClient) OnConnected(c *conn.Conn) { _, _ = c.Send([]byte("hello")) }

func (h *exampleClient) OnReceived(_ *conn.Conn, data []byte) error {
	fmt.Printf("%s\n", data)
	h.heard = true
	return nil
}

// Both sides, with no socket between them. In a program, the settings go to Listen and Dial of package actor.
func Example() {
	cert, err := selfSigned()
	if err != nil {
		fmt.Println(err)
		return
	}
	leaf, _ := x509.ParseCertificate(cert.Certificate[0])
	trusted := x509.NewCertPool()
	trusted.AddCert(leaf)

	server := conntest.New(new(exampleServer), conn.Config{Layers: []interceptor.Factory{tls.Server(&tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"shout"},
	})}})
	hello := new(exampleClient)
	// ServerName is not set: the host as dialed takes its place.
	client := conntest.New(hello, conn.Config{Layers: []interceptor.Factory{tls.Client(&tls.Config{
		RootCAs: trusted, NextProtos: []string{"shout"},
	})}}, withHost("localhost"))

	carry := func(from, to *conntest.Rig) {
		var wire string
		from.Await(20*time.Millisecond, func() bool { wire += from.Wire(); return wire != "" })
		to.Feed(wire)
	}
	for range 100 {
		if carry(client, server); hello.heard {
			break
		}
		carry(server, client)
	}
	// Output:
	// TLS 0x304 with localhost, "shout"
	// HELLO
}

// What is not TLS is an error that says so, and never goes on in clear text.
func ExampleHandshakeError() {
	cert, _ := selfSigned()
	layer := tls.Server(&tls.Config{Certificates: []tls.Certificate{cert}})
	r := conntest.New(new(exampleServer), conn.Config{Layers: []interceptor.Factory{layer}})
	r.Feed("GET / HTTP/1.1\r\n\r\n")
	r.FeedEOF()
	r.Await(10*time.Second, r.Done)
	// Output:
	// a handshake error: true - about who the peer is: false
	// the peer speaks plain HTTP, not TLS: tls: first record does not look like a TLS handshake
}

// writePair writes a new certificate and its key.
func writePair(file string) {
	cert, err := selfSigned()
	if err != nil {
		fmt.Println(err)
		return
	}
	key, _ := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	both := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	both = append(both, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		fmt.Println(err)
	}
}

// A bad pair of files is reported, and the last good one is used on.
func ExampleReloader() {
	dir, err := os.MkdirTemp("", "reloader")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "both.pem") // a certificate and its key
	writePair(file)

	r, err := tls.NewReloader(tls.ReloaderConfig{CertFile: file, KeyFile: file, Interval: time.Minute,
		OnReload: func(err error) { fmt.Println("a new pair is used:", err == nil) },
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	cfg := &tls.Config{GetCertificate: r.GetCertificate} // for tls.Server

	_ = os.WriteFile(file, []byte("rubbish"), 0o600)
	var bad *tls.ReloadError
	err = r.Reload() // by itself it looks every Interval
	fmt.Println(errors.As(err, &bad), bad.File == file)
	cert, err := cfg.GetCertificate(nil)
	fmt.Println(cert != nil, err)

	writePair(file)
	fmt.Println(r.Reload())
	// Output:
	// a new pair is used: false
	// true true
	// true <nil>
	// a new pair is used: true
	// <nil>
}
