//go:build linux

package actor_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/loop"
)

// tcpPair returns both ends of a connection. They are closed with the test, if not before.
func tcpPair(t testing.TB) (near *net.TCPConn, far *peer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	nc, err := net.DialTimeout("tcp", ln.Addr().String(), patience)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	other, err := ln.Accept()
	require.NoError(t, err)
	far = &peer{other.(*net.TCPConn), t}
	t.Cleanup(far.reset)
	return nc.(*net.TCPConn), far
}

// mirror returns a probe that sends back what it receives.
func mirror() *probe {
	return &probe{quiet: true, onReceived: func(p *probe, data []byte) error {
		_, err := p.Conn().Send(data)
		return err
	}}
}

// echoed sends 1 MiB and requires it back, then the end in order.
func echoed(t *testing.T, c interface {
	io.ReadWriter
	CloseWrite() error
}) {
	t.Helper()
	sent := pattern(1 << 20)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		wrote <- errors.Join(err, c.CloseWrite())
	}()
	back, err := io.ReadAll(c)
	require.NoError(t, err)
	require.NoError(t, <-wrote)
	require.Equal(t, sent, back)
}

func TestSHL6_AdoptedTCPEchoes(t *testing.T) {
	waysInTurn(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		before := descriptors()
		near, far := tcpPair(t)
		local, remote := near.LocalAddr().String(), near.RemoteAddr().String()
		p := mirror()
		p.onConnected = func(p *probe) {
			assert.Equal(t, local, p.Conn().LocalAddr().String())
			assert.Equal(t, remote, p.Conn().RemoteAddr().String())
		}
		pid, err := f.Adopt(near, p, actor.DialConfig{})
		require.NoError(t, err)
		p.await(t, "OnConnected")
		assert.Equal(t, pid, p.self)
		if !w.portable { // there it is used as it is
			assert.ErrorIs(t, near.Close(), net.ErrClosed, "it was taken over")
		}
		echoed(t, far)
		p.await(t, "Stopped")
		assert.NoError(t, p.err)
		assert.Equal(t, 1, p.count("OnClosed"))
		assert.Zero(t, p.count("OnSendFailed"))
		require.NoError(t, far.Close())
		w.closed(t, before) // and once: nobody else's descriptor is gone
	})
}

func TestSHL6_AdoptedUnixSocketEchoes(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
		require.NoError(t, err)
		defer func() { _ = ln.Close() }()
		far, err := net.DialUnix("unix", nil, ln.Addr().(*net.UnixAddr))
		require.NoError(t, err)
		defer func() { _ = far.Close() }()
		near, err := ln.Accept()
		require.NoError(t, err)
		p := mirror()
		_, err = f.Adopt(near, p, actor.DialConfig{})
		require.NoError(t, err)
		echoed(t, far)
		p.await(t, "Stopped")
		assert.NoError(t, p.err)
	})
}

func TestSHL6_AdoptedPipeEchoes(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		near, far := net.Pipe()
		p := mirror()
		pid, err := f.Adopt(near, p, actor.DialConfig{})
		require.NoError(t, err)
		sent, done := pattern(1<<20), make(chan struct{})
		back := make([]byte, len(sent))
		go func() {
			defer close(done)
			_, err := io.ReadFull(far, back)
			assert.NoError(t, err)
		}()
		_, err = far.Write(sent)
		require.NoError(t, err)
		<-done
		assert.Equal(t, sent, back)
		system.Root.Send(pid, new(actor.Close))
		p.await(t, "Stopped")
		assert.NoError(t, p.err)
		assert.Equal(t, 1, p.count("OnClosed"))
		assert.Zero(t, p.count("OnSendFailed"))
		_, err = far.Read(back)
		assert.ErrorIs(t, err, io.EOF)
	})
}

func TestSHL6_WhatCannotBeAdopted(t *testing.T) {
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		closed, _ := tcpPair(t)
		require.NoError(t, closed.Close())
		p := new(probe)
		_, err := f.Adopt(closed, p, actor.DialConfig{})
		assert.ErrorIs(t, err, net.ErrClosed)

		pipe, _ := net.Pipe()
		require.NoError(t, pipe.Close())
		_, err = f.Adopt(pipe, p, actor.DialConfig{})
		assert.ErrorIs(t, err, net.ErrClosed)
		packets, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unixgram"})
		require.NoError(t, err)
		defer func() { _ = packets.Close() }()
		open, far := tcpPair(t)
		for _, nc := range []net.Conn{nil, packets} {
			_, err := f.Adopt(nc, p, actor.DialConfig{})
			var cannot *loop.AdoptError
			if assert.ErrorAs(t, err, &cannot, "%T", nc) {
				assert.Equal(t, nc, cannot.Conn)
			}
			assert.ErrorIs(t, err, errors.ErrUnsupported)
		}
		_, err = f.Adopt(open, nil, actor.DialConfig{})
		assert.ErrorContains(t, err, "Adopt was given nil")
		_, err = f.Adopt(open, p, actor.DialConfig{Conn: conn.Config{StartTimeout: -1}})
		assert.ErrorContains(t, err, "-1")
		assert.Empty(t, p.notes())
		assert.Nil(t, p.Conn())
		_, err = open.Write([]byte("still mine"))
		require.NoError(t, err)
		far.expect("still mine")
	})
}
