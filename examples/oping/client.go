package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// pinging is what a client is to do.
type pinging struct {
	interval time.Duration
	count    int
	patience time.Duration // for the last answers
}

// A pinger sends pings, one after the other, whether or not the last one was answered.
type pinger struct {
	actor.Base
	pinging
	out    *printer
	peer   string
	stats  stats
	timer  conn.TimerToken // of the next ping; 0 once all were sent
	last   conn.TimerToken // of the end of patience
	failed bool            // there never was a connection
	done   chan error
}

// OnConnected comes when the server's layer has said hello, too.
func (p *pinger) OnConnected(c *conn.Conn) {
	p.peer = c.RemoteAddr().String()
	p.out.say("connected to %s", p.peer)
	p.ping(c)
}

// ping sends the next ping, and arranges for the one after.
func (p *pinger) ping(c *conn.Conn) {
	p.timer = 0
	n := p.stats.send(c.Now())
	if _, err := c.Send(fmt.Appendf(nil, "ping %d\n", n)); err != nil {
		p.out.say("ping %d was not sent: %v", n, err) // too much waits, since the server does not read; it is lost
	}
	if p.count == 0 || n < p.count {
		p.timer = c.StartTimer(p.interval)
	} else {
		p.last = c.StartTimer(p.patience)
	}
}

// OnReceived gets an answer.
func (p *pinger) OnReceived(c *conn.Conn, line []byte) error {
	text, ok := bytes.CutPrefix(line, []byte("pong "))
	n, err := strconv.Atoi(string(text))
	if !ok || err != nil {
		return fmt.Errorf("%q is no answer", line)
	}
	rtt, ok := p.stats.receive(n, c.Now())
	if !ok {
		return fmt.Errorf("ping %d was answered, but not asked", n)
	}
	p.out.say("answer to ping %d in %.3f ms", n, rtt.Seconds()*1e3)
	if p.timer == 0 && p.stats.open() == 0 {
		c.Close()
	}
	return nil
}

// OnTimer sends the next ping, or ends the wait for the last answers.
func (p *pinger) OnTimer(c *conn.Conn, t conn.TimerToken) {
	switch {
	case c.State() == conn.StateClosing:
	case t == p.timer:
		p.ping(c)
	case t == p.last:
		c.Close()
	}
}

// OnEvent tells what the layer noticed. The connection is kept: the server may come back.
func (p *pinger) OnEvent(_ *conn.Conn, ev any) { p.out.liveness(p.peer, ev) }

// OnConnectFailed is the only callback if there is no connection.
func (p *pinger) OnConnectFailed(_ *conn.Conn, err error) {
	p.failed = true
	p.done <- err
}

// OnClosed is the last callback. That the server has closed before all was answered shows in the statistics.
func (p *pinger) OnClosed(_ *conn.Conn, err error) { p.done <- err }

// run pings, prints the statistics, and returns how many pings were lost.
func (p *pinging) run(to string, cfg conn.Config, out *printer) (lost int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	network, err := actor.New(nil, actor.Config{Loops: 1})
	if err != nil {
		return 0, err
	}
	cfg.CloseTimeout = min(5*time.Second, max(p.patience, time.Second)) // a server that is down does not end, either
	a := &pinger{pinging: *p, out: out, peer: to, done: make(chan error, 1)}
	pid, err := network.Dial(ctx, to, a, actor.DialConfig{Conn: cfg})
	if err == nil {
		select {
		case err = <-a.done:
		case <-ctx.Done(): // that is how a client without -count ends
			network.System().Root.Send(pid, &actor.Close{})
			err = <-a.done
		}
		if !a.failed {
			out.say("%s", a.stats.String())
			lost = a.stats.sent - a.stats.received
		}
	}
	var end *conn.CloseError
	if errors.As(err, &end) && end.Timeout() {
		err = nil // our part was done; that the server is down, the client has said
	}
	_, _, ended := shutdown(network)
	return lost, errors.Join(err, ended)
}
