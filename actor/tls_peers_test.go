//go:build linux

package actor_test

import (
	"bufio"
	"bytes"
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
	"github.com/galago-go/galago/conn/frame"
	"github.com/galago-go/galago/tls"
)

// TLS with programs that nobody here wrote: OpenSSL, GnuTLS, curl.

// files writes the certificate and the key where programs can read them.
func (c *certified) files(t testing.TB) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, c.cert, 0o600))
	require.NoError(t, os.WriteFile(key, c.pk, 0o600))
	return cert, key
}

// runTool runs a program to its end, and returns what it says and its exit code.
func runTool(t *testing.T, stdin, name string, args ...string) (out string, code int) {
	t.Helper()
	needTool(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), slow)
	defer cancel()
	var buf bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &buf, &buf
	_ = cmd.Run() // the code tells
	require.NoError(t, ctx.Err(), "%s %q: %s", name, args, &buf)
	return buf.String(), cmd.ProcessState.ExitCode()
}

var versions = map[string]uint16{"-tls1_2": stdtls.VersionTLS12, "-tls1_3": stdtls.VersionTLS13}

// notesState has p write down what the handshake agreed on.
func notesState(p *probe) {
	p.onEvent = func(p *probe, ev any) {
		if s, ok := state(ev); ok {
			p.note(fmt.Sprintf("%s %q resumed=%v peers=%d", stdtls.VersionName(s.Version), s.NegotiatedProtocol, s.DidResume,
				len(s.PeerCertificates)))
		}
	}
}

// s_client, by version: certificate checked, ALPN, client certificate, its end of the stream and ours.
func TestTLS5_ClientIsOpenSSL(t *testing.T) {
	ours, theirs := certify(t, "ours"), certify(t, "theirs")
	ca, _ := ours.files(t)
	cert, key := theirs.files(t)
	for flag, version := range versions {
		t.Run(flag[1:], func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(serves(ours.server(func(c *tls.Config) {
					c.NextProtos = []string{"h2", "echo"}
					c.ClientAuth, c.ClientCAs = stdtls.RequireAndVerifyClientCert, theirs.pool
				})), func(p *probe) { echoes(p); notesState(p) })
				args := []string{"s_client", "-connect", s.Addr().String(), flag, "-CAfile", ca, "-verify_return_error",
					"-verify_hostname", "localhost", "-servername", "localhost", "-alpn", "other,echo"}
				client := startProgram(t, "openssl", append(args, "-quiet", "-no_ign_eof", "-cert", cert, "-key", key)...)
				client.send("hello")
				client.heard("hello")
				p := s.next()
				p.await(t, stdtls.VersionName(version)+` "echo" resumed=false peers=1`)
				require.NoError(t, client.in.Close()) // it says close_notify, and ends
				p.closedInOrder(t)

				out, code := runTool(t, "", "openssl", append(args, "-ign_eof")...) // without a certificate of its own
				failed := s.next().shakeError(t)
				assert.True(t, failed.Auth, "%v", failed)
				assert.Contains(t, out, "alert", "%d: %s", code, out)
			})
		})
	}
}

// A session that s_client keeps is taken up again.
func TestTLS5_OpenSSLResumesASession(t *testing.T) {
	ours := certify(t, "ours")
	for flag := range versions {
		t.Run(flag[1:], func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(serves(ours.server(nil)), func(p *probe) { echoes(p); notesState(p) })
				session := filepath.Join(t.TempDir(), "session")
				for _, use := range []string{"-sess_out", "-sess_in"} {
					client := startProgram(t, "openssl", "s_client", "-connect", s.Addr().String(), flag, use, session)
					client.send("hello")
					client.heardSoon("hello") // behind the tickets, so these have come
					p := s.next()
					p.await(t, fmt.Sprintf(`%s "" resumed=%v`, stdtls.VersionName(versions[flag]), use == "-sess_in"))
					client.send("Q")
					p.closedInOrder(t)
					require.NoError(t, client.cmd.Wait())
				}
			})
		})
	}
}

// A client that wants to negotiate anew, as TLS 1.2 has it, is refused: that would be public-key work as often as a client
// likes.
func TestTLS5_OpenSSLMayNotRenegotiate(t *testing.T) {
	ours := certify(t, "ours")
	ways(t, func(t *testing.T, w way) {
		f := w.start(t, actor.Config{})
		s := f.serve(serves(ours.server(nil)), func(p *probe) { echoes(p) })
		client := startProgram(t, "openssl", "s_client", "-connect", s.Addr().String(), "-tls1_2")
		client.send("hello")
		client.heardSoon("hello")
		client.send("R") // s_client's command for it
		var broken *tls.RecordError
		require.ErrorAs(t, s.next().closeError(t), &broken)
		assert.False(t, broken.Remote)
		assert.ErrorContains(t, broken, "unexpected handshake message")
		assert.Error(t, client.cmd.Wait())
		assert.Contains(t, client.err.String(), "alert unexpected message")
	})
}

