package conntest

import (
	"github.com/galago-go/galago/conn"
)

// An observer is a Rig as its connection sees it: it hands each callback on, looks whether it comes at its place, and
// spoils the memory that was valid during the call only.
type observer Rig

var _ conn.Handler = (*observer)(nil)

// at notes a callback. Those between two turns are those of a test that takes turns with the Driver itself.
func (o *observer) at(call string) {
	r := (*Rig)(o)
	r.called++
	if r.last = append(r.last, call); len(r.last) > 20 {
		r.last = r.last[1:]
	}
	switch {
	case r.phase == phaseNone, r.phase == phaseDeliver && call != "OnReceived", r.phase == phaseRead && call == "OnReceived":
	default:
		r.violate("%s came in %s: a callback inside a method of Conn, or at the wrong place of the turn", call, r.phase)
	}
}

func (o *observer) OnConnected(c *conn.Conn) {
	o.at("OnConnected")
	o.h.OnConnected(c)
}

func (o *observer) OnConnectFailed(c *conn.Conn, err error) {
	o.at("OnConnectFailed")
	o.h.OnConnectFailed(c, err)
}

func (o *observer) OnReceived(c *conn.Conn, data []byte) error {
	o.at("OnReceived")
	err := o.h.OnReceived(c, data)
	for i := range data {
		data[i] = 0xff
	}
	return err
}

func (o *observer) OnEOF(c *conn.Conn, err error) {
	o.at("OnEOF")
	o.h.OnEOF(c, err)
}

func (o *observer) OnThrottled(c *conn.Conn) {
	o.at("OnThrottled")
	o.h.OnThrottled(c)
}

func (o *observer) OnUnthrottled(c *conn.Conn) {
	o.at("OnUnthrottled")
	o.h.OnUnthrottled(c)
}

func (o *observer) OnSent(c *conn.Conn, t conn.SendToken) {
	o.at("OnSent")
	o.h.OnSent(c, t)
}

func (o *observer) OnSendFailed(c *conn.Conn, t conn.SendToken) {
	o.at("OnSendFailed")
	o.h.OnSendFailed(c, t)
}

func (o *observer) OnTimer(c *conn.Conn, t conn.TimerToken) {
	o.at("OnTimer")
	o.h.OnTimer(c, t)
}

func (o *observer) OnIdle(c *conn.Conn) {
	o.at("OnIdle")
	o.h.OnIdle(c)
}

func (o *observer) OnEvent(c *conn.Conn, ev any) {
	o.at("OnEvent")
	o.h.OnEvent(c, ev)
}

func (o *observer) OnClosed(c *conn.Conn, err error) {
	o.at("OnClosed")
	o.h.OnClosed(c, err)
}
