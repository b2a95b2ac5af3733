package conn

import (
	"context"
	"fmt"
	"log/slog"
)

// State is where a connection is in its life; see the package documentation.
type State uint8

const (
	StateConnecting State = iota // no socket yet
	StateStarting                // connected, but a layer is not ready
	StateConnected               // application bytes may flow
	StateUpgrading               // the layer pushed by Upgrade is not ready
	StateClosing                 // no more sends; draining, then waiting for the peer's end
	StateClosed                  // over; the last callback is due or done
)

// String names the state.
func (s State) String() string {
	switch s {
	case StateConnecting:
		return "Connecting"
	case StateStarting:
		return "Starting"
	case StateConnected:
		return "Connected"
	case StateUpgrading:
		return "Upgrading"
	case StateClosing:
		return "Closing"
	case StateClosed:
		return "Closed"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// transitions[s] is the set of states that may follow s, a bit for each.
var transitions = [...]uint8{
	StateConnecting: 1<<StateStarting | 1<<StateClosed,
	StateStarting:   1<<StateConnected | 1<<StateClosing | 1<<StateClosed,
	StateConnected:  1<<StateUpgrading | 1<<StateClosing | 1<<StateClosed,
	StateUpgrading:  1<<StateConnected | 1<<StateClosing | 1<<StateClosed,
	StateClosing:    1 << StateClosed,
	StateClosed:     0,
}

// mayFollow reports whether the table allows a change from s to next.
func (s State) mayFollow(next State) bool { return transitions[s]&(1<<next) != 0 }

// setState is the only place where a state changes.
func (c *Conn) setState(next State) {
	if !c.state.mayFollow(next) {
		panic("BUG: conn: no way from state " + c.state.String() + " to " + next.String())
	}
	if log := c.cfg.Logger; log != nil {
		log.LogAttrs(context.Background(), slog.LevelInfo, "connection",
			slog.String("from", c.state.String()), slog.String("to", next.String()),
			slog.String("remote", c.b.Info().Remote.String()))
	}
	c.state = next
}
