package serve

import (
	"context"
	"crypto/tls"
	"runtime"
	"slices"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/interceptor"
	gtls "github.com/galago-go/galago/tls"
)

// galagoKind has an actor for each connection, as in the examples, with every promise kept.
var galagoKind = Kind{
	Name:  "galago",
	About: "an actor for each connection, on one event loop for each processor",
	TLS:   true,
	Roles: map[Role]Func{Echo: galagoEcho, Frames: galagoFrames, Sink: galagoSink, Source: galagoSource,
		Fanout: galagoFanout, Work: galagoWork, Room: galagoRoom, Flood: galagoFlood, Pump: galagoPump},
}

// layers returns the layers of a galago connection: with a cfg, TLS.
func layers(cfg *tls.Config) []interceptor.Factory {
	if cfg == nil {
		return nil
	}
	return []interceptor.Factory{gtls.Server(cfg)}
}

// listenGalago serves with an actor from newActor for each connection.
func listenGalago(cfg Config, sys *proto.ActorSystem, newActor func() actor.Actor, settings conn.Config) error {
	settings.Layers = layers(cfg.TLS)
	network, err := actor.New(sys, actor.Config{Loops: runtime.GOMAXPROCS(0)})
	if err != nil {
		return err
	}
	ln, err := network.Listen(context.Background(), cfg.Addr, newActor, actor.ListenConfig{Conn: settings})
	if err != nil {
		return err
	}
	cfg.Ready(ln.Addr().String())
	select {}
}

// echo is the server of examples/echo.
type echo struct{ actor.Base }

func (e *echo) OnReceived(c *conn.Conn, data []byte) error {
	_, err := c.Send(data)
	return err
}

func galagoEcho(cfg Config) error {
	return listenGalago(cfg, nil, func() actor.Actor { return new(echo) }, conn.Config{})
}

// A framer answers each frame with one Send.
type framer struct {
	actor.Base
	head []byte
}

func (f *framer) OnReceived(c *conn.Conn, body []byte) error {
	f.head = frame.AppendPrefix(f.head[:0], FramePrefix, len(body))
	_, err := c.Send(f.head, body)
	return err
}

func galagoFrames(cfg Config) error {
	settings := conn.Config{Split: frame.Prefixed(FramePrefix, cfg.Size), MaxFrame: max(cfg.Size, 64<<10)}
	return listenGalago(cfg, nil, func() actor.Actor { return new(framer) }, settings)
}

type sink struct {
	actor.Base
	tally
}

func (s *sink) OnReceived(c *conn.Conn, data []byte) error {
	if answer := s.take(len(data)); answer != nil {
		_, err := c.Send(answer)
		return err
	}
	return nil
}

func galagoSink(cfg Config) error {
	return listenGalago(cfg, nil, func() actor.Actor { return new(sink) }, conn.Config{})
}

// A source keeps a window of bytes on the way, and sends more when it hears that some have been sent. To send until it
// is refused would hold the loop up for as long as the client keeps pace.
type source struct {
	actor.Base
	size, at int
	sent     []int // the sizes of the sends on the way
	window   int   // their sum
}

const sourceWindow = 64 << 10

func (s *source) OnConnected(c *conn.Conn)   { s.send(c) }
func (s *source) OnUnthrottled(c *conn.Conn) { s.send(c) }

func (s *source) OnSent(c *conn.Conn, _ conn.SendToken) {
	s.window -= s.sent[0]
	s.sent = append(s.sent[:0], s.sent[1:]...)
	s.send(c)
}

func (s *source) send(c *conn.Conn) {
	for s.window < sourceWindow {
		p := Pattern[s.at:min(s.at+s.size, len(Pattern))]
		if _, err := c.Send(p); err != nil {
			return // ErrNotWriteable: OnUnthrottled will come; else it is over
		}
		s.at = (s.at + len(p)) % len(Pattern)
		s.sent = append(s.sent, len(p))
		s.window += len(p)
	}
}

func galagoSource(cfg Config) error {
	return listenGalago(cfg, nil, func() actor.Actor { return &source{size: cfg.Size} }, conn.Config{})
}

type worker struct{ actor.Base }

func (w *worker) OnReceived(c *conn.Conn, message []byte) error {
	DoWork(message)
	_, err := c.Send(message)
	return err
}

func galagoWork(cfg Config) error {
	settings := conn.Config{Split: frame.Fixed(WorkSize)}
	return listenGalago(cfg, nil, func() actor.Actor { return new(worker) }, settings)
}

// galagoFanout has an ordinary actor of Proto.Actor that sends a Write to each connection.
func galagoFanout(cfg Config) error {
	sys := proto.NewActorSystem()
	sender := sys.Root.Spawn(proto.PropsFromProducer(func() proto.Actor { return new(sender) }))
	return listenGalago(cfg, sys, func() actor.Actor { return &member{sender: sender} }, conn.Config{})
}

// A member of the audience tells the sender of itself.
type member struct {
	actor.Base
	sender *proto.PID
}

type (
	joined struct{ pid *proto.PID }
	left   struct{ pid *proto.PID }
	burst  struct{ times byte }
)

func (m *member) OnConnected(*conn.Conn) { m.Context().Send(m.sender, joined{m.Context().Self()}) }

func (m *member) OnClosed(*conn.Conn, error) { m.Context().Send(m.sender, left{m.Context().Self()}) }

func (m *member) OnReceived(_ *conn.Conn, data []byte) error {
	m.Context().Send(m.sender, burst{data[0]})
	return nil
}

// A sender writes to all members.
type sender struct{ all []*proto.PID }

var write = &actor.Write{Data: News} // one serves all connections

func (s *sender) Receive(ctx proto.Context) {
	switch m := ctx.Message().(type) {
	case joined:
		s.all = append(s.all, m.pid)
		ctx.Send(m.pid, write)
	case left:
		s.all = slices.DeleteFunc(s.all, m.pid.Equal)
	case burst:
		for range m.times {
			for _, pid := range s.all {
				ctx.Send(pid, write)
			}
		}
	}
}
