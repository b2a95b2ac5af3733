//go:build linux

package actor_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// Options of a Blocking listener are applied for each connection. One that panics costs that connection, and one that
// ends the goroutine, too.
func TestBlockingWithOptionsThatFail(t *testing.T) {
	for _, portable := range []bool{false, true} {
		f := start(t, actor.Config{Loops: 1, Portable: portable})
		var fail atomic.Int32
		option := func(*proto.Props) {
			switch fail.Swap(0) {
			case 1:
				panic(errors.New("not today"))
			case 2:
				runtime.Goexit()
			}
		}
		s := f.serve(actor.ListenConfig{Blocking: true, Props: []proto.PropsOption{option}}, echoes)
		for _, how := range []int32{1, 2} {
			fail.Store(how)
			c, err := net.Dial("tcp", s.Addr().String())
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(slow)))
			_, err = c.Read(make([]byte, 1))
			assert.True(t, err == io.EOF || errors.Is(err, syscall.ECONNRESET), "%v", err)
			require.NoError(t, c.Close())
			good, p := s.open()
			good.send("ping")
			good.expect("ping")
			require.NoError(t, good.Close())
			p.await(t, "Stopped")
		}
		soon(t, func() bool { return s.Len() == 0 }, "the end of all")
		assert.Contains(t, f.log.String(), "not today")
		assert.NotContains(t, f.log.String(), "BUG")
	}
}

// An option that panics when the Props are made is as one that does so when the actor is.
func TestDIAL13_OptionsThatPanicAtOnce(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	for _, blocking := range []bool{false, true} {
		cfg := actor.DialConfig{Blocking: blocking, Props: []proto.PropsOption{func(*proto.Props) { panic("not today") }}}
		p := new(probe)
		pid, err := f.Dial(context.Background(), "127.0.0.1:7669", p, cfg)
		assert.Nil(t, pid)
		var died *actor.PanicError
		require.ErrorAs(t, err, &died)
		assert.Equal(t, "not today", died.Value)
		assert.Nil(t, p.Conn())
	}
}

// Of many turns at once, a loop keeps the memory of a few. What the others had lent is given back to those that are kept:
// the fixture looks whether the sum is right.
func TestBlockingTurnsLendAndGiveBack(t *testing.T) {
	f := start(t, actor.Config{Loops: 1})
	const many = 40
	var inside sync.WaitGroup
	inside.Add(many)
	goOn := make(chan struct{})
	lines := make(chan string, 2*many)
	s := f.serve(actor.ListenConfig{Blocking: true, Conn: conn.Config{Split: bufio.ScanLines}}, func(p *probe) {
		p.onReceived = func(_ *probe, line []byte) error {
			if string(line) == "first" {
				inside.Done()
				<-goOn
			}
			lines <- string(line)
			return nil
		}
	})
	var clients []net.Conn
	for range many {
		c, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		clients = append(clients, c)
		_, err = c.Write([]byte("first\nsec"))
		require.NoError(t, err)
	}
	inside.Wait()
	close(goOn)
	for range many {
		assert.Equal(t, "first", <-lines)
	}
	for _, c := range clients {
		_, err := c.Write([]byte("ond\n"))
		require.NoError(t, err)
	}
	for range many {
		assert.Equal(t, "second", <-lines)
	}
	for _, c := range clients {
		require.NoError(t, c.Close())
	}
	soon(t, func() bool { return s.Len() == 0 }, "the end of all")
}
