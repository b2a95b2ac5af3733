package serve

import (
	"context"
	"runtime"
	"slices"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/conn/loop"
)

// A pressed actor tells its ledger of everything.
type pressed struct {
	actor.Base
	account *pressure.Account
	ledger  *pressure.Ledger
}

func (p *pressed) OnConnected(*conn.Conn)     { p.ledger = p.account.Open() }
func (p *pressed) OnThrottled(*conn.Conn)     { p.ledger.Halt() }
func (p *pressed) OnUnthrottled(*conn.Conn)   { p.ledger.Go() }
func (p *pressed) OnClosed(*conn.Conn, error) { p.ledger.Close() }

func (p *pressed) OnSent(c *conn.Conn, t conn.SendToken) {
	p.ledger.Settled(uint64(t), true, c.Stats().Pending)
}

func (p *pressed) OnSendFailed(c *conn.Conn, t conn.SendToken) {
	p.ledger.Settled(uint64(t), false, c.Stats().Pending)
}

// send returns whether the record was accepted. If not, it is left out: that is this server's policy.
func (p *pressed) send(c *conn.Conn, record []byte) bool {
	t, err := c.Send(record)
	if err != nil {
		p.ledger.Refused(refusals[err.(conn.SendError)])
		return false
	}
	p.ledger.Accepted(uint64(t), c.Stats().Pending)
	return true
}

// refusals are the kinds of refusal, in a word or two.
var refusals = map[conn.SendError]string{conn.ErrNotConnected: "not connected", conn.ErrNotReady: "not ready",
	conn.ErrTooLarge: "too large", conn.ErrNotWriteable: "not writeable"}

// pressedNetwork returns a network on as many loops as there are processors, and the settings of its listener.
func pressedNetwork(cfg Config) (*actor.Network, actor.ListenConfig, error) {
	s := cfg.Pressure
	listen := actor.ListenConfig{
		Conn:   conn.Config{HighWater: s.High, LowWater: s.Low, MaxPending: s.Record, CloseTimeout: s.CloseTime},
		Socket: loop.Options{WriteBuffer: s.Buffer},
	}
	if s.ReadsOn {
		listen.Conn.ReadWaits = conn.Off
	}
	listen.Conn.Layers = layers(cfg.TLS)
	network, err := actor.New(nil, actor.Config{Loops: runtime.GOMAXPROCS(0)})
	return network, listen, err
}

func servePressedGalago(cfg Config, ready func(string), network *actor.Network, newActor func() actor.Actor, listen actor.ListenConfig) error {
	ln, err := network.Listen(context.Background(), cfg.Addr, newActor, listen)
	if err != nil {
		return err
	}
	ready(ln.Addr().String())
	select {}
}

// galagoRoom has a hub, an actor on the loop of its members, that hands each tick to all of them.
func galagoRoom(cfg Config) error {
	account, ready := openAccount(cfg)
	network, listen, err := pressedNetwork(cfg)
	if err != nil {
		return err
	}
	// What a member says does not wait for what it hears.
	listen.Conn.ReadWaits = conn.Off
	hub, err := network.Spawn(func() proto.Actor { return &hub{cfg: cfg.Pressure, stop: make(chan struct{})} }, actor.SpawnConfig{})
	if err != nil {
		return err
	}
	newMember := func() actor.Actor { return &roomMember{pressed{account: account}, hub} }
	return servePressedGalago(cfg, ready, network, newMember, listen)
}

type roomMember struct {
	pressed
	hub *proto.PID
}

// What is told between hub and members, besides joined and left.
type (
	said struct{ word byte }
	tick struct{ record []byte } // shared by all, and changed by nobody
)

func (m *roomMember) OnConnected(c *conn.Conn) {
	m.pressed.OnConnected(c)
	m.Context().Send(m.hub, joined{m.Context().Self()})
}

func (m *roomMember) OnReceived(_ *conn.Conn, data []byte) error {
	for _, b := range data {
		m.Context().Send(m.hub, said{b})
	}
	return nil
}

