package loop

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkEchoTurn is one request and its answer over loopback. Our half is a wake, a turn, a read and a write; beside
// it stands the same with a goroutine of package net.
func BenchmarkEchoTurn(b *testing.B) {
	rounds := func(b *testing.B, c net.Conn) {
		p := make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, p); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("loop", func(b *testing.B) {
		e, c := pair(b, newLoop(b, Config{StallWarning: time.Second}), ListenConfig{})
		e.on(b, func() { echo(b, e) })
		rounds(b, c)
	})
	b.Run("net", func(b *testing.B) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		defer func() { _ = ln.Close() }()
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p := make([]byte, 64<<10)
			for {
				n, err := c.Read(p)
				if err != nil {
					_ = c.Close()
					return
				}
				_, _ = c.Write(p[:n])
			}
		}()
		rounds(b, dial(b, ln.Addr()))
	})
}

// BenchmarkReadWrite is what the socket itself costs: a write, and the read of it at the other end.
func BenchmarkReadWrite(b *testing.B) {
	l := newLoop(b, Config{})
	s := serve(b, []*Loop{l}, "unix", b.TempDir()+"/s", ListenConfig{}, nil)
	c := dial(b, s.Addr())
	e := await(b, s.ends, "the connection")
	raw, err := c.(*net.UnixConn).SyscallConn()
	require.NoError(b, err)
	p := make([]byte, 64<<10)
	bufs := [][]byte{make([]byte, 64)}
	b.ReportAllocs()
	e.on(b, func() {
		require.NoError(b, raw.Control(func(fd uintptr) {
			for b.Loop() {
				_, _ = e.Write(bufs)
				_, _ = unix.Read(int(fd), p)
				_, _ = unix.Write(int(fd), bufs[0])
				_, _ = e.Read(p)
			}
		}))
	})
}
