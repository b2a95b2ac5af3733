//go:build linux

package actor_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// Callbacks that block, and the loops on package net. Every other scenario runs with them, too: see ways_test.go.

// TestSHL1 asserts that there are four ways, and that each scenario of this package on real sockets has a test that runs
// in all of them. It may have others, which look at more in one.
func TestSHL1_EveryScenarioRunsInEveryWay(t *testing.T) {
	kinds := make(map[[2]bool]string)
	for _, w := range everyWay {
		kinds[[2]bool{w.portable, w.blocking}] = w.name
	}
	assert.Len(t, kinds, 4)
	scenario := regexp.MustCompile(`^Test([A-Z]+[0-9]+)_`)
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	inAll := make(map[string]bool) // by the scenario's ID
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || file.Name.Name != "actor_test" || !scenario.MatchString(f.Name.Name) {
				continue
			}
			id := scenario.FindStringSubmatch(f.Name.Name)[1]
			inAll[id] = inAll[id] || mentions(f, "ways", "waysInTurn", "startWays")
		}
	}
	delete(inAll, "SHL1") // it is about this
	delete(inAll, "SHL7") // about the source
	delete(inAll, "FLT4") // about a scripted system; a real cable, cut in one way, is more
	assert.Greater(t, len(inAll), 100)
	for id, ok := range inAll {
		assert.True(t, ok, "no test of scenario %s runs in every way", id)
	}
}

func mentions(f *ast.FuncDecl, names ...string) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && slices.Contains(names, id.Name) {
			found = true
		}
		return !found
	})
	return found
}

// onlyBlocking leaves a scenario of callbacks that block where they must not.
func onlyBlocking(t *testing.T, w way) {
	t.Helper()
	if !w.blocking {
		w.cannot(t, "a callback that blocks holds its loop up")
	}
}

// blocked opens a connection and has its callback wait.
func (s *server) blocked() (c *peer, p *probe) {
	s.t.Helper()
	c, p = s.open()
	c.send("wait")
	p.await(s.t, "blocked")
	return c, p
}

// waits makes p wait for release in OnReceived of "wait", and then do what after says, which may be nil.
func waits(p *probe, release <-chan struct{}, after func(p *probe)) {
	p.onReceived = func(p *probe, data []byte) error {
		if string(data) != "wait" {
			return echo(p, data)
		}
		p.note("blocked")
		<-release
		p.note("released")
		if after != nil {
			after(p)
		}
		return nil
	}
}

func TestSHL2_ABlockedCallbackHoldsNobodyUp(t *testing.T) {
	const others = 50
	rounds := 100
	if raceEnabled {
		rounds = 20
	}
	waysInTurn(t, func(t *testing.T, w way) {
		onlyBlocking(t, w)
		f := w.start(t, actor.Config{Loops: 1})
		release := make(chan struct{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			waits(p, release, nil)
		})
		f.way.blocking = false
		ordinary := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.quiet = true
			echoes(p)
		})
		_, p := s.blocked()
		began := time.Now()
		var clients []*peer
		for range others {
			for _, s := range []*server{s, ordinary} {
				c, _ := s.open()
				clients = append(clients, c)
			}
		}
		var running sync.WaitGroup
		for _, c := range clients {
			running.Go(func() {
				for range rounds {
					_, err := c.Write([]byte("ping"))
					assert.NoError(t, err)
					buf := make([]byte, 4)
					assert.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
					if _, err := c.Read(buf); !assert.NoError(t, err) {
						return
					}
				}
			})
		}
		running.Wait()
		if !raceEnabled {
			assert.Less(t, time.Since(began), 3*time.Second)
		}
		assert.Zero(t, p.count("released"), "it waits yet")
		close(release)
		p.await(t, "released")
	})
}

func TestSHL3_NothingIsDeliveredBesideABlockedCallback(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		onlyBlocking(t, w)
		f := w.start(t, actor.Config{})
		release := make(chan struct{})
		s := f.serve(actor.ListenConfig{}, func(p *probe) {
			p.onConnected = func(p *probe) { p.Conn().StartTimer(hold / 5) }
			waits(p, release, nil)
			wait := p.onReceived
			p.onReceived = func(p *probe, data []byte) error {
				if string(data) == "wait" { // its outcome is known, or will be, while the callback waits
					assert.NoError(t, echo(p, []byte("sent")))
					p.Conn().Flush()
				}
				return wait(p, data)
			}
			p.receive = func(p *probe, ctx proto.Context) {
				if m, ok := ctx.Message().(int); ok {
					p.note(fmt.Sprint("message ", m))
				}
			}
		})
		c, p := s.blocked()
		c.expect("sent")
		c.send("more")
		for i := range 10 {
			p.tell(i)
		}
		before := len(p.notes())
		stays(t, func() bool { return len(p.notes()) == before }, "nothing is delivered")
		close(release)
		c.expect("more")
		for _, what := range []string{"OnTimer", "message 9", "OnSent 2"} {
			p.await(t, what)
		}
		place := make(map[string]int)
		for i, n := range p.notes() {
			place[n] = i
		}
		assert.Equal(t, before, place["released"], "nothing is before the end of the callback")
		if !w.portable { // there the turn learns in its last step what was written
			assert.Less(t, place["OnSent 1"], place["OnReceived more"], "notices come before data")
		}
		assert.Less(t, place["OnReceived more"], place["OnSent 2"])
		for i := range 10 {
			if i > 0 {
				assert.Less(t, place[fmt.Sprint("message ", i-1)], place[fmt.Sprint("message ", i)])
			}
		}
		assert.Equal(t, 1, p.count("OnTimer"))
	})
}

