package loop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

func TestLSN1_ClientsConnectAtOnce(t *testing.T) {
	l := newLoop(t, Config{})
	for _, network := range []string{"tcp", "tcp4", "tcp6"} {
		addr := map[string]string{"tcp": "127.0.0.1:0", "tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
		s := serve(t, []*Loop{l}, network, addr, ListenConfig{}, nil)
		assert.NotZero(t, s.Addr().(*net.TCPAddr).Port)
		dial(t, s.Addr())
		await(t, s.ends, "the connection")
	}
}

func TestLSN2_APortInUse(t *testing.T) {
	l := newLoop(t, Config{})
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	cfg := ListenConfig{Accept: func(*Accepted) {}}
	files := openFiles()
	_, err := Listen(context.Background(), []*Loop{l}, "tcp", s.Addr().String(), cfg)
	assert.ErrorIs(t, err, syscall.EADDRINUSE)
	assert.ErrorContains(t, err, s.Addr().String())
	assert.Equal(t, files, openFiles())
	require.NoError(t, s.Close())
	again, err := Listen(context.Background(), []*Loop{l}, "tcp", s.Addr().String(), cfg)
	require.NoError(t, err)
	assert.NoError(t, again.Close())
}

func TestLSN3_WhatCannotWorkIsNamed(t *testing.T) {
	l := newLoop(t, Config{})
	files := openFiles()
	accept := func(*Accepted) {}
	for want, f := range map[string]func() error{
		"udp": func() error {
			_, err := Listen(t.Context(), []*Loop{l}, "udp", "127.0.0.1:0", ListenConfig{Accept: accept})
			return err
		},
		"missing port": func() error {
			_, err := Listen(t.Context(), []*Loop{l}, "tcp", "127.0.0.1", ListenConfig{Accept: accept})
			return err
		},
		"MaxConns is -1": func() error {
			_, err := Listen(t.Context(), []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: accept, MaxConns: -1})
			return err
		},
		"ReadBuffer is -2": func() error {
			cfg := ListenConfig{Accept: accept, Options: Options{ReadBuffer: -2, WriteBuffer: -3}}
			_, err := Listen(t.Context(), []*Loop{l}, "tcp", "127.0.0.1:0", cfg)
			assert.ErrorContains(t, err, "WriteBuffer is -3")
			return err
		},
		"Accept is nil": func() error {
			_, err := Listen(t.Context(), []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{})
			return err
		},
		"no loops": func() error {
			_, err := Listen(t.Context(), nil, "tcp", "127.0.0.1:0", ListenConfig{Accept: accept})
			return err
		},
		"on purpose": func() error {
			cfg := ListenConfig{Accept: accept}
			cfg.Options.Control = func(string, string, syscall.RawConn) error { return fmt.Errorf("on purpose") }
			_, err := Listen(t.Context(), []*Loop{l}, "tcp", "127.0.0.1:0", cfg)
			return err
		},
	} {
		assert.ErrorContains(t, f(), want)
	}
	assert.Equal(t, files, openFiles())
}

// A cap on accepts per turn delays, it never forgets.
func TestLSN5_ABurstOfClients(t *testing.T) {
	l := newLoop(t, Config{})
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	goOn := make(chan struct{})
	l.Do(func() { <-goOn })
	for range 300 {
		dial(t, s.Addr())
	}
	close(goOn)
	for range 300 {
		await(t, s.ends, "one of the burst")
	}
	assert.Equal(t, 300, s.Len())
	assert.Equal(t, 300, l.Load())
}

func TestLSN7_TheLimitIsExact(t *testing.T) {
	l := newLoop(t, Config{})
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{MaxConns: 10}, nil)
	var ends []*end
	clients := make([]net.Conn, 11)
	for i := range clients {
		clients[i] = dial(t, s.Addr())
		mustWrite(t, clients[i], "x")
	}
	for range 10 {
		ends = append(ends, await(t, s.ends, "one of ten"))
	}
	do(t, l, func() {}) // the acceptor has had its turn with the 11th
	do(t, l, func() {})
	assert.Empty(t, s.ends, "more than the limit")
	assert.Equal(t, 10, s.Len())
	ends[3].on(t, func() {
		assert.NoError(t, ends[3].Socket.Close(false))
		s.Release()
	})
	e := await(t, s.ends, "the 11th")
	e.until(t, conn.Readable)
	got, _ := e.readAll(t)
	assert.Equal(t, "x", string(got))
	assert.Equal(t, 10, s.Len())
}

