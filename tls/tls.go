package tls

import (
	"crypto/tls"

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
	gate   *gate
	config func(host string) *Config
}

// WithPool makes the handshakes compute in p, and not in the pool that all others share.
func WithPool(p *Pool) Option { return func(o *options) { o.pool = p } }

// MaxHandshakes bounds the handshakes that a Server has in progress; if it is not given, 4,096. See the package's
// documentation for what happens at the bound. Client has none.
func MaxHandshakes(n int) Option { return func(o *options) { o.max = n } }

const maxHandshakes = 4096

// Server makes the server side of TLS. cfg must not change afterwards, and have Certificates, GetCertificate or
// GetConfigForClient.
func Server(cfg *Config, opts ...Option) interceptor.Factory {
	o := newOptions(opts)
	o.gate = &gate{max: o.max}
	o.config = func(string) *Config { return cfg }
	return func() interceptor.Interceptor { return &Layer{options: o} }
}

// Client makes the client side of TLS. cfg must not change afterwards. If its ServerName is empty, the host as dialed
// takes its place.
func Client(cfg *Config, opts ...Option) interceptor.Factory {
	o := newOptions(opts)
	o.config = named(cfg)
	return func() interceptor.Interceptor { return &Layer{options: o} }
}

func newOptions(opts []Option) *options {
	o := &options{max: maxHandshakes}
	for _, f := range opts {
		f(o)
	}
	if o.pool == nil {
		o.pool = defaultPool()
	}
	return o
}
