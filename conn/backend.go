package conn

import (
	"errors"

	"github.com/galago-go/galago/interceptor"
)

// A Backend does the I/O of one socket. No method may block; all but Post are called in turns only.
type Backend interface {
	// Read reads once. It returns [ErrWouldBlock] if there is nothing yet, and io.EOF at the peer's end. p is never
	// empty. When it fills less than p, the connection waits for the next [Driver.Ready] before it reads again, unless
	// that had reported [Hangup]: what arrives later, the peer's end included, must be reported anew.
	Read(p []byte) (n int, err error)
	// Unread tells, without taking anything, what the next Read would meet: n bytes that wait; or io.EOF at the peer's
	// end, with no bytes before it; or the error that the connection died of, whatever still waits. n is -1 if that
	// many cannot be known.
	Unread() (n int, err error)
	// Write writes bufs once, in order, and may take less than all. It returns [ErrWouldBlock] if the system takes
	// nothing; the next call then begins with the same bytes. When it takes less than all, or nothing, the connection
	// waits for [Driver.Ready] with [Writable]. There are at most 256 bufs. It neither changes nor keeps them.
	Write(bufs [][]byte) (n int, err error)
	// Arm says which directions the connection waits for. Each that becomes ready is reported by [Driver.Ready];
	// others may be, harmlessly.
	Arm(i Interest)
	// CloseWrite sends FIN.
	CloseWrite() error
	// Close gives up all that the socket holds, also while dialing; with reset, it sends RST. It is called once, and
	// nothing but Post and Info after it.
	Close(reset bool) error
	// Post runs f between two turns, before [Driver.Begin], in the order of the calls. Any goroutine may call it, at
	// any time; once the connection has ended, f may be dropped.
	Post(f func())
	// Info says what the socket connects; it may be asked after Close.
	Info() interceptor.Info
}

// ErrWouldBlock says that an operation must wait for readiness.
var ErrWouldBlock = errors.New("conn: would block")

// Interest is a set of directions.
type Interest uint8

const (
	Readable Interest = 1 << iota
	Writable
	Hangup // an error or the peer's end; reported whether armed or not
)