func TestLSN8_ManyClientsPassALimit(t *testing.T) {
	loops := []*Loop{newLoop(t, Config{}), newLoop(t, Config{})}
	var mu sync.Mutex
	now, most, served := 0, 0, 0
	s := serve(t, loops, "tcp", "127.0.0.1:0", ListenConfig{MaxConns: 5}, func(e *end) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		p := make([]byte, 10)
		e.turn = func(time.Time) bool {
			n, err := e.Read(p)
			switch {
			case n > 0:
				_, err := e.Write([][]byte{p[:n]})
				assert.NoError(t, err)
				return true
			case err == io.EOF:
				assert.NoError(t, e.Socket.Close(false))
				mu.Lock()
				now--
				served++
				mu.Unlock()
				e.ln.Release()
			}
			return false
		}
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 4 {
				c, err := net.Dial("tcp", s.Addr().String())
				if !assert.NoError(t, err) {
					return
				}
				_, _ = io.WriteString(c, "ping")
				_, err = io.ReadFull(c, make([]byte, 4))
				assert.NoError(t, err)
				assert.NoError(t, c.Close())
			}
		})
	}
	wg.Wait()
	for end := time.Now().Add(patience); s.Len() > 0; runtime.Gosched() {
		require.True(t, time.Now().Before(end), "the count does not end at 0")
	}
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, 200, served)
	assert.LessOrEqual(t, most, 5)
	for _, l := range loops {
		assert.Zero(t, l.Load())
	}
}

func TestLSN13_CloseFromAnywhere(t *testing.T) {
	ways := map[string]func(t *testing.T, s *server, e *end){
		"another goroutine": func(t *testing.T, s *server, _ *end) { assert.NoError(t, s.Close()) },
		"its loop": func(t *testing.T, s *server, e *end) {
			e.on(t, func() { assert.NoError(t, s.Close()) })
		},
	}
	for name, closeIt := range ways {
		t.Run(name, func(t *testing.T) {
			l := newLoop(t, Config{})
			s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
			c := dial(t, s.Addr())
			e := await(t, s.ends, "the connection")
			e.on(t, func() { echo(t, e) })
			closeIt(t, s, e)
			_, err := net.Dial("tcp", s.Addr().String())
			assert.ErrorIs(t, err, syscall.ECONNREFUSED)
			mustWrite(t, c, "ping")
			_, err = io.ReadFull(c, make([]byte, 4))
			assert.NoError(t, err, "the connection outlives its listener")
			assert.NoError(t, s.Close())
			again, err := net.Listen("tcp", s.Addr().String())
			require.NoError(t, err, "the port is free at once")
			assert.NoError(t, again.Close())
			assert.Empty(t, s.ends)
		})
	}
	t.Run("Accept", func(t *testing.T) {
		l := newLoop(t, Config{})
		goOn := make(chan struct{})
		accepted := make(chan error, 100)
		s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(a *Accepted) {
			accepted <- a.Listener().Close()
		}}, nil)
		l.Do(func() { <-goOn })
		for range 5 {
			dial(t, s.Addr())
		}
		close(goOn)
		assert.NoError(t, await(t, accepted, "Accept"))
		do(t, l, func() {})
		do(t, l, func() {})
		assert.Empty(t, accepted, "Accept was called after Close had returned")
		assert.Zero(t, s.Len())
		assert.Zero(t, l.Load())
	})
}

// A connection on its way to another loop does not reach an application that has stopped listening.
func TestLSN13_CloseReachesConnectionsOnTheirWay(t *testing.T) {
	loops := []*Loop{newLoop(t, Config{}), newLoop(t, Config{})}
	s := serve(t, loops, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	away := loops[0]
	if away == s.door.home() {
		away = loops[1]
	}
	goOn := make(chan struct{})
	away.Do(func() { <-goOn })
	clients := []net.Conn{dial(t, s.Addr()), dial(t, s.Addr())}
	await(t, s.ends, "the connection of this loop")
	for end := time.Now().Add(patience); s.Len() < 2; runtime.Gosched() {
		require.True(t, time.Now().Before(end), "the other one is not accepted")
	}
	require.NoError(t, s.Close())
	close(goOn)
	do(t, away, func() {})
	assert.Empty(t, s.ends)
	assert.Equal(t, 1, s.Len())
	assert.Zero(t, away.Load())
	ended := make(chan error, 2)
	for _, c := range clients {
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
	}
	assert.Same(t, io.EOF, await(t, ended, "the end of the one on its way"))
}

func TestLSN14_AcceptThatPanicsOrOpensNothing(t *testing.T) {
	for name, two := range map[string]bool{"this loop": false, "another loop": true} {
		t.Run(name, func(t *testing.T) {
			panics := make(chan any, 10)
			loops := []*Loop{newLoop(t, Config{Panicked: func(_ Task, v any, _ []byte) { panics <- v }})}
			if two {
				loops = []*Loop{newLoop(t, Config{}), loops[0]}
			}
			n := 0
			served := make(chan struct{})
			s := serve(t, loops, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(a *Accepted) {
				switch n++; n {
				case 1:
					panic("no actor")
				case 2:
				case 3:
					runtime.Goexit()
				case 4:
					e := newEnd(a.Loop())
					assert.NoError(t, e.Open(a, e))
					close(served)
				}
			}}, nil)
			if two { // the one that accepts seems busy, and so the other gets all
				assert.Same(t, loops[0], s.door.home())
				loops[0].load.Add(100)
			}
			for range 3 {
				_, err := dial(t, s.Addr()).Read(make([]byte, 1))
				assert.Same(t, io.EOF, err)
			}
			assert.Equal(t, "no actor", await(t, panics, "the report"))
			dial(t, s.Addr())
			await(t, served, "the fourth")
			assert.Equal(t, 1, s.Len())
		})
	}
}

