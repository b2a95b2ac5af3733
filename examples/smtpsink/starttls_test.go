package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
	"github.com/galago-go/galago/examples/internal/selfsigned"
)

// toolsEnv, if 1, makes a test fail that lacks a program.
const toolsEnv = "GALAGO_REQUIRE_TLS_TOOLS"

// tool runs a program of others to its end, and returns what it says.
func tool(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv(toolsEnv) == "1" {
			require.NoError(t, err)
		}
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	require.NoError(t, cmd.Run(), "%s %q: %s", name, args, &out)
	return out.String()
}

func (s *sink) client() *tls.Config { return &tls.Config{RootCAs: s.pool, ServerName: "localhost"} }

// swaks is a client that does all of it: STARTTLS, a second EHLO, a mail, QUIT.
func TestSwaks(t *testing.T) {
	s := start(t)
	for _, test := range []struct{ flag, by string }{
		{"--tls", "by TLS 1.3 TLS_"},
		{"--tls-protocol=tlsv1_2", "by TLS 1.2 TLS_ECDHE_ECDSA_"},
		{"", "in clear text"},
	} {
		args := []string{"--server", s.Addr, "--from", "a@example.org", "--to", "b@example.org,c@example.org",
			"--header", "Subject: by swaks", "--body", "hello\n.\n..two dots", "--tls-ca-path", s.cert}
		if test.flag == "--tls-protocol=tlsv1_2" {
			args = append(args, "--tls", "--tls-protocol", "tlsv1_2")
		} else if test.flag != "" {
			args = append(args, test.flag)
		}
		out := tool(t, "", "swaks", args...)
		assert.Contains(t, out, "250 2.0.0 kept as mail", "%s", out)
		assert.Contains(t, out, "221 2.0.0 bye")
		if test.flag != "" {
			assert.Contains(t, out, "TLS started", "%s", out)
		}
		line := s.Line(t)
		assert.Contains(t, line, `from "a@example.org" to "b@example.org", "c@example.org", `)
		assert.Contains(t, line, test.by)
		assert.Contains(t, line, `subject "by swaks"`)
	}
	assert.Contains(t, s.Stop(t), "mails: 3, ")
}

// openssl s_client says EHLO and STARTTLS by itself, checks the certificate, and passes what it reads.
func TestOpenSSL(t *testing.T) {
	s := start(t, "-whole")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		// -ign_eof: it goes on after the end of its input, until QUIT is answered. It has said EHLO before STARTTLS, which
		// counts no more.
		mail := "MAIL FROM:<>\nEHLO test\nMAIL FROM:<>\nRCPT TO:<b@example.org>\nDATA\nSubject: s_client\n\n..dot\n.\nQUIT\n"
		out := tool(t, mail, "openssl", "s_client", "-connect", s.Addr, "-starttls", "smtp", version, "-crlf", "-ign_eof",
			"-CAfile", s.cert, "-verify_return_error", "-verify_hostname", "localhost")
		assert.Contains(t, out, "Verify return code: 0 (ok)", "%s", out)
		assert.Contains(t, out, "503 5.5.1 say EHLO first", "%s", out)
		assert.Contains(t, out, "250 2.0.0 kept as mail", "%s", out)
		assert.Contains(t, out, "221 2.0.0 bye", "%s", out)
		assert.Contains(t, s.Line(t), `from "" to "b@example.org", `)
		for _, line := range []string{"Subject: s_client", "", ".dot", ""} {
			assert.Equal(t, line, s.Line(t))
		}
	}
	assert.Contains(t, s.Stop(t), "aborted: 0")
}

// net/smtp is the client of Go's library.
func TestGoClient(t *testing.T) {
	s := start(t)
	c, err := smtp.Dial(s.Addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.StartTLS(s.client()))
	assert.Error(t, c.StartTLS(s.client()), "it is offered once only")
	require.NoError(t, c.Mail("a@example.org"))
	require.NoError(t, c.Rcpt("b@example.org"))
	w, err := c.Data()
	require.NoError(t, err)
	text := strings.Repeat("Some line.\r\n.dots\r\n", 20_000)
	_, err = io.WriteString(w, "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\n"+text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, c.Quit())
	line := s.Line(t)
	assert.Contains(t, line, `subject "grüße"`)
	assert.Contains(t, line, "mail 1 ")
	s.Stop(t)
}

