package actor_test

import (
	"bufio"
	"bytes"
	"context"
	stdtls "crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/interceptor/liveness"
	"github.com/galago-go/galago/tls"
)

// obeyWatched is what a watched peer process does: it has one connection, with a Framed layer. Each line of in is a
// command, the answer is one line.
//
//	listen HOST T    listens on a free port; the answer is the address. Two more words put TLS below the Framed layer (secret)
//	                 or in its place (tls), with this certificate and its key, PEM in base64
//	dial ADDR T      connects
//	accept           waits until a client is connected
//	send N           sends the next N bytes of the pattern
//	received         how many bytes came; they must be the pattern
//	block D          the next OnReceived blocks for so long
//	pause, resume    as it says
//	events           what the layer told, with how many milliseconds of silence
//	close            closes the connection
func obeyWatched(in io.Reader, out io.Writer) {
	p := &watchedProcess{connected: make(chan *proto.PID, 1)}
	var err error
	if p.network, err = actor.New(nil, actor.Config{Loops: 1}); err != nil {
		fmt.Fprintln(out, "failed:", err)
		return
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		answer, err := p.do(strings.Fields(lines.Text()))
		if err != nil {
			answer = "failed: " + err.Error()
		}
		fmt.Fprintln(out, answer)
	}
}

// A watchedProcess is what such a process has.
type watchedProcess struct {
	network   *actor.Network
	connected chan *proto.PID
	pid       *proto.PID
	actor     *watchedActor // set on the loop, before connected is sent to

	mu       sync.Mutex // guards what follows
	received int
	wrong    bool
	events   []string
	block    time.Duration

	sent int // in turns
}

type watchedActor struct {
	actor.Base
	p *watchedProcess
}

func (a *watchedActor) OnConnected(*conn.Conn) { a.p.connected <- a.Context().Self() }

func (a *watchedActor) OnReceived(_ *conn.Conn, data []byte) error {
	p := a.p
	p.mu.Lock()
	p.wrong = p.wrong || !bytes.Equal(data, patternFrom(p.received, len(data)))
	p.received += len(data)
	block := p.block
	p.block = 0
	p.mu.Unlock()
	time.Sleep(block)
	return nil
}

func (a *watchedActor) OnEvent(_ *conn.Conn, ev any) {
	a.p.mu.Lock()
	defer a.p.mu.Unlock()
	switch ev := ev.(type) {
	case liveness.PeerSuspect:
		a.p.note("suspect", ev.Info)
	case liveness.PeerDown:
		a.p.note("down", ev.Info)
	case liveness.PeerUp:
		a.p.note("up", ev.Info)
	}
}

func (p *watchedProcess) note(what string, i liveness.Info) {
	p.events = append(p.events, fmt.Sprintf("%s(%s)%d", what, i.Cause, i.Silent.Milliseconds()))
}

func (a *watchedActor) Receive(ctx proto.Context) {
	if f, ok := ctx.Message().(turnFunc); ok {
		f()
		ctx.Respond(true)
	}
}

func (a *watchedActor) OnClosed(_ *conn.Conn, err error) {
	a.p.mu.Lock()
	defer a.p.mu.Unlock()
	a.p.events = append(a.p.events, fmt.Sprintf("closed(%v)", err))
}

func (p *watchedProcess) config(t string) (conn.Config, error) {
	d, err := time.ParseDuration(t)
	if err != nil {
		return conn.Config{}, err
	}
	layer, err := liveness.Framed(liveness.Config{Timeout: d})
	return conn.Config{Layers: []interceptor.Factory{layer}, ReadWaits: conn.Off}, err
}

// encrypt puts TLS below the layers of cfg, or in their place.
func encrypt(cfg *conn.Config, how, pem64 string) error {
	text, err := base64.StdEncoding.DecodeString(pem64)
	if err != nil {
		return err
	}
	pair, err := stdtls.X509KeyPair(text, text)
	layers := []interceptor.Factory{tls.Server(&tls.Config{Certificates: []tls.Certificate{pair}})}
	if how == "secret" {
		layers = append(layers, cfg.Layers...)
	}
	cfg.Layers = layers
	return err
}

func (p *watchedProcess) await() (string, error) {
	select {
	case p.pid = <-p.connected:
		return "done", nil
	case <-time.After(slow):
		return "", errors.New("no connection")
	}
}

// turn runs f in a turn of the connection.
func (p *watchedProcess) turn(f func(c *conn.Conn) error) (string, error) {
	var failed error
	_, err := p.network.System().Root.RequestFuture(p.pid, turnFunc(func() { failed = f(p.actor.Conn()) }), slow).Result()
	return "done", errors.Join(err, failed)
}

func (p *watchedProcess) do(command []string) (answer string, err error) {
	switch command[0] {
	case "listen":
		cfg, err := p.config(command[2])
		if err == nil && len(command) > 3 {
			err = encrypt(&cfg, command[3], command[4])
		}
		if err != nil {
			return "", err
		}
		ln, err := p.network.Listen(context.Background(), net.JoinHostPort(command[1], "0"), func() actor.Actor {
			p.actor = &watchedActor{p: p}
			return p.actor
		}, actor.ListenConfig{Conn: cfg})
		if err != nil {
			return "", err
		}
		return ln.Addr().String(), nil
	case "dial":
		cfg, err := p.config(command[2])
		if err != nil {
			return "", err
		}
		p.actor = &watchedActor{p: p}
		if _, err := p.network.Dial(context.Background(), command[1], p.actor, actor.DialConfig{Conn: cfg}); err != nil {
			return "", err
		}
		return p.await()
	case "accept":
		return p.await()
	case "send":
		var n int
		if _, err := fmt.Sscan(command[1], &n); err != nil {
			return "", err
		}
		return p.turn(func(c *conn.Conn) error {
			_, err := c.Send(patternFrom(p.sent, n))
			p.sent += n
			return err
		})
	case "pause":
		return p.turn(func(c *conn.Conn) error { c.Pause(); return nil })
	case "resume":
		return p.turn(func(c *conn.Conn) error { c.Resume(); return nil })
	case "close":
		return p.turn(func(c *conn.Conn) error { c.Close(); return nil })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch command[0] {
	case "received":
		if p.wrong {
			return "", errors.New("it is not what was sent")
		}
		return fmt.Sprint(p.received), nil
	case "block":
		p.block, err = time.ParseDuration(command[1])
		return "done", err
	case "events":
		return "events: " + strings.Join(p.events, " "), nil
	}
	return "", fmt.Errorf("unknown command %q", command)
}