// openSSLServer runs s_server, which ends with the test. It returns where it listens.
func openSSLServer(t *testing.T, c *certified, args ...string) (at string, p *program) {
	t.Helper()
	cert, key := c.files(t)
	p = startProgram(t, "openssl", append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key", key}, args...)...)
	return p.heardSoon("ACCEPT "), p
}

// s_server -rev sends each line back from its end to its beginning.
func TestTLS5_ServerIsOpenSSL(t *testing.T) {
	theirs, ours := certify(t, "theirs"), certify(t, "ours")
	ca, _ := ours.files(t)
	for flag, version := range versions {
		t.Run(flag[1:], func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				at, _ := openSSLServer(t, theirs, flag, "-rev", "-alpn", "echo", "-Verify", "1", "-verify_return_error", "-CAfile", ca)
				f := w.start(t, actor.Config{})
				cfg := calls(theirs.client(func(c *tls.Config) {
					c.NextProtos = []string{"h2", "echo"}
					c.Certificates = []tls.Certificate{ours.pair}
					c.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
				}))
				cfg.Conn.Split = frame.Lines(100)
				for _, resumed := range []bool{false, true} {
					p := new(probe)
					notesState(p)
					p.onConnected = func(p *probe) { assert.NoError(t, echo(p, []byte("galago\n"))) }
					p.onReceived = func(p *probe, line []byte) error { p.Conn().Close(); return nil }
					f.call(at, p, cfg)
					p.await(t, fmt.Sprintf(`%s "echo" resumed=%v`, stdtls.VersionName(version), resumed))
					p.await(t, "OnReceived ogalag")
					p.await(t, "OnClosed")
				}
			})
		})
	}
}

// A server that changes its keys, and asks us to, is understood, and understands us.
func TestTLS13_KeyUpdatesOfAnOpenSSLServer(t *testing.T) {
	theirs := certify(t, "theirs")
	ways(t, func(t *testing.T, w way) {
		at, server := openSSLServer(t, theirs, "-tls1_3")
		relay := newSluice(t, at)
		f := w.start(t, actor.Config{})
		p := new(probe)
		cfg := calls(theirs.client(nil))
		cfg.Conn.Split = frame.Lines(100)
		f.call(relay.ln.Addr().String(), p, cfg)
		p.await(t, "OnConnected")
		for i, command := range []string{"k", "K", "K"} { // k asks for no answer
			_, from := relay.records(0)
			server.send(command)
			soon(t, func() bool { lengths, _ := relay.records(from); return slices.Contains(lengths, keyUpdateLen) },
				"it is done: it would take the line for a part of the command")
			line := fmt.Sprintf("line %d", i)
			server.send(line)
			p.await(t, "OnReceived "+line)
			p.tell(&actor.Write{Data: []byte("ours " + line + "\n")})
			server.heardSoon("ours " + line)
		}
		p.tell(&actor.Close{})
		p.closedInOrder(t)
	})
}

// GnuTLS checks the certificate, and has a session resumed in its second connection.
func TestTLS5_ClientIsGnuTLS(t *testing.T) {
	ours := certify(t, "ours")
	ca, _ := ours.files(t)
	for name, version := range map[string]uint16{"VERS-TLS1.2": stdtls.VersionTLS12, "VERS-TLS1.3": stdtls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(serves(ours.server(func(c *tls.Config) { c.NextProtos = []string{"echo"} })),
					func(p *probe) { echoes(p); notesState(p) })
				_, port, err := net.SplitHostPort(s.Addr().String())
				require.NoError(t, err)
				args := []string{"--port", port, "--x509cafile", ca, "--sni-hostname", "localhost", "--verify-hostname", "localhost",
					"--alpn", "echo", "--priority", "NORMAL:-VERS-ALL:+" + name, "127.0.0.1"}
				client := startProgram(t, "gnutls-cli", args...)
				client.heardSoon("- Status: The certificate is trusted.")
				client.heardSoon("- Simple Client Mode:")
				client.send("hello")
				client.heardSoon("hello")
				p := s.next()
				p.await(t, stdtls.VersionName(version)+` "echo" resumed=false`)
				require.NoError(t, client.in.Close()) // half-close: close_notify
				p.saidGoodbye(t)
				require.NoError(t, client.cmd.Wait())

				out, _ := runTool(t, "", "gnutls-cli", append([]string{"--resume"}, args...)...)
				s.next().saidGoodbye(t)
				q := s.next()
				q.saidGoodbye(t)
				assert.Equal(t, 1, q.count(stdtls.VersionName(version)+` "echo" resumed=true`), "%s", out)
				assert.Contains(t, out, "*** This is a resumed session")
			})
		})
	}
}

