package serve

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/galago-go/galago/bench/internal/pressure"
)

// A blocking connection is written by calls that wait until the system has taken everything.
type blocking struct {
	net.Conn
	ledger *pressure.Ledger
	wait   time.Duration // after ending
}

// tell writes a record, however long it takes.
func (b *blocking) tell(record []byte) { b.send(record) }

func (b *blocking) send(record []byte) error {
	token := b.ledger.Start(len(record))
	b.ledger.Halt()
	_, err := b.Write(record)
	b.ledger.Go()
	b.ledger.Finish(token, len(record), err == nil)
	return err
}

func (b *blocking) ending() { b.SetWriteDeadline(time.Now().Add(b.wait)) }

func (b *blocking) close() {
	b.Close()
	b.ledger.Close()
}

// netRoom has one goroutine that writes to all members, one after the other.
func netRoom(cfg Config) error {
	account, ready := openAccount(cfg)
	r := newRoom(cfg.Pressure, account)
	return servePressed(cfg, ready, func(nc net.Conn) {
		r.join(&blocking{nc, account.Open(), cfg.Pressure.CloseTime})
		listenTo(nc, r.hear)
	})
}

// listenTo hands what a peer says to hear, until it ends.
func listenTo(nc net.Conn, hear func([]byte)) {
	for buf := make([]byte, 64); ; {
		n, err := nc.Read(buf)
		if hear(buf[:n]); err != nil {
			return
		}
	}
}

// netFlood writes each record back before it reads the next.
func netFlood(cfg Config) error {
	account, ready := openAccount(cfg)
	return servePressed(cfg, ready, func(nc net.Conn) {
		b := &blocking{nc, account.Open(), cfg.Pressure.CloseTime}
		defer b.close()
		for record := make([]byte, cfg.Pressure.Record); ; {
			if _, err := io.ReadFull(nc, record); err != nil || b.send(record) != nil {
				return
			}
		}
	})
}

// netPump writes as fast as it can.
func netPump(cfg Config) error {
	account, ready := openAccount(cfg)
	return servePressed(cfg, ready, func(nc net.Conn) {
		b := &blocking{nc, account.Open(), cfg.Pressure.CloseTime}
		p := new(pump)
		listenTo(nc, func(said []byte) { p.hear(said, func() { p.run(b, cfg.Pressure.Record) }) })
	})
}

// A pump sends records from when its peer says so until it says stop.
type pump struct {
	begun sync.Once
	over  atomic.Bool
}

func (p *pump) hear(said []byte, run func()) {
	for _, b := range said {
		switch b {
		case pressure.Begin:
			p.begun.Do(func() { go run() })
		case pressure.End:
			p.over.Store(true)
		}
	}
}

// What is pumped is a connection that can be written to.
type pumped interface {
	send(record []byte) error
	close()
}

func (p *pump) run(c pumped, size int) {
	defer c.close()
	record := make([]byte, size)
	for n := uint64(1); !p.over.Load(); n++ {
		pressure.Fill(record, n, pressure.Now())
		if c.send(record) != nil {
			return
		}
	}
}
