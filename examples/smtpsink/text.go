package main

import (
	"bytes"
	"fmt"
)

// received takes a line of a mail's text, or a part of a line, and has the answer if it was the last one.
func (s *session) received(line []byte, begins bool) (answer string) {
	if begins && line[0] == '.' {
		if string(line) == ".\r\n" {
			return s.endData()
		}
		line = line[1:] // the client has put it there, so that no line is the last one by chance
	}
	if s.refused != "" {
		return "" // it is read to its end all the same, or it would be taken for commands
	}
	if s.refused = s.add(line); s.refused != "" {
		s.server.store.drop(s.mail)
	}
	return ""
}

// add appends to the text, or says why not.
func (s *session) add(line []byte) (refused string) {
	m := s.mail
	n := len(m.text) + len(line)
	switch {
	case bytes.ContainsAny(bytes.TrimSuffix(line, crlf), "\r\n"):
		return "550 5.6.0 a line ends with CR and LF, which have no other use\r\n"
	case n > s.server.size:
		return s.tooLarge()
	case n > cap(m.text):
		room := min(max(n, 2*cap(m.text), 4*maxLine), s.server.size)
		// While it is copied there are two of them: for a moment, and of one mail on each loop.
		if !s.server.store.lend(m, room-cap(m.text)) {
			return tooMuch
		}
		m.text = append(make([]byte, 0, room), m.text...)
	}
	m.text = append(m.text, line...)
	return ""
}

// endData ends the transaction: the mail is kept, or there is a reason why it is not.
func (s *session) endData() string {
	m, refused := s.mail, s.refused
	s.mail, s.data = nil, false
	if refused != "" {
		return refused
	}
	return fmt.Sprintf("250 2.0.0 kept as mail %d\r\n", s.server.store.keep(m))
}

// reset forgets the transaction, if there is one.
func (s *session) reset() {
	if s.mail != nil {
		s.server.store.drop(s.mail)
	}
	s.mail, s.data = nil, false
}

func (s *session) tooLarge() string {
	return fmt.Sprintf("552 5.3.4 a mail has at most %d bytes\r\n", s.server.size)
}
