//go:build linux

package actor_test

import (
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/interceptor"
)

// trippy is a layer that fails where it is told to.
type trippy struct {
	interceptor.Pass
	trip func(where string)
}

func (l *trippy) Open(k interceptor.Link) error {
	l.trip("layer.Open")
	k.Raise("opened")
	k.SetDeadline(k.Now().Add(time.Millisecond))
	k.Ready()
	return nil
}
func (l *trippy) Up(k interceptor.Link, p []byte) error { l.trip("layer.Up"); return k.Up(p) }
func (l *trippy) EOF(interceptor.Link) error            { l.trip("layer.EOF"); return nil }
func (l *trippy) Down(k interceptor.Link, bufs [][]byte) error {
	l.trip("layer.Down")
	return k.Down(bufs)
}
func (l *trippy) CloseWrite(interceptor.Link) error        { l.trip("layer.CloseWrite"); return nil }
func (l *trippy) Close()                                   { l.trip("layer.Close") }
func (l *trippy) Wrote(interceptor.Link, int, int)         { l.trip("layer.Wrote") }
func (l *trippy) Reading(interceptor.Link, bool)           { l.trip("layer.Reading") }
func (l *trippy) Expire(interceptor.Link, time.Time) error { l.trip("layer.Expire"); return nil }

// everything makes each callback and each method of a layer happen that can happen in one connection.
func everything(p *probe) {
	p.onConnected = func(p *probe) {
		p.Conn().StartTimer(time.Millisecond)
		p.Context().Send(p.self, "hello")
		_, _ = p.Conn().Send([]byte("welcome"))
		p.Conn().Pause()
	}
	p.onTimer = func(p *probe) {
		p.Conn().Resume()
	}
	p.onReceived = func(p *probe, _ []byte) error {
		_, err := p.Conn().Send(pattern(300_000))
		return err
	}
}

// TestSUP2 lets each callback and each method of a layer fail, by a panic and by runtime.Goexit.
func TestSUP2_AnyFailureEndsOneConnectionInOrder(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		type failure struct {
			where string
			peer  string // what the peer does: "ends", "resets", "reads" what comes, or "refuses" in a layer
		}
		failures := []failure{
			{"OnConnected", ""}, {"OnReceived", ""}, {"OnSent", ""}, {"OnTimer", ""}, {"OnEvent", ""}, {"OnThrottled", ""},
			{"OnUnthrottled", "reads"}, {"OnIdle", "idles"}, {"OnEOF", "ends"}, {"OnSendFailed", "resets"}, {"OnClosed", "ends"},
			{"OnConnectFailed", "refuses"}, {"string", ""},
			{"layer.Open", ""}, {"layer.Up", ""}, {"layer.Down", ""}, {"layer.Wrote", ""}, {"layer.Reading", ""},
			{"layer.Expire", ""}, {"layer.EOF", "ends"}, {"layer.CloseWrite", "ends"}, {"layer.Close", "ends"},
		}
		manners := map[string]func(){"panic": func() { thisFunctionPanics("as told") }, "Goexit": runtime.Goexit}
		for manner, fail := range manners {
			for _, x := range failures {
				t.Run(manner+" in "+x.where, func(t *testing.T) { failOnce(t, w, x.where, x.peer, fail) })
			}
		}
	})
}

func failOnce(t *testing.T, w way, where, what string, fail func()) {
	f := w.start(t, actor.Config{Loops: 1})
	watcher := newFriend(t)
	var armed atomic.Bool
	var failed atomic.Int32
	trip := func(at string) {
		if armed.Load() && at == where {
			failed.Add(1)
			fail()
		}
		if armed.Load() && what == "refuses" && at == "layer.Open" {
			panic("refused")
		}
	}
	cfg := stuckConfig()
	cfg.MaxConns = 1
	cfg.Conn.Layers = []interceptor.Factory{func() interceptor.Interceptor { return &trippy{trip: trip} }}
	if what == "idles" {
		cfg.Conn.IdleTimeout = 20 * time.Millisecond
	}
	var pid atomic.Pointer[proto.PID]
	cfg.Props = []proto.PropsOption{proto.WithOnInit(func(ctx proto.Context) { pid.Store(ctx.Self()) })}
	neighbour, _ := f.serve(actor.ListenConfig{}, echoes).open()

	armed.Store(true)
	connected := make(chan struct{}) // a reset must not come before the client has connected and sent its request
	s := f.serve(cfg, func(p *probe) {
		<-connected
		p.trip = trip
		if what != "idles" {
			everything(p)
		}
	})
	c := s.dialWith(smallReader)
	c.send("request")
	if what == "ends" {
		_ = c.CloseWrite()
	}
	close(connected)
	p := s.next()
	soon(t, func() bool { return pid.Load() != nil }, "the actor is spawned")
	watcher.watch(t, pid.Load())
	switch what {
	case "ends", "reads":
		go func() { _, _ = io.Copy(io.Discard, c) }()
	case "resets":
		p.await(t, "OnThrottled")
		c.reset()
	}
	p.await(t, "Stopped")
	watcher.await(t, "Terminated "+pid.Load().Id)
	soon(t, func() bool { return s.Len() == 0 }, "the slot is free")
	assert.NotZero(t, failed.Load(), "it failed where it was to")

	notes := p.notes()
	terminal := p.count("OnClosed") + p.count("OnConnectFailed")
	assert.Equal(t, 1, terminal, "one terminal callback in %v", notes)
	assert.Equal(t, 1, p.count("Stopped"))
	for i, n := range notes {
		if n == "OnClosed" || n == "OnConnectFailed" {
			assert.Equal(t, []string{"Stopping", "Stopped"}, notes[i+1:], "nothing comes after the last callback")
		}
	}
	if !strings.HasSuffix(where, "Close") && where != "OnClosed" && where != "OnConnectFailed" && where != "OnSendFailed" {
		var panicked *actor.PanicError
		assert.ErrorAs(t, p.err, &panicked)
	}
	if what == "" {
		c.expectReset()
	}
	armed.Store(false)
	neighbour.send("are you there?")
	neighbour.expect("are you there?")
	again, _ := s.open() // the loop goes on, and the listener, too
	again.reset()
	assert.Equal(t, 1, watcher.count("Terminated"), "one Terminated")
}
