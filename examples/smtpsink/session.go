package main

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"log"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/interceptor"
	"github.com/galago-go/galago/tls"
)

const (
	maxLine   = 1000 // bytes of a line with its end, as RFC 5321 has it in 4.5.3.1.6; text may have longer ones
	maxRcpts  = 100  // of one mail
	maxErrors = 20   // then the client is sent away

	// What a mail and a recipient cost beside their bytes, in bytes, roughly.
	mailCost = 256
	rcptCost = 32
)

var crlf = []byte("\r\n")

// lines cuts lines, and keeps their ends: a token without one is a part of a longer line. So a line that is too long can
// be answered, where frame.Lines would end the connection. A line ends with CRLF and with nothing else: servers that
// take a bare LF for an end as well can be made to see the end of a mail, and the next one, where others see text
// (SMTP smuggling, CVE-2023-51764).
func lines(data []byte, _ bool) (advance int, token []byte, err error) {
	if i := bytes.Index(data[:min(len(data), maxLine)], crlf); i >= 0 {
		return i + len(crlf), data[:i+len(crlf)], nil
	}
	if len(data) < maxLine {
		return 0, nil, nil
	}
	n := maxLine
	if data[n-1] == '\r' { // an end is not cut in two
		n--
	}
	return n, data[:n], nil
}

// A server is what is known beyond one connection.
type server struct {
	name  string
	size  int // bytes of the largest mail
	tls   interceptor.Factory
	store *store
	log   *log.Logger
}

// A session is one connection. Base closes it in order at the peer's end.
type session struct {
	actor.Base
	server *server

	greeted bool   // the client has said HELO or EHLO
	mail    *mail  // the transaction that goes on; nil if there is none
	data    bool   // what comes is the text of that mail
	refused string // the answer that the text will get at its end; empty as long as all is well
	part    bool   // a line has begun, and its end has not come
	errors  int
	over    bool // the last answer was given

	goAhead conn.SendToken // the answer to STARTTLS
	secured string         // what the handshake agreed on; empty before
}

// OnConnected greets: in SMTP it is the server who speaks first.
func (s *session) OnConnected(c *conn.Conn) {
	if _, err := c.Send([]byte("220 " + s.server.name + " ESMTP smtpsink\r\n")); err != nil {
		c.Abort(err)
	}
}

// OnReceived gets a line with its end, or a part of one.
//
// Each line has at most one answer and each answer is one Send, so with ReadWaits none is refused, however many
// commands a client sends ahead (PIPELINING). Answers to what arrived together leave together, at the end of the turn.
func (s *session) OnReceived(c *conn.Conn, line []byte) error {
	if s.over {
		return nil
	}
	begins, ends := !s.part, bytes.HasSuffix(line, crlf)
	s.part = !ends
	var answer string
	switch {
	case s.data:
		answer = s.received(line, begins)
	case !ends:
		return nil // the rest of it gets the answer
	case !begins:
		answer = "500 5.5.6 the line is too long\r\n"
	default:
		answer = s.command(c, string(line[:len(line)-len(crlf)]))
	}
	return s.answer(c, answer)
}

func (s *session) answer(c *conn.Conn, text string) (err error) {
	if text == "" {
		return nil
	}
	if text[0] == '5' {
		if s.errors++; s.errors >= maxErrors {
			s.over = true
			text += "421 4.7.0 too many errors\r\n"
		}
	}
	t, err := c.Send([]byte(text))
	if text == goAhead {
		s.goAhead = t
	}
	if s.over {
		c.Close()
	}
	return err
}

const goAhead = "220 2.0.0 go ahead\r\n"

// startTLS begins RFC 3207. Nothing may be read between the go-ahead and the handshake: so reading pauses, and goes on
// with the layer in place once the system has the answer.
func (s *session) startTLS(c *conn.Conn) string {
	if s.secured != "" {
		return "503 5.5.1 this is TLS already\r\n"
	}
	c.Pause()
	return goAhead
}

// OnSent waits for the go-ahead. If Upgrade is refused, commands came behind STARTTLS, which somebody in the middle may
// have put there: they must not pass for commands of the client, once TLS says who it is (CVE-2011-0411).
func (s *session) OnSent(c *conn.Conn, t conn.SendToken) {
	if t != s.goAhead {
		return
	}
	c.Resume()
	if err := c.Upgrade(s.server.tls); err != nil {
		c.Abort(err)
	}
}

// OnEvent hears that TLS is there. All that the client said before is forgotten: it may have been somebody else.
func (s *session) OnEvent(_ *conn.Conn, ev any) {
	if ev, ok := ev.(tls.Established); ok {
		state := ev.Layer.State()
		s.secured = stdtls.VersionName(state.Version) + " " + stdtls.CipherSuiteName(state.CipherSuite)
		s.greeted = false
		s.errors = 0
		s.reset()
	}
}

// OnIdle sends a silent client away. In the midst of a handshake it cannot be told.
func (s *session) OnIdle(c *conn.Conn) {
	if c.IsWriteable() {
		_, _ = c.Send([]byte("421 4.4.2 nothing came for too long\r\n"))
	}
	s.over = true
	c.Close()
}

// OnClosed tells ends that are no good ends.
func (s *session) OnClosed(c *conn.Conn, err error) {
	s.reset()
	var refused *conn.UpgradeError
	switch {
	case err == nil:
	case errors.As(err, &refused):
		s.server.log.Printf("%v: reset: %d bytes came in clear text behind STARTTLS", c.RemoteAddr(), refused.Unread)
	default:
		s.server.log.Printf("%v: %v", c.RemoteAddr(), err)
	}
}
