package actor

import "github.com/galago-go/galago/conn"

// Any actor or goroutine may send these to the PID of a connection, best as pointers, which cost no allocation each time
// they are passed on. They are handled in order with other messages. Receive does not see them.
type (
	// Write sends Data, which must not change any more; many connections may be given one Write. If Ack is not nil,
	// the sender gets exactly one answer: Written once the system took the bytes, or WriteFailed. OnSent and
	// OnSendFailed are not called for it. Without Ack, or without a sender to tell, a refusal only shows in Stats.
	//
	// Data that OnReceived was given must be copied first. Before OnConnected a Write fails. Once the actor has stopped there is nobody to answer:
	// Proto.Actor sends its DeadLetterResponse instead, without the Ack.
	//
	// The answers do not say which connection they are of, so give each its own Ack. A mailbox has no bound: who may
	// write faster than the peer reads must wait for answers, or count them. On a connection without layers that sends
	// nothing else, no Write is refused as not writeable while those without an answer, the next one included, have no
	// more than conn.Config.HighWater bytes.
	Write struct {
		Data []byte
		Ack  any // comes back in the answer
	}
	// Written answers a Write, as a pointer: the system took all of its bytes.
	Written struct{ Ack any }
	// WriteFailed answers a Write, as a pointer: the system did not take all of its bytes.
	WriteFailed struct {
		Ack any
		Err error // a SendError; ErrNotConnected also if the connection ended first
	}
	// Close ends the connection in order, as [conn.Conn.Close] does: what was accepted before is written.
	Close struct{}
	// Abort resets the connection, as [conn.Conn.Abort] does.
	Abort struct{ Err error }
	// Pause stops OnReceived, as [conn.Conn.Pause] does.
	Pause struct{}
	// Resume ends Pause, as [conn.Conn.Resume] does.
	Resume struct{}
)

// Notice and Readable carry a callback, and a turn's reading, to the actor where somebody could see them on the way:
// receiver middleware (Props of [ListenConfig] and [DialConfig]), Proto.Actor's metrics, a receive timeout. Receive does
// not see them. They are valid during the call only. Middleware may look at them; the callback or reading takes place even if
// it does not pass them on.
type (
	Notice   struct{ conn.Notice }
	Readable struct{}
)
