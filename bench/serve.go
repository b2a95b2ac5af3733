package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/serve"
)

// serveCommand runs one of the servers; the other commands start it.
func (s *session) serveCommand() *cli.Command {
	var kind, role, addr, pressed string
	var size int
	var useTLS bool
	return &cli.Command{
		Name: "serve", Usage: "run one of the servers; the other commands start it",
		OnUsageError: asUsageError, HideHelpCommand: true,
		Flags: []cli.Flag{
			text(&kind, "kind", "", "`name` of the server"),
			text(&role, "role", string(serve.Echo), "`what` it does"),
			text(&addr, "addr", "127.0.0.1:0", "`address` to listen on, IPv4"),
			number(&size, "size", 0, "`bytes` of the longest frame, or that are written at once"),
			flag(&useTLS, "tls", "TLS on each connection"),
			text(&pressed, "pressure", "", "`settings` of the roles room, flood and pump, as JSON"),
		},
		Action: func(_ context.Context, c *cli.Command) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if !slices.Contains(serve.Roles, serve.Role(role)) {
				return &usageError{fmt.Errorf("-role is %q: it must be one of %v", role, serve.Roles)}
			}
			if _, ok := serve.Find(kind); !ok {
				return &usageError{fmt.Errorf("-kind is %q: it must be one of %v", kind, serve.Names(""))}
			}
			cfg := serve.Config{Addr: addr, Size: size}
			if useTLS {
				var err error
				if cfg.TLS, err = serve.Certificate(); err != nil {
					return err
				}
			}
			if pressed != "" {
				var err error
				if cfg.Pressure, err = pressure.Parse(pressed); err != nil {
					return &usageError{fmt.Errorf("-pressure: %w", err)}
				}
			}
			return serve.Run(kind, serve.Role(role), cfg, s.stdout)
		},
	}
}