func TestSHL4_TheEndOfABlockedConnection(t *testing.T) {
	for name, end := range map[string]func(c *peer, p *probe){
		"reset": func(c *peer, _ *probe) { c.reset() },
		"Abort": func(_ *peer, p *probe) { p.tell(&actor.Abort{}) },
		"stop":  func(_ *peer, p *probe) { system.Root.Stop(p.self) },
	} {
		t.Run(name, func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				onlyBlocking(t, w)
				f := w.start(t, actor.Config{})
				release := make(chan struct{})
				var accepted bool
				s := f.serve(actor.ListenConfig{}, func(p *probe) {
					waits(p, release, func(p *probe) {
						began := time.Now()
						_, err := p.Conn().Send([]byte("is anybody there?"))
						assert.Less(t, time.Since(began), time.Second, "Send returns at once")
						accepted = err == nil
						if err != nil {
							assert.Equal(t, conn.ErrNotConnected, err)
						}
					})
				})
				c, p := s.blocked()
				end(c, p)
				stays(t, func() bool { return last(p, 1) == "blocked" }, "nothing comes beside the callback")
				close(release)
				p.await(t, "Stopped")
				want := []string{"released", "OnSendFailed 1", "OnClosed", "Stopping", "Stopped"}
				if !accepted {
					want = append(want[:1], want[2:]...)
				}
				if got := p.notes(); name == "reset" && got[len(got)-len(want)+1] == "OnSent 1" {
					want[1] = "OnSent 1" // the system took it before it knew
				}
				assert.Equal(t, strings.Join(want, ","), last(p, len(want)))
				assert.Equal(t, 1, p.count("OnReceived"))
			})
		})
	}
}

func TestSHL5_PeersThatNeverRead(t *testing.T) {
	const peers = 100
	for name, c := range map[string]struct {
		end  any
		late bool
	}{"Abort": {&actor.Abort{}, false}, "CloseTimeout": {&actor.Close{}, true}} {
		t.Run(name, func(t *testing.T) {
			waysInTurn(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				cfg := stuckConfig()
				cfg.Conn.CloseTimeout = 300 * time.Millisecond
				s := f.serve(cfg, func(p *probe) { p.onConnected = sendsLarge(t) })
				before := takeCensus()
				var clients []*peer
				var probes []*probe
				for range peers {
					c := s.dialWith(smallReader)
					p := s.next()
					p.await(t, "OnThrottled")
					clients, probes = append(clients, c), append(probes, p)
				}
				began := time.Now()
				for _, p := range probes {
					p.tell(c.end)
				}
				for _, p := range probes {
					closed := p.closeError(t)
					assert.Equal(t, c.late, closed.Timeout())
					assert.Equal(t, "OnThrottled,OnSendFailed 1,OnClosed,Stopping,Stopped", last(p, 5))
				}
				held := before
				held.descriptors += peers // those of the clients
				assert.Empty(t, held.wait())
				if !raceEnabled {
					assert.Less(t, time.Since(began), cfg.Conn.CloseTimeout+time.Second)
				}
				for _, c := range clients {
					got, err := c.rest(patience)
					assert.ErrorIs(t, err, syscall.ECONNRESET)
					assert.Less(t, len(got), large)
					require.NoError(t, c.Close())
				}
			})
		})
	}
}

// Messages and a dialed connection, with turns of their own on both sides.
func TestBlockingOnBothSides(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	s := f.serve(actor.ListenConfig{Blocking: true}, echoes)
	got := make(chan string, 1)
	p := &probe{onReceived: func(_ *probe, data []byte) error {
		got <- string(data)
		return nil
	}}
	f.call(s.Addr().String(), p, actor.DialConfig{Blocking: true})
	p.await(t, "OnConnected")
	answer, err := system.Root.RequestFuture(p.self, &actor.Write{Data: []byte("ping"), Ack: 7}, patience).Result()
	assert.NoError(t, err)
	assert.Equal(t, &actor.Written{Ack: 7}, answer)
	assert.Equal(t, "ping", <-got)
	system.Root.Send(p.self, new(actor.Close))
	p.await(t, "Stopped")
	assert.Equal(t, 1, p.count("OnClosed"))
}
