package serve

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/bench/internal/pressure"
)

// The servers of the experiments with back-pressure. Each keeps an account of its sends, and reports it.

// openAccount returns an account whose lines are printed as soon as ready is called.
func openAccount(cfg Config) (a *pressure.Account, ready func(addr string)) {
	a = pressure.NewAccount(pressure.Brief)
	return a, func(addr string) {
		cfg.Ready(addr)
		go func() {
			fmt.Fprintln(os.Stderr, "the server cannot report:", a.Report(cfg.Reports, cfg.Pressure.Report))
			os.Exit(1)
		}()
	}
}

// listenPressed listens with the buffer for sending that the settings ask for, with TLS if there is any.
func listenPressed(cfg Config) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if n := cfg.Pressure.Buffer; n > 0 { // connections have what their listener has
			if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, n) }); e != nil {
				return e
			}
		}
		return os.NewSyscallError("setsockopt", err)
	}}
	ln, err := lc.Listen(context.Background(), "tcp4", cfg.Addr)
	if err == nil && cfg.TLS != nil {
		ln = tls.NewListener(ln, cfg.TLS)
	}
	return ln, err
}

// servePressed runs serve on a goroutine for each connection.
func servePressed(cfg Config, ready func(addr string), serve func(net.Conn)) error {
	ln, err := listenPressed(cfg)
	if err != nil {
		return err
	}
	ready(ln.Addr().String())
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(nc)
	}
}

// A room has one goroutine that sends every tick to all members, one after the other.
type room struct {
	cfg     pressure.Settings
	account *pressure.Account
	begin   func()
	stop    chan struct{}

	mu      sync.Mutex
	members []listener // replaced, never changed
	ending  bool
}

// A listener is a connection of a room.
type listener interface {
	tell(record []byte) // from one goroutine; nobody changes the record
	ending()            // what was told is still to be sent, and then close will be called; or at once
	close()             // after the last tell, or with it
}

func newRoom(cfg pressure.Settings, a *pressure.Account) *room {
	r := &room{cfg: cfg, account: a, stop: make(chan struct{})}
	r.begin = sync.OnceFunc(func() { go r.run() })
	return r
}

func (r *room) run() {
	pressure.Tick(r.cfg.Every, r.stop, func(n uint64, due int64) {
		record := make([]byte, r.cfg.Record)
		pressure.Fill(record, n, due)
		for _, m := range r.everybody() {
			m.tell(record)
		}
	})
	for _, m := range r.everybody() {
		m.close()
	}
}

func (r *room) everybody() []listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members
}

func (r *room) join(m listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = append(slices.Clip(r.members), m)
}

// hear acts on what a member said.
func (r *room) hear(said []byte) {
	for _, b := range said {
		switch b {
		case pressure.Begin:
			r.begin()
		case pressure.End:
			r.end()
		}
	}
}

func (r *room) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return
	}
	r.ending = true
	for _, m := range r.members {
		m.ending()
	}
	close(r.stop)
}
