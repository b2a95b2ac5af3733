package serve_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/galago-go/galago/bench/internal/leak"
	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/serve"
)

// The tests start their own executable as a server: its arguments are "serve", a kind, a role, settings, and "tls" or "".
// Goroutines and descriptors that are left fail the package.
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "serve" {
		fmt.Fprintln(os.Stderr, child(os.Args[2], serve.Role(os.Args[3]), os.Args[4], os.Args[5] == "tls"))
		os.Exit(1)
	}
	os.Setenv("GORACE", "halt_on_error=1") // a race in a server is its end, and so an error
	os.Exit(leak.Run(m.Run))
}

func child(kind string, role serve.Role, settings string, useTLS bool) (err error) {
	cfg := serve.Config{Addr: "127.0.0.1:0"}
	if cfg.Pressure, err = pressure.Parse(settings); err != nil {
		return err
	}
	if useTLS {
		if cfg.TLS, err = serve.Certificate(); err != nil {
			return err
		}
	}
	return serve.Run(kind, role, cfg, os.Stdout)
}
