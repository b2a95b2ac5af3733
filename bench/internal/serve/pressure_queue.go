package serve

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/galago-go/galago/bench/internal/pressure"
)

// netQueueKind never makes anybody wait, and never says no.
var netQueueKind = Kind{
	Name:  "net-queue",
	About: "package net, with an unbounded queue and a goroutine that writes for each connection",
	TLS:   true,
	Roles: map[Role]Func{Room: queueRoom, Flood: queueFlood},
}

// A queued connection is written by a goroutine of its own.
type queued struct {
	net.Conn
	ledger *pressure.Ledger
	wait   time.Duration // after ending

	mu     sync.Mutex
	more   sync.Cond
	queue  []queuedRecord
	closed bool // there will be no more
}

type queuedRecord struct {
	token uint64
	bytes []byte
}

func newQueued(nc net.Conn, account *pressure.Account, wait time.Duration) *queued {
	q := &queued{Conn: nc, ledger: account.Open(), wait: wait}
	q.more.L = &q.mu
	go q.write()
	return q
}

func (q *queued) tell(record []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.queue = append(q.queue, queuedRecord{q.ledger.Start(len(record)), record})
	q.more.Signal()
}

func (q *queued) ending() { q.SetWriteDeadline(time.Now().Add(q.wait)) }

// close lets the goroutine that writes end when the queue is empty.
func (q *queued) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Signal()
}

// write writes what is queued. If that fails, the rest fails as well.
func (q *queued) write() {
	defer q.ledger.Close()
	defer q.Close()
	var failed error
	for {
		records, over := q.take()
		for i, r := range records {
			records[i].bytes = nil
			if over && failed == nil {
				q.ending() // with some progress it has time again
			}
			if failed == nil {
				_, failed = q.Write(r.bytes)
			}
			q.ledger.Finish(r.token, len(r.bytes), failed == nil)
		}
		if over {
			return
		}
	}
}

// take waits for something to write, or for the end, and takes all there is.
func (q *queued) take() (records []queuedRecord, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 && !q.closed {
		q.more.Wait()
	}
	records, q.queue = q.queue, nil
	return records, q.closed
}

// queueRoom queues every tick for every member.
func queueRoom(cfg Config) error {
	account, ready := openAccount(cfg)
	r := newRoom(cfg.Pressure, account)
	return servePressed(cfg, ready, func(nc net.Conn) {
		r.join(newQueued(nc, account, cfg.Pressure.CloseTime))
		listenTo(nc, r.hear)
	})
}

// queueFlood queues each record that comes.
func queueFlood(cfg Config) error {
	account, ready := openAccount(cfg)
	return servePressed(cfg, ready, func(nc net.Conn) {
		q := newQueued(nc, account, cfg.Pressure.CloseTime)
		defer q.close()
		for {
			record := make([]byte, cfg.Pressure.Record)
			if _, err := io.ReadFull(nc, record); err != nil {
				return
			}
			q.tell(record)
		}
	})
}