func TestLSN15_ListenAndCloseLeaveNothing(t *testing.T) {
	l := newLoop(t, Config{})
	files, goroutines := openFiles(), runtime.NumGoroutine()
	for range 10 {
		s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
		c := dial(t, s.Addr())
		e := await(t, s.ends, "the connection")
		require.NoError(t, c.Close())
		e.until(t, conn.Hangup)
		e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
		require.NoError(t, s.Close())
	}
	assert.LessOrEqual(t, openFiles(), files)
	assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines)
	assert.Empty(t, l.doors)
	do(t, l, func() { assert.Zero(t, l.slots.open) })
}

func TestConnectionsAreDealtOutEvenly(t *testing.T) {
	loops := []*Loop{newLoop(t, Config{}), newLoop(t, Config{}), newLoop(t, Config{})}
	s := serve(t, loops, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	for range 30 {
		dial(t, s.Addr())
	}
	ends := make([]*end, 30)
	for i := range ends {
		ends[i] = await(t, s.ends, "a connection")
	}
	for _, l := range loops {
		assert.Equal(t, 10, l.Load())
	}
	// What becomes free is given to new ones.
	for _, e := range ends {
		if e.l == loops[1] {
			e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
		}
	}
	for range 9 {
		dial(t, s.Addr())
		assert.Same(t, loops[1], await(t, s.ends, "a connection").l)
	}
}

// A loop that is closed gives up what is left on it, and a listener may be closed before or after.
func TestLoopCloseGivesUpEverything(t *testing.T) {
	files := openFiles()
	loops := make([]*Loop, 2)
	for i := range loops {
		var err error
		loops[i], err = New(Config{})
		require.NoError(t, err)
	}
	s := serve(t, loops, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	away := loops[0]
	if away == s.door.home() {
		away = loops[1]
	}
	inTurn, goOn := make(chan struct{}), make(chan struct{})
	clients := []net.Conn{dial(t, s.Addr())}
	await(t, s.ends, "the connection")
	away.Do(func() { close(inTurn); <-goOn })
	await(t, inTurn, "the turn")
	for range 4 {
		clients = append(clients, dial(t, s.Addr()))
	}
	for end := time.Now().Add(patience); s.Len() < 5; runtime.Gosched() {
		require.True(t, time.Now().Before(end), "not all are accepted")
	}
	closed := make(chan error, 2)
	for _, l := range loops {
		go func() { closed <- l.Close() }()
	}
	for begun := false; !begun; runtime.Gosched() {
		away.mu.Lock()
		begun = away.closing
		away.mu.Unlock()
	}
	close(goOn)
	assert.NoError(t, await(t, closed, "Close"))
	assert.NoError(t, await(t, closed, "the other Close"))
	for _, c := range clients {
		_, err := c.Read(make([]byte, 1))
		assert.Error(t, err)
		assert.NoError(t, c.Close())
	}
	_, err := net.Dial("tcp", s.Addr().String())
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.NoError(t, s.Close())
	assert.Equal(t, files, openFiles())
	_, err = Listen(t.Context(), loops, "tcp", "127.0.0.1:0", ListenConfig{Accept: func(*Accepted) {}})
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.Equal(t, files, openFiles())
}

func TestRES6_NoChildInheritsADescriptor(t *testing.T) {
	l, err := New(Config{})
	require.NoError(t, err)
	s := serve(t, []*Loop{l}, "tcp", "127.0.0.1:0", ListenConfig{}, nil)
	c := dial(t, s.Addr())
	e := await(t, s.ends, "the connection")

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "here\n", line)
	// The child has a poller of its own, and so one cannot tell from outside whether it has ours, too.
	for _, fd := range []int{l.poller.ep, l.poller.evt} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		assert.NoError(t, err)
		assert.NotZero(t, flags&unix.FD_CLOEXEC)
	}

	e.on(t, func() { assert.NoError(t, e.Socket.Close(false)) })
	_, err = c.Read(make([]byte, 1))
	assert.Same(t, io.EOF, err, "the child holds the connection")
	require.NoError(t, s.Close())
	again, err := net.Listen("tcp", s.Addr().String())
	require.NoError(t, err, "the child holds the port")
	assert.NoError(t, again.Close())
	assert.NoError(t, l.Close())
	require.NoError(t, in.Close())
	assert.NoError(t, cmd.Wait())
}
