package serve

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cloudwego/netpoll"
)

// netpollKind follows netpoll's guide and examples, with its defaults: OnRequest, the reader and writer without copies,
// one Flush for all that could be answered.
var netpollKind = Kind{
	Name:  "netpoll",
	About: "cloudwego/netpoll with its defaults; one Flush for all that could be answered",
	Roles: map[Role]Func{Echo: netpollEcho, Frames: netpollFrames, Sink: netpollSink, Source: netpollSource,
		Fanout: netpollFanout, Work: netpollWork, Room: netpollRoom, Flood: netpollFlood, Pump: netpollPump},
}

func listenNetpoll(cfg Config, onRequest netpoll.OnRequest, options ...netpoll.Option) error {
	ln, err := netpoll.CreateListener("tcp", cfg.Addr)
	if err != nil {
		return err
	}
	events, err := netpoll.NewEventLoop(onRequest, options...)
	if err != nil {
		return err
	}
	cfg.Ready(ln.Addr().String())
	return events.Serve(ln)
}

func netpollEcho(cfg Config) error {
	return listenNetpoll(cfg, func(_ context.Context, c netpoll.Connection) error {
		in, out := c.Reader(), c.Writer()
		p, err := in.Next(in.Len())
		if err != nil {
			return err
		}
		if _, err := out.WriteBinary(p); err != nil {
			return err
		}
		return errors.Join(out.Flush(), in.Release()) // in this order: p is not copied
	})
}

func netpollFrames(cfg Config) error {
	return listenNetpoll(cfg, func(_ context.Context, c netpoll.Connection) error {
		in, out := c.Reader(), c.Writer()
		for in.Len() >= FramePrefix {
			p, err := in.Peek(FramePrefix)
			if err != nil {
				return err
			}
			n := FramePrefix + int(binary.BigEndian.Uint32(p))
			if n > FramePrefix+cfg.Size {
				return c.Close()
			}
			if in.Len() < n && out.MallocLen() > 0 {
				break // answer first, then wait for the rest
			}
			if p, err = in.Next(n); err != nil {
				return err
			}
			if _, err := out.WriteBinary(p); err != nil {
				return err
			}
		}
		return errors.Join(out.Flush(), in.Release())
	})
}

type tallyKey struct{} // of the context of a connection

func netpollSink(cfg Config) error {
	take := func(ctx context.Context, c netpoll.Connection) error {
		in, out := c.Reader(), c.Writer()
		n := in.Len()
		if err := in.Skip(n); err != nil {
			return err
		}
		if answer := ctx.Value(tallyKey{}).(*tally).take(n); answer != nil {
			if _, err := out.WriteBinary(answer); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
		return in.Release()
	}
	prepare := func(netpoll.Connection) context.Context {
		return context.WithValue(context.Background(), tallyKey{}, new(tally))
	}
	return listenNetpoll(cfg, take, netpoll.WithOnPrepare(prepare))
}

func netpollSource(cfg Config) error {
	start := func(ctx context.Context, c netpoll.Connection) context.Context {
		go func() {
			for at, out := 0, c.Writer(); ; {
				n, err := out.WriteBinary(Pattern[at:min(at+cfg.Size, len(Pattern))])
				if err != nil || out.Flush() != nil {
					return
				}
				at = (at + n) % len(Pattern)
			}
		}()
		return ctx
	}
	ignore := func(_ context.Context, c netpoll.Connection) error { return c.Reader().Skip(c.Reader().Len()) }
	return listenNetpoll(cfg, ignore, netpoll.WithOnConnect(start))
}

func netpollWork(cfg Config) error {
	return listenNetpoll(cfg, func(_ context.Context, c netpoll.Connection) error {
		in, out := c.Reader(), c.Writer()
		p, err := in.Next(WorkSize)
		if err != nil {
			return err
		}
		DoWork(p)
		if _, err := out.WriteBinary(p); err != nil {
			return err
		}
		return errors.Join(out.Flush(), in.Release())
	})
}

// netpollFanout has one goroutine that writes to all connections, one after the other. A client that does not read
// holds all others up in Flush; so would a goroutine for each of them cost what netFanout costs.
func netpollFanout(cfg Config) error {
	joins, leaves, bursts := make(chan netpoll.Connection), make(chan netpoll.Connection), make(chan byte, 16)
	tell := func(c netpoll.Connection) {
		out := c.Writer()
		if _, err := out.WriteBinary(News); err == nil {
			out.Flush() // if it fails the reader hears of it
		}
	}
	go func() {
		var all []netpoll.Connection
		for {
			select {
			case c := <-joins:
				all = append(all, c)
				tell(c)
			case c := <-leaves:
				all = slices.DeleteFunc(all, func(x netpoll.Connection) bool { return x == c })
			case times := <-bursts:
				for range times {
					for _, c := range all {
						tell(c)
					}
				}
			}
		}
	}()
	request := func(_ context.Context, c netpoll.Connection) error {
		in := c.Reader()
		times, err := in.ReadByte()
		if err != nil {
			return err
		}
		bursts <- times
		return in.Release()
	}
	return listenNetpoll(cfg, request,
		netpoll.WithOnConnect(func(ctx context.Context, c netpoll.Connection) context.Context {
			joins <- c
			return ctx
		}),
		netpoll.WithOnDisconnect(func(_ context.Context, c netpoll.Connection) { leaves <- c }))
}
