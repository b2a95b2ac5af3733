package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSendErrorsNameTheReasonAndTheCure(t *testing.T) {
	for err, want := range map[SendError]string{
		ErrNotConnected: "conn: not connected",
		ErrNotReady:     "conn: not ready: wait for OnConnected or Upgraded",
		ErrTooLarge:     "conn: too large: more than Config.MaxPending, split it",
		ErrNotWriteable: "conn: not writeable: too much is pending, wait for OnUnthrottled",
		0:               "conn: SendError(0)",
		99:              "conn: SendError(99)",
	} {
		assert.EqualError(t, err, want)
		wrapped := fmt.Errorf("answering: %w", err)
		assert.Equal(t, err == ErrNotConnected, errors.Is(wrapped, net.ErrClosed), "%v as net.ErrClosed", err)
		assert.False(t, errors.Is(wrapped, io.EOF), "%v as any other error", err)
		var as SendError
		require.True(t, errors.As(wrapped, &as))
		assert.Equal(t, err, as)
	}
}

// A refusal is returned a million times a second when it hurts most.
func TestARefusalDoesNotAllocate(t *testing.T) {
	var keep error
	for err := ErrNotConnected; err <= ErrNotWriteable; err++ {
		assert.Zero(t, testing.AllocsPerRun(100, func() { keep = err }), "%v", err)
		assert.Zero(t, testing.AllocsPerRun(100, func() { _ = err.Error() }), "%v", err)
	}
	assert.Equal(t, ErrNotWriteable, keep)
}

func TestUpgradeErrorsNameTheReasonAndTheCure(t *testing.T) {
	for _, k := range []struct {
		err  *UpgradeError
		want string
	}{
		{&UpgradeError{Err: ErrNotReady}, "conn: upgrade refused: conn: not ready: wait for OnConnected or Upgraded"},
		{&UpgradeError{Unread: 5, Unsent: 2}, "conn: upgrade refused: 5 bytes are read but not delivered; the peer sent ahead"},
		{&UpgradeError{Unsent: 2}, "conn: upgrade refused: 2 sends are not settled: wait for OnSent"},
	} {
		assert.EqualError(t, k.err, k.want)
	}
	assert.ErrorIs(t, &UpgradeError{Err: ErrNotConnected}, net.ErrClosed)
	assert.ErrorIs(t, &UpgradeError{Err: ErrNotReady}, ErrNotReady)
	assert.NotErrorIs(t, &UpgradeError{Unread: 1}, ErrNotConnected)
	assert.NoError(t, errors.Unwrap(&UpgradeError{Unsent: 1}))
}

func TestConnectErrorsNameStageAddressAndCause(t *testing.T) {
	const addr = "far.example:25"
	wants := map[Stage]string{
		StageDNS:       "conn: connect far.example:25: look-up: EOF",
		StageDial:      "conn: connect far.example:25: dial: EOF",
		StageHandshake: "conn: connect far.example:25: handshake: EOF",
		StageTimeout:   "conn: connect far.example:25: timeout: EOF",
		StageClosed:    "conn: connect far.example:25: closed by us: EOF",
		99:             "conn: connect far.example:25: Stage(99): EOF",
	}
	for stage, want := range wants {
		err := fmt.Errorf("start: %w", &ConnectError{Stage: stage, Addr: addr, Err: io.EOF})
		assert.EqualError(t, err, "start: "+want)
		var as *ConnectError
		require.ErrorAs(t, err, &as)
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, stage == StageClosed, errors.Is(err, net.ErrClosed), "%v as net.ErrClosed", stage)
		assert.Equal(t, stage == StageTimeout, isTimeout(err), "%v as a timeout", stage)
	}
	assert.EqualError(t, &ConnectError{Stage: StageClosed, Addr: addr}, "conn: connect far.example:25: closed by us")
}

func TestCloseErrorsNameTheCause(t *testing.T) {
	wants := map[Cause]string{
		CauseRead: "read", CauseWrite: "write", CauseLayer: "layer", CauseFrame: "frame", CauseHandler: "handler",
		CauseTruncated: "truncated", CauseTimeout: "timeout", CauseAbort: "aborted", 99: "Cause(99)",
	}
	for cause, word := range wants {
		assert.EqualError(t, &CloseError{Cause: cause}, "conn: connection ended: "+word)
		err := fmt.Errorf("in all: %w", &CloseError{Cause: cause, Err: io.ErrUnexpectedEOF})
		assert.EqualError(t, err, "in all: conn: connection ended: "+word+": unexpected EOF")
		var as *CloseError
		require.ErrorAs(t, err, &as)
		assert.Equal(t, cause, as.Cause)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Equal(t, cause == CauseTimeout, isTimeout(err), "%v as a timeout", cause)
	}
	assert.NoError(t, errors.Unwrap(&CloseError{Cause: CauseAbort}))
}

// isTimeout asks as callers of package net do.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestATimeoutNamesTheSettingThatBoundsIt(t *testing.T) {
	cause := &timeoutError{"dialing", "StartTimeout", 3 * time.Second}
	err := &ConnectError{Stage: StageTimeout, Addr: "far.example:25", Err: cause}
	assert.EqualError(t, err, "conn: connect far.example:25: timeout: dialing took longer than Config.StartTimeout, 3s")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.True(t, isTimeout(cause))
}

func TestEachStateHasItsName(t *testing.T) {
	seen := map[string]bool{}
	for s := range State(len(transitions)) {
		assert.NotContains(t, s.String(), "(", "state %d", s)
		assert.False(t, seen[s.String()], "two states are called %v", s)
		seen[s.String()] = true
	}
	assert.Equal(t, "State(99)", State(99).String())
}
