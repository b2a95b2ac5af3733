package conn

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/galago-go/galago/interceptor"
)

// Config sets up connections, which share it: it must not change while one lives. The zero Config is ready to use.
type Config struct {
	Layers []interceptor.Factory // opened in order, the first nearest the socket

	Split    bufio.SplitFunc // cuts what OnReceived gets; if nil, there is no framing
	MaxFrame int             // bytes; bounds one frame, without its prefix or delimiter; if zero, 64 KiB

	HighWater  int // bytes; with more pending, Send is refused; if zero, 64 KiB
	LowWater   int // bytes; until no more than this are pending; if zero, half of HighWater
	MaxPending int // bytes; bounds one Send; if zero, 1 MiB

	// ReadWaits holds OnReceived back while Send is refused as not writeable, so that a handler that answers each
	// frame with one Send is never refused. Use it on one side at most: two sides that wait for each other wait for
	// ever. Auto is Off for dialed connections, On for others.
	//
	// Linux 6.18 may stop a TCP connection for good whose system buffer for reading is full while nobody reads: it
	// takes no acknowledgements any more. With On, reading then waits for writing, and writing for the system. It
	// takes a peer that sends far ahead in small pieces, or a buffer of a small fixed size: leave that to the system,
	// or set Off. An idle timeout tells of such a connection, and Close frees it, for then reading goes on.
	ReadWaits Setting

	StartTimeout time.Duration // to OnConnected, names and handshakes included, and for Upgrade; if zero, 10 s
	CloseTimeout time.Duration // closing: without write progress, then from FIN to the peer's end; if zero, 5 s
	IdleTimeout  time.Duration // the first idle timeout; if zero, none

	Logger *slog.Logger // gets a record per change of state; if nil, nothing is logged
}

// Setting is a switch that knows best when left alone.
type Setting uint8

const (
	Auto Setting = iota
	On
	Off
)

// String names the setting.
func (s Setting) String() string {
	switch s {
	case Auto:
		return "auto"
	case On:
		return "on"
	case Off:
		return "off"
	}
	return fmt.Sprintf("Setting(%d)", uint8(s))
}

const (
	defaultMaxFrame     = 64 << 10
	defaultHighWater    = 64 << 10
	defaultMaxPending   = 1 << 20
	defaultStartTimeout = 10 * time.Second
	defaultCloseTimeout = 5 * time.Second
)

// Validate returns an error that names each value that cannot work, and what would.
func (c *Config) Validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("conn: Config.%s is %v: it must be %s", field, value, want))
	}
	for i, f := range c.Layers {
		if f == nil {
			bad(fmt.Sprintf("Layers[%d]", i), "nil", "a function that makes a layer")
		}
	}
	size := func(field string, v int) {
		if v < 0 {
			bad(field, v, "0 (for the default) or a number of bytes")
		}
	}
	size("MaxFrame", c.MaxFrame)
	size("HighWater", c.HighWater)
	size("LowWater", c.LowWater)
	size("MaxPending", c.MaxPending)
	if high := c.highWater(); c.LowWater > high && high >= 0 {
		bad("LowWater", c.LowWater, fmt.Sprintf("at most HighWater, %d", high))
	}
	if c.ReadWaits > Off {
		bad("ReadWaits", c.ReadWaits, "Auto, On or Off")
	}
	span := func(field string, d time.Duration, zero string) {
		if d < 0 {
			bad(field, d, "0 ("+zero+") or a positive duration")
		}
	}
	span("StartTimeout", c.StartTimeout, "for 10 s")
	span("CloseTimeout", c.CloseTimeout, "for 5 s")
	span("IdleTimeout", c.IdleTimeout, "for none")
	return errors.Join(errs...)
}

func (c *Config) maxFrame() int               { return orDefault(c.MaxFrame, defaultMaxFrame) }
func (c *Config) highWater() int              { return orDefault(c.HighWater, defaultHighWater) }
func (c *Config) lowWater() int               { return orDefault(c.LowWater, c.highWater()/2) }
func (c *Config) maxPending() int             { return orDefault(c.MaxPending, defaultMaxPending) }
func (c *Config) startTimeout() time.Duration { return orDefault(c.StartTimeout, defaultStartTimeout) }
func (c *Config) closeTimeout() time.Duration { return orDefault(c.CloseTimeout, defaultCloseTimeout) }

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}
