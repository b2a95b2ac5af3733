package tls_test

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

// stops is a client that sends its first flight and nothing more.
func stops(hello string) func(nc net.Conn) error {
	return func(nc net.Conn) error {
		_, _ = io.WriteString(nc, hello)
		_, err := io.Copy(io.Discard, nc)
		return err
	}
}

// at is a play of a client at a listener, whose connections share a layer.
func at(layer interceptor.Factory, peer func(nc net.Conn) error) play {
	return play{layer: layer, peer: peer, conn: conn.Config{StartTimeout: time.Minute}}
}

func honest(client *tls.Config) func(nc net.Conn) error {
	return func(nc net.Conn) error {
		c := stdtls.Client(nc, client)
		if err := c.Handshake(); err != nil {
			return err
		}
		return readToEnd(c)
	}
}

// At the bound clients wait for one that is done, and for no longer than half a second for one that says nothing.
func TestTLS16_AtTheBoundTheSilentGiveWay(t *testing.T) {
	noLeak(t)
	server, client := versions[1].configs(t)
	layer := tls.Server(server, tls.MaxHandshakes(2))
	hello := helloOf(t, client)
	var silent []*talk
	for range 2 {
		k := at(layer, stops(hello)).begin(t)
		k.until("the answer", func() bool { return k.Conn().Stats().BytesWritten > 0 })
		silent = append(silent, k)
	}
	began := time.Now()
	k := at(layer, honest(client)).begin(t)
	k.connected()
	assert.Greater(t, time.Since(began), 200*time.Millisecond, "a client may take its time")
	assert.Less(t, time.Since(began), 2*time.Second)
	_, shake := silent[0].failed()
	require.NotNil(t, shake)
	assert.ErrorIs(t, shake, tls.ErrBusy)
	silent[1].settle()
	assert.False(t, silent[1].Done(), "one was enough")
}

// They are let in as they came, and those who go away meanwhile are forgotten.
func TestTLS16_ClientsWaitInOrder(t *testing.T) {
	noLeak(t)
	server, client := versions[1].configs(t)
	var order []int
	block := make(chan struct{})
	var asked atomic.Int32
	server = server.Clone()
	server.GetConfigForClient = func(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
		if asked.Add(1) == 1 {
			<-block
		}
		return nil, nil
	}
	layer := tls.Server(server, tls.MaxHandshakes(1))
	first := at(layer, honest(client)).begin(t)
	first.until("its callback", func() bool { first.Ring(); return asked.Load() == 1 })
	var waiting []*talk
	for i := range 4 {
		p := at(layer, honest(client))
		p.setup = func(k *talk) {
			k.rec.Do = func(_ *conn.Conn, call string) {
				if call == "OnConnected" {
					order = append(order, i)
				}
			}
		}
		k := p.begin(t)
		k.until("its hello", func() bool { return k.fed > 0 })
		waiting = append(waiting, k)
	}
	waiting[1].Do((*conn.Conn).Close)
	for _, k := range waiting {
		k.settle()
	}
	assert.EqualValues(t, 1, asked.Load(), "nobody is let in")
	assert.Empty(t, order)
	close(block)
	first.connected()
	for _, i := range []int{0, 2, 3} {
		waiting[i].connected()
	}
	assert.Equal(t, []int{0, 2, 3}, order)
	assert.EqualValues(t, 4, asked.Load())
}

// As many as the pool holds compute, and no more.
func TestThePoolBoundsWhatComputes(t *testing.T) {
	noLeak(t)
	const size, clients = 2, 20
	server, client := versions[1].configs(t)
	own := server.Certificates[0]
	var running, most atomic.Int32
	server = &tls.Config{GetCertificate: func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		for range 20 {
			runtime.Gosched()
		}
		running.Add(-1)
		return &own, nil
	}}
	layer := tls.Server(server, tls.WithPool(tls.NeverStuck(tls.NewPool(size))))
	var all []*talk
	for range clients {
		all = append(all, at(layer, honest(client)).begin(t))
	}
	for left := clients; left > 0; {
		left = 0
		for _, k := range all {
			if k.Await(time.Millisecond, func() bool { k.step(); return k.has("OnConnected") }); !k.has("OnConnected") {
				left++
			}
		}
	}
	assert.LessOrEqual(t, most.Load(), int32(size))
}

// A callback that waits keeps its place in the pool for no longer than computing could take.
func TestTLS16_ACallbackThatWaitsHoldsNobodyUp(t *testing.T) {
	noLeak(t)
	server, client := versions[1].configs(t)
	pool := tls.NewPool(1)
	block := make(chan struct{})
	slow := server.Clone()
	slow.GetConfigForClient = func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) { <-block; return nil, nil }
	stuck := at(tls.Server(slow, tls.WithPool(pool)), honest(client)).begin(t)
	stuck.until("its hello", func() bool { return stuck.fed > 0 })
	began := time.Now()
	for range 3 {
		k := at(tls.Server(server, tls.WithPool(pool)), honest(client)).begin(t)
		k.connected()
	}
	assert.Less(t, time.Since(began), 2*time.Second)
	assert.False(t, stuck.has("OnConnected"))
	close(block)
	stuck.connected()
}

// Who goes away while the handshake computes, or waits for its place, takes nothing along.
func TestManyClientsThatGoAway(t *testing.T) {
	noLeak(t)
	server, client := versions[1].configs(t)
	layer := tls.Server(server, tls.WithPool(tls.NewPool(1)), tls.MaxHandshakes(3))
	hello := helloOf(t, client)
	for range 20 {
		var all []*talk
		for range 10 {
			p := at(layer, stops(hello))
			p.brief = true
			k := p.begin(t)
			k.until("its hello", func() bool { return k.fed > 0 })
			all = append(all, k)
		}
		for _, k := range all {
			k.Reset()
			k.over()
		}
	}
	k := at(layer, honest(client)).begin(t)
	k.connected()
	k.Do((*conn.Conn).Close)
	k.part()
	assert.False(t, errors.Is(k.ends.failed, tls.ErrBusy))
}
