package loop

import (
	"io"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/galago-go/galago/conn"
)

func (s *Socket) register(index int32, gen uint32) error {
	return s.loop.poller.add(s.fd(), interests, index, gen)
}

func (s *Socket) deregister() error { return s.loop.poller.remove(s.fd()) }

// Read reads once, as [conn.Backend] has it.
func (s *Socket) Read(p []byte) (int, error) {
	if s.number <= 0 {
		return s.readPort(p)
	}
	for {
		n, errno := s.loop.poller.sys.recv(s.fd(), p, 0)
		switch {
		case errno == 0 && n > 0:
			return n, nil
		case errno == 0 && s.met.errno() != 0: // it had failed, and asking cleared that
			return 0, s.failed("recv")
		case errno == 0:
			s.met |= metEnd
			return 0, io.EOF
		case errno == unix.EAGAIN:
			return 0, conn.ErrWouldBlock
		case errno != unix.EINTR:
			s.met.fail(errno)
			return 0, s.failed("recv")
		}
	}
}

// Write writes once, as [conn.Backend] has it.
func (s *Socket) Write(bufs [][]byte) (int, error) {
	if s.number <= 0 {
		return s.writePort(bufs)
	}
	return s.writeWith(&s.loop.poller.scratch, bufs)
}

func (s *Socket) writeWith(k *scratch, bufs [][]byte) (int, error) {
	for {
		n, errno := s.write(k, bufs)
		switch {
		case errno == 0:
			return n, nil
		case errno == unix.EAGAIN:
			return 0, conn.ErrWouldBlock
		case errno == unix.EPIPE && s.met.errno() != 0: // the reason has been asked for before
			return 0, s.failed("send")
		case errno != unix.EINTR:
			s.met.fail(errno)
			return 0, s.failed("send")
		}
	}
}

func (s *Socket) write(k *scratch, bufs [][]byte) (int, syscall.Errno) {
	sys := s.loop.poller.sys
	if len(bufs) == 1 {
		return sys.send(s.fd(), bufs[0])
	}
	n, size := 0, 0
	for _, b := range bufs {
		if len(b) > 0 && n < len(k.iov) {
			k.iov[n].Base = unsafe.SliceData(b)
			k.iov[n].SetLen(len(b))
			n++
			size += len(b)
		}
	}
	k.msg.Iov = &k.iov[0]
	k.msg.SetIovlen(n)
	sent, errno := sys.sendmsg(s.fd(), &k.msg, size)
	clear(k.iov[:n]) // or it would keep the buffers alive
	return sent, errno
}

// Unread tells what the next Read would meet, as [conn.Backend] has it.
func (s *Socket) Unread() (int, error) {
	if s.number <= 0 {
		return s.unreadPort()
	}
	return s.unreadWith(&s.loop.poller.scratch)
}

func (s *Socket) unreadWith(k *scratch) (int, error) {
	if s.met.errno() == 0 {
		// Asking clears it, so it is kept: a later Read would see an end without a reason.
		if e, err := unix.GetsockoptInt(s.fd(), unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
			return 0, os.NewSyscallError("getsockopt", err)
		} else if e != 0 {
			s.met.fail(syscall.Errno(e))
		}
	}
	if s.met.errno() != 0 {
		return 0, s.failed("recv")
	}
	if s.met&metEnd != 0 {
		return 0, io.EOF // nothing comes behind it
	}
	var n int32
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(s.fd()), unix.SIOCINQ,
		uintptr(unsafe.Pointer(&n))); errno != 0 || n < 0 {
		return -1, nil
	}
	if n > 0 {
		return int(n), nil
	}
	return s.peek(k)
}

// peek tells the end from nothing: neither has bytes.
func (s *Socket) peek(k *scratch) (int, error) {
	for {
		n, errno := s.loop.poller.sys.recv(s.fd(), k.one[:], unix.MSG_PEEK)
		switch {
		case errno == 0 && n > 0:
			return -1, nil
		case errno == 0:
			return 0, io.EOF
		case errno == unix.EAGAIN:
			return 0, nil
		case errno != unix.EINTR:
			s.met.fail(errno)
			return 0, s.failed("recv")
		}
	}
}

func (s *Socket) failed(call string) error {
	return os.NewSyscallError(call, s.met.errno())
}

// CloseWrite sends FIN.
func (s *Socket) CloseWrite() error {
	if s.number <= 0 {
		return s.closeWritePort()
	}
	if err := unix.Shutdown(s.fd(), unix.SHUT_WR); err != nil && err != unix.ENOTCONN { // the peer was faster
		return os.NewSyscallError("shutdown", err)
	}
	return nil
}

// closeSocket closes a descriptor that is not registered anywhere.
func closeSocket(fd int, reset bool) error {
	if reset {
		// It fails where the connection is gone already, or has no resets.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if err := unix.Close(fd); err != nil && err != unix.EINTR { // closed all the same
		return os.NewSyscallError("close", err)
	}
	return nil
}

// learn asks for the local address, if nobody knew it and there is still somebody to ask.
func (s *Socket) learn() {
	if s.about != nil {
		return
	}
	s.about = new(about)
	if s.number != 0 {
		if sa, err := unix.Getsockname(s.fd()); err == nil {
			s.about.local = addrPort(sa)
		}
	}
}

// addrPort translates; it is zero where there is no port.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && a.Is6() {
			a = a.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		return netip.AddrPortFrom(a, uint16(sa.Port))
	}
	return netip.AddrPort{}
}
