// Package conn is the logic of one TCP connection, without the socket. It decides and never acts: it makes no system
// call, reads no clock and starts no goroutine. A shell (package conn/loop) does the I/O through a [Backend] and feeds
// a [Driver]; the owner of the connection uses its [Conn] and implements a [Handler].
//
// # Where to start
//
// Embed [Defaults], write the callbacks of [Handler] that matter, and use the [Conn] that each of them is given:
//
//	type echo struct{ conn.Defaults }
//
//	func (echo) OnReceived(c *conn.Conn, data []byte) error {
//		_, err := c.Send(data)
//		return err
//	}
//
// Package actor runs it on real sockets, as an actor, with actor.Base in the place of Defaults. [Config] says how the
// stream is cut into frames ([Config].Split, see package conn/frame), through which layers it goes (see package
// interceptor), and what bounds memory and time. Of the rest, [Conn.Send] and [SendError] are worth reading first, then
// [CloseError] and [ConnectError]. [Driver], [Backend] and [Memory] are for those who write a shell.
//
// # Turns
//
// Everything happens in turns, one at a time. A turn tells what happened before (notices), reads, lets the owner
// handle its messages, and writes once. What a turn causes is told in a later one, through one FIFO of notices. So no
// callback ever runs inside a method, the order of events is the order of their causes, and a [Conn.Send] either says
// at once why it was refused or is settled exactly once.
//
// A few words are used in one sense only. A byte is accepted by Send and written when the system took it. A send is
// settled by its outcome, OnSent or OnSendFailed. Pending bytes are accepted and not written. The peer ends, we close.
// Reading is held back by holders: the application (Pause), ReadWaits, the layers' own output, a layer; it runs when
// there is none.
//
// # States
//
//	Connecting -> Starting   the socket is connected
//	           -> Closed     no address answered, too late, Close, Abort
//	Starting   -> Connected  every layer is ready
//	           -> Closing    a layer failed or ended it, and has last words
//	           -> Closed     a layer failed, the peer left, too late, Close, Abort
//	Connected  -> Upgrading  Upgrade
//	           -> Closing    Close, a layer's last words, or both directions have ended
//	           -> Closed     Abort, failure
//	Upgrading  -> Connected  the new layer is ready
//	           -> Closing    Close, a layer's last words
//	           -> Closed     the layer failed, too late, Abort, failure
//	Closing    -> Closed     both directions have ended, too late, Abort, failure
//
// # Promises
//
//   - OnConnectFailed comes alone; or OnConnected comes first and OnClosed last. Each comes once. Only
//     OnEvent may come before.
//   - No callback runs inside a method of Conn, nor while another runs.
//   - A notice comes in a later turn than the one that caused it. Notices keep their order.
//   - Data does not overtake notices: those of earlier turns come before it, and reading ends as soon
//     as it causes one.
//   - Every accepted Send gets one OnSent or one OnSendFailed, in order of sending, before OnClosed;
//     after the first OnSendFailed there is no OnSent.
//   - A refused Send leaves no trace: no byte, no token, no callback. (If a layer fails in it, it
//     returns ErrNotConnected, and the connection ends.)
//   - OnThrottled and OnUnthrottled alternate. In OnThrottled Send is refused; from OnUnthrottled on
//     it is accepted. Every ErrNotWriteable is followed by OnUnthrottled or OnClosed.
//   - Pending bytes of the application never exceed HighWater + MaxPending.
//   - Close loses no accepted byte, unless CloseTimeout or a failure ends it.
//   - After Pause there is no OnReceived until Resume; after Yield, none in that turn. No byte is lost.
//   - A stream that ends inside a frame is reported, in OnEOF and in OnClosed.
//   - Connecting, Starting, Upgrading and Closing have deadlines.
//
// # Testing
//
// Package conn/conntest runs handlers and layers against a scripted socket, with time passed in.
package conn
