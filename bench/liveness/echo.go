package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const echoSize = 64

// echo measures the processor time of a message: a server without a layer, twice, with a Passive one and with a Framed one,
// in turns.
func echo(s *settings, r *report) error {
	kinds := []string{"none", "again", "passive", "framed"} // again has no layer either, and shows what noise there is
	layers := map[string]string{"none": "none", "again": "none", "passive": "passive", "framed": "framed"}
	servers := map[string]*process{}
	loads := map[string]*load{}
	defer func() {
		for _, p := range servers {
			p.stop()
		}
		for _, l := range loads {
			l.close()
		}
	}()
	for _, kind := range kinds {
		p, err := start("-kind", "echo", "-layer", layers[kind], "-timeout", "1h")
		if err != nil {
			return err
		}
		servers[kind] = p
		if runtime.NumCPU() > 1 {
			if err := pin(p.cmd.Process.Pid, 0); err != nil {
				return err
			}
		}
		if loads[kind], err = newLoad(p.addr(), s.echoes, kind == "framed"); err != nil {
			return err
		}
	}
	costs := map[string][]float64{}
	for round := range s.rounds + 1 {
		for i := range kinds {
			kind := kinds[(i+round)%len(kinds)]
			cost, err := measureEcho(servers[kind], loads[kind])
			if err != nil {
				return err
			}
			if round > 0 { // the first one warms up
				costs[kind] = append(costs[kind], cost)
			}
		}
	}
	r.say("echo, %d bytes, %d connections, %d rounds: processor time of the server for a message", echoSize, s.echoes, s.rounds)
	for _, kind := range kinds {
		list := slices.Sorted(slices.Values(costs[kind]))
		r.say("  %-8s %.3f µs (%.3f to %.3f)", kind, median(costs[kind]), list[0], list[len(list)-1])
	}
	r.say("  %-46s %8.3f    noise", "again / none", ratio(costs["again"], costs["none"]))
	r.bar("passive / none", ratio(costs["passive"], costs["none"]), 1.01, "")
	r.bar("framed / none", ratio(costs["framed"], costs["none"]), 1.05, "")
	return nil
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratio is the median of the ratios of each round.
func ratio(a, b []float64) float64 {
	var all []float64
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return median(all)
}

func measureEcho(p *process, l *load) (float64, error) {
	if _, err := l.run(50 * time.Millisecond); err != nil { // caches
		return 0, err
	}
	before, err := p.number("cpu")
	if err != nil {
		return 0, err
	}
	n, err := l.run(time.Second)
	if err != nil {
		return 0, err
	}
	after, err := p.number("cpu")
	return (after - before) / float64(n), err
}

// A load keeps one message in flight on each connection. It frames them, if the server does.
type load struct {
	ep  int
	fds []int
	msg []byte
	got []int // bytes of an answer that came
	buf []byte
}

func newLoad(addr string, n int, framed bool) (*load, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &load{ep: ep, msg: make([]byte, echoSize), got: make([]int, n), buf: make([]byte, 4096)}
	if framed {
		l.msg = append([]byte{0, 0, 0, echoSize}, l.msg...)
	}
	for i := range n {
		fd, err := dialRaw(addr, framed)
		if err != nil {
			return l, err
		}
		l.fds = append(l.fds, fd)
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			return l, os.NewSyscallError("epoll_ctl", err)
		}
	}
	return l, nil
}

// dialRaw connects, and exchanges the first frames.
func dialRaw(addr string, framed bool) (int, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	if framed {
		if _, err := nc.Write(helloFrame(time.Hour)); err != nil {
			return 0, err
		}
		if _, err := nc.Read(make([]byte, 40)); err != nil {
			return 0, err
		}
	}
	f, err := nc.(*net.TCPConn).File()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	return fd, unix.SetNonblock(fd, true)
}

func (l *load) close() {
	for _, fd := range l.fds {
		_ = unix.Close(fd)
	}
	_ = unix.Close(l.ep)
}

// run goes on for d, lets what is in flight arrive, and returns how many messages came back.
func (l *load) run(d time.Duration) (n int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if runtime.NumCPU() > 1 {
		var set, was unix.CPUSet
		if unix.SchedGetaffinity(0, &was) == nil {
			set.Set(1)
			_ = unix.SchedSetaffinity(0, &set)
			defer func() { _ = unix.SchedSetaffinity(0, &was) }()
		}
	}
	for i := range l.fds {
		if err := l.send(i); err != nil {
			return 0, err
		}
	}
	flying := len(l.fds)
	events := make([]unix.EpollEvent, 128)
	for end := time.Now().Add(d); flying > 0; {
		k, err := unix.EpollWait(l.ep, events, 1000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || k == 0 {
			return n, errors.Join(fmt.Errorf("the echo stands still, %d messages are in flight", flying), err)
		}
		more := time.Now().Before(end)
		for _, ev := range events[:k] {
			i := int(ev.Fd)
			came, err := l.recv(i)
			if err != nil {
				return n, err
			}
			if l.got[i] += came; l.got[i] < len(l.msg) {
				continue
			}
			l.got[i] = 0
			n++
			if !more {
				flying--
			} else if err := l.send(i); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (l *load) send(i int) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(l.fds[i]), uintptr(unsafe.Pointer(&l.msg[0])), uintptr(len(l.msg)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("send", errno)
	}
	return nil
}

func (l *load) recv(i int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(l.fds[i]), uintptr(unsafe.Pointer(&l.buf[0])), uintptr(len(l.buf)),
		unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN:
		return 0, nil
	case errno != 0:
		return 0, os.NewSyscallError("recv", errno)
	case n == 0:
		return 0, errors.New("the server has ended a connection")
	}
	return int(n), nil
}
