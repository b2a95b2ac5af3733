package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// storm lets every peer fall silent at once: their process is stopped. How late is each called down, and is anybody else
// on the same loop held up?
func storm(s *settings, r *report) (err error) {
	t := s.timeouts[0]
	peers, err := startBare(s.bare, t, helloFrame(t), "", 0)
	if err != nil {
		return err
	}
	watch, err := start("-kind", "watch", "-timeout", t.String(), "-to", peers.addr(), "-conns", fmt.Sprint(s.conns))
	defer func() {
		_ = peers.signal(syscall.SIGCONT)
		stopAll(peers, watch)
	}()
	if err != nil {
		return err
	}
	if err := watch.await("open", s.conns); err != nil {
		return err
	}
	w, err := newWitness(watch.addr())
	if err != nil {
		return err
	}
	defer w.close()
	time.Sleep(t / 2)
	calm := w.worst()
	if err := peers.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	began := time.Now()
	if err := watch.await("downs", s.conns); err != nil {
		return err
	}
	took := time.Since(began)
	down := w.worst()
	var p50, p99, most float64
	text, err := watch.ask("delays")
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(text, &p50, &p99, &most); err != nil {
		return err
	}
	if err := peers.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := watch.await("ups", s.conns); err != nil {
		return err
	}
	up := w.worst()
	r.say("%d peers stop at once, T = %v: all were down %v later, and up again when they went on", s.conns, t, took.Round(time.Millisecond))
	limit := (t / 64).Seconds() * 1e3
	r.say("  told later than T: median %.2f ms, maximum %.2f ms", p50/1e3, most/1e3)
	r.bar("told later than T, 99th percentile", p99/1e3, limit+2, " ms")
	r.bar("told later than T, maximum", most/1e3, limit+200, " ms")
	r.say("  another connection of the same loop, a message each millisecond: %.2f ms at worst while nothing happens", calm)
	r.bar("... while peers go down", down, 20, " ms")
	r.say("  ... while they come up again: %.2f ms", up)
	return w.err()
}

// A witness exchanges a message each millisecond, and knows how long the slowest took.
type witness struct {
	nc   net.Conn
	done chan struct{}

	mu    sync.Mutex
	most  time.Duration
	ended error
}

func newWitness(addr string) (*witness, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	w := &witness{nc: nc, done: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *witness) run() {
	p := make([]byte, 8)
	for {
		select {
		case <-w.done:
			return
		case <-time.After(time.Millisecond):
		}
		began := time.Now()
		_, err := w.nc.Write(p)
		if err == nil {
			_, err = io.ReadFull(w.nc, p)
		}
		took := time.Since(began)
		w.mu.Lock()
		w.most = max(w.most, took)
		w.ended = errors.Join(w.ended, err)
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// worst returns the slowest since the last call, in milliseconds.
func (w *witness) worst() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	ms := w.most.Seconds() * 1e3
	w.most = 0
	return ms
}

func (w *witness) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

func (w *witness) close() {
	close(w.done)
	_ = w.nc.Close()
}
