package conn

import (
	"context"
	"fmt"
	"net"
	"time"
)

// A SendError says why Send accepted nothing. If several reasons hold, the first of this list is given. It never
// allocates.
type SendError uint8

const (
	ErrNotConnected SendError = iota + 1 // no socket yet; or closing or closed, for good; matches net.ErrClosed
	ErrNotReady                          // a layer is not ready: wait for OnConnected or Upgraded; or it is no turn
	ErrTooLarge                          // more than Config.MaxPending: it will never fit
	ErrNotWriteable                      // too much is pending: wait for OnUnthrottled
)

// Error names the reason and the cure.
func (e SendError) Error() string {
	switch e {
	case ErrNotConnected:
		return "conn: not connected"
	case ErrNotReady:
		return "conn: not ready: wait for OnConnected or Upgraded"
	case ErrTooLarge:
		return "conn: too large: more than Config.MaxPending, split it"
	case ErrNotWriteable:
		return "conn: not writeable: too much is pending, wait for OnUnthrottled"
	}
	return fmt.Sprintf("conn: SendError(%d)", uint8(e))
}

// Is reports whether e is ErrNotConnected and target net.ErrClosed.
func (e SendError) Is(target error) bool { return e == ErrNotConnected && target == net.ErrClosed }

// An UpgradeError says why Upgrade changed nothing.
type UpgradeError struct {
	Err    error // ErrNotConnected; or ErrNotReady, if an upgrade is in progress; or nil:
	Unread int   // bytes are read but not delivered (CVE-2021-23222)
	Unsent int   // sends are not settled: wait for OnSent
}

// Error names the reason and the cure.
func (e *UpgradeError) Error() string {
	switch {
	case e.Err != nil:
		return "conn: upgrade refused: " + e.Err.Error()
	case e.Unread > 0:
		return fmt.Sprintf("conn: upgrade refused: %d bytes are read but not delivered; the peer sent ahead", e.Unread)
	default:
		return fmt.Sprintf("conn: upgrade refused: %d sends are not settled: wait for OnSent", e.Unsent)
	}
}

// Unwrap returns e.Err.
func (e *UpgradeError) Unwrap() error { return e.Err }

// A ConnectError says why a connection never became ready.
type ConnectError struct {
	Stage Stage
	Addr  string // what was dialed, as given; or who had connected; empty if that is a nameless unix-domain socket
	Err   error
}

// Error names the stage, the address and the cause.
func (e *ConnectError) Error() string { return describe("connect "+e.Addr, e.Stage.String(), e.Err) }

// Unwrap returns e.Err.
func (e *ConnectError) Unwrap() error { return e.Err }

// Timeout reports whether it was too late.
func (e *ConnectError) Timeout() bool { return e.Stage == StageTimeout }

// Is reports whether Close or Abort came first and target is net.ErrClosed.
func (e *ConnectError) Is(target error) bool {
	return e.Stage == StageClosed && target == net.ErrClosed
}

// Stage is the part of connecting that failed.
type Stage uint8

const (
	StageDNS       Stage = iota + 1 // the name has no address
	StageDial                       // no address answered; Err joins what each of them said
	StageHandshake                  // a layer failed, or the peer left before all were ready
	StageTimeout                    // Config.StartTimeout passed; Err says in which of the above
	StageClosed                     // Close or Abort came first; matches net.ErrClosed
)

// String names the stage.
func (s Stage) String() string {
	switch s {
	case StageDNS:
		return "look-up"
	case StageDial:
		return "dial"
	case StageHandshake:
		return "handshake"
	case StageTimeout:
		return "timeout"
	case StageClosed:
		return "closed by us"
	}
	return fmt.Sprintf("Stage(%d)", uint8(s))
}

// A CloseError says why a connection did not end in order.
type CloseError struct {
	Cause Cause
	Err   error // may be nil
}

// Error names the cause.
func (e *CloseError) Error() string { return describe("connection ended", e.Cause.String(), e.Err) }

// Unwrap returns e.Err.
func (e *CloseError) Unwrap() error { return e.Err }

// Timeout reports whether it was too late.
func (e *CloseError) Timeout() bool { return e.Cause == CauseTimeout }

// Cause is the part of a connection that ended it.
type Cause uint8

const (
	CauseRead      Cause = iota + 1 // reading the socket failed; a reset by the peer too
	CauseWrite                      // writing the socket failed
	CauseLayer                      // a layer returned an error, or ended the connection (Link.End)
	CauseFrame                      // Split failed, or a frame was longer than it may be
	CauseHandler                    // OnReceived returned an error, or a callback panicked
	CauseTruncated                  // the peer's end came inside a frame, or before a layer's goodbye
	CauseTimeout                    // Config.CloseTimeout passed; or StartTimeout, in an upgrade
	CauseAbort                      // Abort
)

// String names the cause.
func (c Cause) String() string {
	switch c {
	case CauseRead:
		return "read"
	case CauseWrite:
		return "write"
	case CauseLayer:
		return "layer"
	case CauseFrame:
		return "frame"
	case CauseHandler:
		return "handler"
	case CauseTruncated:
		return "truncated"
	case CauseTimeout:
		return "timeout"
	case CauseAbort:
		return "aborted"
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

func describe(what, why string, err error) string {
	if err == nil {
		return "conn: " + what + ": " + why
	}
	return "conn: " + what + ": " + why + ": " + err.Error()
}

// A timeoutError says what took too long, and which setting bounds it.
type timeoutError struct {
	what    string
	setting string
	limit   time.Duration
}

func (e *timeoutError) Error() string {
	return fmt.Sprintf("%s took longer than Config.%s, %v", e.what, e.setting, e.limit)
}
func (e *timeoutError) Timeout() bool        { return true }
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
