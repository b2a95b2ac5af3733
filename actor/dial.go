package actor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// DialConfig sets up a dialed or adopted connection. The zero DialConfig is ready to use.
type DialConfig struct {
	Conn    conn.Config
	Socket  loop.Options   // not for Adopt, which leaves the options of the socket as they are
	Network string         // "tcp", "tcp4", "tcp6" or "unix"; if empty, "tcp"; not for Adopt
	Local   netip.AddrPort // what to connect from; if zero, the system's choice; not for Adopt, nor for unix
	// Blocking lets callbacks and Receive block, as in ListenConfig.
	Blocking bool
	// Loop is the number of the loop that the connection lives on, from 1; if zero, the one with the fewest.
	Loop int
	// Props are options for the actor, as in ListenConfig.
	Props []proto.PropsOption
}

// Dial spawns a and connects it to addr, given as for [net.Dial]: a host, by name or number, and a port; for unix, a
// path. It does not wait: OnConnected or OnConnectFailed tells, with a [*conn.ConnectError]. Several addresses of one
// name are tried as RFC 8305 has it, and OnEvent gets [conn.Connecting] whenever the number of attempts has changed.
//
// If ctx ends before OnConnected is due, the attempt ends with its error; afterwards ctx means nothing. So a function
// that dials must not cancel ctx when it returns. Conn.StartTimeout covers the look-up, the attempts and the handshakes.
// [Close] and [Abort] end an attempt at once.
//
// a belongs to its actor until that has stopped. It is its own successor if a strategy restarts it, and it may be
// dialed again after its Stopped. cfg.Loop says on which loop it lives.
//
// The error names every value that cannot work; then nothing was started. After Shutdown it matches [net.ErrClosed].
// Dial may be called by any goroutine, also in a callback.
func (n *Network) Dial(ctx context.Context, addr string, a Actor, cfg DialConfig) (*proto.PID, error) {
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	to := loop.DialConfig{Network: cfg.Network, Addr: addr, Local: cfg.Local, Options: cfg.Socket, Resolver: n.resolver}
	errs := []error{cfg.validate(), n.checkLoop("DialConfig", cfg.Loop)}
	if err := to.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("actor: %w", err))
	}
	if ctx == nil {
		errs = append(errs, errNilContext)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return n.launch("Dial", a, &cfg, func(c *connection) {
		if own := c.kind.own; own != nil {
			own.Dial(ctx, to)
		} else if err := c.socket.Dial(ctx, c.kind.sup.loop, c, to); err != nil {
			c.driver.Failed(conn.StageDial, err)
		}
	})
}

// Adopt spawns a for an established connection, and takes nc over, as if it had been accepted. A *net.TCPConn or
// *net.UnixConn is as good as an accepted one. Any other stream, such as an end of [net.Pipe] or a *tls.Conn, is read and
// written on goroutines, as in a portable Network. What is no stream is refused with a [*loop.AdoptError], which matches
// [errors.ErrUnsupported]. Nobody may be reading or writing with nc. OnConnected tells when it is done; in the rare case
// that the system refuses it, nc is closed, and OnConnectFailed tells.
//
// If Adopt returns an error, nothing was started, and nc is still the caller's. The error names every value that cannot
// work; it matches [net.ErrClosed] if nc is closed, and after Shutdown. What Dial says of a, Adopt promises too. Adopt
// may be called by any goroutine, also in a callback.
func (n *Network) Adopt(nc net.Conn, a Actor, cfg DialConfig) (*proto.PID, error) {
	err := errors.Join(cfg.validate(), n.checkLoop("DialConfig", cfg.Loop))
	if bad := loop.Adoptable(nc); bad != nil {
		err = errors.Join(err, fmt.Errorf("actor: the connection cannot be adopted: %w", bad))
	}
	if err != nil {
		return nil, err
	}
	return n.launch("Adopt", a, &cfg, func(c *connection) {
		if own := c.kind.own; own != nil {
			own.Adopt(nc)
		} else if err := c.socket.Adopt(nc, c.kind.sup.loop, c); err != nil {
			_ = nc.Close() // nobody else will
			c.driver.Failed(conn.StageDial, err)
		}
	})
}

var errNilContext = errors.New("actor: ctx is nil: it must be a context, such as context.Background()")

// validate returns an error that names each value that cannot work, of those that Dial and Adopt share.
func (cfg *DialConfig) validate() error {
	errs := []error{cfg.Conn.Validate()}
	for i, option := range cfg.Props {
		if option == nil {
			errs = append(errs, fmt.Errorf("actor: DialConfig.Props[%d] is nil: it must be an option", i))
		}
	}
	return errors.Join(errs...)
}

// launch spawns a on the loop that cfg says. open gives it a socket, on that loop, when nothing can keep
// the actor from being told how that went.
func (n *Network) launch(giver string, a Actor, cfg *DialConfig, open func(*connection)) (*proto.PID, error) {
	if n.closing.Load() {
		return nil, errShutdown
	}
	s := n.supervisorOf(cfg.Loop)
	c := new(connection)
	shared := kind{sup: s, newActor: func() Actor { return a }, giver: giver + " was given", cfg: &cfg.Conn, options: cfg.Props}
	if err := shared.prepare(c, cfg.Blocking); err != nil {
		return nil, fmt.Errorf("actor: %w", err)
	}
	if own := c.kind.own; own != nil {
		c.init(own)
	} else {
		c.init(&c.socket)
	}
	// Before it is spawned: so it is the first thing in its first turn, whoever else knows its PID by then.
	c.mail.postFunc(func() { open(c) })
	if err := s.spawn(c); err != nil {
		if err != errShutdown {
			err = fmt.Errorf("actor: spawning: %w", err)
		}
		return nil, err
	}
	if own := c.kind.own; own != nil {
		own.Start()
	}
	return c.self(), nil
}

// least returns the supervisor of the loop with the fewest connections. A dial counts from its first turn on, so those
// of a burst look alike: they are dealt out in turn.
func (n *Network) least() *supervisor {
	l := loop.Least(n.all, int(n.dealt.Add(1)%uint32(len(n.all))))
	for _, s := range n.sups {
		if s.loop == l {
			return s
		}
	}
	return n.sups[0]
}
