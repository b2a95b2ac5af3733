//go:build linux

package actor_test

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// Faults of the platform.

// withoutDescriptors runs f while this process can open no descriptor.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	free := 0 // the lowest number that is not in use
	for ; ; free++ {
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(free), syscall.F_GETFD, 0); errno != 0 {
			break
		}
	}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(free), Max: old.Max}))
	defer func() { assert.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)) }()
	f()
}

func TestFLT1_NoDescriptorLeft(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(actor.ListenConfig{}, echoes)
		open, _ := s.open()
		newProbe := func() actor.Actor { return new(probe) }
		before := descriptors()
		p := new(probe)
		withoutDescriptors(t, func() {
			f.call(s.Addr().String(), p, actor.DialConfig{})
			p.await(t, "Stopped")
			_, err := f.Listen(t.Context(), "127.0.0.1:0", newProbe, actor.ListenConfig{})
			assert.ErrorIs(t, err, syscall.EMFILE)
			assert.ErrorContains(t, err, "socket")
			if !w.portable { // there a loop has no descriptor
				_, err = actor.New(system, w.network(actor.Config{}))
				assert.ErrorIs(t, err, syscall.EMFILE)
				assert.ErrorContains(t, err, "epoll_create1")
			}
			open.send("still open")
			open.expect("still open")
		})
		failed := p.connectError(t)
		assert.Equal(t, conn.StageDial, failed.Stage)
		assert.ErrorIs(t, failed, syscall.EMFILE)
		w.closed(t, before) // nothing leaks

		again := new(probe)
		f.call(s.Addr().String(), again, actor.DialConfig{})
		again.await(t, "OnConnected")
		ln, err := f.Listen(t.Context(), "127.0.0.1:0", newProbe, actor.ListenConfig{})
		require.NoError(t, err)
		require.NoError(t, ln.Close())
		n, err := actor.New(system, w.network(actor.Config{}))
		require.NoError(t, err)
		fastShutdown(t, n)
	})
}

func TestFLT3_AResetWhileUnwriteable(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		pipe := make(chan os.Signal, 1)
		signal.Notify(pipe, syscall.SIGPIPE)
		defer signal.Stop(pipe)
		f := w.start(t, actor.Config{})
		cfg := stuckConfig()
		cfg.Conn.HighWater = 100_000
		c, p := f.stuck(cfg, func(p *probe) {
			p.onClosed = func(p *probe, _ error) {
				_, err := p.Conn().Send([]byte("x"))
				assert.Equal(t, conn.ErrNotConnected, err)
			}
		}, func(p *probe) {
			sendNext(t, p, 90_000)
			sendNext(t, p, 5_000)
			sendNext(t, p, large)
			assert.Less(t, p.Conn().Stats().BytesWritten, uint64(90_000), "three are pending")
			assert.False(t, p.Conn().IsWriteable())
		})
		p.await(t, "OnThrottled")
		c.reset()
		closed := p.closeError(t)
		assert.True(t, errors.Is(closed, syscall.ECONNRESET) || errors.Is(closed, syscall.EPIPE), "%v", closed)
		assert.Equal(t, "OnSendFailed 1,OnSendFailed 2,OnSendFailed 3,OnClosed,Stopping,Stopped", last(p, 6))
		assert.Zero(t, p.count("OnUnthrottled"))
		if !w.portable { // package net cannot write without: whoever asks for the signal gets it
			stays(t, func() bool { return len(pipe) == 0 }, "no SIGPIPE")
		}
	})
}