func (m *roomMember) Receive(ctx proto.Context) {
	if t, ok := ctx.Message().(*tick); ok {
		m.send(m.Conn(), t.record)
	}
}

func (m *roomMember) OnClosed(c *conn.Conn, err error) {
	m.pressed.OnClosed(c, err)
	m.Context().Send(m.hub, left{m.Context().Self()})
}

// A hub knows all members.
type hub struct {
	cfg         pressure.Settings
	all         []*proto.PID
	stop        chan struct{}
	begun, over bool
}

func (h *hub) Receive(ctx proto.Context) {
	switch m := ctx.Message().(type) {
	case joined:
		h.all = append(h.all, m.pid)
	case left:
		h.all = slices.DeleteFunc(h.all, m.pid.Equal)
	case *tick:
		for _, pid := range h.all {
			ctx.Send(pid, m)
		}
	case said:
		h.hear(ctx, m.word)
	}
}

func (h *hub) hear(ctx proto.Context, word byte) {
	switch {
	case word == pressure.Begin && !h.begun:
		h.begun = true
		go h.tick(ctx.ActorSystem().Root, ctx.Self())
	case word == pressure.End && !h.over:
		h.over = true
		close(h.stop)
		for _, pid := range h.all {
			ctx.Send(pid, &actor.Close{})
		}
	}
}

// tick runs on a goroutine of its own, and tells the hub of each tick.
func (h *hub) tick(root *proto.RootContext, self *proto.PID) {
	pressure.Tick(h.cfg.Every, h.stop, func(n uint64, due int64) {
		record := make([]byte, h.cfg.Record)
		pressure.Fill(record, n, due)
		root.Send(self, &tick{record})
	})
}

// galagoFlood sends each record back. Without ReadWaits, what comes while Send is refused gets no answer.
func galagoFlood(cfg Config) error {
	account, ready := openAccount(cfg)
	network, listen, err := pressedNetwork(cfg)
	if err != nil {
		return err
	}
	listen.Conn.Split = frame.Fixed(cfg.Pressure.Record)
	newActor := func() actor.Actor { return &flooded{pressed{account: account}} }
	return servePressedGalago(cfg, ready, network, newActor, listen)
}

type flooded struct{ pressed }

func (f *flooded) OnReceived(c *conn.Conn, record []byte) error {
	f.send(c, record)
	return nil
}

// galagoPump sends as much as Send accepts.
func galagoPump(cfg Config) error {
	account, ready := openAccount(cfg)
	network, listen, err := pressedNetwork(cfg)
	if err != nil {
		return err
	}
	listen.Conn.ReadWaits = conn.Off
	newActor := func() actor.Actor {
		return &pumping{pressed: pressed{account: account}, record: make([]byte, cfg.Pressure.Record)}
	}
	return servePressedGalago(cfg, ready, network, newActor, listen)
}

type pumping struct {
	pressed
	record []byte
	n      uint64
}

// perTurn bounds the records that are sent in one callback, as a connection shares its loop with others.
const perTurn = 16

func (p *pumping) OnReceived(c *conn.Conn, said []byte) error {
	for _, b := range said {
		switch b {
		case pressure.Begin:
			p.fill(c)
		case pressure.End:
			c.Close()
		}
	}
	return nil
}

func (p *pumping) OnTimer(c *conn.Conn, _ conn.TimerToken) { p.fill(c) }

func (p *pumping) OnUnthrottled(c *conn.Conn) {
	p.pressed.OnUnthrottled(c)
	p.fill(c)
}

// fill sends until the connection takes no more, which OnUnthrottled ends, or has had its share of the turn.
func (p *pumping) fill(c *conn.Conn) {
	for range perTurn {
		if !c.IsWriteable() {
			return
		}
		p.n++
		pressure.Fill(p.record, p.n, pressure.Now())
		p.send(c, p.record)
	}
	c.StartTimer(0)
}