// A certificate is renewed while the server runs: the next handshake shows the new one, and who talks by the old one may go
// on.
func TestTheCertificateIsReplaced(t *testing.T) {
	s := start(t)
	shake := func(pool *x509.CertPool) (*talk, error) {
		c := s.open(t)
		c.say("EHLO test", helloClear)
		c.say("STARTTLS", "220 2.0.0 go ahead")
		over := tls.Client(c.nc, &tls.Config{RootCAs: pool, ServerName: "localhost"})
		c.nc, c.in = over, bufio.NewReader(over)
		err := over.Handshake()
		if err != nil {
			over.Close()
		}
		return c, err
	}
	old, err := shake(s.pool)
	require.NoError(t, err)
	old.say("EHLO old", helloTLS)

	pair, err := selfsigned.New()
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	_, err = shake(pool)
	require.Error(t, err, "nobody knows of it yet")
	_, _, err = selfsigned.Write(filepath.Dir(s.cert), pair)
	require.NoError(t, err)
	deadline := time.Now().Add(program.Patience)
	fresh, err := shake(pool)
	for err != nil && time.Now().Before(deadline) { // each try takes a server's handshake, and so some time
		fresh, err = shake(pool)
	}
	require.NoError(t, err, "the new certificate is shown")
	_, err = shake(s.pool)
	assert.Error(t, err, "the old one is not")
	for _, c := range []*talk{old, fresh} {
		c.say("NOOP", "250 2.0.0 ok")
		c.nc.Close()
	}
	assert.Contains(t, s.Stop(t), "a new certificate is used")
}

// What was said in clear text, somebody else may have said: after the handshake it is forgotten.
func TestNothingIsKnownAfterTheHandshake(t *testing.T) {
	s := start(t)
	c := s.open(t)
	c.say("EHLO before", helloClear)
	c.say("MAIL FROM:<a@example.org>", "250 2.1.0 ok")
	c.say("RCPT TO:<mallory@example.org>", "250 2.1.5 ok")
	c.say("STARTTLS now", "501 5.5.4 this command has no arguments")
	c.say("STARTTLS", "220 2.0.0 go ahead")
	c.secure(s.client())
	c.say("DATA", "503 5.5.1 say MAIL and RCPT first")
	c.say("RCPT TO:<b@example.org>", "503 5.5.1 say MAIL first")
	c.say("MAIL FROM:<a@example.org>", "503 5.5.1 say EHLO first")
	c.say("EHLO after", helloTLS)
	c.say("STARTTLS", "503 5.5.1 this is TLS already")
	c.say("MAIL FROM:<a@example.org>", "250 2.1.0 ok")
	c.say("RCPT TO:<b@example.org>", "250 2.1.5 ok")
	c.say("DATA", "354 ...")
	c.say("hello\r\n.", "250 2.0.0 kept as mail 1")
	c.say("QUIT", "221 2.0.0 bye")
	_, err := c.in.ReadByte()
	assert.Equal(t, io.EOF, err, "close_notify")
	assert.NotContains(t, s.Line(t), "mallory")
	s.Stop(t)
}

// Somebody in the middle puts a command behind STARTTLS, in clear text (CVE-2011-0411, CVE-2021-23222). It is never
// taken for one that came under protection: there is no handshake, or it fails.
func TestUPG2_InjectedCommands(t *testing.T) {
	const injected = "RSET\r\nEHLO mallory\r\nMAIL FROM:<mallory@example.org>\r\n"
	t.Run("in the segment of STARTTLS", func(t *testing.T) {
		s := start(t)
		c := s.open(t)
		c.say("EHLO before", helloClear)
		c.send("STARTTLS\r\n" + injected)
		rest, _ := io.ReadAll(c.in) // the go-ahead, unless the reset overtakes it
		assert.Contains(t, []string{"", "220 2.0.0 go ahead\r\n"}, string(rest))
		assert.Contains(t, s.Stop(t), "bytes came in clear text behind STARTTLS")
	})
	t.Run("later", func(t *testing.T) {
		s := start(t)
		c := s.open(t)
		c.say("EHLO before", helloClear)
		c.say("STARTTLS", "220 2.0.0 go ahead")
		c.send(injected)
		rest, _ := io.ReadAll(c.in) // an alert, perhaps
		assert.NotContains(t, string(rest), "250")
		assert.Contains(t, s.Stop(t), "first record does not look like a TLS handshake")
	})
	t.Run("before a handshake of the victim's", func(t *testing.T) {
		s := start(t)
		c := s.open(t)
		c.say("EHLO before", helloClear)
		c.say("STARTTLS", "220 2.0.0 go ahead")
		c.send(injected)
		assert.Error(t, tls.Client(c.nc, s.client()).Handshake())
		s.Stop(t)
	})
}
