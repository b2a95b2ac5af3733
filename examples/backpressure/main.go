// Command backpressure shows what a slow reader does to a sender: a producer sends numbered records as fast as Send
// accepts them, to a consumer that reads fast, slowly, not at all, and fast again.
//
// A line for each tick shows how many bytes are pending, against the high and the low water mark; what became of the
// sends; and what that costs in memory. However little the consumer reads, the producer keeps no more than HighWater
// and one record. At the end the program says which promises of package conn it saw kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

const (
	maxHigh  = 64 << 20         // bytes; so that a slip of the finger costs no gigabytes
	maxPhase = time.Hour        // the same for time
	patience = 10 * time.Second // for connecting, and for the orderly end

	// The system's own buffers, in bytes: small, so that it is the connection that fills, and not they.
	socketBuffer = 64 << 10
)

// settings are what the flags say.
type settings struct {
	phase, tick time.Duration
	high, low   int // bytes
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 if every promise was kept, 1 if not or if the program cannot run, 2 if it was called
// wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	var s settings
	flags := flag.NewFlagSet("backpressure", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&s.phase, "phase", 1500*time.Millisecond, "`duration` of each of the four phases")
	flags.DurationVar(&s.tick, "tick", 100*time.Millisecond, "`duration` from one line to the next")
	flags.IntVar(&s.high, "high", 64<<10, "HighWater in `bytes`, at least 1")
	flags.IntVar(&s.low, "low", 0, "LowWater in `bytes`; 0 means half of -high")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	wrong := s.wrong()
	if flags.NArg() > 0 {
		wrong = fmt.Sprintf("unexpected argument %q: all settings are flags, see backpressure -help", flags.Arg(0))
	}
	if wrong != "" {
		fmt.Fprintf(stderr, "backpressure: %s\n", wrong)
		return 2
	}
	if s.low == 0 {
		s.low = s.high / 2
	}
	kept, err := s.show(stdout)
	if err != nil {
		fmt.Fprintf(stderr, "backpressure: %v\n", err)
	}
	if err != nil || !kept {
		return 1
	}
	return 0
}

// wrong says which setting cannot work, and what would; or nothing.
func (s *settings) wrong() string {
	switch {
	case s.phase <= 0 || s.phase > maxPhase:
		return fmt.Sprintf("-phase is %v: it must be more than 0 and at most %v, such as 1500ms", s.phase, maxPhase)
	case s.tick <= 0:
		return fmt.Sprintf("-tick is %v: it must be more than 0, such as 100ms", s.tick)
	case s.high < 1 || s.high > maxHigh:
		return fmt.Sprintf("-high is %d: it must be 1 to %d bytes", s.high, maxHigh)
	case s.low < 0 || s.low > s.high:
		return fmt.Sprintf("-low is %d: it must be 0 (half of -high) to %d bytes, which is -high", s.low, s.high)
	}
	return ""
}

// show runs both sides until the script is over or a signal comes, and reports whether every promise was kept.
func (s *settings) show(stdout io.Writer) (kept bool, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	if err != nil {
		return false, err
	}
	p := newProducer(s.tick, s.high)
	ln, err := network.Listen(ctx, "127.0.0.1:0", func() actor.Actor { return p }, actor.ListenConfig{
		MaxConns: 1,
		Socket:   loop.Options{WriteBuffer: socketBuffer},
		Conn:     conn.Config{HighWater: s.high, LowWater: s.low, MaxPending: recordSize},
	})
	if err != nil {
		return false, errors.Join(err, shutdown(network))
	}
	nc, err := net.DialTimeout("tcp", ln.Addr().String(), patience)
	if err != nil {
		return false, errors.Join(err, shutdown(network))
	}
	defer nc.Close()

	plan := script{begin: time.Now(), phase: s.phase, quit: ctx.Done()}
	end := time.NewTimer(plan.length())
	defer end.Stop()
	c := &consumer{done: make(chan struct{})}
	go c.run(nc.(*net.TCPConn), plan)

	t := newTable(stdout, plan, s.high, s.low)
	t.header()
	for over := false; !over; {
		select {
		case sample := <-p.samples:
			t.line(sample)
		case <-p.done:
			over = true // too early, and so one of the verdicts says
		case <-end.C:
			over = true
		case <-ctx.Done():
			over = true
		}
	}
	stop() // a second signal ends the process at once
	// The orderly end: what was accepted is still sent, and the consumer reads it all.
	if err := shutdown(network); err != nil {
		return false, err
	}
	<-c.done
	return t.verdicts(&p.account, c), nil
}

func shutdown(network *actor.Network) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := network.Shutdown(ctx)
	return err
}
