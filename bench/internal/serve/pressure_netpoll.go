package serve

import (
	"context"
	"sync"
	"time"

	"github.com/cloudwego/netpoll"

	"github.com/galago-go/galago/bench/internal/pressure"
)

// A polled connection is flushed by calls that wait until the system has taken everything.
type polled struct {
	netpoll.Connection
	ledger *pressure.Ledger
	wait   time.Duration // after ending

	mu   sync.Mutex
	gone bool
}

func newPolled(c netpoll.Connection, account *pressure.Account, wait time.Duration) *polled {
	p := &polled{Connection: c, ledger: account.Open(), wait: wait}
	c.AddCloseCallback(func(netpoll.Connection) error { // before netpoll frees its buffers: the last that was added comes first
		p.mu.Lock()
		defer p.mu.Unlock()
		p.gone = true
		return nil
	})
	return p
}

func (p *polled) tell(record []byte) { p.send(record) }

func (p *polled) send(record []byte) error {
	token := p.ledger.Start(len(record))
	p.ledger.Halt()
	err := p.write(record)
	if err == nil {
		err = p.Writer().Flush()
	}
	p.ledger.Go()
	p.ledger.Finish(token, len(record), err == nil)
	return err
}

// write puts a record into netpoll's buffer. After the connection was closed that would be a panic.
func (p *polled) write(record []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return netpoll.ErrConnClosed
	}
	_, err := p.Writer().WriteBinary(record)
	return err
}

// ending closes the connection later, which ends a Flush that waits: a new deadline would not.
func (p *polled) ending() { time.AfterFunc(p.wait, func() { p.Connection.Close() }) }

func (p *polled) close() {
	p.Connection.Close()
	p.ledger.Close()
}

// servePolled calls opened for each connection, and what it returned for whatever comes.
func servePolled(cfg Config, ready func(addr string), opened func(netpoll.Connection) (request func() error)) error {
	ln, err := listenPressed(cfg)
	if err != nil {
		return err
	}
	converted, err := netpoll.ConvertListener(ln)
	if err != nil {
		return err
	}
	type key struct{}
	request := func(ctx context.Context, _ netpoll.Connection) error { return ctx.Value(key{}).(func() error)() }
	events, err := netpoll.NewEventLoop(request, netpoll.WithOnPrepare(func(c netpoll.Connection) context.Context {
		return context.WithValue(context.Background(), key{}, opened(c))
	}))
	if err != nil {
		return err
	}
	ready(ln.Addr().String())
	return events.Serve(converted)
}

// hearing makes a request of what hands to hear whatever a peer says.
func hearing(c netpoll.Connection, hear func([]byte)) (request func() error) {
	return func() error {
		in := c.Reader()
		said, err := in.Next(in.Len())
		if err != nil {
			return err
		}
		hear(said)
		return in.Release()
	}
}

// netpollRoom has one goroutine that writes to all members, one after the other.
func netpollRoom(cfg Config) error {
	account, ready := openAccount(cfg)
	r := newRoom(cfg.Pressure, account)
	return servePolled(cfg, ready, func(c netpoll.Connection) (request func() error) {
		r.join(newPolled(c, account, cfg.Pressure.CloseTime))
		return hearing(c, r.hear)
	})
}

// netpollFlood writes each record back before it looks at the next. What netpoll has read meanwhile counts as held.
func netpollFlood(cfg Config) error {
	account, ready := openAccount(cfg)
	var all inputs
	account.Unread = all.unread
	return servePolled(cfg, ready, func(c netpoll.Connection) (request func() error) {
		p, in := newPolled(c, account, cfg.Pressure.CloseTime), c.Reader()
		all.add(in)
		c.AddCloseCallback(func(netpoll.Connection) error {
			all.remove(in)
			p.ledger.Close()
			return nil
		})
		return func() error {
			for in.Len() > 0 {
				record, err := in.Next(cfg.Pressure.Record)
				if err != nil {
					return err
				}
				if err := p.send(record); err != nil {
					return err
				}
				if err := in.Release(); err != nil {
					return err
				}
			}
			return nil
		}
	})
}

// inputs are the buffers into which netpoll reads.
type inputs struct {
	mu  sync.Mutex
	all map[netpoll.Reader]struct{}
}

func (i *inputs) add(in netpoll.Reader) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.all == nil {
		i.all = map[netpoll.Reader]struct{}{}
	}
	i.all[in] = struct{}{}
}

func (i *inputs) remove(in netpoll.Reader) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.all, in)
}

func (i *inputs) unread() (sum, most int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for in := range i.all {
		n := in.Len()
		sum += n
		most = max(most, n)
	}
	return sum, most
}

// netpollPump writes as fast as it can.
func netpollPump(cfg Config) error {
	account, ready := openAccount(cfg)
	return servePolled(cfg, ready, func(c netpoll.Connection) (request func() error) {
		p, out := new(pump), newPolled(c, account, cfg.Pressure.CloseTime)
		return hearing(c, func(said []byte) { p.hear(said, func() { p.run(out, cfg.Pressure.Record) }) })
	})
}
