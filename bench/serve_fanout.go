package main

import (
	"context"
	"net"
	"os"
	"runtime"
	"slices"

	proto "github.com/asynkron/protoactor-go/actor"
	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

// These servers have one sender. It writes a message to each newcomer, which thus learns that it takes part; and
// whenever anybody sends something, to everybody.

// news is that message.
var news = message(0, 64)

// fanoutRaw is the limit: one send after the other.
func fanoutRaw(addr string, ready func(addr string)) error {
	ln, bound, err := listenRaw(addr)
	if err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := watch(ep, ln, unix.EPOLLIN); err != nil {
		return err
	}
	ready(bound)
	_ = watch(ep, questions, unix.EPOLLIN) // it fails if it is a file

	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, readSize)
	var all []int
	tell := func(fd int) {
		if !sendAll(fd, news) {
			unix.Shutdown(fd, unix.SHUT_RDWR)
		}
	}
	for {
		n, errno := epollWait(ep, events, -1)
		if errno != 0 && errno != unix.EINTR {
			return os.NewSyscallError("epoll_wait", errno)
		}
		for _, ev := range events[:n] {
			fd := int(ev.Fd)
			if fd == ln {
				if fd, err = acceptRaw(ep, ln); err != nil {
					return err
				}
				all = append(all, fd)
				tell(fd)
			} else if fd == questions {
				answerRaw(ep)
			} else if n, errno := recv(fd, buf, 0); errno != 0 || n == 0 {
				unix.Close(fd)
				all = slices.DeleteFunc(all, func(x int) bool { return x == fd })
			} else {
				for _, fd := range all {
					tell(fd)
				}
			}
		}
	}
}

// fanoutNet has, for each connection, a channel and a goroutine that writes what comes through it; and one that reads.
func fanoutNet(addr string, ready func(addr string)) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	joins, leaves, bursts := make(chan chan []byte), make(chan chan []byte), make(chan struct{}, 16)
	go func() {
		var all []chan []byte
		for {
			select {
			case ch := <-joins:
				all = append(all, ch)
				ch <- news
			case ch := <-leaves:
				close(ch)
				all = slices.DeleteFunc(all, func(x chan []byte) bool { return x == ch })
			case <-bursts:
				for _, ch := range all {
					ch <- news
				}
			}
		}
	}()
	ready(ln.Addr().String())
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		ch := make(chan []byte, 16)
		go func() {
			for p := range ch {
				nc.Write(p) // if it fails the reader hears of it
			}
		}()
		go func() {
			defer nc.Close()
			joins <- ch
			buf := make([]byte, 64)
			for {
				if _, err := nc.Read(buf); err != nil {
					leaves <- ch
					return
				}
				bursts <- struct{}{}
			}
		}()
	}
}

// fanoutGalago has an ordinary actor of Proto.Actor that sends a Write to each connection.
func fanoutGalago(addr string, ready func(addr string)) error {
	sys := proto.NewActorSystem()
	network, err := actor.New(sys, actor.Config{Loops: 1})
	if err != nil {
		return err
	}
	sender := sys.Root.Spawn(proto.PropsFromProducer(func() proto.Actor { return new(sender) }))
	newMember := func() actor.Actor { return &member{sender: sender} }
	ln, err := network.Listen(context.Background(), addr, newMember, actor.ListenConfig{})
	if err != nil {
		return err
	}
	ready(ln.Addr().String())
	select {}
}

// A member of the audience tells the sender of itself.
type member struct {
	actor.Base
	sender *proto.PID
}

type (
	joined struct{ pid *proto.PID }
	left   struct{ pid *proto.PID }
	burst  struct{}
)

func (m *member) OnConnected(*conn.Conn) { m.Context().Send(m.sender, joined{m.Context().Self()}) }

func (m *member) OnClosed(*conn.Conn, error) { m.Context().Send(m.sender, left{m.Context().Self()}) }

func (m *member) OnReceived(*conn.Conn, []byte) error {
	m.Context().Send(m.sender, burst{})
	return nil
}

// A sender writes to all members.
type sender struct{ all []*proto.PID }

var write = &actor.Write{Data: news} // one serves all connections

func (s *sender) Receive(ctx proto.Context) {
	switch m := ctx.Message().(type) {
	case joined:
		s.all = append(s.all, m.pid)
		ctx.Send(m.pid, write)
	case left:
		s.all = slices.DeleteFunc(s.all, m.pid.Equal)
	case burst:
		for _, pid := range s.all {
			ctx.Send(pid, write)
		}
	}
}
