package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/galago-go/galago/conn"
)

// Answers that more than one command gives.
const (
	ok         = "250 2.0.0 ok\r\n"
	noArgs     = "501 5.5.4 this command has no arguments\r\n"
	unknown    = "500 5.5.2 no such command\r\n"
	helloFirst = "503 5.5.1 say EHLO first\r\n"
	tooMuch    = "452 4.3.1 too much mail is arriving: try again later\r\n"
)

// command does what a line says, and has the answer.
func (s *session) command(c *conn.Conn, line string) string {
	verb, args, _ := strings.Cut(strings.TrimRight(line, " \t"), " ")
	if strings.ContainsAny(line, "\r\n\x00") {
		return "500 5.5.2 a command is one line\r\n"
	}
	verb = strings.ToUpper(verb)
	switch verb {
	case "EHLO", "HELO":
		return s.hello(verb, args)
	case "MAIL":
		return s.mailFrom(args)
	case "RCPT":
		return s.rcptTo(args)
	case "VRFY":
		return "252 2.5.2 whoever it is, mail to them is accepted\r\n"
	case "NOOP": // which may have arguments
		return ok
	case "HELP":
		return "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY STARTTLS QUIT; see RFC 5321\r\n"
	case "EXPN", "TURN", "ETRN", "AUTH":
		return "502 5.5.1 this command is not for a sink\r\n"
	case "DATA", "RSET", "QUIT", "STARTTLS":
		if args != "" {
			return noArgs
		}
	default:
		return unknown
	}
	switch verb {
	case "RSET":
		s.reset()
		return ok
	case "DATA":
		return s.beginData()
	case "STARTTLS":
		return s.startTLS(c)
	default: // QUIT
		s.over = true
		return "221 2.0.0 bye\r\n"
	}
}

// hello is the answer to HELO and EHLO, which end a transaction.
func (s *session) hello(verb, name string) string {
	if name == "" {
		return "501 5.5.4 who are you?\r\n"
	}
	s.reset()
	s.greeted = true
	if verb == "HELO" {
		return "250 " + s.server.name + "\r\n"
	}
	has := []string{s.server.name, "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", fmt.Sprintf("SIZE %d", s.server.size)}
	if s.secured == "" {
		has = append(has, "STARTTLS")
	}
	return "250-" + strings.Join(has[:len(has)-1], "\r\n250-") + "\r\n250 " + has[len(has)-1] + "\r\n"
}

// mailFrom begins a transaction. Mail without a sender, which reports of failures are, is in order.
func (s *session) mailFrom(args string) string {
	if !s.greeted {
		return helloFirst
	}
	if s.mail != nil {
		return "503 5.5.1 there is a sender already: DATA or RSET\r\n"
	}
	from, params, err := address(args, "FROM:")
	if err != "" {
		return err
	}
	for _, param := range params {
		if err := s.parameter(param); err != "" {
			return err
		}
	}
	m := &mail{from: from, tls: s.secured}
	if !s.server.store.lend(m, mailCost+len(from)) {
		return tooMuch
	}
	s.mail = m
	return "250 2.1.0 ok\r\n"
}

// parameter checks what EHLO allows to be said of a mail. It needs no more than that: all mail is taken by its bytes.
func (s *session) parameter(param string) (err string) {
	name, value, _ := strings.Cut(param, "=")
	switch strings.ToUpper(name) {
	case "SIZE":
		n, bad := strconv.ParseUint(value, 10, 63)
		if bad != nil {
			return "501 5.5.4 SIZE is a number\r\n"
		}
		if n > uint64(s.server.size) {
			return s.tooLarge()
		}
		return ""
	case "BODY":
		if v := strings.ToUpper(value); v == "7BIT" || v == "8BITMIME" {
			return ""
		}
		return "501 5.5.4 BODY is 7BIT or 8BITMIME\r\n"
	}
	return "555 5.5.4 there are no parameters but SIZE and BODY\r\n"
}

func (s *session) rcptTo(args string) string {
	if s.mail == nil {
		return "503 5.5.1 say MAIL first\r\n"
	}
	if len(s.mail.to) == maxRcpts {
		return fmt.Sprintf("452 4.5.3 a mail has at most %d recipients\r\n", maxRcpts)
	}
	to, params, err := address(args, "TO:")
	switch {
	case err != "":
		return err
	case to == "":
		return "501 5.1.3 nobody is no recipient\r\n"
	case len(params) > 0:
		return "555 5.5.4 a recipient has no parameters\r\n"
	}
	if !s.server.store.lend(s.mail, rcptCost+len(to)) {
		return tooMuch
	}
	s.mail.to = append(s.mail.to, to)
	return "250 2.1.5 ok\r\n"
}

func (s *session) beginData() string {
	if s.mail == nil || len(s.mail.to) == 0 {
		return "503 5.5.1 say MAIL and RCPT first\r\n"
	}
	s.data, s.refused = true, ""
	return "354 end it with a dot on a line of its own\r\n"
}

// address parses what MAIL and RCPT say: a word, an address in angle brackets, parameters.
func address(args, word string) (addr string, params []string, err string) {
	const want = "501 5.5.4 wanted: %s<address>\r\n"
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return "", nil, fmt.Sprintf(want, word)
	}
	rest := strings.TrimLeft(args[len(word):], " ") // RFC 5321 has no space here, but many clients do
	end := bracket(rest)
	if end < 0 {
		return "", nil, fmt.Sprintf(want, word)
	}
	addr, rest = rest[1:end], rest[end+1:]
	if rest != "" && rest[0] != ' ' {
		return "", nil, fmt.Sprintf(want, word)
	}
	if strings.HasPrefix(addr, "@") { // a route, which is to be ignored
		_, addr, _ = strings.Cut(addr, ":")
		if addr == "" {
			return "", nil, fmt.Sprintf(want, word)
		}
	}
	for i := range len(addr) {
		if addr[i] < ' ' || addr[i] > '~' {
			return "", nil, "553 5.6.7 an address is of printable ASCII: there is no SMTPUTF8 here\r\n"
		}
	}
	return addr, strings.Fields(rest), ""
}

// bracket finds the one that closes what the first byte of s opens, or returns -1. A quoted name may have some within.
func bracket(s string) int {
	if s == "" || s[0] != '<' {
		return -1
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}
