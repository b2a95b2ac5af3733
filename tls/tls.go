package tls

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/galago-go/galago/interceptor"
)

// Config, Certificate and ConnectionState are those of crypto/tls, so that most callers need only this import.
type (
	Config          = tls.Config
	Certificate     = tls.Certificate
	ConnectionState = tls.ConnectionState
)

// Established is raised when the handshake is done, before OnConnected or conn.Upgraded.
type Established struct{ Layer *Layer }

// An Option changes how Server and Client do what the Config says.
type Option func(*options)

type options struct {
	pool   *Pool
	max    int
	gate   *gate // of a server
	config func(host string) *Config
	wrong  error // what makes every handshake fail; nil if nothing does
	seen   bool  // a callback of the Config may look at the context of the handshake
}

// WithPool makes the handshakes compute in p, and not in the pool that all others share.
func WithPool(p *Pool) Option {
	if p == nil {
		panic("tls: WithPool(nil): the pool must come from NewPool")
	}
	return func(o *options) { o.pool = p }
}

// MaxHandshakes bounds the handshakes that a Server has in progress, not counting clients that have not sent their
// first flight; if it is not given, 4,096. At the bound clients wait, until StartTimeout; and a handshake that has waited
// for its own client for half a second gives way to them, with ErrBusy. n is at least 1. For a Client it means nothing.
func MaxHandshakes(n int) Option {
	if n < 1 {
		panic(fmt.Sprintf("tls: MaxHandshakes(%d): it must be 1 or more", n))
	}
	return func(o *options) { o.max = n }
}

const maxHandshakes = 4096

// Server makes the server side of TLS. cfg must not change afterwards, and has Certificates, GetCertificate or
// GetConfigForClient. Its callbacks run on a goroutine of the handshake, and may block; their ClientHelloInfo.Context
// ends with the connection.
func Server(cfg *Config, opts ...Option) interceptor.Factory {
	o := newOptions("Server", cfg, opts)
	o.gate = &gate{max: o.max}
	o.config = func(string) *Config { return cfg }
	if len(cfg.Certificates) == 0 && cfg.GetCertificate == nil && cfg.GetConfigForClient == nil {
		o.wrong = errors.New("tls: a server needs a certificate: set Certificates, GetCertificate or GetConfigForClient")
	}
	return func() interceptor.Interceptor { return &Layer{options: o} }
}

// Client makes the client side of TLS. cfg must not change afterwards. If its ServerName is empty, the host as dialed
// takes its place. Renegotiation, which crypto/tls cannot do in turns, must be RenegotiateNever, its default.
func Client(cfg *Config, opts ...Option) interceptor.Factory {
	o := newOptions("Client", cfg, opts)
	o.config = named(cfg)
	if cfg.Renegotiation != tls.RenegotiateNever {
		o.wrong = errors.New("tls: Config.Renegotiation must be RenegotiateNever: a renegotiation would hold its loop up")
	}
	return func() interceptor.Interceptor { return &Layer{options: o} }
}

func newOptions(of string, cfg *Config, opts []Option) *options {
	if cfg == nil {
		panic("tls: " + of + "(nil): it needs a Config")
	}
	o := &options{max: maxHandshakes, seen: cfg.GetCertificate != nil || cfg.GetConfigForClient != nil ||
		cfg.GetClientCertificate != nil || cfg.GetEncryptedClientHelloKeys != nil}
	for _, f := range opts {
		f(o)
	}
	if o.pool == nil {
		o.pool = defaultPool()
	}
	return o
}
