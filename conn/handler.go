package conn

import "errors"

// A Handler is told what happens to one connection. Either OnConnectFailed comes, and nothing after it; or
// OnConnected, any mix of the others, and last OnClosed. Only OnEvent may come before. All but OnReceived are
// notices; see the promises of the package.
type Handler interface {
	// OnConnected says that application bytes may flow: the socket is connected and every layer is ready, whoever
	// opened the connection.
	OnConnected(c *Conn)
	// OnConnectFailed says that the connection never became ready. err is a [*ConnectError].
	OnConnectFailed(c *Conn, err error)
	// OnReceived delivers one frame, or some bytes if there is no framing. data is valid during the call only.
	// [Yield] ends the turn and keeps the rest for the next one; any other error aborts with [CauseHandler], or,
	// while closing, only ends delivery. It does not come while paused, nor while Config.ReadWaits holds it back.
	OnReceived(c *Conn, data []byte) error
	// OnEOF says that the peer sends no more; all its data was delivered. Send still works, unless Close was called.
	// err is nil, or says that the stream broke off inside a frame. After a reset only OnClosed comes.
	OnEOF(c *Conn, err error)
	// OnThrottled says that too much is pending: Send is refused. It comes once, however often Send is refused.
	OnThrottled(c *Conn)
	// OnUnthrottled says that Send is accepted again: no more than Config.LowWater is pending. It does not come once
	// the connection is closing.
	OnUnthrottled(c *Conn)
	// OnSent says that the system took all bytes of a Send, in the form that the layers gave them.
	OnSent(c *Conn, t SendToken)
	// OnSendFailed says that the connection ended before the system took all bytes of a Send. OnClosed follows.
	OnSendFailed(c *Conn, t SendToken)
	// OnTimer comes once for each timer not stopped, also while paused, throttled or closing.
	OnTimer(c *Conn, t TimerToken)
	// OnIdle comes after each idle timeout in which no byte moved. It does not come before OnConnected or after Close.
	OnIdle(c *Conn)
	// OnEvent tells what a layer or the connection raised: [Connecting], [Upgraded], tls.Established.
	OnEvent(c *Conn, ev any)
	// OnClosed is the last call. err is nil if both directions ended in order, else a [*CloseError].
	OnClosed(c *Conn, err error)
}

// Yield is returned by OnReceived to let others run. It is not a failure.
//
//lint:ignore ST1012 it is an answer, and no error in the reader's eyes
var Yield = errors.New("conn: yield")

// Defaults is a Handler that closes the connection in OnIdle and OnEOF, and otherwise does nothing. Embed it, and
// write only what differs.
type Defaults struct{}

// OnConnected does nothing.
func (Defaults) OnConnected(*Conn) {}

// OnConnectFailed does nothing.
func (Defaults) OnConnectFailed(*Conn, error) {}

// OnReceived drops the data.
func (Defaults) OnReceived(*Conn, []byte) error { return nil }

// OnEOF closes the connection in order: what was sent still arrives.
func (Defaults) OnEOF(c *Conn, _ error) { c.Close() }

// OnThrottled does nothing.
func (Defaults) OnThrottled(*Conn) {}

// OnUnthrottled does nothing.
func (Defaults) OnUnthrottled(*Conn) {}

// OnSent does nothing.
func (Defaults) OnSent(*Conn, SendToken) {}

// OnSendFailed does nothing.
func (Defaults) OnSendFailed(*Conn, SendToken) {}

// OnTimer does nothing.
func (Defaults) OnTimer(*Conn, TimerToken) {}

// OnIdle closes the connection in order.
func (Defaults) OnIdle(c *Conn) { c.Close() }

// OnEvent does nothing.
func (Defaults) OnEvent(*Conn, any) {}

// OnClosed does nothing.
func (Defaults) OnClosed(*Conn, error) {}

var _ Handler = Defaults{}