// saidGoodbye waits for the end of a connection whose peer has said goodbye, and is gone at once: our own goodbye may meet a
// reset.
func (p *probe) saidGoodbye(t testing.TB) {
	t.Helper()
	p.await(t, "OnEOF")
	p.awaitN(t, 1, "Stopped", slow)
	assert.Equal(t, 1, p.count("OnClosed"))
	if p.err != nil && !errors.Is(p.err, syscall.ECONNRESET) {
		assert.ErrorIs(t, p.err, syscall.EPIPE)
	}
}

// web answers each request of HTTP/1.1 with its path and a body, which is as much as a test of TLS needs.
func web(body []byte) func(p *probe) {
	return func(p *probe) {
		var path string
		p.onReceived = func(p *probe, line []byte) error {
			if len(line) > 0 {
				if rest, ok := bytes.CutPrefix(line, []byte("GET ")); ok {
					path = strings.Fields(string(rest))[0]
				}
				return nil
			}
			_, err := p.Conn().Send(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s\n", len(path)+1+len(body), path), body)
			return err
		}
		notesState(p)
	}
}

// curl fetches from an HTTPS server twice over one connection, with each version of TLS.
func TestTLS5_ClientIsCurl(t *testing.T) {
	ours := certify(t, "ours")
	ca, _ := ours.files(t)
	body := bytes.Repeat([]byte("0123456789abcde\n"), 20_000)
	for flag, version := range map[string]uint16{"1.2": stdtls.VersionTLS12, "1.3": stdtls.VersionTLS13} {
		t.Run(flag, func(t *testing.T) {
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				cfg := serves(ours.server(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }))
				cfg.Conn.Split = frame.Lines(1000)
				s := f.serve(cfg, web(body))
				_, port, err := net.SplitHostPort(s.Addr().String())
				require.NoError(t, err)
				at := "https://localhost:" + port
				out, code := runTool(t, "", "curl", "-sS", "--cacert", ca, "--tlsv"+flag, "--tls-max", flag,
					"--resolve", "localhost:"+port+":127.0.0.1", at+"/one", at+"/two")
				require.Equal(t, 0, code, "%.300s", out)
				assert.Equal(t, "/one\n"+string(body)+"/two\n"+string(body), out)
				p := s.next()
				p.saidGoodbye(t)
				assert.Equal(t, 1, p.count(stdtls.VersionName(version)+` "http/1.1" resumed=false`))

				out, code = runTool(t, "", "curl", "-sS", at) // which trusts nobody of that name
				assert.Equal(t, 60, code, "%s", out)
				// crypto/tls finds no alert in what OpenSSL sends then, which is not encrypted; or there is a reset before it.
				assert.Equal(t, conn.StageHandshake, s.next().connectError(t).Stage)
			})
		})
	}
}

// Go's own TLS, as client and as server, ends one direction and goes on with the other.
func TestTLS12_HalfCloseWithCryptoTLS(t *testing.T) {
	ours := certify(t, "ours")
	answer := bytes.Repeat([]byte("0123456789abcdef"), 32<<10)
	for version := uint16(stdtls.VersionTLS12); version <= stdtls.VersionTLS13; version++ {
		t.Run(stdtls.VersionName(version), func(t *testing.T) {
			only := func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
			ways(t, func(t *testing.T, w way) {
				f := w.start(t, actor.Config{})
				s := f.serve(serves(ours.server(only)), func(p *probe) {
					p.onEOF = func(p *probe) {
						assert.NoError(t, echo(p, answer))
						p.Conn().Close()
					}
				})
				c, p := s.openTLS(ours.client(only))
				c.send("req")
				require.NoError(t, c.CloseWrite())
				got, err := io.ReadAll(c)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(answer, got), "%d bytes", len(got))
				require.NoError(t, c.Close())
				p.closedInOrder(t)

				ln, err := stdtls.Listen("tcp", "127.0.0.1:0", ours.server(only))
				require.NoError(t, err)
				served := make(chan error, 1)
				go func() { served <- answerOnce(ln, answer) }()
				q := &probe{quiet: true}
				q.onConnected = func(q *probe) {
					assert.NoError(t, echo(q, []byte("req")))
					q.Conn().CloseWrite()
				}
				f.call(ln.Addr().String(), q, calls(ours.client(only)))
				q.closedInOrder(t)
				require.NoError(t, <-served)
				assert.Equal(t, len(answer), q.received)
			})
		})
	}
}

// answerOnce reads a request to its end, and answers it.
func answerOnce(ln net.Listener, answer []byte) error {
	defer func() { _ = ln.Close() }()
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(slow))
	if req, err := io.ReadAll(bufio.NewReader(c)); err != nil || string(req) != "req" {
		return fmt.Errorf("the request is %q, %w", req, err)
	}
	_, err = c.Write(answer)
	return err
}
