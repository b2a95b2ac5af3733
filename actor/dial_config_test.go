//go:build linux

package actor_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

func TestDIAL13_WhatCannotWorkIsNamed(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		sockets := 0
		cfg := func(set func(*actor.DialConfig)) (cfg actor.DialConfig) {
			cfg.Socket.Control = func(string, string, syscall.RawConn) error { sockets++; return nil }
			if set != nil {
				set(&cfg)
			}
			return cfg
		}
		for _, test := range []struct {
			name, addr string
			cfg        actor.DialConfig
			says       string
		}{
			{"missing port", "127.0.0.1", cfg(nil), `"127.0.0.1"`},
			{"port too high", "127.0.0.1:70000", cfg(nil), "70000"},
			{"unknown network", "127.0.0.1:7669", cfg(func(c *actor.DialConfig) { c.Network = "tcp5" }), `"tcp5"`},
			{"negative StartTimeout", "127.0.0.1:7669",
				cfg(func(c *actor.DialConfig) { c.Conn.StartTimeout = -3 * time.Second }), "-3s"},
			{"negative buffer", "127.0.0.1:7669", cfg(func(c *actor.DialConfig) { c.Socket.ReadBuffer = -7 }), "-7"},
			{"other family", "127.0.0.1:7669",
				cfg(func(c *actor.DialConfig) { c.Local = netip.MustParseAddrPort("[::1]:0") }), "127.0.0.1:7669"},
			{"nil option", "127.0.0.1:7669", cfg(func(c *actor.DialConfig) { c.Props = []proto.PropsOption{nil} }), "Props[0]"},
		} {
			t.Run(test.name, func(t *testing.T) {
				p := new(probe)
				pid, err := f.Dial(context.Background(), test.addr, p, test.cfg)
				assert.Nil(t, pid)
				assert.ErrorContains(t, err, test.says)
				assert.Empty(t, p.notes())
				assert.Nil(t, p.Conn(), "it may be given to another connection")
			})
		}
		_, err := f.Dial(context.Background(), "nowhere", new(probe), actor.DialConfig{Network: "tcp5"})
		assert.ErrorAs(t, err, new(net.UnknownNetworkError))
		//lint:ignore SA1012 this is what it is about
		_, err = f.Dial(nil, "127.0.0.1:7669", new(probe), actor.DialConfig{})
		assert.ErrorContains(t, err, "ctx is nil")
		closed, aborted, err := f.Shutdown(timeout(t, patience))
		assert.NoError(t, err)
		assert.Zero(t, closed+aborted, "no actor was started")
		assert.Zero(t, sockets)
	})
}

// A baseless actor has a pointer to a Base, but no Base.
type baseless struct{ *actor.Base }

func TestDIAL13_ActorsThatCannotServe(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		addr := s.Addr().String()
		_, err := f.Dial(context.Background(), addr, nil, actor.DialConfig{})
		assert.ErrorContains(t, err, "Dial was given nil")
		_, err = f.Dial(context.Background(), addr, baseless{}, actor.DialConfig{})
		assert.ErrorContains(t, err, "actor_test.baseless without a Base")

		p := new(probe)
		pid := f.call(addr, p, actor.DialConfig{})
		_, err = f.Dial(context.Background(), addr, p, actor.DialConfig{})
		assert.ErrorContains(t, err, "has a connection already")
		p.await(t, "OnConnected")
		system.Root.Stop(pid)
		p.await(t, "Stopped")
		soon(t, func() bool { // it may still be in Receive
			_, err = f.Dial(context.Background(), addr, p, actor.DialConfig{})
			return err == nil
		}, "its next connection")
		p.awaitN(t, 2, "OnConnected", patience)
	})
}

func TestDIAL13_OptionsThatPanic(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		cfg := actor.DialConfig{Props: []proto.PropsOption{proto.WithOnInit(func(proto.Context) { panic("not today") })}}
		p := new(probe)
		pid, err := f.Dial(context.Background(), "127.0.0.1:7669", p, cfg)
		assert.Nil(t, pid)
		assert.ErrorContains(t, err, "not today")
		var died *actor.PanicError
		assert.ErrorAs(t, err, &died)
		assert.Empty(t, p.notes())
		assert.Nil(t, p.Conn())
	})
}

func TestDIAL14_ControlThatFails(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		before := descriptors()
		refused := errors.New("this socket will not do")
		cfg := actor.DialConfig{}
		cfg.Socket.Control = func(string, string, syscall.RawConn) error { return refused }
		p := new(probe)
		f.call(s.Addr().String(), p, cfg)
		failed := p.connectError(t)
		assert.Equal(t, conn.StageDial, failed.Stage)
		assert.ErrorIs(t, failed, refused)
		w.closed(t, before)
	})
}

func TestDIAL14_ControlRunsBeforeConnect(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, nil)
		var fd, size int
		var unconnected error
		cfg := actor.DialConfig{}
		cfg.Socket.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			return errors.Join(c.Control(func(n uintptr) {
				fd = int(n)
				_, unconnected = syscall.Getpeername(fd)
				err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8000)
			}), err)
		}
		p := &probe{onConnected: func(p *probe) {
			var err error
			p.Conn().Close()
			size, err = syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF)
			assert.NoError(t, err)
		}}
		f.call(s.Addr().String(), p, cfg)
		p.await(t, "Stopped")
		assert.Equal(t, 1, p.count("OnConnected"))
		assert.ErrorIs(t, unconnected, syscall.ENOTCONN)
		assert.Equal(t, 16000, size, "the system doubles it")
	})
}

// What two ends agree on when they connect follows from the sizes of their buffers, so these come first.
func TestDIAL14_BuffersAreSizedBeforeConnect(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		sizes := make(chan [2]int, 2)
		look := func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(n uintptr) {
				read, err1 := syscall.GetsockoptInt(int(n), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
				write, err2 := syscall.GetsockoptInt(int(n), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
				assert.NoError(t, errors.Join(err1, err2))
				sizes <- [2]int{read, write}
			})
		}
		options := loop.Options{ReadBuffer: 20_000, WriteBuffer: 30_000, Control: look}
		s := f.serve(actor.ListenConfig{Socket: options}, nil)
		p := new(probe)
		f.call(s.Addr().String(), p, actor.DialConfig{Socket: options})
		p.await(t, "OnConnected")
		for range 2 {
			assert.Equal(t, [2]int{40_000, 60_000}, <-sizes, "the system doubles them")
		}
	})
}
