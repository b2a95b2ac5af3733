package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
)

const (
	maxLine = 256 // bytes

	// shutdownTimeout bounds the orderly end, if -end does not.
	shutdownTimeout = 10 * time.Second
)

// errSilent is why a member is cut off that does not answer. It comes back in OnClosed.
var errSilent = errors.New("no sign of life")

// A member is one connection. A timer is a token: it is one-shot, and OnTimer tells which one it was. No timer has the
// token zero, so a field may also say that there is none.
type member struct {
	actor.Base
	limits *limits
	out    *log.Logger
	began  time.Time
	name   string // its address, until it has logged in
	in     bool   // whether it has

	login, grace, session conn.TimerToken // grace is zero, unless we asked and wait
}

// tell prints what happens, and when. To print may block, which would hold up all connections of a loop: a server for
// more than a demonstration hands such lines to a goroutine.
func (m *member) tell(format string, args ...any) {
	m.out.Printf("%.3fs %s: %s", time.Since(m.began).Seconds(), m.name, fmt.Sprintf(format, args...))
}

// OnConnected starts the clocks. There are no timers before.
func (m *member) OnConnected(c *conn.Conn) {
	m.began, m.name = time.Now(), c.RemoteAddr().String()
	m.tell("connected")
	m.login = c.StartTimer(m.limits.login)
	m.session = c.StartTimer(m.limits.session)
}

// OnReceived gets a line. Whatever it says, it is a sign of life.
func (m *member) OnReceived(c *conn.Conn, data []byte) error {
	if c.State() == conn.StateClosing {
		return nil // it said so before it heard our bye
	}
	if c.StopTimer(m.grace) {
		m.grace = 0
		m.tell("is alive")
	}
	verb, name, _ := strings.Cut(string(data), " ")
	switch {
	case !m.in && (verb != "login" || name == ""):
		return m.sendAway(c, "say login NAME first")
	case !m.in:
		// Once StopTimer has returned, OnTimer does not come for it any more, not even if it was due already. So
		// nobody is sent away for being late after being welcomed.
		c.StopTimer(m.login)
		m.in, m.name = true, strconv.Quote(name)
		m.tell("logged in")
		// From now on silence counts. Idleness is bytes that do not move, in either direction; so what we send puts it
		// off, too, and each ping begins a new time of silence.
		c.SetIdleTimeout(m.limits.ping)
		_, err := c.Send([]byte("welcome " + name + "\n"))
		return err
	}
	return nil
}

// OnIdle comes after each -ping without a byte. The default would be to close.
func (m *member) OnIdle(c *conn.Conn) {
	if m.grace != 0 {
		return // -grace is longer than -ping: we asked already
	}
	m.tell("silent, asking")
	if _, err := c.Send([]byte("ping\n")); err == nil {
		m.grace = c.StartTimer(m.limits.grace)
	}
}

// OnTimer comes at the time or, if the loop is busy, soon after, never before. It comes after the reading of its turn:
// bytes that had arrived by then were delivered first, and may have stopped the timer.
func (m *member) OnTimer(c *conn.Conn, t conn.TimerToken) {
	switch {
	case c.State() == conn.StateClosing: // timers go on while a connection closes
	case t == m.login:
		_ = m.sendAway(c, fmt.Sprintf("no login within %v", m.limits.login))
	case t == m.session:
		_ = m.sendAway(c, fmt.Sprintf("%v are over", m.limits.session))
	case t == m.grace:
		// Whoever is gone will not read a bye, nor close. So do not wait for it.
		m.tell("no sign of life within %v", m.limits.grace)
		c.Abort(errSilent)
	}
}

// sendAway says why and closes in order. The member need not agree: after CloseTimeout it is cut off.
func (m *member) sendAway(c *conn.Conn, why string) error {
	m.tell("sent away: %s", why)
	_, err := c.Send([]byte("bye " + why + "\n"))
	c.Close()
	return err
}

// OnClosed tells how it ended. What timers and timeouts were left ended with it: nothing comes after this.
func (m *member) OnClosed(c *conn.Conn, err error) {
	var end *conn.CloseError
	switch {
	case err == nil:
		m.tell("closed")
	case errors.Is(err, errSilent):
		m.tell("cut off: %v", errSilent)
	case errors.As(err, &end) && end.Timeout():
		m.tell("cut off: %v", end.Err) // it was told to go, and did not
	default:
		m.tell("lost: %v", err)
	}
}

// serve runs the server until SIGINT or SIGTERM.
func serve(addr string, l *limits, stdout, stderr io.Writer) error {
	// Signals first: one that comes right after the line below must already end the server in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	network, err := actor.New(nil, actor.Config{})
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	out := log.New(stdout, "", 0)
	newMember := func() actor.Actor { return &member{limits: l, out: out} }
	ln, err := network.Listen(ctx, addr, newMember, actor.ListenConfig{Conn: conn.Config{
		Split:        frame.Lines(maxLine),
		CloseTimeout: l.end,
		// For an accepted connection StartTimeout bounds the handshakes of its layers. Here are none, and what a
		// member must say first is our own affair: so there is a timer for it. IdleTimeout stays zero: before the
		// login it would only be a second way to be too late.
	}})
	if err != nil {
		return fmt.Errorf("wrong -addr: %w", err) // which names it, and what would do
	}
	fmt.Fprintf(stdout, "listening on %s\n", ln.Addr())
	<-ctx.Done()
	stop() // a second signal ends the process at once
	closed, aborted, err := shutdown(network, l)
	fmt.Fprintf(stderr, "timers: shut down; connections closed in order: %d, aborted: %d\n", closed, aborted)
	return err
}

// shutdown is patient enough to let each connection have its own CloseTimeout.
func shutdown(network *actor.Network, l *limits) (closed, aborted int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), max(shutdownTimeout, 2*l.end))
	defer cancel()
	return network.Shutdown(ctx)
}
